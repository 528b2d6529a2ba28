//! The control plane as a signer of certificates: reached with the certificate that is held, or else with the join token.

use crate::channel::Control;
use crate::current::Current;
use crate::identity::HeldIdentity;
use crate::renewal::{Refused, Signer};
use std::sync::Arc;
use std::time::Duration;
use taut_wire::certificate::IstioCertificateRequest;
use taut_wire::certificate::istio_certificate_service_client::IstioCertificateServiceClient;
use taut_wire::svid::SignTokenRequest;
use taut_wire::svid::svids_client::SvidsClient;
use taut_wire::token::JoinToken;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::MetadataValue;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Asks the control plane.
pub struct ControlSigner {
    pub control: Control,
    pub current: Arc<Current>,
    pub token: Option<JoinToken>,
}

/// A JWT-SVID, and when it ends in seconds since 1970.
pub struct Token {
    pub text: String,
    pub expires: i64,
}

impl ControlSigner {
    /// The certificate that proves who asks, while it is good.
    fn live(&self) -> Option<Arc<HeldIdentity>> {
        let now = self.control.world.wall();
        self.current.identity().filter(|held| now < held.not_after)
    }

    /// A JWT-SVID of this workload.
    ///
    /// # Errors
    /// There is no certificate that proves who asks, or no answer, or a refusal.
    pub async fn token(&self, audiences: Vec<String>) -> Result<Token, tonic::Status> {
        let live = self.live().ok_or_else(|| tonic::Status::unavailable("this workload has no valid certificate yet"))?;
        let asked = async {
            let channel = self.control.live(&live).await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            SvidsClient::new(channel).sign_token(SignTokenRequest { audiences }).await
        };
        let answer = timeout(ANSWER_LIMIT, asked).await;
        let answer = answer.map_err(|_| tonic::Status::unavailable("the control plane did not answer in 10 s"))??.into_inner();
        Ok(Token { text: answer.token, expires: answer.expires })
    }
}

impl Signer for ControlSigner {
    async fn sign(&self, request: &str, lifetime: Duration) -> Result<Vec<String>, Refused> {
        let validity_duration = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut message = Request::new(IstioCertificateRequest { csr: request.to_owned(), validity_duration, metadata: None });
        let now = self.control.world.wall();
        let live = self.live();
        let refused = |error: &dyn std::fmt::Display| Refused(error.to_string());
        let channel = match (&live, &self.token) {
            (Some(held), _) => self.control.live(held).await.map_err(|error| refused(&error))?,
            (None, Some(token)) => {
                let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.text().as_str()));
                let mut value = MetadataValue::try_from(bearer.as_str())
                    .map_err(|_| Refused("the join token cannot be sent: it holds odd characters".to_owned()))?;
                value.set_sensitive(true);
                message.metadata_mut().insert("authorization", value);
                self.control.joining(token.ca_pin).await.map_err(|error| refused(&error))?
            }
            (None, None) => {
                let why = "there is no valid certificate and no join token: make one with `taut token` and give it with --token-file or TAUT_TOKEN";
                return Err(Refused(why.to_owned()));
            }
        };
        let mut client = IstioCertificateServiceClient::new(channel);
        let answer = timeout(ANSWER_LIMIT, client.create_certificate(message)).await;
        let answer = answer.map_err(|_| Refused("the control plane did not answer the certificate request in 10 s".to_owned()))?;
        answer.map(|response| response.into_inner().cert_chain).map_err(|status| {
            let expired = self.token.as_ref().filter(|token| live.is_none() && token.expires <= now.as_second());
            let hint = expired.map_or("", |_| " (by this machine's clock the join token has expired)");
            Refused(format!("the control plane gave no certificate: {}{hint}", status.message()))
        })
    }
}
