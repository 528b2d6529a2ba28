//! Live upgrade: a new process takes over from the one that runs, so that no connection is refused and no request fails.
//!
//! The two talk over a Unix socket that only their user may reach. The running proxy is the *predecessor*, the new one the *successor*:
//!
//! ```text
//! successor                              predecessor
//! Hello {workload, version}   ────────▶
//!                             ◀────────  Estate {addresses, hosts} + its listening sockets     or Refused {why}
//! Sign {certificate request}  ────────▶  asks the control plane with its own live certificate
//!                             ◀────────  Signed {chain}                                        or NotSigned {why}
//!        compiles a plan, probes the application
//!        or GiveUp {why}      ────────▶  goes on
//! TakeOver {linger}           ────────▶  leaves the control plane's desk
//!                             ◀────────  Leaving; stops accepting
//!        accepts, says hello at the desk
//!                             ◀────────  Connection {story} + two sockets, for each that can move
//! ```
//!
//! Until `TakeOver` the predecessor works as ever, and goes on so if the successor dies. A successor whose predecessor dies has the
//! sockets and starts with them. The listening sockets are the same kernel objects throughout, so a connection that is on its way
//! waits in their queue and is lost by neither. No private key moves.

mod line;
mod message;
mod place;
mod predecessor;
mod successor;
#[cfg(test)]
mod tests;
mod upgrade;

pub use line::Line;
pub use message::{Door, Listening};
pub use place::{default_place, open, own_user};
pub use predecessor::{Estate, Predecessor, Replaced};
pub use successor::{Inheritance, NotReplaced, adopt_each};
pub use upgrade::{Upgraded, tell_service_manager, upgrade};
