//! Istio's certificate service: who may have a certificate, and for which identity.

use super::accept::Client;
use super::issuance::Issuance;
use crate::authority::limits::Kind;
use crate::authority::tokens::{Grant, TokenFault};
use crate::authority::{Issued, Requested, requested, serial};
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
const JOIN_TOKEN: &str = "join token";

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
    by: String,
}

/// Who asks, and what proves it.
struct Asker {
    identity: Identity,
    by: &'static str,
    /// Where it was a service account token.
    account: Option<Account>,
}

impl CertificateService {
    async fn issue(&self, request: &Request<IstioCertificateRequest>) -> Result<Given, Status> {
        let message = request.get_ref();
        let asked = requested(&message.csr).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        let asker = self.asker(request, &asked).await?;
        let (identity, by) = match impersonated(message).filter(|other| *other != asker.identity.to_string()) {
            Some(other) => self.for_a_workload(&asker, other).await?,
            None => (asker.identity, asker.by.to_owned()),
        };
        // What a join token grants was compared with the wish when it was taken.
        if asker.by != JOIN_TOKEN {
            only_for(&identity, &asked)?;
        }
        self.issuance.room(Kind::Certificate, &identity)?;
        let seconds = u64::try_from(message.validity_duration).unwrap_or(0);
        let lifetime = (seconds > 0).then(|| Duration::from_secs(seconds));
        let issued = self.issuance.sign(&message.csr, &asked, &identity, lifetime).await?;
        tracing::info!(%identity, until = %issued.not_after, by, "issued a certificate");
        Ok(Given { identity, issued, by })
    }

    /// For whom a node's agent asks, if it may.
    async fn for_a_workload(&self, asker: &Asker, wanted: &str) -> Result<(Identity, String), Status> {
        let (Some(reviewer), Some(account)) = (&self.reviewer, &asker.account) else {
            return Err(Status::permission_denied(format!(
                "{} asks for a certificate of {wanted} by a {}: a node agent shows the service account token of its pod, which says where it runs",
                asker.identity, asker.by
            )));
        };
        let wanted = Identity::parse(wanted).map_err(|fault| Status::invalid_argument(format!("ImpersonatedIdentity: {fault}")))?;
        let node = reviewer.runs(account, &wanted).await.map_err(|fault| match fault {
            NotProven::Unknown(why) => Status::unavailable(why),
            NotProven::Refused(why) => Status::permission_denied(why),
        })?;
        Ok((wanted, format!("node agent {account} on {node}")))
    }

    async fn asker(&self, request: &Request<IstioCertificateRequest>, asked: &Requested) -> Result<Asker, Status> {
        match authorization(request)?.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(bearer) if bearer.starts_with(token::PREFIX) => Ok(Asker { identity: self.redeem(bearer, asked)?, by: JOIN_TOKEN, account: None }),
            Some(bearer) => match &self.reviewer {
                Some(reviewer) => self.reviewed(reviewer, bearer).await,
                None => Err(Status::unauthenticated(
                    "the bearer token is no join token (make one with `taut token`), and this control plane asks no Kubernetes API server (`taut up --kube-api`)",
                )),
            },
            None => {
                let identity = self.issuance.proven(request)?.ok_or_else(|| {
                    Status::unauthenticated("a certificate needs a join token (make one with `taut token`) or a certificate that is still valid")
                })?;
                Ok(Asker { identity, by: "renewal", account: None })
            }
        }
    }

    async fn reviewed(&self, reviewer: &Reviewer, bearer: &str) -> Result<Asker, Status> {
        let account = reviewer.account(bearer).await.map_err(|fault| match fault {
            NotProven::Unknown(why) => Status::unavailable(why),
            NotProven::Refused(why) => Status::unauthenticated(why),
        })?;
        let identity = Identity::new(self.issuance.authority.trust_domain(), &account.namespace, &account.name);
        let identity = Identity::parse(&identity.to_string()).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        Ok(Asker { identity, by: "service account token", account: Some(account) })
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
