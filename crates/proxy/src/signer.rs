//! The control plane as a signer of certificates: reached with the certificate that is held, or else with the join token.

use crate::channel::Control;
use crate::current::Current;
use crate::identity::HeldIdentity;
use crate::options::ServiceAccount;
use crate::renewal::{Refused, Signer};
use crate::tls::control::Anchor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use taut_wire::certificate::IstioCertificateRequest;
use taut_wire::certificate::istio_certificate_service_client::IstioCertificateServiceClient;
use taut_wire::istio::TRUST_DOMAIN;
use taut_wire::svid::SignTokenRequest;
use taut_wire::svid::svids_client::SvidsClient;
use taut_wire::token::JoinToken;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::MetadataValue;
use zeroize::Zeroizing;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Asks the control plane.
pub struct ControlSigner {
    pub control: Control,
    pub current: Arc<Current>,
    pub proof: Option<Proof>,
}

/// What proves a workload that holds no certificate yet.
#[derive(Clone)]
pub enum Proof {
    Token(JoinToken),
    ServiceAccount(ServiceAccount),
}

impl Proof {
    /// The token to show, and by what the control plane has to prove itself first. The kubelet renews a pod's token, so files are read each time.
    fn shown(&self) -> Result<(Zeroizing<String>, Anchor), Refused> {
        match self {
            Self::Token(token) => Ok((token.text(), Anchor::Pinned(token.ca_pin))),
            Self::ServiceAccount(ServiceAccount { token, roots }) => {
                let unreadable = |file: &Path, error: &dyn std::fmt::Display| Refused(format!("cannot read {}: {error}", file.display()));
                let text = std::fs::read_to_string(token).map_err(|error| unreadable(token, &error))?;
                let read = CertificateDer::pem_file_iter(roots).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let found = read.map_err(|error| unreadable(roots, &error))?;
                Ok((Zeroizing::new(text.trim().to_owned()), Anchor::Roots(found)))
            }
        }
    }
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
        let channel = match (&live, &self.proof) {
            (Some(held), _) => self.control.live(held).await.map_err(|error| refused(&error))?,
            (None, Some(proof)) => {
                let (text, anchor) = proof.shown()?;
                let bearer = Zeroizing::new(format!("Bearer {}", text.as_str()));
                let mut value =
                    MetadataValue::try_from(bearer.as_str()).map_err(|_| Refused("the token cannot be sent: it holds odd characters".to_owned()))?;
                value.set_sensitive(true);
                message.metadata_mut().insert("authorization", value);
                self.control.joining(anchor).await.map_err(|error| refused(&error))?
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
            if let Some(said) = status.metadata().get(TRUST_DOMAIN).and_then(|said| said.to_str().ok()) {
                self.current.hear_trust_domain(said);
            }
            let expired =
                self.proof.as_ref().filter(|proof| live.is_none() && matches!(proof, Proof::Token(token) if token.expires <= now.as_second()));
            let hint = expired.map_or("", |_| " (by this machine's clock the join token has expired)");
            Refused(format!("the control plane gave no certificate: {}{hint}", status.message()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeControl;
    use crate::tests::run;
    use crate::workload_api::tests::workload;
    use crate::world::World;
    use std::path::PathBuf;

    #[test]
    fn a_pod_shows_its_token_as_it_is_now_and_only_to_a_control_plane_of_the_roots_it_knows() {
        run(async {
            let (fake, stranger) = (FakeControl::new(), FakeControl::new());
            let running = fake.start(([127, 0, 0, 1], 0).into()).await;
            let directory = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str| {
                let path = directory.path().join(name);
                std::fs::write(&path, text).unwrap();
                path
            };
            let (token, ours) = (write("token", "one\n"), write("root.pem", &fake.root_pem()));
            let theirs = write("other.pem", &stranger.root_pem());
            let (current, _) = Current::new(workload());
            let signer = |roots: PathBuf| ControlSigner {
                control: Control { world: World::os(), address: running.address.to_string().into() },
                current: current.clone(),
                proof: Some(Proof::ServiceAccount(ServiceAccount { token: token.clone(), roots })),
            };
            let obtained = async |roots: PathBuf| crate::renewal::obtain_once(&World::os(), &current, &signer(roots)).await;
            assert!(obtained(ours.clone()).await.is_ok());
            write("token", "two");
            assert!(obtained(ours).await.is_ok());
            let refused = obtained(theirs).await.err().unwrap();
            assert!(refused.0.contains("does not lead to the trusted authority"), "{refused}");
            let missing = obtained(directory.path().join("none.pem")).await.err().unwrap();
            assert!(missing.0.contains("none.pem"), "{missing}");
            assert_eq!(fake.seen.lock().bearers, [Some("Bearer one".to_owned()), Some("Bearer two".to_owned())]);
        });
    }
}
