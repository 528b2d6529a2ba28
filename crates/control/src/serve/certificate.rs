//! Istio's certificate service: who may have a certificate, and for which identity.

use super::accept::Client;
use super::issuance::Issuance;
use crate::authority::limits::Kind;
use crate::authority::tokens::{Grant, TokenFault};
use crate::authority::{CertificateFault, Issued, Requested, requested, serial};
use crate::kubernetes::{Account, NotProven, Reviewer};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::certificate::istio_certificate_service_server::IstioCertificateService;
use taut_wire::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use taut_wire::istio::impersonated;
use taut_wire::token::{self, JoinToken};
use tonic::{Request, Response, Status};

/// What a workload runs as when nobody says.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

#[derive(Clone)]
pub struct CertificateService {
    pub issuance: Issuance,
    /// `None`: nobody vouches for the service accounts of a cluster.
    pub reviewer: Option<Arc<Reviewer>>,
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    /// A client that shows a certificate of the mesh gets a new one for the same identity; one that shows a join token
    /// (`authorization: Bearer taut1.…`) or its Kubernetes service account token gets its first. A token wins when both are there: the
    /// workload may have been moved.
    async fn create_certificate(&self, request: Request<IstioCertificateRequest>) -> Result<Response<IstioCertificateResponse>, Status> {
        let issued = self.issue(&request).await;
        let given = issued.as_ref().map(|given| {
            let about = json!({"serial": serial(&given.issued.chain[0]), "notAfter": given.issued.not_after.to_string(), "by": given.by});
            (&given.identity, about)
        });
        self.issuance.note(Kind::Certificate, request.extensions().get::<Client>(), given);
        issued.map(|given| Response::new(IstioCertificateResponse { cert_chain: given.issued.pem_chain() }))
    }
}

/// A certificate, for whom, and what proved them.
struct Given {
    identity: Identity,
    issued: Issued,
    by: &'static str,
}

impl CertificateService {
    async fn issue(&self, request: &Request<IstioCertificateRequest>) -> Result<Given, Status> {
        let message = request.get_ref();
        let asked = requested(&message.csr).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        let (identity, by) = self.asker(request, &asked).await?;
        if let Some(other) = impersonated(message).filter(|other| *other != identity.to_string()) {
            return Err(Status::permission_denied(format!(
                "{identity} asks for a certificate of {other}: nodes do not get certificates for their workloads here; let each workload ask for its own"
            )));
        }
        self.issuance.room(Kind::Certificate, &identity)?;
        let seconds = u64::try_from(message.validity_duration).unwrap_or(0);
        let lifetime = (seconds > 0).then(|| Duration::from_secs(seconds));
        let issued = self.issuance.authority.issue(&message.csr, &identity, lifetime, self.issuance.world.wall());
        let issued = issued.map_err(|fault| match fault {
            CertificateFault::Reserved => Status::permission_denied(fault.to_string()),
            CertificateFault::Signing(_) => Status::internal(fault.to_string()),
            fault => Status::invalid_argument(fault.to_string()),
        })?;
        tracing::info!(%identity, until = %issued.not_after, by, "issued a certificate");
        Ok(Given { identity, issued, by })
    }

    /// Who asks, and what proves it.
    async fn asker(&self, request: &Request<IstioCertificateRequest>, asked: &Requested) -> Result<(Identity, &'static str), Status> {
        match authorization(request)?.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(bearer) if bearer.starts_with(token::PREFIX) => Ok((self.redeem(bearer, asked)?, "join token")),
            Some(bearer) => match &self.reviewer {
                Some(reviewer) => Ok((self.reviewed(reviewer, bearer, asked).await?, "service account token")),
                None => Err(Status::unauthenticated(
                    "the bearer token is no join token (make one with `taut token`), and this control plane asks no Kubernetes API server (`taut up --kube-api`)",
                )),
            },
            None => {
                let identity = self.issuance.proven(request)?.ok_or_else(|| {
                    Status::unauthenticated("a certificate needs a join token (make one with `taut token`) or a certificate that is still valid")
                })?;
                only_for(&identity, asked)?;
                Ok((identity, "renewal"))
            }
        }
    }

    async fn reviewed(&self, reviewer: &Reviewer, bearer: &str, asked: &Requested) -> Result<Identity, Status> {
        let Account { namespace, name } = reviewer.account(bearer).await.map_err(|fault| match fault {
            NotProven::Unknown(why) => Status::unavailable(why),
            NotProven::Refused(why) => Status::unauthenticated(why),
        })?;
        let identity = Identity::new(self.issuance.authority.trust_domain(), namespace, name);
        only_for(&identity, asked)?;
        Identity::parse(&identity.to_string()).map_err(|fault| Status::invalid_argument(fault.to_string()))
    }

    /// The token says what is granted; what the request wishes for is looked at only where the token leaves it open.
    fn redeem(&self, token: &str, asked: &Requested) -> Result<Identity, Status> {
        let token = JoinToken::parse(token).map_err(|fault| Status::unauthenticated(fault.to_string()))?;
        if let Some(wish) = asked.wish.as_ref().filter(|wish| wish.namespace != token.namespace) {
            return Err(Status::permission_denied(format!(
                "the join token is for namespace {:?}, the workload is of {:?}; make one for its namespace with `taut token`",
                token.namespace, wish.namespace
            )));
        }
        let account = asked.wish.as_ref().map(|wish| wish.service_account.as_str());
        let authority = &self.issuance.authority;
        let granted = authority.tokens.redeem(&token.id, &token.secret, account, &asked.key, self.issuance.world.wall());
        let Grant { namespace, service_account } = granted.map_err(|fault| match fault {
            TokenFault::Reserved => Status::permission_denied(fault.to_string()),
            fault => Status::unauthenticated(fault.to_string()),
        })?;
        let account = service_account.as_deref().or(account).unwrap_or(DEFAULT_SERVICE_ACCOUNT);
        let identity = Identity::new(authority.trust_domain(), namespace, account);
        // Whoever made the token may have written a namespace that is none.
        Identity::parse(&identity.to_string()).map_err(|fault| Status::invalid_argument(fault.to_string()))
    }
}

/// Not the trust domain: a proxy that takes over from another does not know it before its first certificate.
fn only_for(identity: &Identity, asked: &Requested) -> Result<(), Status> {
    match &asked.wish {
        Some(wish) if wish.namespace != identity.namespace || wish.service_account != identity.service_account => {
            Err(Status::permission_denied(format!("what was shown proves {identity}, and the request is for {wish}")))
        }
        _ => Ok(()),
    }
}

fn authorization<T>(request: &Request<T>) -> Result<Option<&str>, Status> {
    let value = request.metadata().get("authorization").map(|value| value.to_str());
    value.transpose().map_err(|_| Status::invalid_argument("the authorization metadata is not text"))
}
