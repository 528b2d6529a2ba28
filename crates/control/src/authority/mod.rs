//! The certificate authority: an offline-able root, an online intermediate, and the leaves it issues to proven identities.
//!
//! It takes only the public key from a certificate request; names come from the identity that the caller has proven. A leaf
//! never outlives the intermediate. Who may ask is `serve/certificate`'s decision; join tokens are kept in [`tokens`].

mod chest;
mod foreign;
mod leaf;
pub mod limits;
mod plugged;
mod revoked;
mod rotation;
mod signer;
mod token_keys;
pub mod tokens;

pub use chest::{keep_private, private_directory, warn_if_shared, write_private};
pub use foreign::Foreign;
pub(crate) use leaf::pem;
pub use leaf::{CertificateFault, Issued, Requested, requested};
pub use revoked::Named;
pub use rotation::{Rotation, Stage};
pub use signer::{Signer, fingerprint, serial};
pub use token_keys::Signed;
pub use tokens::random_text;

use crate::crl::Lists;
use crate::fault::Fault;
use chest::{Chest, Shelf};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rcgen::{Issuer, KeyPair, PublicKeyData, SigningKey};
use rustls_pki_types::CertificateDer;
use signer::Names;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::policy::ROOT_NAMESPACE;
use taut_model::trust::{Revoked, TrustBundle};
use taut_wire::token::JoinToken;
use token_keys::TokenKeys;
use tokio::sync::watch;
use zeroize::Zeroize;

/// The service account of the control plane's own identity, in the root namespace. Proxies take whoever has it for the control
/// plane, so no token and no request gets it.
pub const CONTROL_ACCOUNT: &str = "taut-control";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// An intermediate with less life than this left is replaced, if the root's key is at hand.
const RENEW_INTERMEDIATE: Duration = Duration::from_secs(60 * 24 * 3600);

#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    pub trust_domain: String,
    /// The longest life of a leaf; a request may ask for less. 24 h by default.
    pub leaf_lifetime: Duration,
    pub limits: limits::IssuanceLimits,
}

impl AuthoritySettings {
    pub fn new(trust_domain: impl Into<String>) -> Self {
        Self { trust_domain: trust_domain.into(), leaf_lifetime: DAY, limits: Default::default() }
    }
}

/// Issues certificates for one trust domain. Safe to share between tasks; signing takes a fraction of a millisecond.
pub struct Authority {
    settings: AuthoritySettings,
    standing: RwLock<Arc<Standing>>,
    /// What proxies are told of it.
    bundle: watch::Sender<Arc<TrustBundle>>,
    chest: Option<Chest>,
    /// Without a state directory: keys of roots, by fingerprint.
    root_keys: Mutex<BTreeMap<[u8; 32], Arc<SecretKey>>>,
    /// Other names of the trust domain, whose members this authority vouches for as for its own.
    aliases: RwLock<Arc<BTreeSet<String>>>,
    /// Held by whoever changes what stands.
    steps: Mutex<()>,
    pub tokens: tokens::Tokens,
    pub limits: limits::Limits,
}

/// Who signs, whom to believe, and whom not any more: one consistent state of the authority.
#[derive(Clone)]
pub struct Standing {
    pub signing: Arc<Signer>,
    pub rotation: Option<Rotation>,
    /// What operators have revoked by name.
    pub named: Vec<Named>,
    /// What the files say that are followed.
    pub listed: Arc<BTreeMap<PathBuf, Lists>>,
    /// Who is believed in the place of what is signed here.
    pub foreign: Option<Arc<Foreign>>,
    token_keys: Arc<TokenKeys>,
    all_revoked: Arc<BTreeSet<Revoked>>,
}

impl Standing {
    fn new(signing: Arc<Signer>, token_keys: TokenKeys) -> Self {
        let (listed, all_revoked) = (Arc::default(), Arc::default());
        Self { signing, rotation: None, named: Vec::new(), listed, foreign: None, token_keys: Arc::new(token_keys), all_revoked }
    }

    /// The one that signs first.
    pub fn signers(&self) -> impl Iterator<Item = &Arc<Signer>> {
        [&self.signing].into_iter().chain(self.rotation.as_ref().map(Rotation::other))
    }

    /// All that the mesh believes, the one that is signed with first.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let own = self.foreign.is_none().then(|| self.own_roots());
        self.foreign.iter().flat_map(|foreign| &foreign.roots).chain(own.into_iter().flatten())
    }

    /// Those of what is signed here, by which the API's listeners are recognised whoever signs for the mesh.
    pub fn own_roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.signers().map(|signer| &signer.root)
    }

    fn revoked_now(&self) -> &BTreeSet<Revoked> {
        &self.all_revoked
    }

    fn bundle(&self, trust_domain: &str) -> TrustBundle {
        TrustBundle {
            origin: Origin::built_in("the mesh's authority"),
            trust_domain: trust_domain.to_owned(),
            roots: self.roots().map(|root| root.to_vec()).collect(),
            // Another authority may sign with any of its own.
            signer: if self.foreign.is_none() { self.signing.fingerprint().to_vec() } else { Vec::new() },
            revoked: self.revoked_now().clone(),
            token_keys: self.token_keys.published(),
        }
    }
}

/// A private key whose serialised form is wiped when dropped (the key itself is wiped by the cryptography library).
pub(crate) struct SecretKey(KeyPair);

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl SecretKey {
    /// A fresh ECDSA P-256 key.
    fn generate() -> Result<Self, Fault> {
        Ok(Self(KeyPair::generate().map_err(|error| cannot("generate a key", &error))?))
    }
}

fn cannot(what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("the authority cannot {what}: {error}"), "This is a fault of the program or of the machine's entropy; please report it")
}

/// What became of a plugged-in authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugged {
    /// It is the one that signs.
    InForce,
    /// Its root is another one than the mesh believes: it waits for `taut trust rotate`.
    OtherRoot,
    /// It is looked at again when the rotation is over.
    RotationUnderWay,
}

/// The signer on a shelf; `None` when there is none.
fn loaded(chest: &Chest, shelf: Shelf) -> Result<Option<Signer>, Fault> {
    let kept = chest.load(shelf)?;
    let (Some(root), Some((certificate, key))) = (kept.root, kept.intermediate) else { return Ok(None) };
    let signer = Signer::new(certificate, key, kept.above, root, &Names::own())?;
    Ok(Some(Signer { cross: kept.cross, ..signer }))
}

impl Authority {
    /// Loads what is in `state/ca`, creating what is absent: an operator's own intermediate is used when its files are there (`root.pem`,
    /// `intermediate.pem`, `intermediate.key`), and `root.key` may be kept elsewhere. `plugged`: the directory of a plugged-in authority, which
    /// a new mesh begins with. Without a state directory everything is kept in memory and dies with the process.
    ///
    /// # Errors
    /// Files that cannot be read or written, keys that do not belong to their certificates, an intermediate that is expired
    /// and cannot be renewed because the root's key is not there.
    pub fn open(state: Option<&Path>, plugged: Option<&Path>, settings: AuthoritySettings, now: Timestamp) -> Result<Self, Fault> {
        let chest = state.map(Chest::open).transpose()?;
        if let Some(chest) = &chest {
            rotation::finish_retiring(chest)?;
        }
        let kept = chest.as_ref().map(|chest| first(chest, &settings.trust_domain, now)).transpose()?.flatten();
        let mut made_key = None;
        let signing = match (kept, plugged) {
            (Some(signer), _) => signer,
            (None, Some(directory)) => {
                let signer = plugged::read(directory, &settings.trust_domain, now)?;
                chest.as_ref().map_or(Ok(()), |chest| chest.store(Shelf::Now, &signer, None))?;
                signer
            }
            (None, None) => {
                let (signer, root_key) = Signer::make_with_root(&settings.trust_domain, now)?;
                chest.as_ref().map_or(Ok(()), |chest| chest.store(Shelf::Now, &signer, Some(&root_key)))?;
                made_key = Some((signer.root.clone(), root_key));
                signer
            }
        };
        let tokens = tokens::Tokens::open(chest.as_ref().map(Chest::tokens_path))?;
        let standing = Standing::new(Arc::new(signing), TokenKeys::open(chest.as_ref(), now)?);
        let limits = limits::Limits::new(settings.limits);
        let bundle = watch::Sender::new(Arc::new(standing.bundle(&settings.trust_domain)));
        let (root_keys, aliases, steps) = (Mutex::default(), RwLock::default(), Mutex::default());
        let authority = Self { settings, standing: RwLock::new(Arc::new(standing)), bundle, chest, root_keys, aliases, steps, tokens, limits };
        if let Some((root, key)) = made_key {
            authority.remember_root_key(&root, key);
        }
        let named = revoked::read_note(&authority, now)?;
        authority.put(|standing| Standing { named, ..standing });
        authority.resume(now)?;
        authority.maintain(now)?;
        authority.check(now)?;
        Ok(authority)
    }

    /// Whether what it signs is believed.
    fn check(&self, now: Timestamp) -> Result<(), Fault> {
        let signing = self.standing().signing.clone();
        if signing.not_after <= now {
            return Err(Fault::new(
                format!("the intermediate certificate expired at {}", signing.not_after),
                "Put ca/root.key back so that a new one can be signed, or plug in a new ca/intermediate.pem and ca/intermediate.key",
            ));
        }
        signing.check(self.trust_domain(), &Names::own(), now)
    }

    pub fn standing(&self) -> Arc<Standing> {
        self.standing.read().clone()
    }

    /// What proxies are to be told; changes with every step of the authority.
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    fn put(&self, change: impl FnOnce(Standing) -> Standing) {
        let mut standing = self.standing.write();
        let mut next = change((**standing).clone());
        next.all_revoked = Arc::new(next.revoked());
        let bundle = Arc::new(next.bundle(&self.settings.trust_domain));
        *standing = Arc::new(next);
        drop(standing);
        self.bundle.send_if_modified(|now| {
            let changed = **now != *bundle;
            if changed {
                *now = bundle;
            }
            changed
        });
    }

    /// The key of a root, if it is at hand. It is read when it is needed and not kept in memory, so that it can be taken offline and put back.
    fn root_key(&self, root: &CertificateDer<'static>) -> Result<Option<Arc<SecretKey>>, Fault> {
        let Some(chest) = &self.chest else { return Ok(self.root_keys.lock().get(&signer::fingerprint(root)).cloned()) };
        for shelf in [Shelf::Now, Shelf::Next] {
            if let Some(key) = chest.root_key(shelf)?.filter(|key| belongs(root, key)) {
                return Ok(Some(Arc::new(key)));
            }
        }
        Ok(None)
    }

    /// Whether the key of the root that signs is where it can be used.
    pub fn has_root_key(&self) -> bool {
        self.root_key(&self.standing().signing.root).is_ok_and(|key| key.is_some())
    }

    /// With a state directory it is there.
    fn remember_root_key(&self, root: &CertificateDer<'static>, key: SecretKey) {
        if self.chest.is_none() {
            self.root_keys.lock().insert(signer::fingerprint(root), Arc::new(key));
        }
    }

    fn forget_root_key(&self, root: &CertificateDer<'static>) {
        self.root_keys.lock().remove(&signer::fingerprint(root));
    }

    /// Looks at a plugged-in authority again: a new intermediate of the same root signs from now on.
    ///
    /// # Errors
    /// The directory cannot be used as it is; what signed before goes on.
    pub fn take_plugged(&self, directory: &Path, now: Timestamp) -> Result<Plugged, Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        let found = plugged::read(directory, self.trust_domain(), now)?;
        match () {
            () if found.certificate == standing.signing.certificate => Ok(Plugged::InForce),
            () if standing.rotation.is_some() => Ok(Plugged::RotationUnderWay),
            () if found.root != standing.signing.root => Ok(Plugged::OtherRoot),
            () => {
                self.chest.as_ref().map_or(Ok(()), |chest| chest.store(Shelf::Now, &found, None))?;
                tracing::info!(directory = %directory.display(), until = %found.not_after, "took up a plugged-in intermediate");
                let signing = Arc::new(found);
                self.put(|standing| Standing { signing, ..standing });
                Ok(Plugged::InForce)
            }
        }
    }

    pub fn trust_domain(&self) -> &str {
        &self.settings.trust_domain
    }

    /// The other names of the trust domain are these from now on.
    pub fn go_by(&self, aliases: BTreeSet<String>) {
        *self.aliases.write() = Arc::new(aliases);
    }

    /// Whether somebody of this trust domain, whom our roots prove, is a member of the mesh.
    pub fn is_ours(&self, trust_domain: &str) -> bool {
        trust_domain == self.trust_domain() || self.aliases.read().contains(trust_domain)
    }

    /// The same member under the name that the trust domain has now.
    pub fn renamed(&self, identity: Identity) -> Identity {
        match self.is_ours(&identity.trust_domain) {
            true => Identity { trust_domain: self.trust_domain().to_owned(), ..identity },
            false => identity,
        }
    }

    pub fn leaf_lifetime(&self) -> Duration {
        self.settings.leaf_lifetime
    }

    /// The root that is signed with.
    pub fn root(&self) -> CertificateDer<'static> {
        let standing = self.standing();
        standing.roots().next().unwrap_or(&standing.signing.root).clone()
    }

    /// When the root itself ends; `None` if that cannot be read.
    pub fn root_not_after(&self) -> Option<Timestamp> {
        signer::validity("the root certificate", &self.root()).ok().map(|(_, until)| until)
    }

    /// All roots that the API's listeners may lead to.
    pub fn roots_pem(&self) -> String {
        self.standing().own_roots().map(|root| leaf::pem("CERTIFICATE", root)).collect()
    }

    /// The control plane's own identity.
    pub fn control_identity(&self) -> Identity {
        Identity::new(self.trust_domain(), ROOT_NAMESPACE, CONTROL_ACCOUNT)
    }

    /// A token that lets one workload join, once: what it is good for, where the control plane (`host:port`) is, and how to recognise it.
    ///
    /// # Errors
    /// The control plane's own identity is asked for; the token could not be made or kept.
    pub fn join_token(&self, control: &str, grant: tokens::Grant, lifetime: Duration, now: Timestamp) -> Result<(JoinToken, Timestamp), Fault> {
        if grant.is_reserved() {
            return Err(Fault::new(
                format!("{} is the control plane's own identity and no workload's", self.control_identity()),
                "Ask for a token for another service account",
            ));
        }
        let (namespace, service_account) = (grant.namespace.clone(), grant.service_account.clone());
        let minted = self.tokens.mint(grant, lifetime, now)?;
        let (expires, ca_pin) = (minted.expires.as_second(), self.root_digest());
        let token = JoinToken { control: control.to_owned(), ca_pin, namespace, service_account, expires, id: minted.id, secret: *minted.secret };
        Ok((token, minted.expires))
    }

    /// SHA-256 of the root certificate, with which join tokens let a workload recognise this mesh.
    pub fn root_digest(&self) -> [u8; 32] {
        signer::fingerprint(&self.root())
    }

    /// Replaces the intermediate when little of its life is left. Does nothing when the root's key is offline, or in a rotation, which
    /// brings a new one anyway.
    ///
    /// # Errors
    /// The new one could not be signed or kept.
    pub fn maintain(&self, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        let (signing, not_after) = (&standing.signing, standing.signing.not_after);
        let left = Duration::try_from(not_after.duration_since(now)).unwrap_or_default();
        if left > RENEW_INTERMEDIATE || standing.rotation.is_some() || !signing.above.is_empty() {
            return Ok(());
        }
        let Some(root_key) = self.root_key(&signing.root)? else {
            tracing::warn!(%not_after, "the intermediate certificate is near its end and the root's key is offline: plug in a new intermediate");
            return Ok(());
        };
        let renewed = Signer::make(&self.settings.trust_domain, Some((&signing.root, &root_key)), now)?;
        if let Some(chest) = &self.chest {
            chest.store(Shelf::Now, &renewed, None)?;
        }
        let signing = Arc::new(renewed);
        self.put(|standing| Standing { signing, ..standing });
        Ok(())
    }

    /// Signs a leaf for the public key of `request` (PEM). Its only name is `identity`; names in the request are ignored.
    /// `lifetime` is cut to the authority's own limit and to the life of the intermediate.
    ///
    /// # Errors
    /// A request that is no PEM certificate request, whose self-signature is wrong, or whose key is of another kind than
    /// ECDSA P-256 or P-384 or Ed25519; an identity of another trust domain, or the control plane's own.
    pub fn issue(&self, request: &str, identity: &Identity, lifetime: Option<Duration>, now: Timestamp) -> Result<Issued, CertificateFault> {
        self.may_have(identity)?;
        let standing = self.standing();
        if standing.foreign.is_some() {
            return Err(CertificateFault::Foreign);
        }
        let signer = &standing.signing;
        let lifetime = lifetime.unwrap_or(self.settings.leaf_lifetime).min(self.settings.leaf_lifetime);
        let validity = leaf::Validity::new(now, lifetime, signer.not_after);
        let issuer = Issuer::from_ca_cert_der(&signer.certificate, &signer.key).map_err(leaf::signing)?;
        let certificate = leaf::from_request(request, identity, validity, &issuer)?;
        let chain = [certificate].into_iter().chain(signer.chain()).collect();
        Ok(Issued { chain, root: signer.root.clone(), not_after: validity.not_after })
    }

    /// Whether anything is issued for an identity at all.
    ///
    /// # Errors
    /// It is of another trust domain, or the control plane's own.
    pub fn may_have(&self, identity: &Identity) -> Result<(), CertificateFault> {
        match () {
            () if identity.trust_domain != self.settings.trust_domain => {
                Err(CertificateFault::OtherTrustDomain { ours: self.settings.trust_domain.clone() })
            }
            () if *identity == self.control_identity() => Err(CertificateFault::Reserved),
            () => Ok(()),
        }
    }

    /// A certificate with a fresh key for the control plane's own listeners: the DNS names, the addresses and the identity.
    ///
    /// # Errors
    /// Key generation or signing failed.
    pub fn server(&self, identity: &Identity, names: &[&str], addresses: &[IpAddr], now: Timestamp) -> Result<Server, CertificateFault> {
        let standing = self.standing();
        let signer = &standing.signing;
        let validity = leaf::Validity::new(now, self.settings.leaf_lifetime, signer.not_after);
        let issuer = Issuer::from_ca_cert_der(&signer.certificate, &signer.key).map_err(leaf::signing)?;
        let (certificate, key) = leaf::for_server(identity, names, addresses, validity, &issuer)?;
        // The roots come along for workloads that know only the digest of one, from a join token.
        let chain = [certificate].into_iter().chain(signer.chain()).chain(standing.signers().map(|signer| signer.root.clone())).collect();
        Ok(Server { chain, key, not_after: validity.not_after })
    }
}

/// A server certificate with its key: leaf first, root last.
pub struct Server {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: rustls_pki_types::PrivateKeyDer<'static>,
    pub not_after: Timestamp,
}

/// What was kept, if this is not the first start. A lost intermediate is made anew if the root's key is there.
fn first(chest: &Chest, trust_domain: &str, now: Timestamp) -> Result<Option<Signer>, Fault> {
    let kept = chest.load(Shelf::Now)?;
    match (kept.root, kept.intermediate.is_some()) {
        (None, false) => Ok(None),
        (None, true) => Err(Fault::new(
            "the state directory has ca/intermediate.pem but no ca/root.pem",
            "Put the root certificate that signed it beside it (its key is not needed)",
        )),
        (Some(root), true) => match chest.root_key(Shelf::Now)?.is_some_and(|key| !belongs(&root, &key)) {
            true => Err(Fault::new("ca/root.key does not belong to ca/root.pem", "Put the matching files there, or take the key away")),
            false => loaded(chest, Shelf::Now),
        },
        (Some(root), false) => {
            let root_key = chest.root_key(Shelf::Now)?.ok_or_else(|| {
                Fault::new(
                    "the state directory has ca/root.pem but neither ca/root.key nor an intermediate",
                    "Put one of them back, or start on a new state directory",
                )
            })?;
            let signer = Signer::make(trust_domain, Some((&root, &root_key)), now)?;
            chest.store(Shelf::Now, &signer, None)?;
            Ok(Some(signer))
        }
    }
}

fn belongs(root: &CertificateDer<'_>, key: &SecretKey) -> bool {
    signer::parsed("the root certificate", root).is_ok_and(|root| root.public_key().subject_public_key.data.as_ref() == key.der_bytes())
}

#[cfg(test)]
mod tests;
