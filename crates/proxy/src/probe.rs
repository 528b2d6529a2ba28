//! Asks endpoints whether they are well: those of services with a health check that this proxy sends traffic to. One worker asks for
//! all; what an answer means is `plan::health`'s to say.

use crate::body::Source;
use crate::dial::Target;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::metadata;
use crate::proxy_protocol::Ends;
use crate::tls::Spoken;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Limited};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{HealthCheck, Probe};
use taut_plan::ClusterKey;
use taut_plan::cluster::{Cluster, Endpoint, Transport};
use taut_plan::health::{Checked, Unwell};

/// How often it is looked at what is in use and who is due, at least and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Questions under way at the same time.
const MOST: usize = 64;
/// `grpc.health.v1.HealthCheckResponse` has a few bytes.
const LONGEST_ANSWER: usize = 4096;

type Key = (ClusterKey, Arc<str>);
type Asking = FuturesUnordered<LocalBoxFuture<'static, (Key, Result<(), String>)>>;

/// One endpoint and what is known of it.
struct Watched {
    cluster: Arc<Cluster>,
    check: Arc<HealthCheck>,
    endpoint: Arc<Endpoint>,
    checked: Checked,
    being_asked: bool,
}

/// Never ends. Of all workers the first one asks.
pub async fn run(engine: &Rc<Engine>, worker: usize) {
    if worker != 0 {
        std::future::pending::<()>().await;
    }
    let mut watched: BTreeMap<Key, Watched> = BTreeMap::new();
    let mut asking: Asking = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((key, answer)) = asking.next() => take(engine, &mut watched, &key, answer),
            () = due(engine, &watched) => look(engine, &mut watched, &mut asking),
        }
    }
}

/// Resolves when there is something to look at. A proxy that has nobody to ask sleeps.
async fn due(engine: &Engine, watched: &BTreeMap<Key, Watched>) {
    if watched.is_empty() {
        return engine.current.checks().in_use_again().await;
    }
    let now = engine.world.now();
    let next = watched.values().filter(|one| !one.being_asked).map(|one| one.checked.due().saturating_sub(now)).min();
    tokio::time::sleep(next.unwrap_or(LOOK.1).clamp(LOOK.0, LOOK.1)).await;
}

/// Follows what is in use, and asks who is due.
fn look(engine: &Rc<Engine>, watched: &mut BTreeMap<Key, Watched>, asking: &mut Asking) {
    let now = engine.world.now();
    let in_use = engine.current.checks().in_use(now);
    follow(engine, watched, &in_use, now);
    // Without a certificate a peer cannot be asked, and that is not its fault.
    let certified = engine.current.identity().is_some();
    let askable = |one: &Watched| certified || !matches!(one.endpoint.transport, Transport::Mesh { .. });
    for (key, one) in watched.iter_mut().filter(|(_, one)| !one.being_asked && one.checked.is_due(now) && askable(one)) {
        if asking.len() >= MOST {
            break;
        }
        one.being_asked = true;
        let (key, engine, check) = (key.clone(), engine.clone(), one.check.clone());
        let (cluster, endpoint) = (one.cluster.clone(), one.endpoint.clone());
        asking.push(Box::pin(async move {
            let asked = tokio::time::timeout(check.timeout, ask(&engine, &check, &cluster, &endpoint)).await;
            (key, asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout))))
        }));
    }
}

/// Endpoints that have gone, and those of services that are not in use, are forgotten; new ones begin.
fn follow(engine: &Engine, watched: &mut BTreeMap<Key, Watched>, in_use: &[ClusterKey], now: Duration) {
    let plan = engine.current.plan();
    let mut there = BTreeMap::new();
    for cluster in in_use.iter().filter_map(|key| plan.cluster(key)) {
        let Some(check) = &cluster.health_check else { continue };
        for endpoint in &cluster.endpoints {
            let key = (cluster.key.clone(), Arc::<str>::from(endpoint.workload.uid.as_str()));
            let known = watched.remove(&key);
            // Another way of asking starts over, but for what was found so far.
            let checked = known.as_ref().map_or_else(|| Checked::new(check, now, engine.dice().u64(..)), |known| known.checked.clone());
            let being_asked = known.is_some_and(|known| known.being_asked);
            let (cluster, check, endpoint) = (cluster.clone(), check.clone(), endpoint.clone());
            there.insert(key, Watched { cluster, check, endpoint, checked, being_asked });
        }
    }
    let forgotten = watched.values().any(|gone| !gone.checked.is_well());
    *watched = there;
    if forgotten {
        publish(engine, watched);
    }
}

fn take(engine: &Engine, watched: &mut BTreeMap<Key, Watched>, key: &Key, answer: Result<(), String>) {
    let Some(one) = watched.get_mut(key) else { return };
    one.being_asked = false;
    let (now, roll) = (engine.world.now(), engine.dice().u64(..));
    if !one.checked.answered(&one.check, answer.is_ok(), now, roll) {
        return;
    }
    match answer {
        Ok(()) => tracing::info!(endpoint = %key.1, service = %key.0.host, port = key.0.port, "passes its health checks again"),
        Err(why) => tracing::warn!(endpoint = %key.1, service = %key.0.host, port = key.0.port, why, "fails its health checks"),
    }
    publish(engine, watched);
}

fn publish(engine: &Engine, watched: &BTreeMap<Key, Watched>) {
    let mut unwell = Unwell::default();
    for ((key, uid), _) in watched.iter().filter(|(_, one)| !one.checked.is_well()) {
        unwell.insert(key, uid.clone());
    }
    engine.current.checks().publish(unwell);
}

/// # Errors
/// Why the endpoint is not well.
async fn ask(engine: &Rc<Engine>, check: &HealthCheck, cluster: &Arc<Cluster>, endpoint: &Endpoint) -> Result<(), String> {
    match &check.probe {
        Probe::Http { path, statuses } => {
            let answered = send(engine, cluster, endpoint, request(cluster, Method::GET, path), Bytes::new()).await?;
            let status = answered.status().as_u16();
            match statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
                true => Ok(()),
                false => Err(format!("GET {path} was answered with {status}")),
            }
        }
        Probe::Grpc { service } => ask_grpc(engine, cluster, endpoint, service).await,
        // Between proxies, a port that speaks HTTP takes no other connection: any answer of the application is a good one.
        Probe::Tcp if cluster.protocol.is_http() && matches!(endpoint.transport, Transport::Mesh { .. }) => {
            let answered = send(engine, cluster, endpoint, request(cluster, Method::HEAD, "/"), Bytes::new()).await?;
            match answered.headers().get(&metadata::REASON).and_then(|reason| reason.to_str().ok()) {
                Some(reason) if answered.status().is_server_error() => Err(format!("its proxy says {reason}")),
                _ => Ok(()),
            }
        }
        Probe::Tcp => {
            let target = target(cluster, endpoint, Spoken::Tcp);
            engine.tunnels.open(&target, engine.current.identity()).await.map(drop).map_err(|fault| fault.detail.into_owned())
        }
    }
}

fn request(cluster: &Cluster, method: Method, path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    let authority = format!("{}:{}", cluster.key.host, cluster.key.port);
    if spoken(cluster) == Spoken::Http2 {
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = format!("http://{authority}{path}").parse().unwrap_or_default();
    } else {
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().extend(HeaderValue::from_str(&authority).ok().map(|host| (header::HOST, host)));
    }
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("taut-health-check"));
    request
}

fn spoken(cluster: &Cluster) -> Spoken {
    use taut_model::service::AppProtocol::{Grpc, Http2};
    if matches!(cluster.protocol, Grpc | Http2) { Spoken::Http2 } else { Spoken::Http1 }
}

fn target(cluster: &Cluster, endpoint: &Endpoint, spoken: Spoken) -> Target {
    // On nobody's behalf but this proxy's.
    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
    Target::of(endpoint, cluster, spoken, Ends::new(nobody, nobody))
}

async fn send(
    engine: &Rc<Engine>,
    cluster: &Arc<Cluster>,
    endpoint: &Endpoint,
    request: Request<()>,
    body: Bytes,
) -> Result<Response<Incoming>, String> {
    let target = target(cluster, endpoint, if request.version() == Version::HTTP_2 { Spoken::Http2 } else { Spoken::Http1 });
    let (mut head, ()) = request.into_parts();
    if let (Transport::Mesh { .. }, Some(introduction)) = (&target.transport, &engine.introduction) {
        head.headers.insert(metadata::SOURCE.clone(), introduction.clone());
    }
    // A check must not wait behind the traffic that it is about: the limits are not for it.
    let sent = engine.pool.send(&target, engine.current.identity(), &head, &Source::of(body), None).await;
    sent.map_err(|fault: Fault| fault.detail.into_owned())
}

/// `grpc.health.v1.Health/Check`: a request with the service's name (field 1), a response with its status (field 1; 1 is SERVING).
async fn ask_grpc(engine: &Rc<Engine>, cluster: &Arc<Cluster>, endpoint: &Endpoint, service: &str) -> Result<(), String> {
    let mut request = request(cluster, Method::POST, "/grpc.health.v1.Health/Check");
    let authority = format!("{}:{}", cluster.key.host, cluster.key.port);
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("http://{authority}/grpc.health.v1.Health/Check").parse().unwrap_or_default();
    request.headers_mut().remove(header::HOST);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    let answered = send(engine, cluster, endpoint, request, framed(service)).await?;
    let status = crate::grpc::status(answered.headers());
    let body = Limited::new(answered.into_body(), LONGEST_ANSWER).collect().await.map_err(|error| format!("its answer broke off: {error}"))?;
    let status = status.or_else(|| body.trailers().and_then(crate::grpc::status));
    let serves = serving(&body.to_bytes());
    match status {
        Some(0) | None if serves => Ok(()),
        Some(0) | None => Err("it is not SERVING".to_owned()),
        Some(code) => Err(format!("its health service answered with gRPC status {code}")),
    }
}

/// One message of gRPC over HTTP/2: not compressed, its length, then `HealthCheckRequest`.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        prost::encoding::string::encode(1, &service.to_owned(), &mut message);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

fn serving(answer: &[u8]) -> bool {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Answer {
        #[prost(int32, tag = "1")]
        status: i32,
    }
    let message = answer.split_first_chunk::<5>().filter(|(head, _)| head[0] == 0).map(|(_, message)| message);
    message.and_then(|message| <Answer as prost::Message>::decode(message).ok()).is_some_and(|answer| answer.status == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_health_checking_protocol() {
        assert_eq!(&framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(serving(&[0, 0, 0, 0, 2, 0x08, 1]));
        for not in [&[0, 0, 0, 0, 2, 0x08, 2][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 2, 0x08, 1], &[], &[0, 0, 0, 0, 1, 0xff]] {
            assert!(!serving(not), "{not:?}");
        }
    }
}
