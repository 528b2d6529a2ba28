//! The control plane's own certificate, where another CA signs for the mesh: asked for like everybody's, renewed at half of its life.

use super::{NotSigned, Trouble, Upstream};
use crate::authority::requested;
use crate::tls::Held;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls_pki_types::PrivateKeyDer;
use std::sync::Arc;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Upstream {
    /// Keeps what the listener for proxies shows. Until the first comes, nobody gets through there. Runs for ever.
    pub async fn keep_own(self: Arc<Self>, held: Held) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.own(&held).await {
                Ok(lifetime) => {
                    self.state.lock().own = None;
                    pause = FIRST_PAUSE;
                    tokio::time::sleep((lifetime / 2).max(Duration::from_secs(1))).await;
                }
                Err(why) => {
                    self.note_own(held.is_empty(), &why);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn note_own(&self, is_first: bool, why: &NotSigned) {
        let what = if is_first { "has no certificate yet, so proxies do not reach it" } else { "was not given a new certificate" };
        let (mut state, now) = (self.state.lock(), self.world.wall());
        let since = state.own.as_ref().map_or(now, |trouble| trouble.since);
        let text = format!("the control plane {what} (since {since:.0}): the upstream CA {} {why}", self.wanted.address);
        state.own = Some(Trouble { since, text });
    }

    /// A new certificate; for how long it is good.
    async fn own(&self, held: &Held) -> Result<Duration, NotSigned> {
        let broken =
            |error: &dyn std::fmt::Display| NotSigned::Refused(format!("was not asked: the control plane's own request cannot be made: {error}"));
        let identity = self.authority.control_identity();
        let pair = KeyPair::generate().map_err(|error| broken(&error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().map_err(|error| broken(&error))?)];
        let csr = params.serialize_request(&pair).and_then(|request| request.pem()).map_err(|error| broken(&error))?;
        let asked = requested(&csr).map_err(NotSigned::Request)?;
        let issued = self.obtain(&csr, &asked, &identity, None, true).await?;
        // The root comes along for workloads that know only its digest, from a join token.
        let chain = issued.chain.into_iter().chain([issued.root]).collect();
        held.put(chain, &PrivateKeyDer::from(pair)).map_err(|error| broken(&error))?;
        Ok(Duration::try_from(issued.not_after.duration_since(self.world.wall())).unwrap_or_default())
    }
}
