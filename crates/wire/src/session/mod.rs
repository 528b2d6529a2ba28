//! The delta discovery protocol, both ends, as state machines without I/O and without a clock: messages in, messages out.
//!
//! The rules are those of Envoy's incremental xDS ("xDS REST and gRPC protocol", section "Incremental xDS"), and two of our
//! own: a type that is subscribed by name has no implied wildcard, and a client that refuses one resource keeps the others.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Change, ClientSession, Received};
pub use server::{ProtocolFault, Requested, ServerSession, Verdict, Version, View};
