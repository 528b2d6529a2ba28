//! How it is said between processes: protobuf schema, model to proto and back, delta sessions, and the network seam.

#[allow(clippy::all, missing_docs, rust_2018_idioms, reason = "not written by hand")]
mod generated;

pub mod net;

pub use generated::{certificate, desk, discovery, mesh};
