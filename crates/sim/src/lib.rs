//! The whole mesh in one deterministic process.
