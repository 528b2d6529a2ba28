//! A proxy without a data path: gets a certificate, attends the desk, and takes in what it is delivered.

use super::super::Running;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use taut_wire::certificate::IstioCertificateRequest;
use taut_wire::certificate::istio_certificate_service_client::IstioCertificateServiceClient;
use taut_wire::desk::desk_client::DeskClient;
use taut_wire::desk::{Acknowledge, FromProxy, Hello, Port, Readiness, ResourceAck, ToProxy, from_proxy, readiness};
use taut_wire::discovery::DeltaDiscoveryRequest;
use taut_wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use taut_wire::resource::ResourceType;
use taut_wire::session::{ClientSession, Received};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Anything that is not there in this time is a failure.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

pub fn tls(running: &Running, identity: Option<&Identity>, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(running.authority.root()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

pub async fn channel(running: &Running, identity: Option<&Identity>) -> Result<Channel, tonic::transport::Error> {
    let (connector, address) = (tls(running, identity, b"h2"), running.grpc);
    let dial = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(dial).await
}

/// Asks for a certificate: with a token, or with the identity that is held.
pub async fn certificate(running: &Running, token: Option<&str>, held: Option<&Identity>) -> Result<Identity, Status> {
    let key = KeyPair::generate().unwrap();
    certificate_for(running, &key, token, held).await
}

pub async fn certificate_for(running: &Running, key: &KeyPair, token: Option<&str>, held: Option<&Identity>) -> Result<Identity, Status> {
    certificate_of(running, CertificateParams::default(), key, token, held).await
}

pub async fn certificate_of(
    running: &Running,
    params: CertificateParams,
    key: &KeyPair,
    token: Option<&str>,
    held: Option<&Identity>,
) -> Result<Identity, Status> {
    let csr = params.serialize_request(key).unwrap().pem().unwrap();
    certificate_as(running, IstioCertificateRequest { csr, ..Default::default() }, key, token, held).await
}

pub async fn certificate_as(
    running: &Running,
    request: IstioCertificateRequest,
    key: &KeyPair,
    token: Option<&str>,
    held: Option<&Identity>,
) -> Result<Identity, Status> {
    let mut request = Request::new(request);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let channel = channel(running, held).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await?.into_inner();
    let mut chain: Vec<_> = answer.cert_chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    assert_eq!(chain.pop(), Some(running.authority.root()), "the root is last");
    Ok((chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())))
}

pub fn hello(name: &str, service: &str, account: &str, peer: u16) -> Hello {
    Hello {
        namespace: "default".into(),
        name: name.into(),
        service_account: account.into(),
        labels: [("app".to_owned(), service.to_owned())].into(),
        address: "127.0.0.1".into(),
        ports: vec![Port { port: 9080, target: 40_000, name: "http".into(), app_protocol: String::new() }],
        peer: format!("127.0.0.1:{peer}"),
        service: service.into(),
        readiness: Some(Readiness { state: readiness::State::Ready.into(), why: String::new() }),
        ..Hello::default()
    }
}

pub struct Proxy {
    pub session: ClientSession,
    pub desk: mpsc::Sender<FromProxy>,
    pub told: Streaming<ToProxy>,
    pub requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<taut_wire::discovery::DeltaDiscoveryResponse>,
    /// The resources that came, in all.
    pub received: Vec<(ResourceType, String)>,
    plan: u64,
}

impl Proxy {
    pub async fn connect(running: &Running, identity: &Identity, hello: Hello, hosts: &[&str]) -> Result<Self, Status> {
        let mut session = ClientSession::new(format!("{}/{}", hello.namespace, hello.name));
        session.subscribe(hosts.iter().map(|host| (*host).to_owned()));
        Self::resume(running, identity, hello, session).await
    }

    /// Connects with what is held from before.
    pub async fn resume(running: &Running, identity: &Identity, hello: Hello, mut session: ClientSession) -> Result<Self, Status> {
        let channel = channel(running, Some(identity)).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (desk, said) = mpsc::channel(64);
        desk.send(FromProxy { say: Some(from_proxy::Say::Hello(hello)) }).await.unwrap();
        let mut told = DeskClient::new(channel.clone()).attend(ReceiverStream::new(said)).await?.into_inner();
        soon(told.message()).await?.expect("a welcome");
        let (requests, asked) = mpsc::channel(64);
        for request in session.connect() {
            requests.send(request).await.unwrap();
        }
        let responses = AggregatedDiscoveryServiceClient::new(channel).delta_aggregated_resources(ReceiverStream::new(asked)).await?.into_inner();
        Ok(Self { session, desk, told, requests, responses, received: Vec::new(), plan: 0 })
    }

    /// Takes in one response, answers it, and acknowledges its resources at the desk.
    pub async fn take(&mut self) -> Received {
        let response = soon(self.responses.message()).await.expect("a response").expect("the stream goes on");
        let mut received = self.session.response(response);
        self.requests.send(std::mem::take(&mut received.ack)).await.unwrap();
        self.received.extend(received.changed.iter().map(|change| (change.of_type, change.name.clone())));
        self.plan += 1;
        let changed = received.changed.iter().map(|change| ResourceAck {
            type_url: change.of_type.type_url().into(),
            name: change.name.clone(),
            version: change.version.clone(),
            accepted: change.outcome.is_ok(),
            ..ResourceAck::default()
        });
        let removed = received.removed.iter().map(|(of_type, name)| ResourceAck {
            type_url: of_type.type_url().into(),
            name: name.clone(),
            removed: true,
            ..ResourceAck::default()
        });
        let said = Acknowledge { plan: self.plan, resources: changed.chain(removed).collect() };
        self.desk.send(FromProxy { say: Some(from_proxy::Say::Acknowledge(said)) }).await.unwrap();
        received
    }

    /// Takes in responses until it holds what is wanted.
    pub async fn until(&mut self, mut wanted: impl FnMut(&ClientSession) -> bool) {
        while !wanted(&self.session) {
            self.take().await;
        }
    }

    pub async fn say_readiness(&self, state: readiness::State) {
        let said = Readiness { state: state.into(), why: String::new() };
        self.desk.send(FromProxy { say: Some(from_proxy::Say::Readiness(said)) }).await.unwrap();
    }
}
