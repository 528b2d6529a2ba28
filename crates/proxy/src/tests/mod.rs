//! The data path on real sockets: two proxies with hand-made snapshots and a test authority, no control plane.

mod allocations;
mod authorizer;
mod compression;
mod cors;
mod destinations;
mod drain;
mod dual_stack;
mod ends;
mod envoy;
mod grpc;
mod hbone;
mod hosts;
mod http;
mod identity;
mod learned;
mod limits;
mod overload;
mod passthrough;
mod policy;
mod proxy_protocol;
mod replaced;
mod revoked;
mod routes;
mod tcp;
mod telemetry;
mod tokens;
mod trust;
mod websocket;

use crate::current::{Current, Wanted};
use crate::identity::HeldIdentity;
use crate::listen::Listeners;
use crate::options::{Options, OwnPort, OwnWorkload};
use crate::ring::Record;
use crate::sink::Sink;
use crate::world::World;
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{Destination, Limits, Role, TrafficPolicy};
use taut_model::host::service_host;
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::route::Route;
use taut_model::service::{AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};
use taut_observe::metrics::Registry;
use taut_observe::record::{ConnectionRecord, ExchangeRecord};
use taut_plan::{Plan, Snapshot};
use taut_wire::net::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

pub const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Longest that any one test may take; what it waits for has come long before.
/// Runs hyper's tasks on this thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a test as a worker runs: on one thread, with local tasks.
pub fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("the test hangs") });
}

/// The same with a clock that jumps to what is waited for whenever nobody has anything to do.
pub fn run_in_no_time(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("the test hangs") });
}

/// Waits until `condition` gives something.
pub async fn eventually<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = condition() {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// An application whose answers wait until they are let go; and how many wait.
pub async fn slow_app() -> (SocketAddr, Rc<tokio::sync::Notify>, Rc<Cell<u32>>) {
    let (release, waiting) = (Rc::new(tokio::sync::Notify::new()), Rc::new(Cell::new(0)));
    let (go_on, count) = (release.clone(), waiting.clone());
    let app = app(move |_| {
        count.set(count.get() + 1);
        let go_on = go_on.clone();
        async move {
            go_on.notified().await;
            Response::new(Full::from("done"))
        }
    })
    .await;
    (app, release, waiting)
}

/// A rule about `reviews` with this policy.
pub fn ruled(snapshot: &mut Snapshot, policy: TrafficPolicy) {
    let mut rule = Destination::addition(Origin::default(), service_host("reviews", "default"), policy);
    (rule.namespace, rule.role) = ("default".to_owned(), Role::Rule);
    snapshot.destinations.insert("rule".to_owned(), Arc::new(rule));
}

/// The same with these limits.
pub fn limited(snapshot: &mut Snapshot, limits: Limits) {
    ruled(snapshot, TrafficPolicy { limits: Some(limits), ..TrafficPolicy::default() });
}

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trust_domain: String,
    serial: Cell<u64>,
}

impl Authority {
    pub fn new(trust_domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, trust_domain: trust_domain.to_owned(), serial: Cell::new(0) }
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn issue(&self, account: &str) -> HeldIdentity {
        let identity = Identity::new(&self.trust_domain, "default", account);
        self.issue_names(identity.clone(), &[identity.to_string()])
    }

    /// A certificate with these URI names, held as `identity`.
    pub fn issue_names(&self, identity: Identity, names: &[String]) -> HeldIdentity {
        self.issue_as(identity, names, &|_| {})
    }

    /// The same, changed before it is signed.
    pub fn issue_as(&self, identity: Identity, names: &[String], change: &dyn Fn(&mut CertificateParams)) -> HeldIdentity {
        let mut params = leaf(names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.held(identity, &key, vec![certificate.der().clone()])
    }

    /// A certificate, and its key as PKCS #8.
    pub fn issue_with_key(&self, account: &str) -> (HeldIdentity, Vec<u8>) {
        let identity = Identity::new(&self.trust_domain, "default", account);
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(&[identity.to_string()]).signed_by(&key, &self.issuer).unwrap();
        (self.held(identity, &key, vec![certificate.der().clone()]), key.serialize_der())
    }

    /// A certificate below so many intermediates, each of which says this about those below it.
    pub fn issue_below(&self, identity: Identity, depth: usize, constraint: BasicConstraints) -> HeldIdentity {
        let intermediate = |number: usize| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, format!("intermediate {number}"));
            params.is_ca = IsCa::Ca(constraint);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let mut issuer = CertifiedIssuer::signed_by(intermediate(0), KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let mut chain = vec![issuer.der().clone()];
        for number in 1..depth {
            issuer = CertifiedIssuer::signed_by(intermediate(number), KeyPair::generate().unwrap(), &issuer).unwrap();
            chain.insert(0, issuer.der().clone());
        }
        let key = KeyPair::generate().unwrap();
        chain.insert(0, leaf(&[identity.to_string()]).signed_by(&key, &issuer).unwrap().der().clone());
        self.held(identity, &key, chain)
    }

    fn held(&self, identity: Identity, key: &KeyPair, chain: Vec<CertificateDer<'static>>) -> HeldIdentity {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
        self.serial.set(self.serial.get() + 1);
        HeldIdentity {
            serial: self.serial.get(),
            chain,
            key,
            roots: vec![self.root()],
            revoked: Arc::default(),
            federated: Arc::default(),
            names: Arc::default(),
            identity,
            not_before: jiff::Timestamp::MIN,
            not_after: jiff::Timestamp::MAX,
        }
    }
}

fn leaf(names: &[String]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| SanType::URI(name.as_str().try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What the control plane would have said.
#[derive(Clone, Default)]
pub struct Mesh {
    pub services: Vec<Service>,
    pub workloads: Vec<Workload>,
    pub routes: Vec<Route>,
    /// Says more.
    pub change: Option<fn(&mut Snapshot)>,
}

impl Mesh {
    pub fn service(mut self, name: &str, port: u16, protocol: AppProtocol) -> Self {
        self.services.push(Service {
            origin: Origin::default(),
            host: service_host(name, "default"),
            name: name.to_owned(),
            namespace: "default".to_owned(),
            ports: vec![ServicePort { number: port, name: String::new(), protocol }],
            place: Place::Mesh,
            resolution: Resolution::Static,
            addresses: vec![],
            distribution: Default::default(),
            affinity: Default::default(),
        });
        self
    }

    /// A workload of the service, whose proxy is at `peer`.
    pub fn workload(mut self, service: &str, name: &str, peer: Option<SocketAddr>, target: SocketAddr) -> Self {
        let port = self.services.iter().find(|s| s.name == service).map_or(0, |s| s.ports[0].number);
        let labels = [("app", service), ("version", "v1")];
        self.workloads.push(Workload {
            origin: Origin::default(),
            uid: format!("default/{name}"),
            name: name.to_owned(),
            namespace: "default".to_owned(),
            identity: Identity::new("mesh.local", "default", service),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            address: target.ip().to_string(),
            serves: vec![Serves { host: service_host(service, "default"), port, target: target.port() }],
            peer,
            health: Health::Ready,
            weight: 1,
            locality: String::new(),
        });
        self
    }

    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    fn snapshot(&self, version: u64, own: &str) -> Snapshot {
        // A client serves nothing, and is a workload all the same.
        let client = Self::default().service(own, 0, AppProtocol::Unknown).workload(own, own, None, LOCAL);
        let own = self.workloads.iter().chain(&client.workloads).find(|workload| workload.name == own);
        let mut snapshot = Snapshot {
            version,
            trust_domain: "mesh.local".to_owned(),
            own: own.cloned().map(Arc::new),
            services: self.services.iter().map(|s| (s.host.clone(), Arc::new(s.clone()))).collect(),
            workloads: self.workloads.iter().map(|w| (w.uid.clone(), Arc::new(w.clone()))).collect(),
            routes: self.routes.iter().map(|r| (r.origin.object.to_string(), Arc::new(r.clone()))).collect(),
            policies_complete: true,
            ..Snapshot::default()
        };
        if let Some(change) = self.change {
            change(&mut snapshot);
        }
        snapshot
    }
}

pub struct Proxy {
    pub name: String,
    pub current: Arc<Current>,
    pub sink: Sink,
    pub outbound: SocketAddr,
    pub upstream: SocketAddr,
    pub peer: SocketAddr,
    pub exposed: SocketAddr,
    pub task: JoinHandle<()>,
    /// Connections from the proxy before this one.
    pub bequests: tokio::sync::mpsc::UnboundedSender<crate::bequest::Bequest>,
    /// The hosts that the data path asks the mesh about.
    pub wanted: RefCell<Wanted>,
    version: Cell<u64>,
}

impl Proxy {
    /// A proxy beside the workload `name` whose application listens at `app`, and with a listener for `reviews:9080`.
    pub async fn start(name: &str, app: SocketAddr, identity: Option<HeldIdentity>) -> Self {
        Self::start_with(name, app, identity, |_| {}).await
    }

    pub async fn start_with(name: &str, app: SocketAddr, identity: Option<HeldIdentity>, change: impl FnOnce(&mut Options)) -> Self {
        Self::start_at(LOCAL, name, app, identity, change).await
    }

    /// The same, with its listeners at `local`.
    pub async fn start_at(local: SocketAddr, name: &str, app: SocketAddr, identity: Option<HeldIdentity>, change: impl FnOnce(&mut Options)) -> Self {
        let labels = [("app".to_owned(), name.to_owned()), ("version".to_owned(), "v1".to_owned())];
        let own = OwnWorkload {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            service_account: name.to_owned(),
            labels: labels.into(),
            address: app.ip(),
            ports: vec![OwnPort { port: 9080, target: app.port(), name: String::new(), app_protocol: String::new() }],
            locality: String::new(),
        };
        let mut options = Options::new(own.clone(), "127.0.0.1:1");
        change(&mut options);
        let (current, wanted) = Current::new(own);
        current.set_connected(true);
        if let Some(identity) = identity {
            current.hold(Arc::new(identity));
        }
        let sink = Sink::new(Arc::new(Registry::new(100)), None, 1000);
        let [outbound, upstream, peer, exposed] = [listener(local).await, listener(local).await, listener(local).await, listener(local).await];
        let address = |listener: &Listener| listener.local_addr().unwrap();
        let (outbound_at, upstream_at, peer_at, exposed_at) = (address(&outbound), address(&upstream), address(&peer), address(&exposed));
        let upstreams = vec![(upstream, "reviews".to_owned(), 9080)];
        let listeners = Listeners { outbound: Some(outbound), upstreams, peer, exposed: Some(exposed) };
        let (bequests, given) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(crate::worker::serve(World::os(), Arc::new(options), current.clone(), sink.clone(), listeners, given));
        let (name, version) = (name.to_owned(), Cell::new(0));
        Self {
            name,
            current,
            sink,
            outbound: outbound_at,
            upstream: upstream_at,
            peer: peer_at,
            exposed: exposed_at,
            task,
            bequests,
            wanted: RefCell::new(wanted),
            version,
        }
    }

    pub fn pin(&self, mesh: &Mesh) {
        self.version.set(self.version.get() + 1);
        let snapshot = mesh.snapshot(self.version.get(), &self.name);
        self.current.pin(Arc::new(snapshot.clone()), Arc::new(Plan::compile(&snapshot)));
    }

    /// The exchanges so far, oldest first.
    pub fn exchanges(&self) -> Vec<ExchangeRecord> {
        let exchange = |kept: &crate::ring::Kept| match &kept.record {
            Record::Exchange(record) => Some((**record).clone()),
            Record::Connection(_) => None,
        };
        self.sink.newest(1000).iter().rev().filter_map(exchange).collect()
    }

    pub fn connections(&self) -> Vec<ConnectionRecord> {
        let connection = |kept: &crate::ring::Kept| match &kept.record {
            Record::Connection(record) => Some((**record).clone()),
            Record::Exchange(_) => None,
        };
        self.sink.newest(1000).iter().rev().filter_map(connection).collect()
    }

    pub async fn exchange(&self) -> ExchangeRecord {
        eventually(|| self.exchanges().pop()).await
    }

    pub async fn connection(&self) -> ConnectionRecord {
        eventually(|| self.connections().pop()).await
    }
}

async fn listener(at: SocketAddr) -> Listener {
    Listener::Tcp(TcpListener::bind(at).await.unwrap())
}

/// `web` calls `reviews`, each with a proxy, over mutual TLS.
pub struct Pair {
    pub authority: Authority,
    pub client: Proxy,
    pub server: Proxy,
    pub mesh: Mesh,
}

impl Pair {
    pub async fn new(app: SocketAddr, protocol: AppProtocol) -> Self {
        let authority = Authority::new("mesh.local");
        let server = Proxy::start("reviews", app, Some(authority.issue("reviews"))).await;
        let client = Proxy::start("web", LOCAL, Some(authority.issue("web"))).await;
        let mesh = Mesh::default().service("reviews", 9080, protocol).workload("reviews", "reviews", Some(server.peer), app);
        server.pin(&mesh);
        client.pin(&mesh);
        Self { authority, client, server, mesh }
    }
}

/// An application that speaks HTTP/1.
pub async fn app<F, R>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Rc::new(answer);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(connection);
        }
    });
    address
}

/// An application that takes every connection and does with it what it is told.
pub async fn raw_app<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve(stream));
        }
    });
    address
}

/// An application that says what it was sent: request line, headers, body.
pub async fn echo_app() -> SocketAddr {
    app(|request| async {
        let (head, body) = request.into_parts();
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        text += &format!("\n{} bytes of body", body.len());
        Response::new(Full::from(text))
    })
    .await
}

/// An address where nothing listens.
pub async fn nowhere() -> SocketAddr {
    // Bound and never listening: connections are refused, and no other test gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(LOCAL).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

/// Sends bytes on a new connection and reads until the other side is done.
pub async fn talk(to: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn get(to: SocketAddr, path: &str) -> String {
    talk(to, format!("GET {path} HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n")).await
}

pub async fn http2<B>(to: SocketAddr) -> hyper::client::conn::http2::SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}
