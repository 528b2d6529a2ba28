//! JWT-SVIDs for proxies, which pass them on to their applications: each for the identity that its caller's certificate proves.

use super::accept::Client;
use super::issuance::Issuance;
use crate::authority::limits::Kind;
use crate::authority::{CertificateFault, Signed};
use serde_json::json;
use taut_model::identity::Identity;
use taut_wire::svid::svids_server::Svids;
use taut_wire::svid::{SignTokenRequest, SignTokenResponse};
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub struct SvidService(pub Issuance);

#[tonic::async_trait]
impl Svids for SvidService {
    async fn sign_token(&self, request: Request<SignTokenRequest>) -> Result<Response<SignTokenResponse>, Status> {
        let signed = self.sign(&request);
        let given = signed.as_ref().map(|(identity, signed)| {
            let about = json!({"id": signed.id, "audiences": request.get_ref().audiences, "expires": signed.expires.to_string()});
            (identity, about)
        });
        self.0.note(Kind::Token, request.extensions().get::<Client>(), given);
        let (_, Signed { token, expires, .. }) = signed?;
        Ok(Response::new(SignTokenResponse { token: token.to_string(), expires: expires.as_second() }))
    }
}

impl SvidService {
    fn sign(&self, request: &Request<SignTokenRequest>) -> Result<(Identity, Signed), Status> {
        self.0.signs_tokens()?;
        let proven = self.0.proven(request)?;
        let identity = proven.ok_or_else(|| Status::unauthenticated("a JWT-SVID needs a certificate of the mesh that is still valid"))?;
        self.0.room(Kind::Token, &identity)?;
        let signed = self.0.authority.sign_token(&identity, &request.get_ref().audiences, self.0.world.wall());
        let signed = signed.map_err(|fault| match fault {
            CertificateFault::Audience => Status::invalid_argument(fault.to_string()),
            CertificateFault::Signing(_) => Status::internal(fault.to_string()),
            fault => Status::permission_denied(fault.to_string()),
        })?;
        Ok((identity, signed))
    }
}
