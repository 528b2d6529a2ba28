//! How it is said between processes: protobuf schema, model to proto and back, delta sessions, and the network seam.

pub mod net;
