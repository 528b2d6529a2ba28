//! Gets the first certificate and renews it at half its life, for as long as the proxy runs. Keys are made here and never
//! leave; a failed renewal keeps the certificate that is held until it expires.

mod issued;
#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use crate::current::Current;
use crate::identity::HeldIdentity;
use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use zeroize::{Zeroize, Zeroizing};

/// Asked of the control plane; it may give less.
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest nap: wall clocks jump, and machines sleep.
const NAP: Duration = Duration::from_secs(60);
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Proxies of one mesh that all need new certificates ask over this time, not all at once.
const SPREAD: Duration = Duration::from_secs(2);

/// Signs requests. It knows how to prove who asks; the caller does not.
pub trait Signer {
    /// `request`: a PEM certificate request. Gives PEM certificates: the leaf, intermediates, the root last.
    fn sign(&self, request: &str, lifetime: Duration) -> impl Future<Output = Result<Vec<String>, Refused>>;
}

/// Why there is no certificate. Tried again in every case: a new token or a healed clock may let the next try through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a certificate is kept that is renewed.
pub trait Holder {
    fn held(&self) -> Option<Arc<HeldIdentity>>;
    /// `key`: PKCS #8.
    fn take(&self, held: Arc<HeldIdentity>, key: Zeroizing<Vec<u8>>);
}

impl Holder for Current {
    fn held(&self) -> Option<Arc<HeldIdentity>> {
        self.identity()
    }

    fn take(&self, held: Arc<HeldIdentity>, _: Zeroizing<Vec<u8>>) {
        self.hold(held);
    }
}

/// Keeps the proxy's own certificate. Runs for ever.
pub async fn keep(world: &World, current: &Current, signer: &impl Signer) {
    keep_for(world, current, signer, current).await;
}

/// Keeps the certificate of `holder`, which is the proxy or the application beside it. Runs for ever.
pub async fn keep_for(world: &World, current: &Current, signer: &impl Signer, holder: &impl Holder) {
    let (mut serial, mut came, mut asked_of) = (0, None, None);
    loop {
        if let Some(held) = holder.held() {
            serial = held.serial;
            let mut dice = world.dice(SALT ^ serial);
            let from = came.unwrap_or(held.not_before);
            tokio::select! {
                biased;
                // Once for each: an authority that goes on signing with the other one is not asked without end.
                signs = current.superseded(|| holder.held(), asked_of.as_ref()) => {
                    asked_of = Some(signs);
                    tracing::info!("the authority signs with another certificate, or for another trust domain: asking for a new one");
                    tokio::time::sleep(SPREAD.mul_f64(dice.f64())).await;
                }
                () = nap_until(world, held.renew_at(from, &mut world.dice(SALT ^ serial))) => {}
            }
        }
        let (held, key) = obtain(world, current, signer, holder, serial + 1).await;
        came = Some(world.wall());
        tracing::info!(identity = %held.identity, not_after = %held.not_after, serial = held.serial, "holds a certificate");
        holder.take(Arc::new(held), key);
    }
}

/// One certificate for a new key, asked for once.
///
/// # Errors
/// The signer gave none that can be used.
pub async fn obtain_once(world: &World, current: &Current, signer: &impl Signer) -> Result<HeldIdentity, Refused> {
    let serial = current.identity().map_or(0, |held| held.serial) + 1;
    let mut request = Request::new(current)?;
    let mut signed = signer.sign(&request.text, LIFETIME).await;
    // A refusal may have told what the request has to say.
    if signed.is_err() && request.names(current)? {
        signed = signer.sign(&request.text, LIFETIME).await;
    }
    issued::accept(&signed?, &request, current, world.wall(), serial)
}

/// What an agent gave in the place of a control plane: for this workload, good now, with its own key.
///
/// # Errors
/// It cannot be used: why.
pub(crate) fn given(
    chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    roots: Vec<rustls_pki_types::CertificateDer<'static>>,
    key: &[u8],
    current: &Current,
    now: Timestamp,
) -> Result<HeldIdentity, Refused> {
    let serial = current.identity().map_or(0, |held| held.serial) + 1;
    issued::usable(chain, roots, key, current, now, serial)
}

/// Whose certificate it is, as what the authority sends is read.
pub(crate) fn identity_in(certificate: &rustls_pki_types::CertificateDer<'_>) -> Option<Identity> {
    issued::identity_in(certificate)
}

const SALT: u64 = 0x1d;

/// Tries until there is one. The key stays the same from try to try: a join token is good for one key.
async fn obtain(world: &World, current: &Current, signer: &impl Signer, holder: &impl Holder, serial: u64) -> (HeldIdentity, Zeroizing<Vec<u8>>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), world.dice(SALT.wrapping_add(serial)));
    let mut request: Option<Request> = None;
    let mut told: Option<(Duration, String)> = None;
    let mut renamed = false;
    loop {
        let tried = async {
            let request = match &mut request {
                Some(request) => {
                    request.names(current)?;
                    request
                }
                None => request.insert(Request::new(current)?),
            };
            let chain = signer.sign(&request.text, LIFETIME).await?;
            issued::accept(&chain, request, current, world.wall(), serial).map(|held| (held, request.key()))
        };
        match tried.await {
            Ok(obtained) => return obtained,
            // A refusal may have told what the request has to say: that is no trouble yet.
            Err(_) if !renamed && request.as_mut().is_some_and(|request| request.names(current).is_ok_and(|changed| changed)) => {
                renamed = true;
                continue;
            }
            Err(refused) => {
                let now = world.now();
                // The same trouble is told once, then every 30 s.
                if told.as_ref().is_none_or(|(at, why)| *why != refused.0 || now >= *at + TELL_EVERY) {
                    let held = holder.held().map_or("none yet".to_owned(), |held| format!("valid until {}", held.not_after));
                    tracing::warn!(certificate = %held, "no new certificate: {refused}; trying again");
                    told = Some((now, refused.0));
                }
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn nap_until(world: &World, until: Timestamp) {
    loop {
        let left = until.duration_since(world.wall());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(NAP)).await,
            _ => return,
        }
    }
}

impl HeldIdentity {
    /// Half of its life, give or take a tenth, so that proxies that started together do not ask together. The life begins when it
    /// comes: authorities date certificates back for clocks that are behind, which can be longer than a short life is.
    fn renew_at(&self, from: Timestamp, dice: &mut fastrand::Rng) -> Timestamp {
        let life = self.not_after.duration_since(from);
        let share = 0.45 + 0.1 * dice.f64();
        let after = SignedDuration::try_from_secs_f64(life.as_secs_f64() * share).unwrap_or(SignedDuration::ZERO);
        from.checked_add(after).unwrap_or(self.not_after)
    }
}

/// A fresh ECDSA P-256 key and the request for its certificate. The key is wiped from memory when this is dropped.
pub(super) struct Request {
    pub text: String,
    pair: KeyPair,
    /// The identity that is asked for; before the first certificate, its trust domain may be a guess.
    identity: Identity,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl Request {
    pub(super) fn new(current: &Current) -> Result<Self, Refused> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let identity = wished(current);
        let text = written(&identity, &pair)?;
        Ok(Self { text, pair, identity })
    }

    /// Writes the request again, for the same key, if more is known of the trust domain by now. Whether it was.
    pub(super) fn names(&mut self, current: &Current) -> Result<bool, Refused> {
        let identity = wished(current);
        let changed = identity != self.identity;
        if changed {
            (self.text, self.identity) = (written(&identity, &self.pair)?, identity);
        }
        Ok(changed)
    }

    /// PKCS #8, wiped when dropped.
    pub fn key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }
}

/// The authority takes names from what is proven; these say which service account a token is used for, and what another authority has to sign.
fn wished(current: &Current) -> Identity {
    let own = current.workload();
    let trust_domain = current.trust_domain().unwrap_or_else(|| "mesh.local".to_owned());
    Identity::new(trust_domain, &own.namespace, &own.service_account)
}

fn written(identity: &Identity, pair: &KeyPair) -> Result<String, Refused> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().map_err(failed)?)];
    params.serialize_request(pair).and_then(|request| request.pem()).map_err(failed)
}

fn failed(error: rcgen::Error) -> Refused {
    Refused(format!("no certificate request could be made: {error}; this is a fault of the program, please report it"))
}
