//! Accepts connections and does their TLS handshakes, each on its own, so that a slow client holds up nobody.

use super::tls::identity_of;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::net::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes at the same time; more wait in the listener's queue.
const HANDSHAKES: usize = 256;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Proven by its certificate; `None` when it showed none.
    pub identity: Option<Identity>,
    pub address: SocketAddr,
}

/// A connection after its handshake.
pub struct Secured {
    stream: TlsStream<Stream>,
    pub client: Client,
}

impl Secured {
    /// Whether HTTP/2 was agreed on by ALPN.
    pub fn is_http2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }
}

impl Connected for Secured {
    type ConnectInfo = Client;

    fn connect_info(&self) -> Client {
        self.client.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections as they are ready. Ends never; dropping the receiver ends the accepting task.
pub fn accept(listener: Listener, config: Arc<ServerConfig>) -> mpsc::Receiver<io::Result<Secured>> {
    let (ready, incoming) = mpsc::channel(16);
    tokio::spawn(accept_all(listener, TlsAcceptor::from(config), ready));
    incoming
}

async fn accept_all(listener: Listener, acceptor: TlsAcceptor, ready: mpsc::Sender<io::Result<Secured>>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            () = ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of descriptors, most likely: give connections time to close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let identity = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(identity_of);
                    // The server is shutting down when nobody takes it.
                    let _ = ready.send(Ok(Secured { stream, client: Client { identity, address } })).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            }
            drop(permit);
        });
    }
}
