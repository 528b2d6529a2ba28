//! Who this proxy is: the certificate it holds now. Getting and renewing one is in `renewal.rs`.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use taut_model::identity::Identity;

/// A certificate, its key, and the roots that peers' certificates must end in.
pub struct HeldIdentity {
    /// Grows at each renewal or bundle change.
    pub serial: u64,
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<dyn rustls::sign::SigningKey>,
    pub roots: Vec<CertificateDer<'static>>,
    pub identity: Identity,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}
