//! HBONE: TCP connections between two proxies as CONNECT streams of one HTTP/2 connection over mutual TLS, so that a new one costs no
//! handshake. This is the transport; where a stream leads, and whether it may, is decided as for any other connection.

mod client;
mod server;

pub use client::Tunnels;
pub use server::{Asked, serve};

use crate::http2::Limits;

/// The longest piece that goes on its way whole: with the head of its frame it fills four TLS records.
pub const PIECE: usize = 64 * 1024 - 9;
/// On one connection at a time, as ztunnel does; for more there are more connections.
const STREAMS: u32 = 200;

const LIMITS: Limits = Limits {
    // What may be on its way on a stream: 16 Gbit/s over a round trip of half a millisecond. Whole pieces, so that no window ends in a crumb.
    stream_window: 16 * PIECE as u32,
    // On all streams together: the most that readers who do not read make a proxy keep. So many streams may stand full before the others of
    // the connection have to wait for them.
    connection_window: 64 << 20,
    streams: STREAMS,
    release_on_arrival: false,
    trusted: true,
    // Longer ones would hold up the other streams on slow networks.
    frame: PIECE as u32,
};
