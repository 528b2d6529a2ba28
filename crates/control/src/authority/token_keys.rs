//! The keys that sign JWT-SVIDs (SPIFFE JWT-SVID, section 3): one that signs, the next one, which verifiers know long before it does, and
//! those of which tokens may still be about. What a token says is decided here; who may have one is `serve/svid`'s.

use super::chest::Chest;
use super::{Authority, CertificateFault, cannot, random_text};
use crate::fault::Fault;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use zeroize::{Zeroize, Zeroizing};

/// How long a token is good.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// How long a key signs. Its successor is published all that time.
const TURN: Duration = Duration::from_secs(7 * 24 * 3600);
/// A key that signs no more is published until nobody's clock takes its last token for good.
const AFTERWARDS: Duration = Duration::from_secs(3600);
const NOTE: &str = "token-keys.json";
const MOST_AUDIENCES: usize = 16;
const LONGEST_AUDIENCE: usize = 2048;

/// All keys of one moment.
#[derive(Clone)]
pub struct TokenKeys {
    signing: Arc<Key>,
    next: Arc<Key>,
    gone: Vec<Gone>,
    /// When `signing` began to.
    since: Timestamp,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// A key that signs no more.
#[derive(Clone, Serialize, Deserialize)]
struct Gone {
    jwk: Value,
    until: Timestamp,
}

/// As it lies on disk.
#[derive(Serialize, Deserialize)]
struct Note {
    since: Timestamp,
    signing: String,
    next: String,
    gone: Vec<Gone>,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.signing.zeroize();
        self.next.zeroize();
    }
}

impl Key {
    fn generate() -> Result<Self, Fault> {
        let failed = || cannot("generate a key for tokens", &"no entropy");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(|_| failed())?;
        Self::read(Zeroizing::new(document.as_ref().to_vec())).ok_or_else(failed)
    }

    fn read(pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        Some(Self { id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]), pair, pkcs8 })
    }

    /// RFC 7517 with the `use` of SPIFFE Trust Domain and Bundle, section 4.2.2.
    fn jwk(&self) -> Value {
        // 4, x, y (SEC 1 section 2.3.3).
        let point = self.pair.public_key().as_ref();
        let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "jwt-svid", "alg": "ES256", "x": coordinate(1), "y": coordinate(33)})
    }

    fn kept(&self) -> String {
        URL_SAFE_NO_PAD.encode(&*self.pkcs8)
    }
}

impl TokenKeys {
    /// What is kept, or new ones, which are kept from then on.
    ///
    /// # Errors
    /// The file is damaged or cannot be read or written; no entropy.
    pub(super) fn open(chest: Option<&Chest>, now: Timestamp) -> Result<Self, Fault> {
        if let Some(note) = chest.map(|chest| chest.note(NOTE)).transpose()?.flatten() {
            return Self::read(&note).ok_or_else(|| {
                Fault::new(format!("ca/{NOTE} is damaged"), "Remove it to have new keys made; tokens of the old ones are good no more")
            });
        }
        let made = Self { signing: Arc::new(Key::generate()?), next: Arc::new(Key::generate()?), gone: Vec::new(), since: now };
        made.keep(chest)?;
        Ok(made)
    }

    fn read(note: &[u8]) -> Option<Self> {
        let mut note: Note = serde_json::from_slice(note).ok()?;
        let key = |text: &str| Some(Arc::new(Key::read(Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?))?));
        Some(Self { signing: key(&note.signing)?, next: key(&note.next)?, gone: std::mem::take(&mut note.gone), since: note.since })
    }

    fn keep(&self, chest: Option<&Chest>) -> Result<(), Fault> {
        let Some(chest) = chest else { return Ok(()) };
        let note = Note { since: self.since, signing: self.signing.kept(), next: self.next.kept(), gone: self.gone.clone() };
        let text = Zeroizing::new(serde_json::to_vec(&note).map_err(|error| cannot("write down the keys of tokens", &error))?);
        chest.store_note(NOTE, Some(&text))
    }

    /// The next key signs, and there is a new next one.
    fn turned(&self, now: Timestamp) -> Result<Self, Fault> {
        let until = now.checked_add(AFTERWARDS).unwrap_or(Timestamp::MAX);
        let gone = self.gone.iter().cloned().chain([Gone { jwk: self.signing.jwk(), until }]).collect();
        Ok(Self { signing: self.next.clone(), next: Arc::new(Key::generate()?), gone, since: now })
    }

    /// Where time has brought a change.
    fn due(&self, now: Timestamp) -> Result<Option<Self>, Fault> {
        let old = self.since.checked_add(TURN).is_ok_and(|end| end <= now);
        let over = self.gone.iter().any(|gone| gone.until <= now);
        if !old && !over {
            return Ok(None);
        }
        let mut next = if old { self.turned(now)? } else { self.clone() };
        next.gone.retain(|gone| gone.until > now);
        Ok(Some(next))
    }

    /// What tokens are verified with: a JSON Web Key Set.
    pub fn published(&self) -> String {
        let live = [self.signing.jwk(), self.next.jwk()];
        let keys: Vec<Value> = live.into_iter().chain(self.gone.iter().map(|gone| gone.jwk.clone())).collect();
        json!({ "keys": keys }).to_string()
    }

    /// RFC 7515 section 3.1, ES256.
    fn sign(&self, claims: &Value) -> Result<String, CertificateFault> {
        let header = json!({"alg": "ES256", "kid": self.signing.id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        let signed = self.signing.pair.sign(&SystemRandom::new(), text.as_bytes());
        let signature = signed.map_err(|_| CertificateFault::Signing("no entropy".to_owned()))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// A token that was signed.
pub struct Signed {
    pub token: Zeroizing<String>,
    /// Its number, as in its claim `jti`.
    pub id: String,
    pub expires: Timestamp,
}

impl Authority {
    /// Who tokens say has issued them.
    pub fn token_issuer(&self) -> String {
        format!("spiffe://{}", self.trust_domain())
    }

    /// A JWT-SVID of `identity` for these audiences.
    ///
    /// # Errors
    /// No audience, too many, or ones that are none; an identity of another trust domain, or the control plane's own.
    pub fn sign_token(&self, identity: &Identity, audiences: &[String], now: Timestamp) -> Result<Signed, CertificateFault> {
        self.may_have(identity)?;
        let is_one = |audience: &String| !audience.is_empty() && audience.len() <= LONGEST_AUDIENCE;
        if audiences.is_empty() || audiences.len() > MOST_AUDIENCES || !audiences.iter().all(is_one) {
            return Err(CertificateFault::Audience);
        }
        let expires = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let id = random_text(12).map_err(|fault| CertificateFault::Signing(fault.to_string()))?;
        let claims = json!({"iss": self.token_issuer(), "sub": identity.to_string(), "aud": audiences, "iat": now.as_second(),
            "exp": expires.as_second(), "jti": id});
        let token = Zeroizing::new(self.standing().token_keys.sign(&claims)?);
        Ok(Signed { token, id, expires })
    }

    /// Lets the keys of tokens change when it is time.
    ///
    /// # Errors
    /// A disk that cannot be written; no entropy.
    pub fn tend_token_keys(&self, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let due = self.standing().token_keys.due(now)?;
        due.map_or(Ok(()), |keys| self.put_token_keys(keys))
    }

    /// A key that nobody has seen yet is the next one, so that a rotation of the root leaves no key of before.
    pub(super) fn renew_next_token_key(&self) -> Result<(), Fault> {
        let keys = TokenKeys { next: Arc::new(Key::generate()?), ..(*self.standing().token_keys).clone() };
        self.put_token_keys(keys)
    }

    pub(super) fn turn_token_keys(&self, now: Timestamp) -> Result<(), Fault> {
        let keys = self.standing().token_keys.turned(now)?;
        self.put_token_keys(keys)
    }

    fn put_token_keys(&self, keys: TokenKeys) -> Result<(), Fault> {
        keys.keep(self.chest.as_ref())?;
        self.put(|standing| super::Standing { token_keys: Arc::new(keys), ..standing });
        Ok(())
    }
}
