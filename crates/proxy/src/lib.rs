//! The data plane: the only crate that touches application traffic.
//!
//! A request, from accept to finish, in seven steps, each one function:
//!
//! 1. [`listen::listen`] takes a connection in.
//! 2. [`connection::serve`] learns where it wants to go, who is on it, and what is spoken.
//! 3. [`facts::gather`] says what is known about a request.
//! 4. `taut_plan::Plan::decide` says go, ask, or refuse.
//! 5. [`transform::request`] changes what changes on the way.
//! 6. [`forward::attempts`] carries it to an upstream.
//! 7. [`respond::finish`] turns the outcome into the response, which ends the one record.
//!
//! [`exchange::serve`] is steps 3 to 7 in a row; [`tunnel::carry`] is the same for a TCP connection.

pub mod admin;
mod agent;
mod ahead;
mod authorizer;
mod backoff;
pub mod bequest;
pub mod body;
pub mod call;
pub mod capture;
pub mod channel;
mod checks;
pub mod compress;
mod computed;
mod connection;
pub mod current;
pub mod dial;
pub mod doors;
pub mod engine;
pub mod evidence;
pub mod exchange;
mod eyeballs;
pub mod facts;
pub mod fault;
mod flows;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod grpc;
pub mod grpc_web;
mod gzip;
pub mod handover;
mod hbone;
mod hedge;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod incoming;
pub mod io;
mod learn;
pub mod learned;
pub mod leash;
mod limiter;
pub mod listen;
pub mod metadata;
pub mod mirror;
mod naming;
pub mod options;
mod pages;
pub mod pool;
mod probe;
mod process;
pub mod proxy_protocol;
mod quiet;
pub mod ready;
pub mod record;
mod refusals;
pub mod renewal;
pub mod respond;
pub mod ring;
pub mod signer;
pub mod sink;
mod slots;
mod sockets;
pub mod start;
pub mod status;
pub mod sync;
pub mod telemetry;
pub mod tls;
mod token;
pub mod trace;
pub mod transform;
mod translate;
pub mod trust;
pub mod tunnel;
pub mod upgrade;
pub mod usage;
mod watched;
mod websocket;
pub mod worker;
mod workload_api;
pub mod world;

pub use start::{Fault, Proxy, run};
pub use world::World;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
