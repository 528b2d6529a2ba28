//! Opens connections: resolve, connect, prove identities. Says precisely what failed. Keeping them is `pool`'s.

use crate::ahead::Ahead;
use crate::eyeballs;
use crate::fault::{Fault, Kind};
use crate::identity::HeldIdentity;
use crate::io::Io;
use crate::leash::Leashes;
use crate::proxy_protocol::{Ends, Preface};
use crate::tls::{Spoken, Tls};
use crate::trust::Shown;
use crate::world::World;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::Keepalive;
use taut_plan::cluster::{Cluster, Dial, Endpoint, Transport};
use taut_wire::net::Stream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection that only one client can use is kept idle for it: clients come and go.
const ONE_CLIENT_IDLE: Duration = Duration::from_secs(60);

/// Where to, over what, and how long to try.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Dial,
    pub transport: Transport,
    pub spoken: Spoken,
    /// For name, socket and handshake together.
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    /// Sent before anything else. The connection is this one client's then.
    pub preface: Option<Preface>,
    pub keepalive: Option<Keepalive>,
}

impl Target {
    /// An endpoint of a cluster, for a client's connection.
    pub fn of(endpoint: &Endpoint, cluster: &Cluster, spoken: Spoken, ends: Ends) -> Self {
        let preface = cluster.proxy_protocol.map(|version| Preface { version, ends });
        let idle_timeout = if preface.is_some() { cluster.idle_timeout.min(ONE_CLIENT_IDLE) } else { cluster.idle_timeout };
        let connect_timeout = cluster.connect_timeout;
        let keepalive = cluster.limits.keepalive.clone();
        let (address, transport) = (endpoint.address.clone(), endpoint.transport.clone());
        Self { address, transport, spoken, connect_timeout, idle_timeout, preface, keepalive }
    }
}

pub struct Dialer {
    pub world: World,
    pub tls: Tls,
    /// Addresses that this proxy takes plain outbound traffic on: dialling them would loop.
    pub own: Vec<SocketAddr>,
    /// Of the connections to peers.
    pub leashes: Leashes,
}

impl Dialer {
    /// Opens a connection to `target` as `held`.
    pub async fn dial(&self, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Io, Fault> {
        let limit = target.connect_timeout;
        match tokio::time::timeout(limit, self.open(target, held)).await {
            Ok(opened) => opened,
            Err(_) => Err(Fault::new(Kind::ConnectTimedOut, format!("no connection to {} within {limit:?}", shown(&target.address)))),
        }
    }

    async fn open(&self, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Io, Fault> {
        match &target.transport {
            Transport::Plain => Ok(self.connect(target).await?.into()),
            Transport::Mesh { expect, server_name } => {
                let Some(held) = held else {
                    let why = "this proxy holds no certificate yet: is the control plane reachable and the token valid?";
                    return Err(Fault::new(Kind::NoIdentity, why));
                };
                let config = self.tls.client(&held, expect, target.spoken).map_err(|error| untrusted(target, &error))?;
                let stream = self.secure(target, config, server_name).await?;
                let shown = Shown::of(stream.get_ref().1.peer_certificates().unwrap_or_default());
                Ok(Io::leashed(stream, self.leashes.add(shown)))
            }
            Transport::Tls { server_name, origination } => {
                let config = self.tls.outside(target.spoken, origination).map_err(|error| untrusted(target, &error))?;
                let Some(config) = config else {
                    let why = "no system roots found to check the server's certificate against: install ca-certificates or set SSL_CERT_FILE";
                    return Err(Fault::new(Kind::NoSystemRoots, why));
                };
                Ok(self.secure(target, config, server_name).await?.into())
            }
        }
    }

    async fn secure(&self, target: &Target, config: Arc<rustls::ClientConfig>, name: &str) -> Result<TlsStream<Ahead>, Fault> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| untrusted(target, &error))?;
        let stream = self.connect(target).await?;
        TlsConnector::from(config).connect(name, Ahead::new(stream)).await.map_err(|error| match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => untrusted(target, &error),
            _ => Fault::new(Kind::ConnectFailed, format!("TLS handshake with {}: {error}", shown(&target.address))),
        })
    }

    async fn connect(&self, target: &Target) -> Result<Stream, Fault> {
        let addresses = match &target.address {
            Dial::Address(address) => vec![*address],
            Dial::Name(name, port) => self.resolve(name, *port).await?,
        };
        let local = |address| !self.world.is_simulated() && is_own(address);
        if let Some(own) = addresses.iter().find(|address| self.own.iter().any(|own| reaches(**address, *own, local))) {
            return Err(Fault::new(Kind::Loop, format!("{own} is this proxy's own outbound listener: name a service instead")));
        }
        let connected = eyeballs::first(addresses, |address| self.world.network.connect(address)).await;
        let mut stream = connected.map_err(|failed| match failed {
            None => Fault::new(Kind::NameNotFound, format!("{} has no address", shown(&target.address))),
            Some((address, error)) => Fault::new(Kind::ConnectFailed, format!("connect to {address}: {error}")),
        })?;
        if let (Some(keepalive), Stream::Tcp(socket)) = (&target.keepalive, &stream) {
            keep_alive(socket, keepalive);
        }
        if let Some(preface) = &target.preface {
            let written = stream.write_all(&preface.encode()).await;
            written.map_err(|error| Fault::new(Kind::ConnectFailed, format!("PROXY protocol header to {}: {error}", shown(&target.address))))?;
        }
        Ok(stream)
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
        let resolved = self.world.network.resolve(name, port).await;
        resolved.map_err(|error| Fault::new(Kind::NameNotFound, format!("{name} cannot be resolved: {error}")))
    }
}

/// A system that does not let a socket be asked so is no reason to refuse the connection.
fn keep_alive(socket: &TcpStream, wanted: &Keepalive) {
    let mut probes = socket2::TcpKeepalive::new();
    probes = wanted.time.map_or(probes.clone(), |time| probes.clone().with_time(time));
    probes = wanted.interval.map_or(probes.clone(), |interval| probes.clone().with_interval(interval));
    probes = wanted.probes.map_or(probes.clone(), |count| probes.clone().with_retries(count));
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&probes);
}

/// Whether a connection to `address` arrives at a listener bound to `own`. A listener bound to every address has all of this
/// machine's; one that cannot be told from another machine's is not refused. Dialling "any address" reaches loopback.
fn reaches(address: SocketAddr, own: SocketAddr, local: impl Fn(IpAddr) -> bool) -> bool {
    let (to, bound) = (address.ip().to_canonical(), own.ip().to_canonical());
    let here = || to.is_loopback() || to.is_unspecified() || local(to);
    address.port() == own.port() && (to == bound || (bound.is_unspecified() && here()) || (to.is_unspecified() && bound.is_loopback()))
}

/// The kernel binds to this machine's addresses only.
fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn untrusted(target: &Target, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Kind::PeerUntrusted, format!("TLS with {}: {error}", shown(&target.address)))
}

/// `10.0.0.1:15008`, `www.example.com:443`
pub fn shown(address: &Dial) -> String {
    match address {
        Dial::Address(address) => address.to_string(),
        Dial::Name(name, port) => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_an_own_listener_is_known() {
        for (address, own, want) in [
            ("127.0.0.1:15001", "127.0.0.1:15001", true),
            ("127.0.0.1:15002", "127.0.0.1:15001", false),
            ("127.0.0.2:15001", "127.0.0.1:15001", false),
            ("[::ffff:127.0.0.1]:15001", "127.0.0.1:15001", true),
            ("0.0.0.0:15001", "127.0.0.1:15001", true),
            ("127.0.0.2:15001", "0.0.0.0:15001", true),
            ("[::1]:15001", "[::]:15001", true),
            // A documentation address is no machine's (RFC 5737).
            ("192.0.2.1:15001", "0.0.0.0:15001", false),
        ] {
            assert_eq!(reaches(address.parse().unwrap(), own.parse().unwrap(), is_own), want, "{address} {own}");
        }
    }
}
