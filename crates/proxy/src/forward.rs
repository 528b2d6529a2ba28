//! Step 6 of 7: carries an exchange to an upstream, in as many attempts as the plan allows.

use crate::call::{AGAIN, To, mark_again};
use crate::dial::Target;
use crate::doors::{Pass, read_report};
use crate::engine::{Admitted, Engine, InFlight};
use crate::facts::Exchange;
use crate::fault::{DEADLINE_OVER, Fault, Kind, OVERLOADED};
use crate::grpc;
use crate::gzip::Gzip;
use crate::hedge;
use crate::incoming::Incoming;
use crate::metadata;
use crate::record::{attempt, micros};
use crate::tls::Spoken;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, Version, header};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::route::RetryEndpoints;
use taut_observe::text::{Came, Text};
use taut_plan::Outcome;
use taut_plan::cluster::{Cluster, Dial, Transport};
use taut_plan::overload::priority;
use taut_plan::retry;
use taut_plan::verdict::{Action, Forward, Go, Reason, RulePlan};
use tokio::time::Instant;

/// For destinations that no policy speaks of: Istio's defaults.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Envoy's: a rate limit refused the request; and the names of response headers for which a request may be sent again.
static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
static RETRIABLE_HEADERS: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");

/// The head of a response, and where its body comes from.
pub struct Answer {
    pub response: Response<Content>,
    /// Until when the response must have ended.
    pub deadline: Option<Instant>,
    pub hold: Hold,
    /// Over mutual TLS: another proxy of the mesh passed it on.
    pub from_mesh: bool,
}

pub enum Content {
    Here(Bytes),
    Upstream(Incoming),
    /// The upstream's, compressed on its way.
    Compressed(Box<Gzip>),
}

/// What stays taken until the response has ended.
#[derive(Default)]
pub struct Hold {
    pub in_flight: Option<InFlight>,
    pub admitted: Option<Admitted>,
}

/// Does what the plan decided, within the rule's timeout.
pub async fn attempts(engine: &Rc<Engine>, exchange: &mut Exchange, go: &Go) -> Result<Answer, Fault> {
    let callers = exchange.call.deadline;
    exchange.call.within(go.rule.timeout);
    let deadline = exchange.call.deadline;
    let carried = carry(engine, exchange, go);
    let mut answer = match deadline {
        Some(deadline) => match tokio::time::timeout_at(deadline, carried).await {
            Ok(answer) => answer?,
            Err(_) if callers == Some(deadline) => return Err(Fault::new(Kind::Timeout, "no response within the time that the caller allowed")),
            Err(_) => {
                return Err(Fault::new(
                    Kind::Timeout,
                    format!("no response within the route's timeout of {:?}", go.rule.timeout.unwrap_or_default()),
                ));
            }
        },
        None => carried.await?,
    };
    answer.deadline = deadline;
    Ok(answer)
}

async fn carry(engine: &Rc<Engine>, exchange: &mut Exchange, go: &Go) -> Result<Answer, Fault> {
    match &go.action {
        Action::Forward(forward) => to_cluster(engine, exchange, go, forward).await,
        Action::Local { port, .. } => to_application(engine, exchange, *port).await,
        Action::Passthrough { host, port } => pass_through(engine, exchange, host, *port).await,
        Action::Redirect { status, location } => made_here(*status, Bytes::new(), Some(location)),
        Action::Respond { status, body } => made_here(*status, Bytes::from(body.clone()), None),
        Action::Abort { with, origin } => {
            Err(Fault::new(Kind::Injected { with: *with, origin: Box::new(origin.clone()) }, format!("a fault was injected on purpose by {origin}")))
        }
    }
}

fn made_here(status: u16, body: Bytes, location: Option<&str>) -> Result<Answer, Fault> {
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header(header::LOCATION, location);
    } else if !body.is_empty() {
        response = response.header(header::CONTENT_TYPE, "text/plain");
    }
    let response = response.body(Content::Here(body)).map_err(|error| Fault::new(Kind::BadResponse, format!("the rule's own response: {error}")))?;
    Ok(Answer { response, deadline: None, hold: Hold::default(), from_mesh: false })
}

/// Sends to endpoints of a cluster until one answers, or no retry is due, allowed or possible.
async fn to_cluster(engine: &Rc<Engine>, exchange: &mut Exchange, go: &Go, forward: &Forward) -> Result<Answer, Fault> {
    let cluster = &forward.cluster;
    let rule = &go.rule.retry;
    engine.names().service(&mut exchange.open.record().edge, &go.service_host, &cluster.service_namespace);
    let mut admitted = Admitted::new(engine, cluster).map_err(|overflow| Fault::new(Kind::Overflow, overflow.to_string()))?;
    if rule.attempts > 0 || !forward.mirrors.is_empty() {
        exchange.body.keep();
    }
    let mut tried: Vec<Arc<str>> = Vec::new();
    loop {
        let avoided = if rule.endpoints == RetryEndpoints::Any { &[] } else { &tried[..] };
        let picked = InFlight::resume(engine, forward, avoided);
        let mut in_flight = picked.map_err(|none| Fault::new(Kind::NoEndpoint, none.to_string()))?;
        let outcome = one_attempt(engine, exchange, cluster, &mut in_flight, &go.rule).await;

        let retries = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let failure = due_for_retry(&outcome, &exchange.head.headers, &in_flight);
        let due = failure.as_ref().is_some_and(|failure| {
            let method = exchange.head.method.as_str();
            let safe = || !go.rule.default_retry || retry::safe_by_default(failure, method, mesh_reason(&outcome, &in_flight));
            retry::should_retry(rule, failure, method) && safe()
        });
        // Nothing reached an endpoint that could not be connected to, so asking another one adds no load: no budget, no back-off.
        let elsewhere = matches!(failure, Some(retry::Failure::Connect)) && tried.len() + 1 < cluster.endpoints.len();
        // What was sent again and was sent away again only adds to the load.
        let told_not_to = retries > 0 && mesh_reason(&outcome, &in_flight).is_some_and(|reason| reason == OVERLOADED);
        let may = due && !told_not_to && retries < rule.attempts && exchange.body.can_be_read_again() && !engine.current.draining();
        if may && (elsewhere || admitted.try_retry()) {
            tried.push(in_flight.picked.uid.clone());
            drop((outcome, in_flight));
            mark_again(&mut exchange.head.headers);
            engine.sink.retried();
            if !elsewhere {
                let roll = engine.dice().u64(..);
                tokio::time::sleep(retry::backoff(rule, retries + 1, roll)).await;
            }
            continue;
        }
        let mut response = outcome?;
        keep_session(forward, &in_flight.picked.uid, &mut response);
        let from_mesh = is_mesh(&in_flight);
        let hold = Hold { in_flight: Some(in_flight), admitted: Some(admitted) };
        return Ok(Answer { response: response.map(Content::Upstream), deadline: None, hold, from_mesh });
    }
}

/// Tells the client how to come back to the endpoint that answered it.
fn keep_session(forward: &Forward, uid: &str, response: &mut Response<Incoming>) {
    let Some((name, value)) = forward.session_mark(uid).filter(|_| !response.status().is_server_error()) else { return };
    if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), header::HeaderValue::try_from(value)) {
        response.headers_mut().append(name, value);
    }
}

fn is_mesh(in_flight: &InFlight) -> bool {
    matches!(in_flight.picked.endpoint.transport, Transport::Mesh { .. })
}

/// Why the peer's proxy says that there is no better response. Nobody outside the mesh is believed.
fn mesh_reason<'a>(outcome: &'a Result<Response<Incoming>, Fault>, in_flight: &InFlight) -> Option<&'a str> {
    let response = outcome.as_ref().ok().filter(|_| is_mesh(in_flight))?;
    response.headers().get(&metadata::REASON)?.to_str().ok()
}

/// What the retry policy is asked about; `None` when the attempt went well.
fn due_for_retry<'a>(outcome: &'a Result<Response<Incoming>, Fault>, asked: &HeaderMap, in_flight: &InFlight) -> Option<retry::Failure<'a>> {
    match outcome {
        Ok(response) => {
            let status = response.status().as_u16();
            let grpc = grpc::status(response.headers());
            let named = has_named_header(response.headers(), asked);
            if status < 400 && grpc.is_none_or(|grpc| grpc == 0) && !named {
                return None;
            }
            let rate_limited = match response.headers().contains_key(&RATE_LIMITED) {
                true => retry::RateLimited::Envoy,
                false if mesh_reason(outcome, in_flight) == Some(Reason::RateLimited.name()) => retry::RateLimited::Mesh,
                false => retry::RateLimited::No,
            };
            Some(retry::Failure::Status { status, grpc, marked: retry::Marked { rate_limited, named } })
        }
        Err(fault) => match fault.kind {
            Kind::ConnectFailed | Kind::ConnectTimedOut | Kind::PeerUntrusted | Kind::NameNotFound => Some(retry::Failure::Connect),
            Kind::RefusedStream => Some(retry::Failure::RefusedStream),
            Kind::ResetBeforeRequest => Some(retry::Failure::ResetBeforeRequest),
            Kind::Reset | Kind::PeerDisowned => Some(retry::Failure::Reset),
            Kind::PerTryTimeout => Some(retry::Failure::PerTryTimeout),
            _ => None,
        },
    }
}

/// Whether a response has a header that the request asks to be sent again for.
fn has_named_header(response: &HeaderMap, asked: &HeaderMap) -> bool {
    let names = asked.get_all(&RETRIABLE_HEADERS).iter().filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(','));
    names.map(str::trim).any(|name| response.contains_key(name))
}

async fn one_attempt(
    engine: &Rc<Engine>,
    exchange: &mut Exchange,
    cluster: &Arc<Cluster>,
    in_flight: &mut InFlight,
    rule: &RulePlan,
) -> Result<Response<Incoming>, Fault> {
    let (started, per_try) = (Instant::now(), rule.retry.per_try_timeout);
    let endpoint = in_flight.picked.endpoint.clone();
    let mesh = matches!(endpoint.transport, Transport::Mesh { .. });
    let edge = &mut exchange.open.record().edge;
    edge.destination = engine.endpoint_party(&endpoint.workload, mesh);
    edge.mutual_tls = mesh;
    if mesh {
        edge.source = engine.party(true);
    }
    exchange.open.set_out();
    let spoken = spoken_to(cluster, &endpoint.transport, exchange.head.version, exchange.upgrade.is_some());
    let target = Target::of(&endpoint, cluster, spoken, exchange.arrival.ends);
    introduce(engine, exchange, &target.transport);
    let (call, to) = (exchange.call, if mesh { To::Mesh } else { To::Outside });
    call.pass_on(&mut exchange.head.headers, to, exchange.grpc, per_try)?;
    let most_copies = exchange.plan.most_hedging(rule);
    let sending = hedge::send(engine, exchange, cluster, in_flight, &target, most_copies);
    let sent = match per_try {
        None => sending.await,
        Some(limit) => tokio::time::timeout(limit, sending)
            .await
            .unwrap_or_else(|_| Err(Fault::new(Kind::PerTryTimeout, format!("no response within the try's timeout of {limit:?}")))),
    };
    if mesh && let Some(report) = sent.as_ref().ok().and_then(|response| read_report(response.headers())) {
        in_flight.hear(report);
    }
    let sent_away = mesh_reason(&sent, in_flight).is_some_and(|reason| matches!(reason, OVERLOADED | DEADLINE_OVER));
    in_flight.ended(match &sent {
        Ok(_) if sent_away => Outcome::Shed,
        Ok(response) => {
            let grpc = grpc::status(response.headers()).filter(|_| response.status() == StatusCode::OK);
            Outcome::Status { status: grpc.map_or(response.status().as_u16(), grpc::http_status), latency: started.elapsed() }
        }
        Err(fault) => match fault.kind {
            Kind::Reset | Kind::PeerDisowned | Kind::ResetBeforeRequest | Kind::RefusedStream | Kind::BadResponse => Outcome::Reset,
            Kind::PerTryTimeout => Outcome::TimedOut,
            Kind::ClientBroke | Kind::ClientStalled | Kind::NoIdentity | Kind::Loop | Kind::Overflow => Outcome::Cancelled,
            _ => Outcome::ConnectFailed,
        },
    });
    let took = started.elapsed();
    let tried = attempt(in_flight.picked.uid.clone(), engine.names().address(&target.address), came(&sent), took);
    let record = exchange.open.record();
    record.attempts.push(tried);
    if sent.is_ok() {
        record.upstream_us = micros(took);
    }
    sent
}

/// What an attempt came to, for its record.
fn came(sent: &Result<Response<Incoming>, Fault>) -> Came {
    match sent {
        Ok(response) => Came::Status(response.status().as_u16()),
        Err(fault) => Came::Failed(fault.reason().to_owned().into()),
    }
}

/// Tells peers who calls, and others of the mesh's headers nothing.
fn introduce(engine: &Engine, exchange: &mut Exchange, transport: &Transport) {
    let headers = &mut exchange.head.headers;
    match (transport, &engine.introduction) {
        (Transport::Mesh { .. }, Some(introduction)) => {
            headers.insert(metadata::SOURCE.clone(), introduction.clone());
        }
        _ => {
            headers.remove(&metadata::SOURCE);
            headers.remove(&AGAIN);
        }
    }
    let https = matches!(transport, Transport::Tls { .. });
    if https && exchange.head.version == Version::HTTP_2 {
        let mut parts = std::mem::take(&mut exchange.head.uri).into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        // The parts were a URI before, and stay one with another scheme.
        exchange.head.uri = http::Uri::from_parts(parts).unwrap_or_default();
    }
}

/// Inbound: to the application beside this proxy.
async fn to_application(engine: &Rc<Engine>, exchange: &mut Exchange, port: u16) -> Result<Answer, Fault> {
    let own = engine.current.workload();
    let address = SocketAddr::new(own.address, port);
    let host = exchange.open.record.edge.service_host.clone();
    engine.names().service(&mut exchange.open.record().edge, &host, &own.namespace);
    exchange.open.set_out();
    let pass = enter(engine, exchange, port).await?;
    let answer = direct(engine, exchange, Dial::Address(address)).await;
    if let Some(pass) = pass {
        // An error may well come fast.
        pass.answered(answer.as_ref().is_ok_and(|answer| !answer.response.status().is_server_error()));
    }
    answer.map_err(|fault| match fault.kind {
        Kind::ConnectFailed | Kind::ConnectTimedOut | Kind::NameNotFound => {
            Fault::new(Kind::AppUnreachable, format!("the application does not answer at {address}: {}", fault.detail))
        }
        _ => fault,
    })
}

/// Has the request wait for its turn with the application. What becomes a connection of its own is no request, and takes none.
async fn enter(engine: &Rc<Engine>, exchange: &mut Exchange, port: u16) -> Result<Option<Pass>, Fault> {
    if exchange.upgrade.is_some() {
        return Ok(None);
    }
    let head = &exchange.head;
    let probe = priority::is_probe(head.method.as_str(), head.uri.path(), &head.headers);
    let caller = exchange.call.caller(probe, engine.world.now());
    let pass = engine.doors.enter(port, caller, exchange.plan.settings().protection).await?;
    exchange.open.record().waited_us = micros(pass.waited());
    exchange.call.pass_on(&mut exchange.head.headers, To::Mesh, exchange.grpc, None)?;
    Ok(Some(pass))
}

/// Outside the mesh: to what the client named.
async fn pass_through(engine: &Rc<Engine>, exchange: &mut Exchange, host: &str, port: u16) -> Result<Answer, Fault> {
    direct(engine, exchange, named(host, port)).await
}

/// An address or a name to dial.
pub fn named(host: &str, port: u16) -> Dial {
    match host.parse() {
        Ok(address) => Dial::Address(SocketAddr::new(address, port)),
        Err(_) => Dial::Name(host.into(), port),
    }
}

/// A target outside any cluster, in plain text.
pub fn plain(address: Dial, spoken: Spoken) -> Target {
    Target {
        address,
        transport: Transport::Plain,
        spoken,
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        preface: None,
        keepalive: None,
    }
}

async fn direct(engine: &Rc<Engine>, exchange: &mut Exchange, address: Dial) -> Result<Answer, Fault> {
    let started = Instant::now();
    let target = plain(address, spoken(exchange.head.version));
    let sent = engine.pool.send(&target, None, &exchange.head, &exchange.body, None).await;
    let took = started.elapsed();
    let tried = attempt(Text::default(), engine.names().address(&target.address), came(&sent), took);
    let record = exchange.open.record();
    record.attempts.push(tried);
    let response = sent?;
    record.upstream_us = micros(took);
    Ok(Answer { response: response.map(Content::Upstream), deadline: None, hold: Hold::default(), from_mesh: false })
}

/// The same version on both sides: neither side gets what it did not speak.
fn spoken(version: Version) -> Spoken {
    if version == Version::HTTP_2 { Spoken::Http2 } else { Spoken::Http1 }
}

/// The same to an endpoint of a cluster. Between proxies the requests of clients that speak HTTP/1.1 share connections, unless the
/// cluster counts connections or what each carries, or they become another protocol's.
pub fn spoken_to(cluster: &Cluster, transport: &Transport, version: Version, upgrades: bool) -> Spoken {
    let counted = cluster.limits.max_connections.is_some() || cluster.limits.max_requests_per_connection.is_some();
    match spoken(version) {
        Spoken::Http1 if matches!(transport, Transport::Mesh { .. }) && !counted && !upgrades && cluster.proxy_protocol.is_none() => {
            Spoken::Http1Shared
        }
        spoken => spoken,
    }
}

/// Whether a response ends the HTTP exchange and starts another protocol.
pub fn switches_protocol(response: &Response<Content>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}
