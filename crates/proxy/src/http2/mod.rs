//! HTTP/2 on a byte stream (RFC 9113): strict frames and heads, many requests in one task, writes that leave together. Knows nothing of the mesh.
//!
//! hyper and h2 run a task per request and lock the connection for each step of it. Here all that came in one read is served before
//! anything is written, and then leaves in one write; two proxies of the mesh carry HTTP/1.1 between them in the same way.

pub mod client;
mod drive;
mod duplex;
mod flood;
pub mod frame;
pub mod fuzzing;
mod handle;
mod head;
pub mod hpack;
mod reason;
mod send;
pub mod server;
mod session;
mod settings;
mod stream;
mod turns;

pub use handle::Received;
pub use stream::Failure;

use http::HeaderValue;
use std::time::Duration;

/// What the messages of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Http2,
    /// Messages of HTTP/1.1, in the frames of HTTP/2: between two proxies, for applications that speak HTTP/1.1.
    Http1,
}

/// `:protocol` of an extended CONNECT (RFC 8441).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub HeaderValue);

/// The largest frame that anybody has to take (RFC 9113 section 6.5.2), and that is sent, unless both sides say otherwise.
pub const FRAME_BYTES: u32 = 16_384;

/// What the peer may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that may come on one stream before somebody reads them.
    pub stream_window: u32,
    /// The same for all streams of the connection.
    pub connection_window: u32,
    /// Streams at the same time.
    pub streams: u32,
    /// A stream that nobody reads holds up no other: what comes counts for its stream only.
    pub release_on_arrival: bool,
    /// A proven proxy of the mesh, which carries many clients.
    pub trusted: bool,
    /// Bytes of one frame, at least [`FRAME_BYTES`].
    pub frame: u32,
}

/// How long a connection may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a stream.
    pub idle: Duration,
    /// For the peer to take more of what there is for it.
    pub stalled: Duration,
    /// Requests that do not go on count as stalled too.
    pub body: bool,
}

#[cfg(test)]
mod tests;
