//! How it is said between processes: protobuf schema, model to proto and back, delta sessions, and the network seam.

pub mod agent;
pub mod authz;
mod convert;
#[allow(clippy::all, missing_docs, rust_2018_idioms, reason = "not written by hand")]
mod generated;
pub mod istio;
pub mod net;
pub mod otlp;
pub mod resource;
pub mod session;
pub mod signals;
pub mod token;

pub use convert::Malformed;
pub use generated::{certificate, desk, discovery, svid, workload_api};
