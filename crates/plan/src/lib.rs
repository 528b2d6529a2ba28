//! What should happen: compile, route, authorize, balance, limit, retry, explain. Pure: no clock, no dice, no I/O; the
//! caller passes `now` (time since an epoch of its own) and random numbers in, and the same inputs give the same outputs.
//!
//! `compile` turns a [`Snapshot`] of what the mesh said into an immutable [`Plan`]; [`Plan::decide`] answers for one
//! exchange or connection; [`Live`] holds what changes from request to request (loads, ejections, budgets) beside the plan,
//! keyed so that it survives a new plan; [`Plan::explain`] says why, step by step, with origins.

pub mod cluster;
pub mod facts;
pub mod snapshot;
pub mod verdict;

pub use cluster::{Cluster, ClusterKey, Endpoint};
pub use facts::{Direction, Facts, HttpFacts, Peer};
pub use snapshot::Snapshot;
pub use verdict::{Go, Question, Refusal, Side, Verdict};

// The rest of the interface, to be written by the owner of this crate exactly so (the proxy is written against it):
//
// impl Plan {
//     pub fn compile(snapshot: &Snapshot) -> Plan;                 // never fails; what cannot be compiled is in `problems()`
//     pub fn version(&self) -> u64;
//     pub fn own(&self) -> Option<&Arc<Workload>>;
//     pub fn problems(&self) -> &[(Origin, String)];               // per object: why it is rejected (the shell NACKs those)
//     pub fn decide(&self, facts: &Facts<'_>, rolls: &Rolls) -> Verdict;
//     pub fn protocol(&self, host: &str, port: u16) -> Option<AppProtocol>;  // of an outbound (host as named, port)
//     pub fn inbound_protocol(&self, host: &str, port: u16) -> AppProtocol;
//     pub fn headers_used(&self) -> &BTreeSet<String>;             // lower-case names any rule or policy looks at
//     pub fn explain(&self, facts: &Facts<'_>, rolls: Option<&Rolls>) -> Explanation;
// }
// pub struct Explanation { pub steps: Vec<Step>, pub outcome: String }      // serde, Display renders the text of `taut why`
// pub struct Step { pub mark: Mark, pub text: String, pub origin: Option<Origin> }
// pub enum Mark { Info, Match, NoMatch, Chosen, Refused }
//
// live.rs: what changes beside the plan; one per worker thread, single-threaded, no locks.
// impl Live {
//     pub fn new() -> Live;
//     /// Call when a new plan is pinned: drops state of clusters and endpoints that are gone.
//     pub fn retain(&mut self, plan: &Plan);
//     /// Admits a request to a cluster or says which limit it ran into; `finish_request` must follow.
//     pub fn admit(&mut self, cluster: &Cluster) -> Result<(), Overflow>;
//     pub fn finish_request(&mut self, cluster: &Cluster);
//     /// Picks an endpoint and counts a request in flight on it; `report` must follow with the same token.
//     /// `tried`: endpoints (uids) of earlier attempts, avoided while others exist. `roll`: uniform u64 source.
//     pub fn pick(&mut self, cluster: &Cluster, now: Duration, hash: Option<u64>, tried: &[Arc<str>], roll: &mut dyn FnMut() -> u64) -> Result<Picked, NoEndpoint>;
//     pub fn report(&mut self, cluster: &Cluster, picked: &Picked, now: Duration, outcome: Outcome);
//     /// Whether one more retry fits the cluster's retry budget; if so it is counted until `finish_retry`.
//     pub fn try_retry(&mut self, cluster: &Cluster) -> bool;
//     pub fn finish_retry(&mut self, cluster: &Cluster);
//     pub fn ejected(&self, now: Duration) -> Vec<(ClusterKey, Arc<str>, Duration)>;   // for /config
// }
// pub struct Picked { pub endpoint: Endpoint, pub uid: Arc<str>, .. }  (Clone)
// pub enum Outcome { Status{ status: u16, latency: Duration }, ConnectFailed, Reset, TimedOut, Cancelled }
//
// retry.rs:
// pub fn should_retry(retry: &Retry, failure: &Failure<'_>, method: &str) -> bool;
// pub enum Failure<'a> { Connect, RefusedStream, ResetBeforeRequest, Reset, PerTryTimeout, Status{ status: u16, grpc: Option<u16> }, .. }
// pub fn backoff(retry: &Retry, attempt: u32, roll: u64) -> Duration;        // full jitter, base x 2^n, at most 10 x base
