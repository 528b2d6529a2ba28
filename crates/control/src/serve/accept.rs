//! Accepts connections and does their TLS handshakes, each on its own, so that a slow client holds up nobody.
//!
//! Accepting never stops: when too many handshakes are under way, the one that has taken longest makes room, since a client
//! that means it needs a few round trips only.

use super::tls::identity_of;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::net::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// Handshakes at the same time, of all clients and of one machine.
const HANDSHAKES: usize = 512;
const HANDSHAKES_OF_ONE: usize = 128;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Proven by its certificate; `None` when it showed none.
    pub identity: Option<Identity>,
    /// What proves it.
    pub leaf: Option<Arc<CertificateDer<'static>>>,
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

/// Handshakes under way, in the order in which they began.
#[derive(Default)]
struct UnderWay(Mutex<BTreeMap<u64, (IpAddr, oneshot::Sender<Infallible>)>>);

impl UnderWay {
    /// Notes handshake `number`, which is the newest. The answer resolves when it has to make room. When there are too many, the
    /// oldest of the same machine goes, or the oldest of all.
    fn begin(&self, number: u64, client: IpAddr) -> oneshot::Receiver<Infallible> {
        let (room, needed) = oneshot::channel();
        let machine = machine(client);
        let mut all = self.0.lock();
        let of_one = all.values().filter(|(other, _)| *other == machine).count();
        let oldest = match (of_one >= HANDSHAKES_OF_ONE, all.len() >= HANDSHAKES) {
            (true, _) => all.iter().find(|(_, (other, _))| *other == machine).map(|(number, _)| *number),
            (false, true) => all.keys().next().copied(),
            (false, false) => None,
        };
        if let Some(oldest) = oldest {
            all.remove(&oldest);
        }
        all.insert(number, (machine, room));
        needed
    }

    fn end(&self, number: u64) {
        self.0.lock().remove(&number);
    }
}

/// One machine has as many IPv6 addresses as it likes, of one /64 network (RFC 4291 section 2.5.4).
fn machine(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

async fn accept_all(listener: Listener, acceptor: TlsAcceptor, ready: mpsc::Sender<io::Result<Secured>>) {
    let under_way = Arc::new(UnderWay::default());
    let mut number = 0;
    loop {
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
        number += 1;
        let needed = under_way.begin(number, address.ip());
        let (acceptor, ready, under_way) = (acceptor.clone(), ready.clone(), under_way.clone());
        tokio::spawn(async move {
            if let Some(secured) = handshake(acceptor, stream, address, needed).await {
                // The server is shutting down when nobody takes it.
                let _ = ready.send(Ok(secured)).await;
            }
            under_way.end(number);
        });
    }
}

/// `None` when the client failed, took too long, or had to make room.
async fn handshake(acceptor: TlsAcceptor, stream: Stream, address: SocketAddr, needed: oneshot::Receiver<Infallible>) -> Option<Secured> {
    tokio::select! {
        biased;
        done = acceptor.accept(stream) => match done {
            Ok(stream) => {
                let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let (identity, leaf) = (leaf.and_then(identity_of), leaf.map(|leaf| Arc::new(leaf.clone())));
                return Some(Secured { stream, client: Client { identity, leaf, address } });
            }
            Err(error) => tracing::debug!(%address, %error, "a TLS handshake failed"),
        },
        _ = needed => tracing::debug!(%address, "a TLS handshake made room for newer ones"),
        () = tokio::time::sleep(HANDSHAKE_LIMIT) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_out(needed: &mut oneshot::Receiver<Infallible>) -> bool {
        needed.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn one_machine_gets_a_share_and_the_oldest_makes_room() {
        let under_way = UnderWay::default();
        let mut other = under_way.begin(0, "10.0.0.2".parse().unwrap());
        let first = 1..=HANDSHAKES_OF_ONE as u64;
        let mut needed: Vec<_> = first.map(|number| under_way.begin(number, "10.0.0.1".parse().unwrap())).collect();
        assert!(!needed.iter_mut().any(is_out));
        let mut newest = under_way.begin(1000, "::ffff:10.0.0.1".parse().unwrap());
        assert!(is_out(&mut needed[0]) && !is_out(&mut needed[1]) && !is_out(&mut newest) && !is_out(&mut other));
        // One that has ended leaves its room.
        under_way.end(2);
        let _last = under_way.begin(1001, "10.0.0.1".parse().unwrap());
        assert!(!is_out(&mut needed[2]));
    }

    #[test]
    fn all_machines_together_have_a_limit() {
        let under_way = UnderWay::default();
        let client = |number: u64| IpAddr::V6(Ipv6Addr::from_bits(u128::from(number) << 64));
        let mut needed: Vec<_> = (0..HANDSHAKES as u64).map(|number| under_way.begin(number, client(number))).collect();
        assert!(!needed.iter_mut().any(is_out));
        let _one_more = under_way.begin(1_000_000, client(1_000_000));
        assert_eq!(needed.iter_mut().filter_map(|one| is_out(one).then_some(())).count(), 1);
        assert!(is_out(&mut needed[0]));
    }

    #[test]
    fn addresses_of_one_network_are_one_machine() {
        let same = |left: &str, right: &str| machine(left.parse().unwrap()) == machine(right.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }
}
