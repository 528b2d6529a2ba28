//! Step 2 of 7: one connection, from its first byte. Where it wants to go, who sent it, what is spoken on it.

use crate::ahead::Ahead;
use crate::capture::http_proxy;
use crate::capture::sniff::{self, Opening};
use crate::capture::socks5;
use crate::current::Stage;
use crate::engine::Engine;
use crate::exchange;
use crate::facts::{Arrival, Seen, asks_for_websocket};
use crate::fault::{Fault, Kind};
use crate::hbone::{self, Asked};
use crate::http1::BadHead;
use crate::http1::server::{self, Line, Patience, RequestBody, Service};
use crate::http2::{self, Dialect, Received};
use crate::incoming::Incoming;
use crate::io::Io;
use crate::learn::learn;
use crate::learned::Destination;
use crate::options::ListenerKind;
use crate::pool::limits;
use crate::proxy_protocol::{self, Ends};
use crate::record::OpenConnection;
use crate::respond::ResponseBody;
use crate::tls::{self, Spoken};
use crate::trust::Shown;
use crate::tunnel::{self, Client};
use crate::upgrade::Upgrade;
use crate::websocket;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http::request::Parts;
use http::{Response, StatusCode};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::service::AppProtocol;
use taut_observe::record::Protocol;
use taut_observe::text::Text;
use taut_plan::Direction;
use taut_plan::verdict::{Question, Verdict};
use taut_wire::net::Stream;
use tokio_rustls::TlsAcceptor;

/// For a whole TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first bytes of a connection, for what comes before a request, and for a request's head once it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two requests of a client that speaks plain text and may be anybody.
const STRANGERS_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for the application beside this proxy and for proven peers, who keep connections for later. Longer than they do
/// (an hour), so that they, not we, close an idle connection and no request meets a closing one.
const KNOWN_IDLE_TIMEOUT: Duration = Duration::from_secs(3660);
/// For a client to take more of a response, or to send more of a request: Envoy's stream idle timeout.
const STALLED_TIMEOUT: Duration = Duration::from_secs(300);
/// What peers have longer for that: the proxy beside a client that stands still is to be the one that says so.
const STALLED_BEHIND: Duration = Duration::from_secs(10);
/// For the first bytes of connections that have said nothing when a drain begins: what they send may be on its way.
const DRAINING_TIMEOUT: Duration = Duration::from_secs(1);
/// A client that says nothing for this long on a port whose protocol is neither declared nor learned waits for the server to
/// speak first.
const SPEAKS_FIRST: Duration = Duration::from_millis(50);
/// Streams of one connection of HTTP/2 at the same time.
const MAX_STREAMS: u32 = 1000;

/// What a listener is for.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The application's traffic: HTTP proxy, CONNECT, SOCKS5.
    Outbound,
    /// The application's traffic to one service.
    Upstream { host: Text, port: u16 },
    /// Mutual TLS from other proxies.
    Peer,
    /// Plain text for the application beside this proxy.
    Exposed,
}

impl Entry {
    fn kind(&self) -> Option<ListenerKind> {
        match self {
            Self::Outbound => Some(ListenerKind::Outbound),
            Self::Upstream { .. } => None,
            Self::Peer => Some(ListenerKind::Peer),
            Self::Exposed => Some(ListenerKind::Exposed),
        }
    }
}

/// Serves one connection until it ends.
pub async fn serve(engine: Rc<Engine>, entry: Entry, stream: Stream, from: SocketAddr) {
    // What it takes to find out what a connection is, is let go of before it is served.
    let served = opened(engine, entry, stream, from).boxed_local().await;
    if let Some(served) = served {
        served.await;
    }
}

/// The rest of a connection, once it is known what it is. `None`: it has ended.
type Served = LocalBoxFuture<'static, ()>;

async fn opened(engine: Rc<Engine>, entry: Entry, mut stream: Stream, from: SocketAddr) -> Option<Served> {
    let ends = ends(&engine, &entry, &mut stream, from).await?;
    let arrival = Arrival {
        direction: Direction::Outbound,
        destination: None,
        peer: None,
        from: from.ip().to_canonical(),
        ends,
        sni: None,
        seen: Seen::default(),
    };
    match entry {
        Entry::Outbound => outbound(engine, arrival, stream.into()).await,
        Entry::Upstream { host, port } => onward(engine, Arrival { destination: Some((host, port)), ..arrival }, Client::Ready(stream.into())).await,
        Entry::Peer => peer(engine, Arrival { direction: Direction::Inbound, ..arrival }, stream).await,
        Entry::Exposed => {
            // Stands for the application's first port, as the application itself would.
            let port = engine.current.workload().ports.first().map_or(0, |port| port.target);
            let arrival = Arrival { direction: Direction::Inbound, destination: Some(("".into(), port)), ..arrival };
            onward(engine, arrival, Client::Ready(stream.into())).await
        }
    }
}

/// Who opened the connection, and to where. A listener behind a load balancer is told so, or takes nothing.
async fn ends(engine: &Rc<Engine>, entry: &Entry, stream: &mut Stream, from: SocketAddr) -> Option<Ends> {
    let seen = Ends::of(stream, from);
    if !entry.kind().is_some_and(|kind| engine.options.accept_proxy_protocol.contains(&kind)) {
        return Some(seen);
    }
    let why = match in_time(engine, proxy_protocol::LIMIT, proxy_protocol::take(stream)).await {
        Some(Ok(Some(said))) => return Some(said.unwrap_or(seen)),
        Some(Ok(None)) => return None,
        Some(Err(error)) => error.to_string(),
        None => format!("no PROXY protocol header within {:?}", proxy_protocol::LIMIT),
    };
    let direction = if matches!(entry, Entry::Outbound) { Direction::Outbound } else { Direction::Inbound };
    let arrival = Arrival { direction, destination: None, peer: None, from: from.ip(), ends: seen, sni: None, seen: Seen::default() };
    let open = OpenConnection::new(engine, arrival.edge(engine, Protocol::Tcp), engine.pin().version());
    let why = format!("{from}: {why}; this listener takes only what a load balancer sends (--accept-proxy-protocol)");
    open.close(Some(&Fault::new(Kind::HandshakeFailed, why)));
    None
}

/// The application beside this proxy says where it wants to go, in one of three ways.
async fn outbound(engine: Rc<Engine>, arrival: Arrival, mut io: Io) -> Option<Served> {
    let opening = in_time(&engine, HEAD_TIMEOUT, sniff::opening(&mut io)).await?.ok()?;
    match opening {
        Opening::Socks5 => {
            let (host, port) = in_time(&engine, HEAD_TIMEOUT, socks5::destination(&mut io)).await?.ok()?;
            onward(engine, Arrival { destination: Some((host.into(), port)), ..arrival }, Client::Socks5(io)).await
        }
        Opening::Http2 => Some(serve_http2(engine, arrival, io, Dialect::Http2).boxed_local()),
        // Anything else is told in HTTP/1 that it is not understood.
        _ if io.ahead().is_empty() => None,
        _ => Some(serve_http1(engine, arrival, io)),
    }
}

/// A connection whose destination is known: finds out what is spoken on it.
async fn onward(engine: Rc<Engine>, arrival: Arrival, client: Client) -> Option<Served> {
    let protocol = protocol(&engine, &arrival).await;
    let to = Destination::new(arrival.direction, arrival.destination.as_ref());
    let server_first = protocol == AppProtocol::Unknown && engine.learned().greets(to, engine.world.now());
    // A client that waits for SOCKS5's answer cannot have spoken.
    if protocol == AppProtocol::Tcp || (server_first && matches!(client, Client::Socks5(_))) {
        return Some(tunnel::carry(engine, Rc::new(arrival), client).boxed_local());
    }
    let mut io = client.answered(None).await?;
    let patience = if protocol == AppProtocol::Unknown { SPEAKS_FIRST } else { HEAD_TIMEOUT };
    let opening = match server_first {
        true => already(sniff::opening(&mut io)).await,
        false => in_time(&engine, patience, sniff::opening(&mut io)).await,
    };
    let opening = match opening {
        Some(opening) => opening.ok()?,
        None if protocol.is_http() && io.ahead().is_empty() => return None,
        None => Opening::Other,
    };
    Some(match opening {
        Opening::Http1 => serve_http1(engine, arrival, io),
        Opening::Http2 => serve_http2(engine, arrival, io, Dialect::Http2).boxed_local(),
        Opening::Tls if !protocol.is_http() => {
            let sni = tokio::time::timeout(HANDSHAKE_TIMEOUT, sniff::server_name(&mut io)).await;
            let sni = sni.ok().and_then(Result::ok).flatten().map(Into::into);
            tunnel::carry(engine, Rc::new(Arrival { sni, ..arrival }), Client::Ready(io)).boxed_local()
        }
        // The port is HTTP's: whatever this is, it gets HTTP's answer to nonsense, not the application's ear.
        _ if protocol.is_http() => serve_http1(engine, arrival, io),
        _ => tunnel::carry(engine, Rc::new(arrival), Client::Ready(io)).boxed_local(),
    })
}

/// What a client says first, if it says it within `limit`, or soon after a drain has begun.
async fn in_time<T>(engine: &Engine, limit: Duration, said: impl Future<Output = T>) -> Option<T> {
    let mut said = pin!(tokio::time::timeout(limit, said));
    tokio::select! {
        biased;
        said = said.as_mut() => said.ok(),
        () = engine.current.drained() => tokio::time::timeout(DRAINING_TIMEOUT, said).await.ok()?.ok(),
    }
}

/// What a client has said by now: sockets are asked once whether something has come.
async fn already<T>(said: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        said = said => Some(said),
        () = tokio::task::yield_now() => None,
    }
}

/// What the destination's port speaks, after asking the mesh about the destination if need be.
async fn protocol(engine: &Rc<Engine>, arrival: &Arrival) -> AppProtocol {
    let Some((host, port)) = &arrival.destination else { return AppProtocol::Unknown };
    if arrival.direction == Direction::Inbound {
        return engine.pin().inbound_protocol(host, *port);
    }
    for _ in 0..2 {
        let plan = engine.pin();
        if let Some(protocol) = plan.protocol(host, *port) {
            return protocol;
        }
        // Only what the plan asks matters here: it decides once it is known what is spoken.
        match plan.decide(&arrival.facts(), &engine.rolls()) {
            Verdict::Ask(Question::Services(hosts)) => match learn(engine, &plan, &arrival.facts(), &hosts).await {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => break,
            },
            Verdict::Go(_) | Verdict::Refuse(_) | Verdict::Ask(Question::Permission(_)) => break,
        }
    }
    engine.pin().protocol(host, *port).unwrap_or(AppProtocol::Unknown)
}

/// A peer's proxy: proves who it is, then says what it wants to reach and how it will speak.
async fn peer(engine: Rc<Engine>, arrival: Arrival, stream: Stream) -> Option<Served> {
    match prove(&engine, stream).await {
        Err(why) => {
            let open = OpenConnection::new(&engine, arrival.edge(&engine, Protocol::Tcp), engine.pin().version());
            open.close(Some(&Fault::new(Kind::HandshakeFailed, why)));
            None
        }
        Ok(Proven { io, identity, shown, named }) => {
            let arrival = Arrival { peer: Some(Arc::new(identity)), ..arrival };
            let served = proven_peer(engine.clone(), arrival.clone(), io, named).await?;
            Some(until_revoked(engine, arrival, shown, served).boxed_local())
        }
    }
}

/// Ends a peer's connection, with all that is under way on it, when what the peer has proven itself by is not believed any more.
async fn until_revoked(engine: Rc<Engine>, arrival: Arrival, shown: Shown, served: Served) {
    let current = engine.current.clone();
    tokio::select! {
        biased;
        () = current.revoked(&shown) => {
            let open = OpenConnection::new(&engine, arrival.edge(&engine, Protocol::Tcp), engine.pin().version());
            open.close(Some(&Fault::new(Kind::HandshakeFailed, "the peer's certificate was revoked, or its trust domain is not federated any more: its connection was ended")));
        }
        () = served => {}
    }
}

/// A peer that has proven who it is.
async fn proven_peer(engine: Rc<Engine>, arrival: Arrival, io: Io, named: Named) -> Option<Served> {
    let Named::Here(destination, spoken) = named else { return Some(serve_tunnels(engine, arrival, io).boxed_local()) };
    let arrival = Arrival { sni: Some(server_name(&destination)), destination: Some(destination), ..arrival };
    match spoken {
        Spoken::Http1 => Some(serve_http1(engine, arrival, io)),
        Spoken::Http1Shared => Some(serve_http2(engine, arrival, io, Dialect::Http1).boxed_local()),
        Spoken::Http2 => Some(serve_http2(engine, arrival, io, Dialect::Http2).boxed_local()),
        Spoken::Tcp | Spoken::Hbone if protocol(&engine, &arrival).await.is_http() => {
            let open = OpenConnection::new(&engine, arrival.edge(&engine, Protocol::Tcp), engine.pin().version());
            let why = "the port speaks HTTP, and the peer's proxy announced another protocol: both must know the same appProtocol";
            open.close(Some(&Fault::new(Kind::HandshakeFailed, why)));
            None
        }
        Spoken::Tcp | Spoken::Hbone => Some(tunnel::carry(engine, Rc::new(arrival), Client::Ready(io)).boxed_local()),
    }
}

struct Proven {
    io: Io,
    identity: Identity,
    shown: Shown,
    named: Named,
}

/// What a peer's connection is for.
enum Named {
    /// One destination, and what is spoken to it.
    Here((Text, u16), Spoken),
    /// HBONE: each stream says.
    ByStreams,
}

async fn prove(engine: &Engine, stream: Stream) -> Result<Proven, String> {
    let held = engine.current.identity().ok_or("this proxy holds no certificate yet")?;
    let config = engine.dialer.tls.server(&held).map_err(|error| error.to_string())?;
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(Ahead::new(stream))).await;
    let stream = accepted.map_err(|_| format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}"))?.map_err(|error| error.to_string())?;
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let leaf = chain.first().ok_or("the peer sent no certificate")?;
    let identity = tls::identity_of(leaf).map_err(|error| error.to_string())?;
    let shown = Shown::of(chain);
    let named = match session.alpn_protocol().and_then(Spoken::from_alpn) {
        Some(Spoken::Hbone) => Named::ByStreams,
        Some(spoken) => {
            let name = session.server_name().unwrap_or_default();
            Named::Here(parse_server_name(name).ok_or_else(|| format!("server name {name:?} is not <port>.<service host>"))?, spoken)
        }
        None => return Err("the peer offered none of the mesh's protocols (ALPN)".to_owned()),
    };
    Ok(Proven { io: stream.into(), identity, shown, named })
}

/// A peer's connection that carries many: each of its streams is one.
async fn serve_tunnels(engine: Rc<Engine>, arrival: Arrival, io: Io) {
    let current = engine.current.clone();
    hbone::serve(io, &current, |head, asked| engine.spawn(tunnelled(engine.clone(), arrival.clone(), head, asked))).await;
}

/// A CONNECT stream of a peer's proxy. A service's name means that the peer's proxy has looked at what its client speaks, and says
/// what it would by [`Spoken::Tcp`]; an address means that nobody has, as ztunnel does not.
async fn tunnelled(engine: Rc<Engine>, arrival: Arrival, head: Parts, asked: Asked) {
    let destination = http_proxy::tunnel_to(&head).map(|(host, port)| (Text::from(host), port));
    let own = engine.current.workload().address.to_canonical();
    let arrival = match destination {
        Some((host, port)) => match host.parse::<IpAddr>() {
            Ok(address) if address.to_canonical() == own => Arrival { destination: Some(("".into(), port)), ..arrival },
            Ok(address) => return refuse_tunnel(&engine, &arrival, asked, format!("CONNECT to {address}, and this proxy's workload is {own}")),
            Err(_) => Arrival { sni: Some(server_name(&(host.clone(), port))), destination: Some((host, port)), ..arrival },
        },
        None => return refuse_tunnel(&engine, &arrival, asked, "CONNECT names no host and port".to_owned()),
    };
    let by_name = arrival.sni.is_some();
    if by_name && protocol(&engine, &arrival).await == AppProtocol::Unknown {
        return tunnel::carry(engine, Rc::new(arrival), Client::Connect(asked)).await;
    }
    if let Some(served) = onward(engine, arrival, Client::Connect(asked)).boxed_local().await {
        served.await;
    }
}

fn refuse_tunnel(engine: &Rc<Engine>, arrival: &Arrival, asked: Asked, why: String) {
    let fault = Fault::new(Kind::BadRequest, why);
    asked.refuse(&fault);
    OpenConnection::new(engine, arrival.edge(engine, Protocol::Tcp), engine.pin().version()).close(Some(&fault));
}

/// How a destination is written in TLS.
fn server_name((host, port): &(Text, u16)) -> Text {
    format!("{port}.{host}").into()
}

/// `9080.reviews.default.svc.cluster.local`
fn parse_server_name(name: &str) -> Option<(Text, u16)> {
    let (port, host) = name.split_once('.')?;
    Some((host.into(), port.parse().ok()?))
}

/// Serves HTTP/1 requests until the connection ends; after a drain began, the one under way is the last. Once a successor is there,
/// the next one is: a connection that is closed while idle may meet a request that is on its way.
///
/// What it is given is put where it stays before it begins: an `async fn` would keep room for it all its life.
fn serve_http1(engine: Rc<Engine>, arrival: Arrival, io: Io) -> Served {
    let idle = idle_timeout(&arrival);
    let unsent = if arrival.peer.is_some() { STALLED_TIMEOUT + STALLED_BEHIND } else { STALLED_TIMEOUT };
    let patience = Patience { idle, head: HEAD_TIMEOUT, stalled: STALLED_TIMEOUT, unsent };
    let (exchanges, line) = (Exchanges { engine, arrival: Rc::new(arrival) }, Line::new(io, patience));
    async move { server::serve(line, &exchanges).await }.boxed_local()
}

/// The exchanges of one HTTP/1 connection.
struct Exchanges {
    engine: Rc<Engine>,
    arrival: Rc<Arrival>,
}

impl Service for Exchanges {
    type Body = ResponseBody;

    async fn call(&self, head: Parts, body: RequestBody, upgrade: Option<Upgrade>) -> Response<ResponseBody> {
        if may_tunnel(&self.arrival, &head) {
            return open_tunnel(&self.engine, &self.arrival, &head, upgrade);
        }
        exchange::serve(&self.engine, &self.arrival, head, Incoming::Http1Request(body), upgrade).await
    }

    fn last(&self) -> bool {
        self.engine.current.leaving()
    }

    async fn drained(&self) {
        self.engine.current.drained().await;
    }

    fn may_upgrade(&self, head: &Parts) -> bool {
        asks_for_websocket(head) || may_tunnel(&self.arrival, head)
    }

    fn refused(&self, bad: BadHead) {
        self.record_refused(bad.to_string());
    }
}

/// Serves HTTP/2 streams until the connection ends; when a drain begins, GOAWAY says that there will be no more.
async fn serve_http2(engine: Rc<Engine>, arrival: Arrival, io: Io, dialect: Dialect) {
    let proven = arrival.peer.is_some();
    let limits = limits(dialect, MAX_STREAMS, proven);
    let stranger = is_stranger(&arrival);
    let patience = http2::Patience { idle: idle_timeout(&arrival), stalled: STALLED_TIMEOUT, body: stranger };
    let exchanges = Exchanges { engine, arrival: Rc::new(arrival) };
    http2::server::serve(io, dialect, limits, patience, &exchanges).await;
}

impl http2::server::Service for Exchanges {
    type Body = ResponseBody;

    async fn call(&self, mut head: Parts, body: Received, upgrade: Option<Upgrade>) -> Response<ResponseBody> {
        if may_tunnel(&self.arrival, &head) {
            return open_tunnel(&self.engine, &self.arrival, &head, upgrade);
        }
        let upgrade = upgrade.filter(|_| websocket::take(&mut head));
        exchange::serve(&self.engine, &self.arrival, head, Incoming::Http2(body), upgrade).await
    }

    /// Unlike HTTP/1, it can be told to clients without a request of theirs going astray.
    async fn leaving(&self) {
        self.engine.current.reached(Stage::Replaced).await;
    }

    fn refused(&self, why: &'static str) {
        self.record_refused(why);
    }
}

fn is_stranger(arrival: &Arrival) -> bool {
    arrival.direction == Direction::Inbound && arrival.peer.is_none()
}

fn idle_timeout(arrival: &Arrival) -> Duration {
    if is_stranger(arrival) { STRANGERS_IDLE_TIMEOUT } else { KNOWN_IDLE_TIMEOUT }
}

impl Exchanges {
    /// What was no request.
    fn record_refused(&self, why: impl Into<std::borrow::Cow<'static, str>>) {
        let open = OpenConnection::new(&self.engine, self.arrival.edge(&self.engine, Protocol::Http), self.engine.pin().version());
        open.close(Some(&Fault::new(Kind::BadRequest, why)));
    }
}

/// CONNECT is taken from the application beside this proxy only.
fn may_tunnel(arrival: &Arrival, head: &Parts) -> bool {
    arrival.direction == Direction::Outbound && arrival.destination.is_none() && http_proxy::asks_for_tunnel(head)
}

/// CONNECT: says yes, and treats what follows as a connection to where it wants to go.
fn open_tunnel(engine: &Rc<Engine>, arrival: &Arrival, head: &Parts, upgrade: Option<Upgrade>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let (Some((host, port)), Some(upgrade)) = (http_proxy::tunnel_to(head), upgrade) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let arrival = Arrival { destination: Some((host.into(), port)), ..arrival.clone() };
    let inner = engine.clone();
    engine.spawn(async move {
        // A client that leaves before its tunnel stands has sent nothing to carry.
        if let Some(io) = upgrade.connection().await
            && let Some(served) = onward(inner, arrival, Client::Ready(io)).boxed_local().await
        {
            served.await;
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        fn size<Made: Future, A, B, C>(_: impl Fn(A, B, C) -> Made) -> usize {
            size_of::<Made>()
        }
        assert!(size(serve_http1) < 2 * 1024, "{}", size(serve_http1));
    }

    #[test]
    fn a_server_name_holds_port_and_host() {
        assert_eq!(parse_server_name("9080.reviews.default.svc.cluster.local"), Some(("reviews.default.svc.cluster.local".into(), 9080)));
        for bad in ["", "reviews", "reviews.default", "99999.reviews"] {
            assert_eq!(parse_server_name(bad), None, "{bad}");
        }
    }
}
