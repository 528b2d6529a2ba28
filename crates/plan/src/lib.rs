//! What should happen: compile, route, authorize, balance, limit, retry, explain. Pure: no clock, no dice, no I/O; the
//! caller passes `now` (time since an epoch of its own) and random numbers in, and the same inputs give the same outputs.
//!
//! `compile` turns a [`Snapshot`] of what the mesh said into an immutable [`Plan`]; [`Plan::decide`] answers for one
//! exchange or connection; [`Live`] holds what changes from request to request (loads, ejections, budgets) beside the plan,
//! keyed so that it survives a new plan; [`Plan::explain`] says why, step by step, with origins.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic"))]

mod admit;
mod authorization;
mod balance;
mod by_host;
pub mod cluster;
mod clusters;
mod compile;
mod cors;
mod counting;
mod decide;
mod dice;
mod domains;
mod explain;
pub mod facts;
pub mod health;
mod inbound;
mod index;
mod limits;
pub mod live;
mod locality;
mod matching;
mod outlier;
pub mod overload;
mod path;
mod pattern;
mod plan;
mod policies;
mod possibilities;
mod principal;
pub mod rate;
mod recent;
pub mod retry;
mod rules;
mod session;
pub mod snapshot;
mod starts;
mod table;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod token;
mod trace;
mod transform;
pub mod verdict;
mod words;

pub use balance::load_aware::Report;
pub use balance::table::HashTable;
pub use cluster::{Cluster, ClusterKey, Endpoint};
pub use dice::stable_hash;
pub use facts::{Direction, Facts, HttpFacts, Peer};
pub use limits::Overflow;
pub use live::{Live, NoEndpoint, Outcome, Picked};
pub use path::{normalise, undotted};
pub use plan::Plan;
pub use possibilities::{Mirrored, Possibilities, Possibility};
pub use retry::{Failure, backoff, default_retry, safe_by_default, should_retry};
pub use snapshot::Snapshot;
pub use telemetry::Telemetry;
pub use token::{Claims, Issuers, Token};
pub use trace::{Explanation, Mark, Step};
pub use verdict::{Go, Question, Refusal, Rolls, Side, Verdict};
pub use words::retry_on as retry_conditions;
