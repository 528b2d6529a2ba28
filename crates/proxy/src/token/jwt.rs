//! One token (RFC 7515, RFC 7519): its three parts read, its times and its audience held against a rule. Its signature is checked in
//! `keys`.

use super::json;
use super::keys::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use taut_model::policy::TokenRule;
use taut_plan::token::{Claim, Flaw};

/// Longer ones are not read.
pub const LONGEST: usize = 16 << 10;
/// How far clocks may differ, in seconds. Envoy's.
const LEEWAY: f64 = 60.0;

/// A token before anybody has vouched for it.
#[derive(Debug)]
pub struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub key: Option<String>,
    /// What was signed, and with what.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    /// The second part, as it came.
    pub payload: &'a str,
    pub claims: Claim,
    /// JWT-SVIDs need none.
    pub issuer: Option<String>,
    audiences: Vec<String>,
    /// Seconds since 1970.
    expires: f64,
    not_before: Option<f64>,
}

impl<'a> Unverified<'a> {
    pub fn read(token: &'a str) -> Result<Self, Flaw> {
        if token.len() > LONGEST {
            return Err(Flaw::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Flaw::Malformed);
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Malformed);
        let header = object(json::read(&decode(header)?)?)?;
        // Before the signature is looked at: `none` has none.
        let algorithm = match header.at(["alg"]) {
            Some(Claim::Text(name)) => Algorithm::named(name).ok_or(Flaw::Algorithm)?,
            _ => return Err(Flaw::Malformed),
        };
        // RFC 7515 section 4.1.11: what is not understood must be refused, and nothing is.
        if matches!(&header, Claim::Object(all) if all.contains_key("crit")) {
            return Err(Flaw::Critical);
        }
        let key = optional_text(&header, "kid")?;
        let claims = object(json::read(&decode(payload)?)?)?;
        let signature = decode(signature)?;
        optional_text(&claims, "sub")?;
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed).as_bytes();
        Ok(Self {
            algorithm,
            key,
            signed,
            signature,
            payload,
            issuer: optional_text(&claims, "iss")?,
            audiences: audiences(&claims)?,
            expires: seconds(&claims, "exp")?.ok_or(Flaw::NoExpiry)?,
            not_before: seconds(&claims, "nbf")?,
            claims,
        })
    }

    /// Whether it is good at `now` (seconds since 1970).
    pub fn is_timely(&self, now: f64) -> Result<(), Flaw> {
        if self.not_before.is_some_and(|start| start > now + LEEWAY) {
            return Err(Flaw::NotYetValid);
        }
        if self.is_over(now) { Err(Flaw::Expired) } else { Ok(()) }
    }

    /// Whether it is meant for exactly this audience (JWT-SVID section 3.2).
    pub fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|one| one == audience)
    }

    /// Whether it is good at `now` (seconds since 1970) for the rule's audiences.
    pub fn check(&self, rule: &TokenRule, now: f64) -> Result<(), Flaw> {
        self.is_timely(now)?;
        // Envoy reads an audience with and without a slash at its end as one, and so do Google's.
        let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
        let meant = |wanted: &String| self.audiences.iter().any(|audience| same(audience, wanted));
        if rule.audiences.is_empty() || rule.audiences.iter().any(meant) { Ok(()) } else { Err(Flaw::Audience) }
    }

    pub fn is_over(&self, now: f64) -> bool {
        now >= self.good_until()
    }

    pub fn good_until(&self) -> f64 {
        self.expires + LEEWAY
    }
}

fn object(value: Claim) -> Result<Claim, Flaw> {
    if matches!(value, Claim::Object(_)) { Ok(value) } else { Err(Flaw::Malformed) }
}

fn optional_text(all: &Claim, name: &str) -> Result<Option<String>, Flaw> {
    match all.at([name]) {
        None => Ok(None),
        Some(Claim::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Flaw::Malformed),
    }
}

fn audiences(claims: &Claim) -> Result<Vec<String>, Flaw> {
    let text = |one: &Claim| match one {
        Claim::Text(text) => Ok(text.clone()),
        _ => Err(Flaw::Malformed),
    };
    match claims.at(["aud"]) {
        None => Ok(Vec::new()),
        Some(Claim::List(all)) => all.iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

/// RFC 7519 section 2, NumericDate.
fn seconds(claims: &Claim, name: &str) -> Result<Option<f64>, Flaw> {
    match claims.at([name]) {
        None => Ok(None),
        Some(Claim::Number(text)) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Some).ok_or(Flaw::Malformed),
        Some(_) => Err(Flaw::Malformed),
    }
}
