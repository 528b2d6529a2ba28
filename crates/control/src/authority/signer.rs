//! What signs leaves: an intermediate with its key, the certificates above it, and the root that they end in.

use super::leaf;
use super::{SecretKey, cannot};
use crate::fault::Fault;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, PublicKeyData};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::trust::serial_text;
use x509_parser::prelude::{FromDer, X509Certificate};

const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
const PUT_RIGHT: &str = "Put the right file there";

pub struct Signer {
    pub certificate: CertificateDer<'static>,
    pub(super) key: SecretKey,
    /// The certificates between it and its root, the nearest first.
    pub above: Vec<CertificateDer<'static>>,
    pub root: CertificateDer<'static>,
    /// The same name and key as the root says it that is being replaced: with it, who knows only that one believes what this one signs.
    pub cross: Option<CertificateDer<'static>>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// How the files of a signer are called, for those who have to mend them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub certificate: String,
    pub key: String,
    pub root: String,
    pub chain: String,
}

impl Signer {
    pub(super) fn new(
        certificate: CertificateDer<'static>,
        key: SecretKey,
        above: Vec<CertificateDer<'static>>,
        root: CertificateDer<'static>,
        names: &Names,
    ) -> Result<Self, Fault> {
        let (not_before, not_after) = validity(&names.certificate, &certificate)?;
        Ok(Self { certificate, key, above, root, cross: None, not_before, not_after })
    }

    /// A new one, of a new root if none is given. The root's key comes with it.
    pub(super) fn make(trust_domain: &str, root: Option<(&CertificateDer<'static>, &SecretKey)>, now: Timestamp) -> Result<Self, Fault> {
        let Some((root, root_key)) = root else { return Self::make_with_root(trust_domain, now).map(|(signer, _)| signer) };
        let key = SecretKey::generate()?;
        let (_, until) = validity("the root certificate", root)?;
        let certified = certify(trust_domain, &key, root, root_key, leaf::Validity::new(now, INTERMEDIATE_LIFETIME, until))?;
        Self::new(certified, key, Vec::new(), root.clone(), &Names::own())
    }

    pub(super) fn make_with_root(trust_domain: &str, now: Timestamp) -> Result<(Self, SecretKey), Fault> {
        let root_key = SecretKey::generate()?;
        let name = format!("Tautline root of {now:.0}");
        let params = params(trust_domain, &name, BasicConstraints::Constrained(1), leaf::Validity::new(now, ROOT_LIFETIME, Timestamp::MAX))?;
        let root = params.self_signed(&root_key).map_err(|error| cannot("sign its root", &error))?.into();
        Ok((Self::make(trust_domain, Some((&root, &root_key)), now)?, root_key))
    }

    /// Has the same name and key certified by another root too. Only for those that were made here: their names are known.
    pub(super) fn cross_signed(
        self,
        trust_domain: &str,
        root: &CertificateDer<'static>,
        root_key: &SecretKey,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let (_, until) = validity("the root certificate", root)?;
        let cross = certify(trust_domain, &self.key, root, root_key, leaf::Validity::new(now, INTERMEDIATE_LIFETIME, until.min(self.not_after)))?;
        Ok(Self { cross: Some(cross), ..self })
    }

    /// What goes out with a leaf, after it.
    pub fn chain(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        [&self.certificate].into_iter().chain(&self.above).chain(&self.cross).cloned()
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// Whether what it signs would be believed: its key is its own, it may sign, its dates hold, and a leaf of it leads to its root by the very
    /// rules that proxies check with (signatures, path length, name constraints).
    pub(super) fn check(&self, trust_domain: &str, names: &Names, now: Timestamp) -> Result<(), Fault> {
        let certificate = parsed(&names.certificate, &self.certificate)?;
        if certificate.public_key().subject_public_key.data.as_ref() != self.key.der_bytes() {
            return Err(Fault::new(format!("{} does not belong to {}", names.key, names.certificate), "Put the matching files there"));
        }
        let may_sign = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !certificate.is_ca() || !may_sign {
            let why = if may_sign { "no CA basic constraint" } else { "its key usage lacks keyCertSign" };
            return Err(Fault::new(format!("{} may not sign certificates ({why})", names.certificate), "Have it signed as an authority"));
        }
        for (name, one) in
            [(&names.certificate, &self.certificate), (&names.root, &self.root)].into_iter().chain(self.above.iter().map(|one| (&names.chain, one)))
        {
            dated(name, one, now)?;
        }
        self.probe(trust_domain, names, now)
    }

    fn probe(&self, trust_domain: &str, names: &Names, now: Timestamp) -> Result<(), Fault> {
        let failed = |why: &dyn std::fmt::Display| Fault::new(format!("{} cannot sign with {}: {why}", names.certificate, names.key), PUT_RIGHT);
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(|error| failed(&error))?;
        let validity = leaf::Validity::new(now, Duration::from_secs(60), self.not_after);
        let probe = Identity::new(trust_domain, "probe", "probe");
        let (probe, _) = leaf::for_server(&probe, &[], &[], validity, &issuer).map_err(|error| failed(&error))?;
        let anchor = webpki::anchor_from_trusted_cert(&self.root)
            .map_err(|error| Fault::new(format!("{} cannot be used as a root: {error}", names.root), PUT_RIGHT))?;
        let leaf = webpki::EndEntityCert::try_from(&probe).map_err(|error| failed(&error))?;
        let chain: Vec<_> = [&self.certificate].into_iter().chain(&self.above).cloned().collect();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
        let usage = webpki::KeyUsage::server_auth();
        match leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &chain, at, usage, None, None) {
            Ok(_) => Ok(()),
            Err(error) => Err(unproven(&error, names, trust_domain)),
        }
    }
}

impl Names {
    /// As the state directory has them.
    pub fn own() -> Self {
        let name = |file: &str| format!("ca/{file}");
        Self { certificate: name("intermediate.pem"), key: name("intermediate.key"), root: name("root.pem"), chain: name("chain.pem") }
    }
}

fn unproven(error: &webpki::Error, names: &Names, trust_domain: &str) -> Fault {
    let (certificate, root, chain) = (&names.certificate, &names.root, &names.chain);
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Fault::new(
            format!("{certificate} is not signed by {root}, nor by way of the certificates in {chain}"),
            "Put the root that signed it there, and all certificates between the two",
        ),
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => Fault::new(
            format!("{certificate} may not sign leaves: a path length above it is too small for the certificates below"),
            "Have it signed with a path length of 0 or more, and those above it with one more each",
        ),
        webpki::Error::NameConstraintViolation => Fault::new(
            format!("the name constraints of {certificate}, or of one above it, do not permit identities of trust domain {trust_domain:?}"),
            "Have it signed with name constraints that permit spiffe:// names of that trust domain, or without any",
        ),
        error => Fault::new(format!("a leaf of {certificate} would not lead to {root}: {error}"), "Put the files of one authority there"),
    }
}

fn certify(
    trust_domain: &str,
    key: &SecretKey,
    root: &CertificateDer<'static>,
    root_key: &SecretKey,
    validity: leaf::Validity,
) -> Result<CertificateDer<'static>, Fault> {
    let params = params(trust_domain, "Tautline intermediate", BasicConstraints::Constrained(0), validity)?;
    let issuer = Issuer::from_ca_cert_der(root, root_key).map_err(|error| cannot("use its root", &error))?;
    Ok(params.signed_by(key, &issuer).map_err(|error| cannot("sign its intermediate", &error))?.into())
}

fn params(trust_domain: &str, name: &str, constraint: BasicConstraints, validity: leaf::Validity) -> Result<CertificateParams, Fault> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain);
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(leaf::serial().map_err(|error| cannot("draw a serial number", &error))?);
    validity.apply(&mut params);
    Ok(params)
}

pub(super) fn parsed<'a>(name: &str, certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(Fault::new(format!("{name} cannot be read as a certificate: {error}"), PUT_RIGHT)),
    }
}

/// From when until when a certificate is good.
pub(super) fn validity(name: &str, certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), Fault> {
    let parsed = parsed(name, certificate)?;
    let at = |seconds: i64, otherwise| Timestamp::from_second(seconds).unwrap_or(otherwise);
    let validity = parsed.validity();
    Ok((at(validity.not_before.timestamp(), Timestamp::MIN), at(validity.not_after.timestamp(), Timestamp::MAX)))
}

fn dated(name: &str, certificate: &CertificateDer<'_>, now: Timestamp) -> Result<(), Fault> {
    let (from, until) = validity(name, certificate)?;
    match (now < from, now >= until) {
        (true, _) => Err(Fault::new(format!("{name} becomes valid only at {from}"), "Set this machine's clock, or wait")),
        (_, true) => Err(Fault::new(format!("{name} expired at {until}"), "Put a certificate there that is still good")),
        (false, false) => Ok(()),
    }
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref());
    bytes
}

/// As `openssl x509 -serial` has it, in lower case; empty when it cannot be read.
pub fn serial(certificate: &CertificateDer<'_>) -> String {
    X509Certificate::from_der(certificate).map(|(_, parsed)| serial_text(parsed.raw_serial())).unwrap_or_default()
}
