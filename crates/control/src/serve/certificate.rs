//! Istio's certificate service: who may have a certificate, and for which identity.

use super::accept::Client;
use crate::authority::tokens::Grant;
use crate::authority::{Authority, CertificateFault, request_key};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_wire::certificate::istio_certificate_service_server::IstioCertificateService;
use taut_wire::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use taut_wire::token::JoinToken;
use tonic::{Request, Response, Status};

/// Metadata with which a workload names its service account, where its join token leaves that open.
pub const SERVICE_ACCOUNT_METADATA: &str = "taut-service-account";
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
        let bearer = text(&request, "authorization")?.and_then(|value| value.strip_prefix("Bearer "));
        let proven = request.extensions().get::<Client>().and_then(|client| client.identity.clone());
        let csr = &request.get_ref().csr;
        let key = request_key(csr).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        let identity = match (bearer, proven) {
            (Some(token), _) => self.redeem(token, text(&request, SERVICE_ACCOUNT_METADATA)?, &key)?,
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
            CertificateFault::Signing(_) => Status::internal(fault.to_string()),
            fault => Status::invalid_argument(fault.to_string()),
        })?;
        tracing::info!(%identity, until = %issued.not_after, by = if bearer.is_some() { "join token" } else { "renewal" }, "issued a certificate");
        Ok(Response::new(IstioCertificateResponse { cert_chain: issued.pem_chain() }))
    }
}

impl CertificateService {
    fn redeem(&self, token: &str, account: Option<&str>, key: &[u8; 32]) -> Result<Identity, Status> {
        let token = JoinToken::parse(token).map_err(|fault| Status::unauthenticated(fault.to_string()))?;
        let now = self.world.wall();
        let granted = self.authority.tokens.redeem(&token.id, &token.secret, account, key, now);
        let Grant { namespace, service_account } = granted.map_err(|fault| Status::unauthenticated(fault.to_string()))?;
        let account = service_account.as_deref().or(account).unwrap_or(DEFAULT_SERVICE_ACCOUNT);
        let identity = Identity::new(self.authority.trust_domain(), namespace, account);
        // The account's name comes from the client where the token leaves it open.
        Identity::parse(&identity.to_string()).map_err(|fault| Status::invalid_argument(fault.to_string()))
    }
}

/// One metadata value as text.
fn text<'a, T>(request: &'a Request<T>, name: &str) -> Result<Option<&'a str>, Status> {
    let value = request.metadata().get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| Status::invalid_argument(format!("metadata {name:?} is not text")))
}
