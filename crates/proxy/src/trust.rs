//! By what this proxy checks its peers' certificates: the bundle that the control plane sent, read once.

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_model::settings::MeshSettings;
use taut_model::trust::{Revoked, TrustBundle, serial_text};

/// A bundle of which every root can be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Trust {
    pub roots: Vec<CertificateDer<'static>>,
    pub revoked: Arc<Revocations>,
    /// SHA-256 of the certificate that signs leaves now, if it is said.
    pub signer: Option<[u8; 32]>,
    pub federated: Arc<Federated>,
    /// The mesh's own trust domain.
    pub trust_domain: String,
    pub names: Arc<Names>,
}

/// Other trust domains whose members are believed, and the roots of each: nobody of one is vouched for by another's, nor by the mesh's own.
pub type Federated = BTreeMap<String, Vec<CertificateDer<'static>>>;

/// All that the mesh's own trust domain is called. A member is the same under each of them.
pub type Names = BTreeSet<String>;

impl Trust {
    /// # Errors
    /// What cannot be used, in a sentence for the control plane's operator.
    pub fn read(bundle: &TrustBundle) -> Result<Self, String> {
        let roots = roots(bundle)?;
        let revoked = Arc::new(Revocations { own: marks(&bundle.revoked), others: BTreeMap::new() });
        Ok(Self {
            roots,
            revoked,
            signer: bundle.signer.as_slice().try_into().ok(),
            federated: Arc::default(),
            trust_domain: bundle.trust_domain.clone(),
            names: Arc::default(),
        })
    }
}

/// Trust with what other trust domains' bundles say, under all names of the mesh: its own authority vouches for those that have no bundle of
/// their own. `revoked`: by trust domain, which speaks of its own certificates alone.
pub fn with_others<'a>(
    own: Trust,
    mut federated: Federated,
    revoked: impl Iterator<Item = (&'a String, &'a BTreeSet<Revoked>)>,
    settings: &MeshSettings,
) -> Trust {
    let others = revoked.map(|(domain, revoked)| (domain.clone(), marks(revoked))).collect();
    let own = Trust { revoked: Arc::new(Revocations { own: own.revoked.own.clone(), others }), ..own };
    let names: Names = settings.aliases.iter().map(|alias| alias.trust_domain.clone()).chain([own.trust_domain.clone()]).collect();
    let vouched = settings.aliases.iter().filter(|alias| !alias.federated).map(|alias| &alias.trust_domain);
    for name in vouched.chain([&own.trust_domain]) {
        federated.insert(name.clone(), own.roots.clone());
    }
    // Without another name, nothing is to be said that was not said before.
    if names.len() == 1 {
        federated.remove(&own.trust_domain);
        return Trust { federated: federated.into(), ..own };
    }
    Trust { federated: federated.into(), names: names.into(), ..own }
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

fn marks(revoked: &BTreeSet<Revoked>) -> HashSet<Mark> {
    revoked.iter().map(mark).collect()
}

/// The certificates that are not believed any more. No trust domain can revoke another one's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Of those that the mesh's own authority vouches for.
    own: HashSet<Mark>,
    /// Of those that have a bundle of their own.
    others: BTreeMap<String, HashSet<Mark>>,
}

impl Revocations {
    fn of_domain(&self, trust_domain: Option<&str>) -> &HashSet<Mark> {
        trust_domain.and_then(|domain| self.others.get(domain)).unwrap_or(&self.own)
    }

    pub fn holds(&self, shown: &Shown) -> bool {
        let revoked = self.of_domain(shown.trust_domain());
        !revoked.is_empty() && shown.marks.iter().any(|one| revoked.contains(one))
    }

    /// The serial number of a certificate by which somebody of this trust domain proves itself, if it is revoked.
    pub fn of(&self, trust_domain: &str, certificate: &webpki::Cert<'_>) -> Option<String> {
        let revoked = self.of_domain(Some(trust_domain));
        let revoked = !revoked.is_empty() && revoked.contains(&mark(&Revoked::new(certificate.issuer(), certificate.serial())));
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
