//! The channel to the control plane: a TCP connection of this world, TLS, and gRPC on top. One connection, one channel: when
//! it breaks, whoever used it makes another.

use crate::identity::HeldIdentity;
use crate::tls::control::{self, Anchor};
use crate::world::World;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::net::Stream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A silent control plane is taken for dead after this and the same again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where the control plane is.
#[derive(Clone)]
pub struct Control {
    pub world: World,
    /// `host:port`.
    pub address: Arc<str>,
}

/// Why there is no channel. Says where it was looked for.
#[derive(Debug)]
pub struct NoChannel {
    address: Arc<str>,
    why: String,
}

impl fmt::Display for NoChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to the control plane at {}: {}", self.address, self.why)
    }
}
impl std::error::Error for NoChannel {}

impl Control {
    /// Before there is a certificate.
    pub async fn joining(&self, anchor: Anchor) -> Result<Channel, NoChannel> {
        self.channel(control::joining(&self.world, anchor)).await
    }

    /// As `held`, over mutual TLS.
    pub async fn live(&self, held: &HeldIdentity) -> Result<Channel, NoChannel> {
        self.channel(control::live(&self.world, held)).await
    }

    async fn channel(&self, config: Result<ClientConfig, rustls::Error>) -> Result<Channel, NoChannel> {
        let config = config.map_err(|error| self.failed(error))?;
        let stream = timeout(CONNECT_LIMIT, self.connect(config)).await.map_err(|_| self.failed("timed out"))?.map_err(|error| self.failed(error))?;
        let mut stream = Some(TokioIo::new(stream));
        // Only the first call gets a connection: a channel never connects a second time behind our back.
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(stream)
        });
        let endpoint = Endpoint::from_static("https://control")
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        endpoint.connect_with_connector(connector).await.map_err(|error| self.failed(Chain(&error)))
    }

    async fn connect(&self, config: ClientConfig) -> io::Result<TlsStream<Stream>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "expected host:port");
        let (host, port) = self.address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = self.dial(host, port).await?;
        // Who the server must be is said by its SPIFFE id; the name is for servers that choose a certificate by it.
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The first address of the name that takes a connection.
    async fn dial(&self, host: &str, port: u16) -> io::Result<Stream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in self.world.network.resolve(host, port).await? {
            match self.world.network.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn failed(&self, why: impl fmt::Display) -> NoChannel {
        NoChannel { address: self.address.clone(), why: why.to_string() }
    }
}

/// An error with its causes, which tonic's own text leaves out.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
