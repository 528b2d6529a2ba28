//! Join tokens: one-time secrets with which a workload gets its first certificate. Only hashes of the secrets are kept.
//!
//! A token is bound to the public key that first redeems it: the same key may redeem it again until it expires (the answer
//! was lost on the way), another key is refused. That keeps it one-time without locking out a client behind a bad network.

use super::CONTROL_ACCOUNT;
use super::chest::write_private;
use crate::fault::Fault;
use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use taut_model::policy::ROOT_NAMESPACE;
use zeroize::Zeroizing;

/// How long a token lives when nobody says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// Expired tokens are remembered this long, so that late comers are told so.
const REMEMBER: Duration = Duration::from_secs(3600);

/// What a token entitles to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub namespace: String,
    /// `None`: any service account of the namespace.
    pub service_account: Option<String>,
}

impl Grant {
    /// Whether it names the control plane's own identity, which nobody is granted.
    pub fn is_reserved(&self) -> bool {
        self.namespace == ROOT_NAMESPACE && self.service_account.as_deref() == Some(CONTROL_ACCOUNT)
    }
}

/// A new token: its public name and its secret, which is not kept.
pub struct Minted {
    pub id: String,
    pub secret: Zeroizing<[u8; 32]>,
    pub expires: Timestamp,
}

/// Why a token was refused. Whether it is expired or used is told only to those who know its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    Unknown,
    WrongSecret,
    Expired {
        at: Timestamp,
    },
    Used,
    OtherServiceAccount {
        granted: String,
    },
    /// It would be for the control plane's own identity.
    Reserved,
    /// The redemption could not be written down, so it did not happen.
    NotKept,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "the join token is not known to this control plane; make a new one with `taut token`"),
            Self::WrongSecret => write!(f, "the join token is wrong (its secret does not match); copy it again or make a new one with `taut token`"),
            Self::Expired { at } => write!(f, "the join token expired at {at}; make a new one with `taut token`"),
            Self::Used => write!(f, "the join token was already used by another workload; make one per workload with `taut token`"),
            Self::OtherServiceAccount { granted } => {
                write!(f, "the join token is for service account {granted:?}; run as that one or make another token with `taut token`")
            }
            Self::Reserved => write!(f, "service account {CONTROL_ACCOUNT:?} of {ROOT_NAMESPACE:?} is the control plane's own; run as another one"),
            Self::NotKept => write!(f, "the control plane could not write down that the join token was used; see its log"),
        }
    }
}
impl std::error::Error for TokenFault {}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// SHA-256 of the secret: 32 random bytes need no slow hash.
    hash: String,
    grant: Grant,
    /// Unix seconds.
    expires: i64,
    /// SHA-256 of the public key that redeemed it.
    used_by: Option<String>,
}

/// The tokens of one authority, kept in a file of mode 0600 when there is a state directory.
pub struct Tokens {
    path: Option<PathBuf>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Tokens {
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, Fault> {
        let kept = match &path {
            Some(file) => match std::fs::read(file) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                    Fault::new(format!("{} is damaged: {error}", file.display()), "Remove it; tokens that were not used yet must be made again")
                })?,
                Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
                Err(error) => return Err(Fault::new(format!("cannot read {}: {error}", file.display()), "Run as the user that owns it")),
            },
            None => BTreeMap::new(),
        };
        Ok(Self { path, kept: Mutex::new(kept) })
    }

    /// # Errors
    /// No entropy, or the token could not be kept.
    pub fn mint(&self, grant: Grant, lifetime: Duration, now: Timestamp) -> Result<Minted, Fault> {
        let id = random_text(9)?;
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).map_err(|_| no_entropy())?;
        let expires = now.checked_add(lifetime).map_err(|_| Fault::new("the token's lifetime is too long", "Ask for less"))?;
        let mut kept = self.kept.lock();
        kept.retain(|_, token| token.expires + REMEMBER.as_secs() as i64 > now.as_second());
        kept.insert(id.clone(), Kept { hash: hash(&*secret), grant, expires: expires.as_second(), used_by: None });
        self.write(&kept)?;
        Ok(Minted { id, secret, expires })
    }

    /// Uses a token up for the workload with this public key (SHA-256), running as `service_account` if it said so.
    ///
    /// # Errors
    /// See [`TokenFault`]; the token stays as it was.
    pub fn redeem(&self, id: &str, secret: &[u8; 32], service_account: Option<&str>, key: &[u8; 32], now: Timestamp) -> Result<Grant, TokenFault> {
        let mut kept = self.kept.lock();
        let token = kept.get_mut(id).ok_or(TokenFault::Unknown)?;
        if constant_time::verify_slices_are_equal(hash(secret).as_bytes(), token.hash.as_bytes()).is_err() {
            return Err(TokenFault::WrongSecret);
        }
        if token.expires <= now.as_second() {
            return Err(TokenFault::Expired { at: Timestamp::from_second(token.expires).unwrap_or(now) });
        }
        if let (Some(granted), Some(asked)) = (&token.grant.service_account, service_account)
            && granted != asked
        {
            return Err(TokenFault::OtherServiceAccount { granted: granted.clone() });
        }
        // An open token leaves the account to the request, and a file of tokens may be older than this rule.
        let account = token.grant.service_account.as_deref().or(service_account).map(str::to_owned);
        if (Grant { namespace: token.grant.namespace.clone(), service_account: account }).is_reserved() {
            return Err(TokenFault::Reserved);
        }
        let key = URL_SAFE_NO_PAD.encode(key);
        let grant = token.grant.clone();
        match &token.used_by {
            Some(by) if *by == key => return Ok(grant),
            Some(_) => return Err(TokenFault::Used),
            None => token.used_by = Some(key),
        }
        if let Err(fault) = self.write(&kept) {
            tracing::error!(%fault, "a join token was not redeemed");
            if let Some(token) = kept.get_mut(id) {
                token.used_by = None;
            }
            return Err(TokenFault::NotKept);
        }
        Ok(grant)
    }

    fn write(&self, kept: &BTreeMap<String, Kept>) -> Result<(), Fault> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_vec_pretty(kept).map_err(|error| Fault::new(format!("tokens cannot be written: {error}"), "Please report it"))?;
        write_private(path, &text)
    }
}

fn hash(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret))
}

/// `bytes` random bytes as URL-safe text.
pub fn random_text(bytes: usize) -> Result<String, Fault> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    rand::fill(&mut random).map_err(|_| no_entropy())?;
    Ok(URL_SAFE_NO_PAD.encode(&*random))
}

fn no_entropy() -> Fault {
    Fault::new("the machine gave no entropy", "Check /dev/urandom")
}
