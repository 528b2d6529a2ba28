//! A control plane for tests, on loopback: authority, desk and discovery, with a mesh that the test writes.

use crate::tls::control::CONTROL_ACCOUNT;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::PrivateKeyDer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::signal::Batch;
use taut_wire::certificate::istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer};
use taut_wire::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use taut_wire::desk::desk_server::{Desk, DeskServer};
use taut_wire::desk::{
    Acknowledge, Ask, FromProxy, Hello, Holding, Kept, Readiness, Report, ToProxy, Welcome, ask, from_proxy, readiness::State, to_proxy,
};
use taut_wire::discovery::aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer};
use taut_wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use taut_wire::resource::{self, Resource, ResourceType};
use taut_wire::session::{ServerSession, View};
use taut_wire::signals::Listener;
use taut_wire::svid::svids_server::{Svids, SvidsServer};
use taut_wire::svid::{SignTokenRequest, SignTokenResponse};
use taut_wire::token::JoinToken;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Survives its servers: `start` serves it, dropping the handle kills that server.
#[derive(Clone)]
pub struct FakeControl {
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
    /// Who the server says it is.
    pub account: &'static str,
    mesh: watch::Sender<BTreeMap<ResourceType, View>>,
    pub seen: Arc<Mutex<Seen>>,
    /// Types that are never answered for.
    pub silent: &'static [ResourceType],
    asks: watch::Sender<Vec<Ask>>,
}

/// What proxies said.
#[derive(Default)]
pub struct Seen {
    pub hellos: Vec<Hello>,
    pub holdings: Vec<Holding>,
    pub acknowledged: Vec<Acknowledge>,
    pub readiness: Vec<Readiness>,
    pub answers: Vec<(u64, String)>,
    pub bearers: Vec<Option<String>>,
    /// The audiences of the tokens that were asked for.
    pub audiences: Vec<Vec<String>>,
    pub reports: Vec<Batch>,
    /// The hosts that the last discovery request left subscribed.
    pub hosts: BTreeSet<String>,
}

pub struct Running {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeControl {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap());
        Self { issuer, account: CONTROL_ACCOUNT, mesh: watch::Sender::default(), seen: Arc::default(), silent: &[], asks: watch::Sender::default() }
    }

    pub fn token(&self, at: SocketAddr) -> String {
        let token = JoinToken {
            control: at.to_string(),
            ca_pin: crate::identity::fingerprint(self.issuer.der()),
            namespace: "default".into(),
            service_account: None,
            expires: i64::MAX,
            id: "t1".into(),
            secret: [7; 32],
        };
        token.text().to_string()
    }

    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn put(&self, name: &str, resource: Resource) {
        let bytes = resource::encode(&resource);
        self.put_bytes(resource.of_type(), name, bytes);
    }

    pub fn put_bytes(&self, of_type: ResourceType, name: &str, bytes: Vec<u8>) {
        let entry = (resource::version(&bytes), bytes.into());
        self.mesh.send_modify(|mesh| drop(mesh.entry(of_type).or_default().insert(name.to_owned(), entry)));
    }

    pub fn ask(&self, id: u64, what: ask::What) {
        self.asks.send_modify(|asks| asks.push(Ask { id, what: Some(what) }));
    }

    pub fn states(&self) -> Vec<State> {
        self.seen.lock().readiness.iter().map(|said| said.state()).collect()
    }

    /// The last acknowledgement of a resource: plan, accepted, why.
    pub fn ack(&self, name: &str) -> Option<(u64, bool, String)> {
        let seen = self.seen.lock();
        let mut acks = seen.acknowledged.iter().flat_map(|said| said.resources.iter().map(move |ack| (said.plan, ack)));
        acks.rfind(|(_, ack)| ack.name == name).map(|(plan, ack)| (plan, ack.accepted, ack.why.clone()))
    }

    pub async fn start(&self, at: SocketAddr) -> Running {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(self.server_config()));
        let routes = tonic::service::Routes::new(IstioCertificateServiceServer::new(self.clone()))
            .add_service(SvidsServer::new(self.clone()))
            .add_service(DeskServer::new(self.clone()))
            .add_service(AggregatedDiscoveryServiceServer::new(self.clone()));
        let task = tokio::spawn(async move {
            // Dropped with this task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
                    }
                });
            }
        });
        Running { address, task }
    }

    fn server_config(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated().build().unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = self.sign(&key, &Identity::new("mesh.local", "istio-system", self.account));
        let chain = vec![leaf.der().clone(), self.issuer.der().clone()];
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    fn sign(&self, key: &impl rcgen::PublicKeyData, identity: &Identity) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &*self.issuer).unwrap()
    }
}

#[tonic::async_trait]
impl IstioCertificateService for FakeControl {
    async fn create_certificate(&self, request: Request<IstioCertificateRequest>) -> Result<Response<IstioCertificateResponse>, Status> {
        let bearer = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.seen.lock().bearers.push(bearer);
        let request = CertificateSigningRequestParams::from_pem(&request.into_inner().csr).unwrap();
        let leaf = self.sign(&request.public_key, &Identity::new("mesh.local", "default", "reviews"));
        Ok(Response::new(IstioCertificateResponse { cert_chain: vec![leaf.pem(), self.issuer.pem()] }))
    }
}

#[tonic::async_trait]
impl Svids for FakeControl {
    async fn sign_token(&self, request: Request<SignTokenRequest>) -> Result<Response<SignTokenResponse>, Status> {
        let mut seen = self.seen.lock();
        seen.audiences.push(request.into_inner().audiences);
        Ok(Response::new(SignTokenResponse { token: format!("token {}", seen.audiences.len()), expires: i64::MAX / 2 }))
    }
}

type Outgoing<T> = UnboundedReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Desk for FakeControl {
    type AttendStream = Outgoing<ToProxy>;

    async fn attend(&self, request: Request<Streaming<FromProxy>>) -> Result<Response<Self::AttendStream>, Status> {
        let (say, stream) = mpsc::unbounded_channel();
        let (control, mut incoming) = (self.clone(), request.into_inner());
        let mut asks = self.asks.subscribe();
        tokio::spawn(async move {
            let mut asked = 0;
            loop {
                tokio::select! {
                    biased;
                    Ok(()) = asks.changed() => {
                        let all = asks.borrow_and_update().clone();
                        for ask in &all[asked..] {
                            let _ = say.send(Ok(ToProxy { say: Some(to_proxy::Say::Ask(ask.clone())) }));
                        }
                        asked = all.len();
                    }
                    message = incoming.message() => {
                        let Ok(Some(message)) = message else { return };
                        if !control.hear(message, &say) {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    type ReportStream = Outgoing<Kept>;

    /// Everything is kept at once.
    async fn report(&self, request: Request<Streaming<Report>>) -> Result<Response<Self::ReportStream>, Status> {
        let (say, stream) = mpsc::unbounded_channel();
        let (seen, mut incoming, mut listener) = (self.seen.clone(), request.into_inner(), Listener::default());
        tokio::spawn(async move {
            while let Ok(Some(report)) = incoming.message().await {
                let batch = listener.hear(report).unwrap();
                let _ = say.send(Ok(Kept { epoch: batch.epoch, sequence: batch.sequence }));
                seen.lock().reports.push(batch);
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}

impl FakeControl {
    /// `false`: the proxy is gone.
    fn hear(&self, message: FromProxy, say: &mpsc::UnboundedSender<Result<ToProxy, Status>>) -> bool {
        let mut seen = self.seen.lock();
        match message.say.unwrap() {
            from_proxy::Say::Hello(hello) => {
                seen.hellos.push(hello);
                let welcome = Welcome { trust_domain: "mesh.local".into(), ..Welcome::default() };
                let _ = say.send(Ok(ToProxy { say: Some(to_proxy::Say::Welcome(welcome)) }));
            }
            from_proxy::Say::Acknowledge(said) => seen.acknowledged.push(said),
            from_proxy::Say::Answer(answer) => seen.answers.push((answer.id, answer.json)),
            from_proxy::Say::Holding(holding) => seen.holdings.push(holding),
            from_proxy::Say::Readiness(said) => {
                let gone = said.state() == State::Gone;
                seen.readiness.push(said);
                return !gone;
            }
        }
        true
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for FakeControl {
    type DeltaAggregatedResourcesStream = Outgoing<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (say, stream) = mpsc::unbounded_channel();
        let mut incoming = request.into_inner();
        let (mut mesh, silent, seen) = (self.mesh.subscribe(), self.silent, self.seen.clone());
        tokio::spawn(async move {
            let mut session = ServerSession::new();
            loop {
                tokio::select! {
                    biased;
                    Ok(()) = mesh.changed() => {}
                    message = incoming.message() => {
                        let Ok(Some(message)) = message else { return };
                        session.request(message).unwrap();
                        seen.lock().hosts = session.subscribed(ResourceType::Service).clone();
                    }
                }
                let now = mesh.borrow_and_update().clone();
                for of_type in ResourceType::all().into_iter().filter(|of_type| !silent.contains(of_type)) {
                    if let Some(response) = session.offer(of_type, now.get(&of_type).unwrap_or(&View::new())) {
                        let _ = say.send(Ok(response));
                    }
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}
