//! HTTP/1 on a byte stream: strict heads, exact framing, no task of its own. Knows nothing of the mesh.
//!
//! hyper's HTTP/1 runs a task per connection, with a channel to whoever uses it, and copies a head for each attempt. Here the
//! task that serves a client's connection also writes to the upstream and reads from it, so a request wakes one task twice.

mod chunks;
pub mod client;
mod framing;
pub mod fuzzing;
pub mod head;
pub mod server;
mod stall;
mod wire;

pub use chunks::clean_trailers;
pub use framing::BadBody;
pub use head::BadHead;
pub use wire::Wire;

/// Most fields of a head or a trailer section: Envoy's default.
const MOST_FIELDS: usize = 100;
/// Largest head, request line or status line included.
pub const HEAD_BYTES: usize = 64 * 1024;
