//! JWT-SVIDs (SPIFFE JWT-SVID): verified by the keys of the trust domain that they say they are of.

use super::jwt::Unverified;
use super::keys::Keys;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use taut_model::trust::TrustBundle;
use taut_plan::token::{Claim, Flaw};

/// SPIFFE-ID section 2.3.
const LONGEST_ID: usize = 2048;

/// A token that holds: whose it is, and what it says.
#[derive(Debug)]
pub struct Valid {
    pub spiffe_id: String,
    pub claims: Claim,
}

/// Why a token does not hold. Repeats nothing of it but names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotValid {
    Flaw(Flaw),
    /// Its `sub` is no SPIFFE id.
    Subject,
    /// Nobody has said what tokens of this trust domain are verified by.
    TrustDomain(String),
}

impl fmt::Display for NotValid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flaw(Flaw::Audience) => f.write_str("the token is meant for others: none of its audiences is the one that is asked about"),
            Self::Flaw(flaw) => f.write_str(flaw.describe()),
            Self::Subject => f.write_str("the token's subject (sub) is no SPIFFE id"),
            Self::TrustDomain(name) => write!(f, "no keys are known of the token's trust domain {name:?}: it is not federated with this mesh"),
        }
    }
}

impl From<Flaw> for NotValid {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// `now`: seconds since 1970.
///
/// # Errors
/// See [`NotValid`].
pub fn validate(token: &str, audience: &str, bundles: &BTreeMap<String, Arc<TrustBundle>>, now: f64) -> Result<Valid, NotValid> {
    let token = Unverified::read(token)?;
    let Some(Claim::Text(subject)) = token.claims.at(["sub"]) else { return Err(NotValid::Subject) };
    let trust_domain = trust_domain(subject).ok_or(NotValid::Subject)?;
    let keys = bundles.get(trust_domain).and_then(|bundle| Keys::read(&bundle.token_keys));
    let keys = keys.ok_or_else(|| NotValid::TrustDomain(trust_domain.to_owned()))?;
    if token.key.is_none() {
        return Err(Flaw::UnknownKey.into());
    }
    keys.verify(token.algorithm, token.key.as_deref(), token.signed, &token.signature)?;
    token.is_timely(now)?;
    if !token.is_for(audience) {
        return Err(Flaw::Audience.into());
    }
    Ok(Valid { spiffe_id: subject.clone(), claims: token.claims })
}

/// Of any SPIFFE id: those of other trust domains need not name a namespace and a service account (SPIFFE-ID section 2).
fn trust_domain(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("spiffe://").filter(|_| id.len() <= LONGEST_ID)?;
    let (domain, path) = rest.split_once('/')?;
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (!domain.is_empty() && domain.len() <= 255 && domain.chars().all(letter) && path.split('/').all(segment)).then_some(domain)
}
