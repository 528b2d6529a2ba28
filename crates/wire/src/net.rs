//! The network seam: both binaries reach sockets and DNS only through [`Network`], so that `sim` can replace them.
//! Real sockets are a variant of their own, so that the simulation costs the data path nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sockets and names.
pub trait Network: Send + Sync + 'static {
    /// Connects with TCP_NODELAY. No time limit: the caller sets one.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>>;
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Listener>>;
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The operating system's network.
pub struct OsNetwork;

impl Network for OsNetwork {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            notice_silence(&stream);
            Ok(Stream::Tcp(stream))
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move { Ok(Listener::Tcp(TcpListener::bind(address).await?)) })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Lets the system find out that a peer has gone without a word (a machine lost, a network cut): after 60 s of idleness it asks
/// every 10 s, and bytes that nobody acknowledges for 30 s end the connection (RFC 9293 3.8.3, RFC 5482).
fn notice_silence(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
    // Both only shorten waiting: a system that refuses them is no reason to refuse the connection.
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(30)));
}

/// Where Debian, Alpine, Fedora and openSUSE keep the system's roots.
const SYSTEM_ROOTS: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Files that may hold the roots that this machine trusts; the first that is there counts. `SSL_CERT_FILE` chooses another.
pub fn system_root_files() -> impl Iterator<Item = PathBuf> {
    std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).into_iter().chain(SYSTEM_ROOTS.iter().map(Into::into))
}

/// A byte stream other than a TCP socket.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + 'static> Duplex for T {}

pub enum Stream {
    Tcp(TcpStream),
    Other(Pin<Box<dyn Duplex>>),
}

/// Accepts connections other than TCP sockets.
pub trait Accept: Send + Sync + 'static {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

pub enum Listener {
    Tcp(TcpListener),
    Other(Box<dyn Accept>),
}

impl Listener {
    /// The next connection, with TCP_NODELAY set.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // A peer that is already gone is found out at the first read.
                let _ = stream.set_nodelay(true);
                notice_silence(&stream);
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Other(listener) => listener.accept().await,
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Other(listener) => listener.local_addr(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Other(stream) => stream.as_mut().poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Other(stream) => stream.as_mut().poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            // `send` costs the kernel less than `writev`.
            Self::Tcp(stream) if bufs.len() == 1 => Pin::new(stream).poll_write(cx, &bufs[0]),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Other(stream) => stream.as_mut().poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(stream) => stream.as_mut().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => stream.as_mut().poll_shutdown(cx),
        }
    }
}
