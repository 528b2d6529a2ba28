//! The certificate authority: an offline-able root, an online intermediate, and the leaves it issues to proven identities.
//!
//! It takes only the public key from a certificate request; names come from the identity that the caller has proven. A leaf
//! never outlives the intermediate. Who may ask is `serve/certificate`'s decision; join tokens are kept in [`tokens`].

mod chest;
mod leaf;
pub mod tokens;

pub use chest::{keep_private, private_directory, warn_if_shared, write_private};
pub use leaf::{CertificateFault, Issued, Requested, requested};
pub use tokens::random_text;

use crate::fault::Fault;
use jiff::Timestamp;
use parking_lot::RwLock;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SigningKey};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::policy::ROOT_NAMESPACE;
use taut_wire::token::JoinToken;
use zeroize::Zeroize;

/// Certificates are valid from this long before they are issued, for peers whose clocks are behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The service account of the control plane's own identity, in the root namespace. Proxies take whoever has it for the control
/// plane, so no token and no request gets it.
pub const CONTROL_ACCOUNT: &str = "taut-control";
const DAY: Duration = Duration::from_secs(24 * 3600);
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// An intermediate with less life than this left is replaced, if the root's key is at hand.
const RENEW_INTERMEDIATE: Duration = Duration::from_secs(60 * 24 * 3600);

#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    pub trust_domain: String,
    /// The longest life of a leaf; a request may ask for less. 24 h by default.
    pub leaf_lifetime: Duration,
}

impl AuthoritySettings {
    pub fn new(trust_domain: impl Into<String>) -> Self {
        Self { trust_domain: trust_domain.into(), leaf_lifetime: DAY }
    }
}

/// Issues certificates for one trust domain. Safe to share between tasks; signing takes a fraction of a millisecond.
pub struct Authority {
    settings: AuthoritySettings,
    root: CertificateDer<'static>,
    /// Absent when the operator took it offline: leaves can be issued, a new intermediate cannot.
    root_key: Option<SecretKey>,
    intermediate: RwLock<Arc<Intermediate>>,
    chest: Option<chest::Chest>,
    pub tokens: tokens::Tokens,
}

/// What signs leaves.
struct Intermediate {
    certificate: CertificateDer<'static>,
    key: SecretKey,
    not_after: Timestamp,
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

impl Authority {
    /// Loads root and intermediate from `state/ca`, creating what is absent: an operator's own intermediate is used when its
    /// files are there (`root.pem`, `intermediate.pem`, `intermediate.key`), and `root.key` may be kept elsewhere. Without a
    /// state directory everything is kept in memory and dies with the process.
    ///
    /// # Errors
    /// Files that cannot be read or written, keys that do not belong to their certificates, an intermediate that is expired
    /// and cannot be renewed because the root's key is not there.
    pub fn open(state: Option<&Path>, settings: AuthoritySettings, now: Timestamp) -> Result<Self, Fault> {
        let chest = state.map(chest::Chest::open).transpose()?;
        let kept = chest.as_ref().map(chest::Chest::load).transpose()?.unwrap_or_default();
        let (root, root_key) = match kept.root {
            Some(certificate) => {
                if let Some(key) = &kept.root_key {
                    chest::check_pair("root", &certificate, key)?;
                }
                (certificate, kept.root_key)
            }
            None => {
                if kept.intermediate.is_some() {
                    return Err(Fault::new(
                        "the state directory has ca/intermediate.pem but no ca/root.pem",
                        "Put the root certificate that signed it beside it (its key is not needed)",
                    ));
                }
                let (certificate, key) = new_root(&settings.trust_domain, now)?;
                if let Some(chest) = &chest {
                    chest.store_root(&certificate, &key)?;
                }
                (certificate, Some(key))
            }
        };
        let intermediate = match kept.intermediate {
            Some((certificate, key)) => {
                let not_after = chest::check_intermediate(&root, &certificate, &key)?;
                Intermediate { certificate, key, not_after }
            }
            None => first_intermediate(&settings.trust_domain, &root, root_key.as_ref(), chest.as_ref(), now)?,
        };
        let tokens = tokens::Tokens::open(chest.as_ref().map(chest::Chest::tokens_path))?;
        let authority = Self { settings, root, root_key, intermediate: RwLock::new(Arc::new(intermediate)), chest, tokens };
        authority.maintain(now)?;
        if authority.intermediate.read().not_after <= now {
            return Err(Fault::new(
                format!("the intermediate certificate expired at {}", authority.intermediate.read().not_after),
                "Put ca/root.key back so that a new one can be signed, or plug in a new ca/intermediate.pem and ca/intermediate.key",
            ));
        }
        Ok(authority)
    }

    pub fn trust_domain(&self) -> &str {
        &self.settings.trust_domain
    }

    pub fn leaf_lifetime(&self) -> Duration {
        self.settings.leaf_lifetime
    }

    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// When the root itself ends; `None` if that cannot be read.
    pub fn root_not_after(&self) -> Option<Timestamp> {
        chest::not_after("root", &self.root).ok()
    }

    pub fn root_pem(&self) -> String {
        leaf::pem("CERTIFICATE", &self.root)
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
        let mut digest = [0; 32];
        digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.root).as_ref());
        digest
    }

    /// Replaces the intermediate when little of its life is left. Does nothing when the root's key is offline.
    ///
    /// # Errors
    /// The new one could not be signed or kept.
    pub fn maintain(&self, now: Timestamp) -> Result<(), Fault> {
        let not_after = self.intermediate.read().not_after;
        let left = Duration::try_from(not_after.duration_since(now)).unwrap_or_default();
        if left > RENEW_INTERMEDIATE {
            return Ok(());
        }
        let Some(root_key) = &self.root_key else {
            tracing::warn!(%not_after, "the intermediate certificate is near its end and the root's key is offline: plug in a new intermediate");
            return Ok(());
        };
        let renewed = new_intermediate(&self.settings.trust_domain, &self.root, root_key, now)?;
        if let Some(chest) = &self.chest {
            chest.store_intermediate(&renewed.certificate, &renewed.key)?;
        }
        *self.intermediate.write() = Arc::new(renewed);
        Ok(())
    }

    /// Signs a leaf for the public key of `request` (PEM). Its only name is `identity`; names in the request are ignored.
    /// `lifetime` is cut to the authority's own limit and to the life of the intermediate.
    ///
    /// # Errors
    /// A request that is no PEM certificate request, whose self-signature is wrong, or whose key is of another kind than
    /// ECDSA P-256 or P-384 or Ed25519; an identity of another trust domain, or the control plane's own.
    pub fn issue(&self, request: &str, identity: &Identity, lifetime: Option<Duration>, now: Timestamp) -> Result<Issued, CertificateFault> {
        if identity.trust_domain != self.settings.trust_domain {
            return Err(CertificateFault::OtherTrustDomain { ours: self.settings.trust_domain.clone() });
        }
        if *identity == self.control_identity() {
            return Err(CertificateFault::Reserved);
        }
        let intermediate = self.intermediate.read().clone();
        let lifetime = lifetime.unwrap_or(self.settings.leaf_lifetime).min(self.settings.leaf_lifetime);
        let validity = leaf::Validity::new(now, lifetime, intermediate.not_after);
        let issuer = Issuer::from_ca_cert_der(&intermediate.certificate, &intermediate.key).map_err(leaf::signing)?;
        let certificate = leaf::from_request(request, identity, validity, &issuer)?;
        Ok(Issued { chain: vec![certificate, intermediate.certificate.clone()], root: self.root.clone(), not_after: validity.not_after })
    }

    /// A certificate with a fresh key for the control plane's own listeners: the DNS names, the addresses and the identity.
    ///
    /// # Errors
    /// Key generation or signing failed.
    pub fn server(&self, identity: &Identity, names: &[&str], addresses: &[IpAddr], now: Timestamp) -> Result<Server, CertificateFault> {
        let intermediate = self.intermediate.read().clone();
        let validity = leaf::Validity::new(now, self.settings.leaf_lifetime, intermediate.not_after);
        let issuer = Issuer::from_ca_cert_der(&intermediate.certificate, &intermediate.key).map_err(leaf::signing)?;
        let (certificate, key) = leaf::for_server(identity, names, addresses, validity, &issuer)?;
        // The root comes along for workloads that know only its digest, from a join token.
        Ok(Server { chain: vec![certificate, intermediate.certificate.clone(), self.root.clone()], key, not_after: validity.not_after })
    }
}

/// A server certificate with its key: leaf first, root last.
pub struct Server {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: rustls_pki_types::PrivateKeyDer<'static>,
    pub not_after: Timestamp,
}

fn new_root(trust_domain: &str, now: Timestamp) -> Result<(CertificateDer<'static>, SecretKey), Fault> {
    let key = SecretKey::generate()?;
    let params = authority_params(trust_domain, "root", BasicConstraints::Constrained(1), leaf::Validity::new(now, ROOT_LIFETIME, Timestamp::MAX))?;
    let certificate = params.self_signed(&key).map_err(|error| cannot("sign its root", &error))?;
    Ok((certificate.into(), key))
}

fn new_intermediate(trust_domain: &str, root: &CertificateDer<'static>, root_key: &SecretKey, now: Timestamp) -> Result<Intermediate, Fault> {
    let key = SecretKey::generate()?;
    let validity = leaf::Validity::new(now, INTERMEDIATE_LIFETIME, chest::not_after("root", root)?);
    let params = authority_params(trust_domain, "intermediate", BasicConstraints::Constrained(0), validity)?;
    let issuer = Issuer::from_ca_cert_der(root, root_key).map_err(|error| cannot("use its root", &error))?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| cannot("sign its intermediate", &error))?;
    Ok(Intermediate { certificate: certificate.into(), key, not_after: validity.not_after })
}

fn first_intermediate(
    trust_domain: &str,
    root: &CertificateDer<'static>,
    root_key: Option<&SecretKey>,
    chest: Option<&chest::Chest>,
    now: Timestamp,
) -> Result<Intermediate, Fault> {
    let root_key = root_key.ok_or_else(|| {
        Fault::new(
            "the state directory has ca/root.pem but neither ca/root.key nor an intermediate",
            "Put one of them back, or start on a new state directory",
        )
    })?;
    let intermediate = new_intermediate(trust_domain, root, root_key, now)?;
    if let Some(chest) = chest {
        chest.store_intermediate(&intermediate.certificate, &intermediate.key)?;
    }
    Ok(intermediate)
}

fn authority_params(trust_domain: &str, role: &str, constraint: BasicConstraints, validity: leaf::Validity) -> Result<CertificateParams, Fault> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain);
    params.distinguished_name.push(DnType::CommonName, format!("Tautline {role}"));
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(leaf::serial().map_err(|error| cannot("draw a serial number", &error))?);
    validity.apply(&mut params);
    Ok(params)
}

#[cfg(test)]
mod tests;
