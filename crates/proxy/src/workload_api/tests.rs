//! An application at its sidecar's socket, with a control plane that signs what it is asked for.

use super::*;
use crate::channel::Control;
use crate::current::Current;
use crate::fake::{FakeControl, Running};
use crate::identity::HeldIdentity;
use crate::options::OwnWorkload;
use crate::renewal::Holder;
use crate::signer::Proof;
use crate::tests::{Authority, run};
use crate::token::tests as tokens;
use crate::trust::Trust;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::path::{Path, PathBuf};
use taut_model::origin::Origin;
use taut_model::trust::TrustBundle;
use taut_observe::metrics::Registry;
use taut_plan::{Plan, Snapshot};
use taut_wire::token::JoinToken;
use taut_wire::workload_api::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use taut_wire::workload_api::{JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest, X509svidResponse};
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use zeroize::Zeroizing;

const OWN: &str = "spiffe://mesh.local/ns/default/sa/reviews";

type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;
type Client = SpiffeWorkloadApiClient<InterceptedService<Channel, Interceptor>>;

struct Sidecar {
    directory: tempfile::TempDir,
    current: Arc<Current>,
    control: FakeControl,
    application: Arc<Application>,
    sink: Sink,
    _running: Running,
}

pub fn workload() -> OwnWorkload {
    OwnWorkload {
        namespace: "default".to_owned(),
        name: "reviews-1".to_owned(),
        service_account: "reviews".to_owned(),
        labels: Default::default(),
        address: [127, 0, 0, 1].into(),
        ports: vec![],
        locality: String::new(),
    }
}

impl Sidecar {
    /// With a certificate; processes of `users` are its application.
    async fn start(users: Vec<u32>) -> Self {
        let (world, control) = (World::os(), FakeControl::new());
        let running = control.start(([127, 0, 0, 1], 0).into()).await;
        let (current, _) = Current::new(workload());
        let token = JoinToken::parse(&control.token(running.address)).unwrap();
        let control_at = Control { world: world.clone(), address: running.address.to_string().into() };
        let joining = ControlSigner { control: control_at.clone(), current: current.clone(), proof: Some(Proof::Token(token)) };
        current.hold(Arc::new(renewal::obtain_once(&world, &current, &joining).await.unwrap()));
        let sidecar = Self {
            directory: tempfile::tempdir().unwrap(),
            current: current.clone(),
            control,
            application: Arc::default(),
            sink: Sink::new(Arc::new(Registry::default()), None, 16),
            _running: running,
        };
        let mut socket = Socket::bind(&sidecar.place(), false).unwrap();
        socket.publish().unwrap();
        let (application, sink) = (sidecar.application.clone(), sidecar.sink.clone());
        let signer = Arc::new(ControlSigner { control: control_at, current, proof: None });
        tokio::task::spawn_local(WorkloadApi { world, signer, application, sink, users }.run(socket.listener()));
        sidecar
    }

    async fn ours() -> Self {
        Self::start(vec![crate::handover::own_user()]).await
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// What the control plane says of whom to believe.
    fn told(&self, bundles: &[(&str, &Authority, &str)]) {
        let bundle = |domain: &str, authority: &Authority, keys: &str| TrustBundle {
            origin: Origin::default(),
            trust_domain: domain.to_owned(),
            roots: vec![authority.root().to_vec()],
            signer: vec![],
            revoked: Default::default(),
            token_keys: keys.to_owned(),
        };
        let trust = bundles.iter().map(|(domain, authority, keys)| ((*domain).to_owned(), Arc::new(bundle(domain, authority, keys)))).collect();
        let snapshot = Snapshot { version: self.current.plan_version() + 1, trust, ..Snapshot::default() };
        let plan = Plan::compile(&snapshot);
        self.current.pin(Arc::new(snapshot), Arc::new(plan));
    }
}

fn known(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    Ok(request)
}

async fn client(place: &Path, says: Interceptor) -> Client {
    let place = place.to_owned();
    let connector = tower::service_fn(move |_| {
        let place = place.clone();
        async move { UnixStream::connect(place).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://workload").connect_with_connector(connector).await.unwrap();
    SpiffeWorkloadApiClient::with_interceptor(channel, says)
}

/// Its one certificate, and the bundle that it came with.
fn leaf(told: &X509svidResponse) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(told.svids.len(), 1);
    (told.svids[0].x509_svid.clone(), told.svids[0].bundle.clone())
}

#[test]
fn an_application_has_a_certificate_and_a_key_of_its_own_and_hears_of_changes() {
    run(async {
        let sidecar = Sidecar::ours().await;
        let asked = || sidecar.control.seen.lock().bearers.clone();
        assert_eq!(asked().len(), 1, "nobody has asked for the application's certificate yet");
        let mut client = client(&sidecar.place(), known).await;
        let mut svids = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
        let first = svids.message().await.unwrap().unwrap();
        let (certificate, bundle) = leaf(&first);
        assert_eq!(first.svids[0].spiffe_id, OWN);
        // By the proxy's live certificate, never by the join token.
        assert_eq!(asked().last(), Some(&None));
        let own = sidecar.current.identity().unwrap();
        let held = sidecar.application.svid().borrow().clone().unwrap();
        assert!(certificate.starts_with(&held.held.chain[0]) && held.held.chain[0] != own.chain[0], "a certificate of its own");
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(first.svids[0].x509_svid_key.as_slice().into());
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).unwrap();
        assert_ne!(key.public_key(), own.key.public_key(), "a key of its own");
        assert_eq!((key.public_key(), bundle), (held.held.key.public_key(), own.roots[0].to_vec()));
        // Another root is believed beside the one that signs, and so is another trust domain.
        let (next, west) = (Authority::new("mesh.local"), Authority::new("west.example"));
        let federated = Arc::new([("west.example".to_owned(), vec![west.root()])].into());
        let roots = vec![own.roots[0].clone(), next.root()];
        sidecar.current.trust(Arc::new(Trust {
            roots,
            revoked: Arc::default(),
            signer: None,
            federated,
            trust_domain: "mesh.local".to_owned(),
            names: Arc::default(),
        }));
        let second = svids.message().await.unwrap().unwrap();
        assert_eq!(leaf(&second), (certificate, [own.roots[0].to_vec(), next.root().to_vec()].concat()));
        assert_eq!(second.federated_bundles, [("spiffe://west.example".to_owned(), west.root().to_vec())].into());
        let mut bundles = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
        let bundles = bundles.message().await.unwrap().unwrap().bundles;
        assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://mesh.local", "spiffe://west.example"]);
        // A new certificate is told on the same stream; one that is over is not.
        let renewed = next.issue("reviews");
        sidecar.application.take(Arc::new(HeldIdentity { not_after: jiff::Timestamp::MIN, ..renewed.clone() }), Zeroizing::new(vec![1]));
        let chain = renewed.chain[0].to_vec();
        sidecar.application.take(Arc::new(renewed), Zeroizing::new(vec![2]));
        let third = svids.message().await.unwrap().unwrap();
        assert_eq!((leaf(&third).0, &third.svids[0].x509_svid_key), (chain, &vec![2]));
    });
}

#[test]
fn only_the_application_is_told_anything() {
    run(async {
        let unmarked: Interceptor = Ok;
        let sidecar = Sidecar::ours().await;
        let mut client = client(&sidecar.place(), unmarked).await;
        let refused = client.fetch_x509svid(X509svidRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let strangers = Sidecar::start(vec![crate::handover::own_user() + 1]).await;
        let mut client = super::tests::client(&strangers.place(), known).await;
        let codes = [
            client.fetch_x509svid(X509svidRequest {}).await.unwrap_err().code(),
            client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap_err().code(),
            client.fetch_jwtsvid(JwtsvidRequest { audience: vec!["a".to_owned()], ..Default::default() }).await.unwrap_err().code(),
            client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap_err().code(),
            client.validate_jwtsvid(ValidateJwtsvidRequest::default()).await.unwrap_err().code(),
        ];
        assert_eq!(codes, [Code::PermissionDenied; 5]);
        let records = strangers.sink.newest(16);
        assert_eq!(records.iter().filter(|record| record.to_json().to_string().contains("--workload-api-uid")).count(), 5);
    });
}

#[test]
fn tokens_are_asked_for_once_and_validated_by_the_bundles() {
    run(async {
        let sidecar = Sidecar::ours().await;
        let mut client = client(&sidecar.place(), known).await;
        let mut token = async |audience: &[&str], id: &str| {
            let audience = audience.iter().map(|&one| one.to_owned()).collect();
            client.fetch_jwtsvid(JwtsvidRequest { audience, spiffe_id: id.to_owned() }).await.map(|answer| answer.into_inner().svids.remove(0).svid)
        };
        assert_eq!(token(&[], "").await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(token(&["bank"], "spiffe://mesh.local/ns/default/sa/web").await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!((token(&["bank"], "").await.unwrap(), token(&["bank"], OWN).await.unwrap()), ("token 1".to_owned(), "token 1".to_owned()));
        assert_eq!(token(&["shop"], "").await.unwrap(), "token 2");
        assert_eq!(sidecar.control.seen.lock().audiences, [["bank"], ["shop"]]);

        let (mesh, west) = (tokens::Signer::new(), tokens::Signer::new());
        let authority = Authority::new("mesh.local");
        sidecar.told(&[("mesh.local", &authority, &mesh.keys()), ("west.example", &authority, &west.keys()), ("mute.example", &authority, "")]);
        let mut bundles = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner();
        let bundles = bundles.message().await.unwrap().unwrap().bundles;
        assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://mesh.local", "spiffe://west.example"]);
        let now = jiff::Timestamp::now().as_second();
        let say = |subject: &str, ends: i64| {
            json!({"sub": subject, "aud": ["bank", "shop"], "exp": now + ends, "deep": {"list": [1, true, null]}}).to_string()
        };
        let es = json!({"alg": "ES256", "kid": "p256"});
        let away = "spiffe://west.example/any/path";
        for (signer, header, payload, why) in [
            (&mesh, es.clone(), say(OWN, 60), ""),
            (&west, es.clone(), say(away, 60), ""),
            (&west, es.clone(), say(OWN, 60), "signature"),
            (&mesh, es.clone(), say(away, 60), "signature"),
            (&mesh, es.clone(), say("spiffe://mute.example/a", 60), "not federated"),
            (&mesh, es.clone(), say("spiffe://east.example/a", 60), "not federated"),
            (&mesh, es.clone(), say("alice", 60), "no SPIFFE id"),
            (&mesh, es.clone(), say("spiffe://mesh.local/../a", 60), "no SPIFFE id"),
            (&mesh, es.clone(), say(OWN, -120), "expired"),
            (&mesh, json!({"alg": "ES256"}), say(OWN, 60), "no key that the token names"),
            (&mesh, json!({"alg": "none", "kid": "p256"}), say(OWN, 60), "none"),
        ] {
            let asked = ValidateJwtsvidRequest { audience: "shop".to_owned(), svid: signer.token(&header, &payload) };
            match client.validate_jwtsvid(asked).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    assert!(why.is_empty() && payload.contains(&answer.spiffe_id), "{payload}: {answer:?}");
                    assert!(answer.claims.unwrap().fields.contains_key("deep"));
                }
                Err(refused) => {
                    assert_eq!(refused.code(), Code::InvalidArgument);
                    assert!(!why.is_empty() && refused.message().contains(why), "{header} {payload}: {refused}");
                }
            }
        }
        let elsewhere = ValidateJwtsvidRequest { audience: "ban".to_owned(), svid: mesh.token(&es, &say(OWN, 60)) };
        assert!(client.validate_jwtsvid(elsewhere).await.unwrap_err().message().contains("meant for others"));
    });
}

#[test]
fn a_socket_takes_the_place_of_one_that_is_dead_and_of_nothing_else() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("api.sock");
        std::fs::write(&place, "precious").unwrap();
        assert!(Socket::bind(&place, false).unwrap().publish().is_err());
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "precious");
        std::fs::remove_file(&place).unwrap();
        let mut first = Socket::bind(&place, false).unwrap();
        assert!(!Socket::is_taken(&place).await);
        first.publish().unwrap();
        assert!(Socket::is_taken(&place).await);
        drop(first);
        assert!(place.exists() && !Socket::is_taken(&place).await);
        Socket::bind(&place, true).unwrap().publish().unwrap();
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["api.sock"]);
    });
}
