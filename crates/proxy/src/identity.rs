//! Who this proxy is: the certificate it holds now. Getting and renewing one is in `renewal.rs`.

use crate::trust::{Federated, Names, Revocations, Shown};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::problem::Severity;
use taut_model::trust::{CLOCK_SKEW, LEAF_NOTICE, near_end};

/// A certificate, its key, the roots that peers' certificates must end in, and those that are revoked.
#[derive(Clone)]
pub struct HeldIdentity {
    /// Grows at each renewal or bundle change.
    pub serial: u64,
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<dyn rustls::sign::SigningKey>,
    pub roots: Vec<CertificateDer<'static>>,
    pub revoked: Arc<Revocations>,
    pub federated: Arc<Federated>,
    /// Empty: there is no name but the one of `identity`.
    pub names: Arc<Names>,
    pub identity: Identity,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl HeldIdentity {
    /// How bad it is that the certificate was not renewed yet; `None` while there is time.
    pub fn alarm(&self, now: Timestamp) -> Option<Severity> {
        let span = |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
        near_end(span(self.not_before, self.not_after).saturating_sub(CLOCK_SKEW), span(now, self.not_after), LEAF_NOTICE)
    }

    /// Whether somebody of this trust domain, whom the mesh's own roots prove, is a member of the mesh.
    pub fn is_ours(&self, trust_domain: &str) -> bool {
        let of_own_roots = || self.federated.get(trust_domain).is_some_and(|roots| *roots == self.roots);
        trust_domain == self.identity.trust_domain || self.names.contains(trust_domain) && of_own_roots()
    }

    /// Whether a peer that was believed is not any more: what it has shown is revoked, or its trust domain has gone from the federation.
    pub fn disowns(&self, shown: &Shown) -> bool {
        let is_stranger = |domain: &str| domain != self.identity.trust_domain && !self.federated.contains_key(domain);
        self.revoked.holds(shown) || shown.trust_domain().is_some_and(is_stranger)
    }

    /// SHA-256 of the certificate that signed the leaf, if it came along.
    pub fn signer(&self) -> Option<[u8; 32]> {
        self.chain.get(1).map(fingerprint)
    }
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
