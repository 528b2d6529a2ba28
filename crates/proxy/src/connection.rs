//! Step 2 of 7: one connection, from its first byte. Where it wants to go, who sent it, what is spoken on it.

use crate::capture::http_proxy;
use crate::capture::sniff::{self, Opening};
use crate::capture::socks5;
use crate::current::Stage;
use crate::engine::Engine;
use crate::exchange;
use crate::facts::Arrival;
use crate::fault::{Fault, Kind};
use crate::io::Io;
use crate::learn::learn;
use crate::pool::{CONNECTION_WINDOW, HEAD_BYTES, LocalExecutor, STREAM_WINDOW};
use crate::record::OpenConnection;
use crate::respond::ResponseBody;
use crate::tls::{self, Spoken};
use crate::tunnel::{self, Greeting};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::service::AppProtocol;
use taut_observe::record::Protocol;
use taut_plan::Direction;
use taut_plan::verdict::{Question, Verdict};
use taut_wire::net::Stream;
use tokio_rustls::TlsAcceptor;

/// For a whole TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first bytes of a connection, and for what comes before a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For a request head that comes in plain text from anybody, with the wait between two requests of a connection. hyper does
/// not tell the two apart.
const STRANGERS_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for the application beside this proxy and for proven peers, who keep connections for later. Longer than they do
/// (an hour), so that they, not we, close an idle connection and no request meets a closing one.
const KNOWN_HEAD_TIMEOUT: Duration = Duration::from_secs(3660);
/// The same for connections that have said nothing when a drain begins: what they send may be on its way.
const DRAINING_TIMEOUT: Duration = Duration::from_secs(1);
/// A client that says nothing for this long on a port whose protocol is not declared waits for the server to speak first.
const SPEAKS_FIRST: Duration = Duration::from_millis(50);
const MAX_STREAMS: u32 = 1000;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a listener is for.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The application's traffic: HTTP proxy, CONNECT, SOCKS5.
    Outbound,
    /// The application's traffic to one service.
    Upstream { host: Box<str>, port: u16 },
    /// Mutual TLS from other proxies.
    Peer,
    /// Plain text for the application beside this proxy.
    Exposed,
}

/// Serves one connection until it ends.
pub async fn serve(engine: Rc<Engine>, entry: Entry, stream: Stream, from: SocketAddr) {
    let arrival = Arrival { direction: Direction::Outbound, destination: None, peer: None, from: from.ip(), sni: None };
    match entry {
        Entry::Outbound => outbound(engine, arrival, stream.into()).await,
        Entry::Upstream { host, port } => {
            onward(engine, Arrival { destination: Some((host, port)), ..arrival }, stream.into(), Greeting::Nothing).await
        }
        Entry::Peer => peer(engine, Arrival { direction: Direction::Inbound, ..arrival }, stream).await,
        Entry::Exposed => {
            // Stands for the application's first port, as the application itself would.
            let port = engine.current.workload().ports.first().map_or(0, |port| port.target);
            let arrival = Arrival { direction: Direction::Inbound, destination: Some(("".into(), port)), ..arrival };
            onward(engine, arrival, stream.into(), Greeting::Nothing).await;
        }
    }
}

/// The application beside this proxy says where it wants to go, in one of three ways.
async fn outbound(engine: Rc<Engine>, arrival: Arrival, mut io: Io) {
    let Some(Ok(opening)) = in_time(&engine, HEAD_TIMEOUT, sniff::opening(&mut io)).await else { return };
    match opening {
        Opening::Socks5 => {
            if let Some(Ok((host, port))) = in_time(&engine, HEAD_TIMEOUT, socks5::destination(&mut io)).await {
                onward(engine, Arrival { destination: Some((host.into(), port)), ..arrival }, io, Greeting::Socks5).await;
            }
        }
        Opening::Http2 => serve_http2(engine, arrival, io).await,
        // Anything else is told in HTTP/1 that it is not understood.
        _ if io.ahead().is_empty() => {}
        _ => serve_http1(engine, arrival, io).await,
    }
}

/// A connection whose destination is known: finds out what is spoken on it.
fn onward(engine: Rc<Engine>, arrival: Arrival, mut io: Io, greeting: Greeting) -> LocalBoxFuture<'static, ()> {
    async move {
        let protocol = protocol(&engine, &arrival).await;
        let declared_tcp = protocol == AppProtocol::Tcp;
        if declared_tcp {
            return tunnel::carry(engine, Rc::new(arrival), io, greeting).await;
        }
        if let Greeting::Socks5 = greeting
            && socks5::reply(&mut io, None).await.is_err()
        {
            return;
        }
        let patience = if protocol == AppProtocol::Unknown { SPEAKS_FIRST } else { HEAD_TIMEOUT };
        let opening = match in_time(&engine, patience, sniff::opening(&mut io)).await {
            Some(Ok(opening)) => opening,
            Some(Err(_)) => return,
            None if protocol.is_http() && io.ahead().is_empty() => return,
            None => Opening::Other,
        };
        match opening {
            Opening::Http1 => serve_http1(engine, arrival, io).await,
            Opening::Http2 => serve_http2(engine, arrival, io).await,
            Opening::Tls if !protocol.is_http() => {
                let sni = tokio::time::timeout(HANDSHAKE_TIMEOUT, sniff::server_name(&mut io)).await;
                let sni = sni.ok().and_then(Result::ok).flatten().map(Into::into);
                tunnel::carry(engine, Rc::new(Arrival { sni, ..arrival }), io, Greeting::Nothing).await;
            }
            // The port is HTTP's: whatever this is, it gets HTTP's answer to nonsense, not the application's ear.
            _ if protocol.is_http() => serve_http1(engine, arrival, io).await,
            _ => tunnel::carry(engine, Rc::new(arrival), io, Greeting::Nothing).await,
        }
    }
    .boxed_local()
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
            Verdict::Go(_) | Verdict::Refuse(_) => break,
        }
    }
    engine.pin().protocol(host, *port).unwrap_or(AppProtocol::Unknown)
}

/// A peer's proxy: proves who it is, then says what it wants to reach and how it will speak.
async fn peer(engine: Rc<Engine>, arrival: Arrival, stream: Stream) {
    match prove(&engine, stream).await {
        Err(why) => {
            let open = OpenConnection::new(&engine, arrival.edge(&engine, Protocol::Tcp), engine.pin().version());
            open.close(Some(&Fault::new(Kind::HandshakeFailed, why)));
        }
        Ok(Proven { io, identity, destination, spoken }) => {
            let sni = Some(format!("{}.{}", destination.1, destination.0).into());
            let arrival = Arrival { destination: Some(destination), peer: Some(identity), sni, ..arrival };
            match spoken {
                Spoken::Tcp if protocol(&engine, &arrival).await.is_http() => {
                    let open = OpenConnection::new(&engine, arrival.edge(&engine, Protocol::Tcp), engine.pin().version());
                    let why = "the port speaks HTTP, and the peer's proxy announced another protocol: both must know the same appProtocol";
                    open.close(Some(&Fault::new(Kind::HandshakeFailed, why)));
                }
                Spoken::Http1 => serve_http1(engine, arrival, io).await,
                Spoken::Http2 => serve_http2(engine, arrival, io).await,
                Spoken::Tcp => tunnel::carry(engine, Rc::new(arrival), io, Greeting::Nothing).await,
            }
        }
    }
}

struct Proven {
    io: Io,
    identity: Identity,
    destination: (Box<str>, u16),
    spoken: Spoken,
}

async fn prove(engine: &Engine, stream: Stream) -> Result<Proven, String> {
    let held = engine.current.identity().ok_or("this proxy holds no certificate yet")?;
    let config = engine.dialer.tls.server(&held).map_err(|error| error.to_string())?;
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await;
    let stream = accepted.map_err(|_| format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}"))?.map_err(|error| error.to_string())?;
    let session = stream.get_ref().1;
    let leaf = session.peer_certificates().and_then(<[_]>::first).ok_or("the peer sent no certificate")?;
    let identity = tls::identity_of(leaf).map_err(|error| error.to_string())?;
    let name = session.server_name().unwrap_or_default();
    let destination = parse_server_name(name).ok_or_else(|| format!("server name {name:?} is not <port>.<service host>"))?;
    let spoken = session.alpn_protocol().and_then(Spoken::from_alpn).ok_or("the peer offered none of the mesh's protocols (ALPN)")?;
    Ok(Proven { io: stream.into(), identity, destination, spoken })
}

/// `9080.reviews.default.svc.cluster.local`
fn parse_server_name(name: &str) -> Option<(Box<str>, u16)> {
    let (port, host) = name.split_once('.')?;
    Some((host.into(), port.parse().ok()?))
}

/// Serves HTTP/1 requests until the connection ends; after a drain began, the one under way is the last. Once a successor is there,
/// the next one is: a connection that is closed while idle may meet a request that is on its way.
async fn serve_http1(engine: Rc<Engine>, arrival: Arrival, io: Io) {
    let stranger = arrival.direction == Direction::Inbound && arrival.peer.is_none();
    let head_timeout = if stranger { STRANGERS_HEAD_TIMEOUT } else { KNOWN_HEAD_TIMEOUT };
    let (drain, arrival) = (engine.current.clone(), Rc::new(arrival));
    let service = service_fn(move |request| {
        let (engine, arrival) = (engine.clone(), arrival.clone());
        let goes_on = request.method() == http::Method::CONNECT;
        async move {
            let mut response = request_in(engine.clone(), arrival, request).await?;
            if engine.current.leaving() && !goes_on && may_be_last(&response) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // What ends a connection early shows in the records of its exchanges.
    let ended = tokio::select! {
        biased;
        _ = connection.as_mut() => true,
        () = drain.drained() => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Whether the connection may end after this response: not when it goes on as something else.
fn may_be_last(response: &Response<ResponseBody>) -> bool {
    response.status() != StatusCode::SWITCHING_PROTOCOLS && !response.headers().contains_key(header::CONNECTION)
}

/// Serves HTTP/2 streams until the connection ends; when a drain begins, GOAWAY says that there will be no more.
async fn serve_http2(engine: Rc<Engine>, arrival: Arrival, io: Io) {
    let (drain, arrival) = (engine.current.clone(), Rc::new(arrival));
    let service = service_fn(move |request| request_in(engine.clone(), arrival.clone(), request));
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        _ = connection.as_mut() => true,
        // Unlike HTTP/1, it can be told to clients without a request of theirs going astray.
        () = drain.reached(Stage::Replaced) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

async fn request_in(engine: Rc<Engine>, arrival: Rc<Arrival>, request: Request<Incoming>) -> Result<Response<ResponseBody>, Infallible> {
    let may_tunnel = arrival.direction == Direction::Outbound && arrival.destination.is_none();
    if may_tunnel && http_proxy::asks_for_tunnel(&request) {
        return Ok(open_tunnel(&engine, &arrival, request));
    }
    Ok(exchange::serve(engine, arrival, request).await)
}

/// CONNECT: says yes, and treats what follows as a connection to where it wants to go.
fn open_tunnel(engine: &Rc<Engine>, arrival: &Arrival, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let Some((host, port)) = http_proxy::tunnel_to(&request) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let arrival = Arrival { destination: Some((host.into(), port)), ..arrival.clone() };
    let (upgrade, inner) = (hyper::upgrade::on(&mut request), engine.clone());
    engine.spawn(async move {
        // A client that leaves before its tunnel stands has sent nothing to carry.
        if let Ok(upgraded) = upgrade.await {
            onward(inner, arrival, upgraded.into(), Greeting::Nothing).await;
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_holds_port_and_host() {
        assert_eq!(parse_server_name("9080.reviews.default.svc.cluster.local"), Some(("reviews.default.svc.cluster.local".into(), 9080)));
        for bad in ["", "reviews", "reviews.default", "99999.reviews"] {
            assert_eq!(parse_server_name(bad), None, "{bad}");
        }
    }
}
