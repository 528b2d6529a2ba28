//! The calls of the Workload API (SPIFFE Workload API section 5): who may make them, and what they are told, again whenever it changes.

use super::tokens::Tokens;
use super::{WorkloadApi, claims};
use crate::fault::{Fault, Kind};
use crate::token;
use crate::trace::new_id;
use futures_util::{Stream, stream};
use rustls_pki_types::CertificateDer;
use std::pin::Pin;
use std::sync::Arc;
use taut_observe::record::{ConnectionRecord, Edge, Party, Protocol, Reporter};
use taut_observe::text::{Moment, Text};
use taut_wire::workload_api::spiffe_workload_api_server::SpiffeWorkloadApi;
use taut_wire::workload_api::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
};
use tokio::sync::watch;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

/// Section 4.1: a call without it comes from somebody who was led here (a server-side request forgery).
const HEADER: &str = "workload.spiffe.io";
const SALT: u64 = 0x5f;

/// Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    api: WorkloadApi,
    tokens: Tokens,
}

type Told<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Told<X509svidResponse>;

    async fn fetch_x509svid(&self, request: Request<X509svidRequest>) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.attest(&request)?;
        self.0.api.application.want();
        Ok(Response::new(self.follow(Inner::x509)))
    }

    type FetchX509BundlesStream = Told<X509BundlesResponse>;

    async fn fetch_x509_bundles(&self, request: Request<X509BundlesRequest>) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.attest(&request)?;
        Ok(Response::new(self.follow(Inner::x509_bundles)))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        self.attest(&request)?;
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        self.0.token(audience, &spiffe_id).await.map(Response::new)
    }

    type FetchJWTBundlesStream = Told<JwtBundlesResponse>;

    async fn fetch_jwt_bundles(&self, request: Request<JwtBundlesRequest>) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.attest(&request)?;
        Ok(Response::new(self.follow(Inner::jwt_bundles)))
    }

    async fn validate_jwtsvid(&self, request: Request<ValidateJwtsvidRequest>) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        self.attest(&request)?;
        self.0.validate(request.get_ref()).map(Response::new)
    }
}

impl Service {
    pub fn new(api: WorkloadApi) -> Self {
        Self(Arc::new(Inner { api, tokens: Tokens::default() }))
    }

    /// Whether the caller is the application: the kernel says as which user it runs.
    fn attest<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if request.metadata().get(HEADER).is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument(format!("a call of the Workload API carries the metadata {HEADER}: true")));
        }
        let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        match caller.map(|caller| caller.uid()) {
            Some(user) if self.0.api.users.contains(&user) => Ok(()),
            user => {
                let user = user.map_or("nobody knows which".to_owned(), |user| user.to_string());
                let process = caller.and_then(|caller| caller.pid()).map_or(String::new(), |process| format!(", process {process}"));
                let why = format!("Workload API: user {user}{process} is not the application of this workload (--workload-api-uid names others)");
                self.0.record(&why);
                Err(Status::permission_denied(why))
            }
        }
    }

    /// What `look` finds, now and whenever it has changed.
    fn follow<T>(&self, look: fn(&Inner) -> Option<T>) -> Told<T>
    where
        T: PartialEq + Clone + Send + Sync + 'static,
    {
        let (service, changes) = (self.clone(), Changes::of(&self.0.api));
        Box::pin(stream::unfold((service, changes, None), move |(service, mut changes, last)| async move {
            loop {
                changes.see();
                if let Some(now) = look(&service.0).filter(|now| last.as_ref() != Some(now)) {
                    return Some((Ok(now.clone()), (service, changes, Some(now))));
                }
                changes.next().await?;
            }
        }))
    }
}

/// All that what is told depends on.
struct Changes {
    svid: watch::Receiver<Option<Arc<super::application::Svid>>>,
    renewed: watch::Receiver<u64>,
    pinned: watch::Receiver<u64>,
}

impl Changes {
    fn of(api: &WorkloadApi) -> Self {
        let current = &api.signer.current;
        Self { svid: api.application.svid(), renewed: current.renewed(), pinned: current.pinned() }
    }

    fn see(&mut self) {
        self.svid.mark_unchanged();
        self.renewed.mark_unchanged();
        self.pinned.mark_unchanged();
    }

    /// `None`: the proxy has ended.
    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            changed = self.svid.changed() => changed.ok(),
            changed = self.renewed.changed() => changed.ok(),
            changed = self.pinned.changed() => changed.ok(),
        }
    }
}

impl Inner {
    fn x509(&self) -> Option<X509svidResponse> {
        let svid = self.api.application.svid().borrow().clone().filter(|svid| self.api.world.wall() < svid.held.not_after)?;
        let own = self.api.signer.current.identity()?;
        let others = own.federated.iter().filter(|(domain, _)| **domain != own.identity.trust_domain);
        let of_others = others.map(|(domain, roots)| (bundle_name(domain), concatenated(roots)));
        let told = X509svid {
            spiffe_id: svid.held.identity.to_string(),
            x509_svid: concatenated(&svid.held.chain),
            x509_svid_key: svid.key.to_vec(),
            bundle: concatenated(&own.roots),
            hint: String::new(),
        };
        Some(X509svidResponse { svids: vec![told], crl: Vec::new(), federated_bundles: of_others.collect() })
    }

    fn x509_bundles(&self) -> Option<X509BundlesResponse> {
        let own = self.api.signer.current.identity()?;
        let all = own.federated.iter().chain([(&own.identity.trust_domain, &own.roots)]);
        let bundles = all.map(|(domain, roots)| (bundle_name(domain), concatenated(roots))).collect();
        Some(X509BundlesResponse { crl: Vec::new(), bundles })
    }

    fn jwt_bundles(&self) -> Option<JwtBundlesResponse> {
        let snapshot = self.api.signer.current.snapshot();
        let with_keys = snapshot.trust.iter().filter(|(_, bundle)| !bundle.token_keys.is_empty());
        let bundles: std::collections::BTreeMap<_, _> =
            with_keys.map(|(domain, bundle)| (bundle_name(domain), bundle.token_keys.clone().into_bytes())).collect();
        (!bundles.is_empty()).then_some(JwtBundlesResponse { bundles })
    }

    async fn token(&self, audiences: Vec<String>, wanted: &str) -> Result<JwtsvidResponse, Status> {
        if audiences.is_empty() {
            return Err(Status::invalid_argument("a JWT-SVID needs an audience: name whom it is for"));
        }
        let own = self.api.signer.current.identity().ok_or_else(|| Status::unavailable("this workload has no certificate yet"))?;
        let spiffe_id = own.identity.to_string();
        if !wanted.is_empty() && wanted != spiffe_id {
            return Err(Status::permission_denied(format!("this workload is {spiffe_id}, and not {wanted}")));
        }
        let now = || self.api.world.wall().as_second();
        let svid = match self.tokens.get(&audiences, now(), false) {
            Some(fresh) => fresh,
            None => match self.api.signer.token(audiences.clone()).await {
                Ok(token) => {
                    self.tokens.put(audiences, token.text.clone(), token.expires, now());
                    token.text
                }
                // The control plane is away: what is still good serves.
                Err(status) if status.code() == tonic::Code::Unavailable => self.tokens.get(&audiences, now(), true).ok_or(status)?,
                Err(status) => return Err(status),
            },
        };
        Ok(JwtsvidResponse { svids: vec![Jwtsvid { spiffe_id, svid, hint: String::new() }] })
    }

    fn validate(&self, asked: &ValidateJwtsvidRequest) -> Result<ValidateJwtsvidResponse, Status> {
        if asked.audience.is_empty() || asked.svid.is_empty() {
            return Err(Status::invalid_argument("to validate a JWT-SVID takes the token and the audience that it should be for"));
        }
        let (snapshot, now) = (self.api.signer.current.snapshot(), self.api.world.wall().as_duration().as_secs_f64());
        let valid = token::validate(&asked.svid, &asked.audience, &snapshot.trust, now);
        let valid = valid.map_err(|why| Status::invalid_argument(why.to_string()))?;
        Ok(ValidateJwtsvidResponse { spiffe_id: valid.spiffe_id, claims: claims::told(&valid.claims) })
    }

    fn record(&self, why: &str) {
        tracing::warn!("{why}");
        let failure = Fault::new(Kind::HandshakeFailed, why.to_owned()).as_record();
        let nobody = Text::default();
        let edge = Edge {
            reporter: Reporter::Destination,
            source: Party::nobody(),
            destination: Party::nobody(),
            service_host: nobody.clone(),
            service_name: nobody.clone(),
            service_namespace: nobody.clone(),
            mutual_tls: false,
            protocol: Protocol::Tcp,
        };
        let record = ConnectionRecord {
            edge,
            started: Moment(self.api.world.wall()),
            connection_id: new_id(&mut self.api.world.worker_dice(SALT)),
            failure: Some(failure),
            received_bytes: 0,
            sent_bytes: 0,
            duration_us: 0,
            endpoint: nobody,
            plan: 0,
            rule: None,
        };
        self.api.sink.connection(record, None);
    }
}

/// A trust domain as the keys of bundles name it.
fn bundle_name(trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}")
}

/// DER, one after another.
fn concatenated(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    certificates.iter().flat_map(|one| one.iter().copied()).collect()
}
