//! Istio's certificate service: who may have a certificate, and for which identity.

use super::accept::Client;
use crate::audit::Audit;
use crate::authority::tokens::{Grant, TokenFault};
use crate::authority::{Authority, CertificateFault, Issued, Requested, requested, serial};
use crate::world::World;
use parking_lot::Mutex;
use serde_json::json;
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
    pub audit: Audit,
    pub refusals: Refusals,
}

/// Refusals are noted once a second, with how many were not: anybody can be refused, and nobody is to push what matters out of the log by it.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<(Option<Duration>, u64)>>);

impl Refusals {
    fn say(&self, now: Duration) -> Option<u64> {
        let mut last = self.0.lock();
        if last.0.is_some_and(|last| now < last + Duration::from_secs(1)) {
            last.1 += 1;
            return None;
        }
        let (_, unsaid) = std::mem::replace(&mut *last, (Some(now), 0));
        Some(unsaid)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    /// A client that shows a certificate of the mesh gets a new one for the same identity; one that shows a join token
    /// (`authorization: Bearer taut1.…`) gets its first. A token wins when both are there: the workload may have been moved.
    async fn create_certificate(&self, request: Request<IstioCertificateRequest>) -> Result<Response<IstioCertificateResponse>, Status> {
        let client = request.extensions().get::<Client>().cloned();
        let issued = self.issue(&request);
        let from = client.as_ref().map(|client| client.address.to_string());
        match &issued {
            Ok(given) => {
                let about =
                    json!({"serial": serial(&given.issued.chain[0]), "notAfter": given.issued.not_after.to_string(), "by": given.by, "from": from});
                self.audit.note(self.world.wall(), &given.identity.to_string(), "certificate.issued", about);
            }
            Err(status) => {
                let who = client.and_then(|client| client.identity).map(|identity| identity.to_string()).unwrap_or_default();
                tracing::warn!(from, who, why = status.message(), "a certificate was refused");
                if let Some(unsaid) = self.refusals.say(self.world.now()) {
                    let about = json!({"why": status.message(), "from": from, "unsaid": unsaid});
                    self.audit.note(self.world.wall(), &who, "certificate.refused", about);
                }
            }
        }
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
    fn issue(&self, request: &Request<IstioCertificateRequest>) -> Result<Given, Status> {
        let bearer = authorization(request)?.and_then(|value| value.strip_prefix("Bearer "));
        let proven = request.extensions().get::<Client>().and_then(|client| client.identity.clone());
        let csr = &request.get_ref().csr;
        let asked = requested(csr).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
        let identity = match (bearer, proven) {
            (Some(token), _) => self.redeem(token, &asked)?,
            (None, Some(identity)) => {
                self.unrevoked(request)?;
                match asked.wish {
                    // Not the trust domain: a proxy that takes over from another does not know it before its first certificate.
                    Some(wish) if wish.namespace != identity.namespace || wish.service_account != identity.service_account => {
                        return Err(Status::permission_denied(format!("the certificate proves {identity}, and the request is for {wish}")));
                    }
                    _ => identity,
                }
            }
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
        let by = if bearer.is_some() { "join token" } else { "renewal" };
        tracing::info!(%identity, until = %issued.not_after, by, "issued a certificate");
        Ok(Given { identity, issued, by })
    }

    /// A connection may have been opened before the certificate that proves it was revoked.
    fn unrevoked<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let leaf = request.extensions().get::<Client>().and_then(|client| client.leaf.clone());
        match leaf.is_some_and(|leaf| self.authority.standing().is_revoked(std::slice::from_ref(&*leaf))) {
            true => Err(Status::permission_denied("the certificate is revoked: join again with a new token (`taut token`)")),
            false => Ok(()),
        }
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
