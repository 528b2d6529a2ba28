//! What another CA sent, checked before anybody gets it: it is for whom it was asked for, for the key of the request, as long as was asked, and
//! leads to a root that the mesh believes. Anything else is refused by name.

use crate::authority::{Issued, Requested};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::fmt;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::trust::CLOCK_SKEW;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Certificates in an answer: no hierarchy is deeper.
const MOST: usize = 16;
/// What the two clocks may differ by, where the end of a certificate is looked at.
const TOLERANCE: Duration = Duration::from_secs(60);

/// What was asked for.
pub struct Asked<'a> {
    pub request: &'a Requested,
    pub identity: &'a Identity,
    pub lifetime: Duration,
}

/// What another CA may not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrue {
    Unreadable(String),
    TooMany(usize),
    OtherKey,
    /// What its subject alternative names are.
    OtherName(String),
    MaySign,
    /// The purpose that is missing.
    OtherPurpose(&'static str),
    NotYet(Timestamp),
    Over(Timestamp),
    TooLong {
        until: Timestamp,
        asked: Timestamp,
    },
    OtherRoot(String),
    Revoked,
}

impl fmt::Display for Untrue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "no certificate: {why}"),
            Self::TooMany(count) => write!(f, "{count} certificates, where a leaf and at most {} above it are expected", MOST - 1),
            Self::OtherKey => f.write_str("a certificate for another key than the one in the request"),
            Self::OtherName(names) => write!(f, "a certificate whose names are not exactly the identity that was asked for: {names}"),
            Self::MaySign => f.write_str("a certificate that may sign others"),
            Self::OtherPurpose(purpose) => write!(f, "a certificate that is not meant for {purpose}"),
            Self::NotYet(from) => write!(f, "a certificate that becomes valid only at {from}: compare the clocks"),
            Self::Over(until) => write!(f, "a certificate that expired at {until}: compare the clocks"),
            Self::TooLong { until, asked } => {
                write!(f, "a certificate until {until}, where {asked} was asked for: allow the CA shorter lives, or use a longer --leaf-lifetime")
            }
            Self::OtherRoot(why) => write!(f, "a certificate that does not lead to a root that the mesh trusts: {why}"),
            Self::Revoked => f.write_str("a certificate that is revoked"),
        }
    }
}

/// The leaf with what is between it and its root, and that root; nothing that does not belong to the way there.
///
/// # Errors
/// See [`Untrue`].
pub fn check(chain: &[String], asked: &Asked<'_>, roots: &[CertificateDer<'static>], now: Timestamp) -> Result<Issued, Untrue> {
    let sent = decoded(chain)?;
    let Some((leaf, rest)) = sent.split_first() else { return Err(Untrue::Unreadable("the answer is empty".to_owned())) };
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| Untrue::Unreadable(error.to_string()))?;
    if !asked.request.is_for(&parsed.public_key().subject_public_key.data) {
        return Err(Untrue::OtherKey);
    }
    named(&parsed, asked.identity)?;
    purposes(&parsed)?;
    let not_after = lives(&parsed, asked.lifetime, now)?;
    let (root, above) = way(leaf, rest, roots, now)?;
    Ok(Issued { chain: [leaf.clone()].into_iter().chain(above).collect(), root, not_after })
}

fn decoded(chain: &[String]) -> Result<Vec<CertificateDer<'static>>, Untrue> {
    // One entry may hold several certificates.
    let all = chain.iter().flat_map(|text| CertificateDer::pem_slice_iter(text.as_bytes()));
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| Untrue::Unreadable(format!("it is not PEM: {error:?}")))?;
    if all.len() > MOST { Err(Untrue::TooMany(all.len())) } else { Ok(all) }
}

fn named(leaf: &X509Certificate<'_>, wanted: &Identity) -> Result<(), Untrue> {
    let names = leaf.subject_alternative_name().map_err(|error| Untrue::Unreadable(error.to_string()))?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    match names {
        [GeneralName::URI(uri)] if *uri == wanted.to_string() => Ok(()),
        names => {
            let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
            Err(Untrue::OtherName(if shown.is_empty() { "there are none".to_owned() } else { shown.join(", ").chars().take(300).collect() }))
        }
    }
}

fn purposes(leaf: &X509Certificate<'_>) -> Result<(), Untrue> {
    let unreadable = |error: x509_parser::error::X509Error| Untrue::Unreadable(error.to_string());
    let usage = leaf.key_usage().map_err(unreadable)?;
    if leaf.is_ca() || usage.as_ref().is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err(Untrue::MaySign);
    }
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err(Untrue::OtherPurpose("digital signatures"));
    }
    let extended = leaf.extended_key_usage().map_err(unreadable)?;
    match extended.map(|extended| (extended.value.server_auth, extended.value.client_auth)) {
        Some((true, true)) => Ok(()),
        Some((false, _)) => Err(Untrue::OtherPurpose("servers (extended key usage serverAuth)")),
        Some((_, false)) => Err(Untrue::OtherPurpose("clients (extended key usage clientAuth)")),
        None => Err(Untrue::OtherPurpose("servers and clients: it has no extended key usage")),
    }
}

/// Until when.
fn lives(leaf: &X509Certificate<'_>, lifetime: Duration, now: Timestamp) -> Result<Timestamp, Untrue> {
    let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| Untrue::Unreadable(error.to_string()));
    let (from, until) = (at(leaf.validity().not_before.timestamp())?, at(leaf.validity().not_after.timestamp())?);
    let asked = now.checked_add(lifetime + TOLERANCE).unwrap_or(Timestamp::MAX);
    match () {
        () if from > now.checked_add(CLOCK_SKEW.min(TOLERANCE)).unwrap_or(now) => Err(Untrue::NotYet(from)),
        () if until <= now => Err(Untrue::Over(until)),
        () if until > asked => Err(Untrue::TooLong { until, asked }),
        () => Ok(until),
    }
}

/// The root that the leaf leads to, and what is between the two.
pub(crate) fn way(
    leaf: &CertificateDer<'static>,
    rest: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<(CertificateDer<'static>, Vec<CertificateDer<'static>>), Untrue> {
    let astray = |error: webpki::Error| Untrue::OtherRoot(error.to_string());
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(astray)?;
    let end = webpki::EndEntityCert::try_from(leaf).map_err(astray)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    let verified = |usage: webpki::KeyUsage| end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, rest, at, usage, None, None);
    verified(webpki::KeyUsage::client_auth()).map_err(astray)?;
    let path = verified(webpki::KeyUsage::server_auth()).map_err(astray)?;
    let place = anchors.iter().position(|anchor| anchor == path.anchor());
    let root = place.and_then(|place| roots.get(place)).ok_or_else(|| Untrue::OtherRoot("it ends nowhere".to_owned()))?;
    let above = path.intermediate_certificates().map(|certificate| certificate.der().into_owned()).collect();
    Ok((root.clone(), above))
}

#[cfg(test)]
mod tests;
