//! What users say: resources, names, identities, validation, and where each came from. Pure: no clock, no entropy, no I/O.
//!
//! Two layers live here. *Input* (`tree`, `schema`, `kinds`, `problem`, `merge`) reads the YAML and JSON that users write, in
//! the dialect they write it, and says what is wrong with it. *Meaning* (`service`, `workload`, `route`, `destination`,
//! `policy`, `authorizer`, `rate_limit`, `telemetry`) is the one neutral model that every dialect is translated into and everything downstream works on.
//! Beside them, `signal` says what went over the mesh: the one vocabulary of those who count, send, keep and read it.

pub mod authorizer;
pub mod destination;
pub mod expression;
pub mod host;
pub mod identity;
pub mod kinds;
pub mod merge;
pub mod object;
pub mod origin;
pub mod path;
pub mod policy;
pub mod problem;
pub mod rate_limit;
pub mod read;
pub mod route;
pub mod schema;
pub mod service;
pub mod settings;
pub mod signal;
pub mod telemetry;
pub mod tree;
pub mod trust;
pub mod workload;
