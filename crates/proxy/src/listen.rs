//! Step 1 of 7: takes connections in, and hands each to [`connection::serve`] as a task of its own.

use crate::connection::{self, Entry};
use crate::current::Stage;
use crate::engine::Engine;
use futures_util::FutureExt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use taut_wire::net::{Listener, Stream};

/// Bound before readiness is said.
pub struct Listeners {
    /// The application's traffic: HTTP proxy, CONNECT and SOCKS5 on one port.
    pub outbound: Option<Listener>,
    /// One listener per service: listener, host, port.
    pub upstreams: Vec<(Listener, String, u16)>,
    /// Mutual TLS from other proxies.
    pub peer: Listener,
    /// Plain text for the application.
    pub exposed: Option<Listener>,
}

impl Listeners {
    /// Addresses where the application's plain traffic comes in, which must not be dialled.
    pub fn own(&self) -> Vec<SocketAddr> {
        let upstreams = self.upstreams.iter().map(|(listener, ..)| listener);
        self.outbound.iter().chain(upstreams).filter_map(|listener| listener.local_addr().ok()).collect()
    }

    pub fn entries(self) -> Vec<(Listener, Entry)> {
        let mut entries = vec![(self.peer, Entry::Peer)];
        entries.extend(self.outbound.map(|listener| (listener, Entry::Outbound)));
        entries.extend(self.exposed.map(|listener| (listener, Entry::Exposed)));
        let upstreams = self.upstreams.into_iter();
        entries.extend(upstreams.map(|(listener, host, port)| (listener, Entry::Upstream { host: host.into(), port })));
        entries
    }
}

/// Accepts until a drain begins or a successor does so; what the system has accepted by then is still served.
pub async fn listen(engine: Rc<Engine>, listener: Listener, entry: Entry) {
    let mut leaves = std::pin::pin!(engine.current.reached(Stage::Replaced));
    loop {
        tokio::select! {
            biased;
            () = &mut leaves => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => take(&engine, &entry, stream, from),
                Err(error) => {
                    // Usually the limit on open files: connections that end make room.
                    tracing::warn!(?entry, %error, "cannot accept a connection; trying again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    while let Some(Ok((stream, from))) = listener.accept().now_or_never() {
        take(&engine, &entry, stream, from);
    }
}

fn take(engine: &Rc<Engine>, entry: &Entry, stream: Stream, from: SocketAddr) {
    engine.spawn(connection::serve(engine.clone(), entry.clone(), stream, from));
}
