//! HBONE: TCP connections between two proxies as CONNECT streams of one HTTP/2 connection over mutual TLS, so that a new one costs no
//! handshake. This is the transport; where a stream leads, and whether it may, is decided as for any other connection.

mod client;
mod server;

pub use client::Tunnels;
pub use server::{Asked, serve};

use crate::lane::PIECE;
use bytes::Bytes;
use h2::{Ping, PingPong, client as h2_client, server as h2_server};
use std::time::Duration;

/// On one connection at a time, as ztunnel does; for more there are more connections.
const STREAMS: usize = 200;
/// What may be on its way on a stream: 16 Gbit/s over a round trip of half a millisecond. Whole pieces, so that no window ends in a
/// crumb.
const STREAM_WINDOW: u32 = 16 * FRAME;
/// On all streams of a connection together: the most that readers who do not read make a proxy keep. So many streams may stand full
/// before the others of the connection have to wait for them.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// What is written and not sent yet, for each stream.
const SEND_BUFFER: usize = 4 * PIECE;
/// DATA frames of peers may be this long; longer ones would hold up the other streams on slow networks.
const FRAME: u32 = PIECE as u32;
/// The head of a CONNECT request or its response; only its authority, its status and its reason are read.
const HEAD: u32 = 16 << 10;
/// How often a peer is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

fn for_clients() -> h2_client::Builder {
    let mut builder = h2_client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD);
    builder
}

fn for_servers() -> h2_server::Builder {
    let mut builder = h2_server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS as u32)
        // All clients of a connection may leave at once; what is more than that is an attack (rapid reset).
        .max_pending_accept_reset_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD);
    builder
}

/// Resolves when the peer does not answer any more. It is asked only as long as `cares` says so.
async fn silence(pings: Option<PingPong>, cares: impl Fn() -> bool) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        if cares() && !matches!(tokio::time::timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

type Sender = h2_client::SendRequest<Bytes>;
