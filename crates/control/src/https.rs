//! Serves an HTTP router, each connection in a task of its own: over TLS, with HTTP/1.1 and HTTP/2 by ALPN, or in plain text on loopback.

use crate::serve::accept::accept;
use crate::stopping::Stopping;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::net::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long answers that are under way may take when the control plane stops. Watches never end by themselves.
const FAREWELL: Duration = Duration::from_millis(500);
/// A client must send the head of its request in this time.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Connections in plain text at the same time; more wait.
const PLAIN_AT_ONCE: usize = 512;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The names for ALPN.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Serves until it is told to stop.
pub async fn serve(listener: Listener, tls: Arc<ServerConfig>, router: Router, mut stopping: Stopping) {
    let mut incoming = accept(listener, tls);
    loop {
        let connection = tokio::select! {
            biased;
            () = stopping.wait() => return,
            connection = incoming.recv() => connection,
        };
        match connection {
            Some(Ok(connection)) => {
                let (address, http2) = (connection.client.address, connection.is_http2());
                drop(tokio::spawn(answer(connection, address, http2, router.clone(), stopping.clone())));
            }
            Some(Err(_)) => {}
            None => return,
        }
    }
}

/// The same in plain text and HTTP/1.1, for browsers of this machine.
pub async fn serve_plain(listener: Listener, router: Router, mut stopping: Stopping) {
    let free = Arc::new(Semaphore::new(PLAIN_AT_ONCE));
    loop {
        let (accepted, place) = tokio::select! {
            biased;
            () = stopping.wait() => return,
            next = next_plain(&listener, &free) => next,
        };
        let Ok((stream, address)) = accepted else {
            // Out of file descriptors, most likely: others may close theirs.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        tokio::spawn(async move {
            answer(stream, address, false, router, stopping).await;
            drop(place);
        });
    }
}

async fn next_plain(listener: &Listener, free: &Arc<Semaphore>) -> (std::io::Result<(Stream, SocketAddr)>, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore, so there is a place in time.
    let place = free.clone().acquire_owned().await.ok();
    (listener.accept().await, place)
}

async fn answer<C: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: C,
    address: SocketAddr,
    http2: bool,
    router: Router,
    mut stopping: Stopping,
) {
    let service = TowerToHyperService::new(router);
    let done = if http2 {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new());
        let mut serving = pin!(server.serve_connection(TokioIo::new(connection), service));
        tokio::select! {
            biased;
            done = serving.as_mut() => done,
            () = stopping.wait() => {
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
            }
        }
    } else {
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        let mut serving = pin!(server.serve_connection(TokioIo::new(connection), service));
        tokio::select! {
            biased;
            done = serving.as_mut() => done,
            () = stopping.wait() => {
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%address, %error, "an API connection ended");
    }
}
