//! turmoil's network behind the seam that the real programs use.

use std::io;
use std::net::SocketAddr;
use taut_wire::net::{Accept, BoxFuture, Listener, Network, Stream};

/// Sockets of the turmoil host that the calling task runs on.
pub struct SimulatedNetwork;

struct SimulatedListener(turmoil::net::TcpListener);

impl Network for SimulatedNetwork {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move { Ok(Stream::Other(Box::pin(turmoil::net::TcpStream::connect(address).await?))) })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Listener>> {
        Box::pin(async move { Ok(Listener::Other(Box::new(SimulatedListener(turmoil::net::TcpListener::bind(address).await?)))) })
    }

    /// Names are turmoil's host names.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::new(turmoil::lookup(host), port)]) })
    }
}

impl Accept for SimulatedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            Ok((Stream::Other(Box::pin(stream)), peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
