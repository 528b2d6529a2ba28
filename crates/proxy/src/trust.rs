//! By what this proxy checks its peers' certificates: the bundle that the control plane sent, read once.

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::trust::{Revoked, TrustBundle, serial_text};

/// A bundle of which every root can be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Trust {
    pub roots: Vec<CertificateDer<'static>>,
    pub revoked: Arc<Revocations>,
    /// SHA-256 of the certificate that signs leaves now, if it is said.
    pub signer: Option<[u8; 32]>,
    pub federated: Arc<Federated>,
}

/// Other trust domains whose members are believed, and the roots of each: nobody of one is vouched for by another's, nor by the mesh's own.
pub type Federated = BTreeMap<String, Vec<CertificateDer<'static>>>;

impl Trust {
    /// # Errors
    /// What cannot be used, in a sentence for the control plane's operator.
    pub fn read(bundle: &TrustBundle) -> Result<Self, String> {
        let roots = roots(bundle)?;
        let revoked = Arc::new(Revocations(bundle.revoked.iter().map(mark).collect()));
        Ok(Self { roots, revoked, signer: bundle.signer.as_slice().try_into().ok(), federated: Arc::default() })
    }
}

/// The roots of a bundle, every one of which can be used.
///
/// # Errors
/// As for [`Trust::read`].
pub fn roots(bundle: &TrustBundle) -> Result<Vec<CertificateDer<'static>>, String> {
    let roots: Vec<_> = bundle.roots.iter().map(|root| CertificateDer::from(root.clone())).collect();
    if roots.is_empty() {
        return Err("it holds no root: nobody could be believed".to_owned());
    }
    for (number, root) in roots.iter().enumerate() {
        webpki::anchor_from_trusted_cert(root).map_err(|error| format!("roots[{number}] cannot be used: {error}"))?;
    }
    Ok(roots)
}

/// A certificate's issuer and serial number in short: half of their SHA-256, since every peer's connection keeps some.
type Mark = [u8; 16];

fn mark(one: &Revoked) -> Mark {
    let mut hashed = digest::Context::new(&digest::SHA256);
    hashed.update(&(one.issuer.len() as u64).to_be_bytes());
    hashed.update(&one.issuer);
    hashed.update(&one.serial);
    let mut mark = Mark::default();
    mark.copy_from_slice(&hashed.finish().as_ref()[..16]);
    mark
}

/// The certificates that are not believed any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revocations(HashSet<Mark>);

impl Revocations {
    pub fn holds(&self, shown: &Shown) -> bool {
        !self.0.is_empty() && shown.marks.iter().any(|one| self.0.contains(one))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The serial number of a certificate, if it is revoked.
    pub fn of(&self, certificate: &webpki::Cert<'_>) -> Option<String> {
        let revoked = !self.0.is_empty() && self.0.contains(&mark(&Revoked::new(certificate.issuer(), certificate.serial())));
        revoked.then(|| serial_text(certificate.serial()))
    }
}

/// What a peer has shown of itself, as lists of revoked certificates name it. Kept for the connection's life, so that a later list can end it.
#[derive(Clone, Debug)]
pub struct Shown {
    marks: Box<[Mark]>,
    trust_domain: Option<String>,
}

impl Shown {
    /// The chain as it was sent; what of it cannot be read was not what proved the peer.
    pub fn of(chain: &[CertificateDer<'_>]) -> Self {
        let named = |certificate: &CertificateDer<'_>| {
            let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
            Some(mark(&Revoked::new(certificate.issuer(), certificate.serial())))
        };
        let leaf = chain.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
        let identity = leaf.and_then(|leaf| leaf.valid_uri_names().next().and_then(|uri| Identity::parse(uri).ok()));
        Self { marks: chain.iter().filter_map(named).collect(), trust_domain: identity.map(|identity| identity.trust_domain) }
    }

    /// The trust domain that the peer has proven to be of.
    pub fn trust_domain(&self) -> Option<&str> {
        self.trust_domain.as_deref()
    }
}
