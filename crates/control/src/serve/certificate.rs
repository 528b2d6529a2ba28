//! Istio's certificate service: who may have a certificate, and for which identity.

use super::accept::Client;
use crate::authority::tokens::{Grant, TokenFault};
use crate::authority::{Authority, CertificateFault, Requested, requested};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::certificate::istio_certificate_service_server::IstioCertificateService;
use taut_wire::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use taut_wire::token::JoinToken;
use tonic::{Request, Response, Status};

/// What a workload runs as when nobody says.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

#[derive(Clone)]
pub struct CertificateService {
    pub authority: Arc<Authority>,
    pub world: World,
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    /// A client that shows a certificate of the mesh gets a new one for the same identity; one that shows a join token
    /// (`authorization: Bearer taut1.…`) gets its first. A token wins when both are there: the workload may have been moved.
    async fn create_certificate(&self, request: Request<IstioCertificateRequest>) -> Result<Response<IstioCertificateResponse>, Status> {
        let bearer = authorization(&request)?.and_then(|value| value.strip_prefix("Bearer "));
        let proven = request.extensions().get::<Client>().and_then(|client| client.identity.clone());
        let csr = &request.get_ref().csr;
        let asked = requested(csr).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        let identity = match (bearer, proven) {
            (Some(token), _) => self.redeem(token, &asked)?,
            (None, Some(identity)) => identity,
            (None, None) => {
                return Err(Status::unauthenticated(
                    "a certificate needs a join token (make one with `taut token`) or a certificate that is still valid",
                ));
            }
        };
        let seconds = u64::try_from(request.get_ref().validity_duration).unwrap_or(0);
        let lifetime = (seconds > 0).then(|| Duration::from_secs(seconds));
        let issued = self.authority.issue(csr, &identity, lifetime, self.world.wall()).map_err(|fault| match fault {
            CertificateFault::Reserved => Status::permission_denied(fault.to_string()),
            CertificateFault::Signing(_) => Status::internal(fault.to_string()),
            fault => Status::invalid_argument(fault.to_string()),
        })?;
        tracing::info!(%identity, until = %issued.not_after, by = if bearer.is_some() { "join token" } else { "renewal" }, "issued a certificate");
        Ok(Response::new(IstioCertificateResponse { cert_chain: issued.pem_chain() }))
    }
}

impl CertificateService {
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
        let granted = self.authority.tokens.redeem(&token.id, &token.secret, account, &asked.key, self.world.wall());
        let Grant { namespace, service_account } = granted.map_err(|fault| match fault {
            TokenFault::Reserved => Status::permission_denied(fault.to_string()),
            fault => Status::unauthenticated(fault.to_string()),
        })?;
        let account = service_account.as_deref().or(account).unwrap_or(DEFAULT_SERVICE_ACCOUNT);
        let identity = Identity::new(self.authority.trust_domain(), namespace, account);
        // Whoever made the token may have written a namespace that is none.
        Identity::parse(&identity.to_string()).map_err(|fault| Status::invalid_argument(fault.to_string()))
    }
}

fn authorization<T>(request: &Request<T>) -> Result<Option<&str>, Status> {
    let value = request.metadata().get("authorization").map(|value| value.to_str());
    value.transpose().map_err(|_| Status::invalid_argument("the authorization metadata is not text"))
}
