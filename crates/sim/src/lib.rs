//! The whole mesh in one deterministic process: control plane, authority, sidecars, clients and backends on a simulated network and
//! clock (turmoil). The same seed gives the same log; a failing seed is printed and replays.

mod application;
pub mod log;
pub mod mesh;
pub mod network;
pub mod schedule;
