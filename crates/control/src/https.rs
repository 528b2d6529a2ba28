//! Serves an HTTP router over TLS: HTTP/1.1 and HTTP/2 by ALPN, each connection in a task of its own.

use crate::serve::accept::{Secured, accept};
use crate::stopping::Stopping;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::net::Listener;

/// How long answers that are under way may take when the control plane stops. Watches never end by themselves.
const FAREWELL: Duration = Duration::from_millis(500);
/// A client must send the head of its request in this time.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

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
            Some(Ok(connection)) => drop(tokio::spawn(answer(connection, router.clone(), stopping.clone()))),
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn answer(connection: Secured, router: Router, mut stopping: Stopping) {
    let address = connection.client.address;
    let service = TowerToHyperService::new(router);
    let done = if connection.is_http2() {
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
