//! Leaves: what a certificate of a workload or of the control plane itself looks like.

use jiff::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_model::trust::CLOCK_SKEW;

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, then the intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    pub root: CertificateDer<'static>,
    pub not_after: Timestamp,
}

impl Issued {
    /// Leaf, intermediate, root last: the order of Istio's certificate service.
    pub fn pem_chain(&self) -> Vec<String> {
        self.chain.iter().chain([&self.root]).map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }
}

/// Why a certificate was not issued. Says nothing about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The request cannot be read, or is not signed by its own key.
    Request(String),
    UnsupportedKey,
    OtherTrustDomain {
        ours: String,
    },
    /// The identity is the control plane's own.
    Reserved,
    /// Another authority signs for the mesh.
    Foreign,
    /// A token for nobody, or for more than can be meant.
    Audience,
    Signing(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(why) => write!(f, "the certificate request is not usable: {why}; send a PEM PKCS#10 request signed by its own key"),
            Self::UnsupportedKey => write!(f, "the certificate request has a key of an unsupported kind; use ECDSA P-256"),
            Self::OtherTrustDomain { ours } => write!(f, "this authority issues only for trust domain {ours:?}"),
            Self::Reserved => write!(f, "that identity is the control plane's own and no workload's; run as another service account"),
            Self::Foreign => write!(f, "another authority signs for this mesh, and this one signs nothing"),
            Self::Audience => write!(f, "a token needs 1 to 16 audiences, each of 1 to 2048 bytes; name whom it is for"),
            Self::Signing(why) => write!(f, "the authority could not sign: {why}"),
        }
    }
}
impl std::error::Error for CertificateFault {}

pub(super) fn signing(error: rcgen::Error) -> CertificateFault {
    CertificateFault::Signing(error.to_string())
}

/// From a little before `now` (clock skew) until the end of `lifetime`, but not past the issuer's own end.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    pub fn new(now: Timestamp, lifetime: Duration, at_most: Timestamp) -> Self {
        let not_before = now.checked_sub(CLOCK_SKEW).unwrap_or(now);
        Self { not_before, not_after: now.checked_add(lifetime).unwrap_or(at_most).min(at_most) }
    }

    pub fn apply(self, params: &mut CertificateParams) {
        let at = |time: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
        params.not_before = at(self.not_before);
        params.not_after = at(self.not_after);
    }
}

/// 16 random bytes; the top bit is clear so that the number is positive (RFC 5280 section 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn params(identity: &Identity, validity: Validity) -> Result<CertificateParams, CertificateFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = identity.to_string().try_into().map_err(signing)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    // X.509-SVID section 4.1: said, and not only left out; some of SPIFFE's clients take no leaf without it.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial().map_err(|_| CertificateFault::Signing("no entropy".to_owned()))?);
    validity.apply(&mut params);
    Ok(params)
}

/// Only the public key is taken from the request.
pub(super) fn from_request(
    request: &str,
    identity: &Identity,
    validity: Validity,
    issuer: &Issuer<'_, impl SigningKey>,
) -> Result<CertificateDer<'static>, CertificateFault> {
    let mut request = parse(request)?;
    request.params = params(identity, validity)?;
    Ok(request.signed_by(issuer).map_err(signing)?.into())
}

/// What a certificate request shows of its sender. Neither proves anything about who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// SHA-256 of the public key, which the request is signed by.
    pub key: [u8; 32],
    /// The identity that the sender would like, if it names exactly one.
    pub wish: Option<Identity>,
}

impl Requested {
    /// Whether these bytes of a certificate are the key that the request is signed by.
    pub fn is_for(&self, public_key: &[u8]) -> bool {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public_key).as_ref() == self.key
    }
}

/// # Errors
/// As for issuing.
pub fn requested(request: &str) -> Result<Requested, CertificateFault> {
    let request = parse(request)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, request.public_key.der_bytes());
    let key = digest.as_ref().try_into().map_err(|_| CertificateFault::UnsupportedKey)?;
    let wish = match &request.params.subject_alt_names[..] {
        [SanType::URI(uri)] => Identity::parse(uri.as_ref()).ok(),
        _ => None,
    };
    Ok(Requested { key, wish })
}

fn parse(request: &str) -> Result<CertificateSigningRequestParams, CertificateFault> {
    if request.len() > 16 * 1024 {
        return Err(CertificateFault::Request("it is longer than 16 KiB".to_owned()));
    }
    let request = CertificateSigningRequestParams::from_pem(request).map_err(|error| CertificateFault::Request(error.to_string()))?;
    let supported = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    match supported.contains(&request.public_key.algorithm()) {
        true => Ok(request),
        false => Err(CertificateFault::UnsupportedKey),
    }
}

pub(super) fn for_server(
    identity: &Identity,
    names: &[&str],
    addresses: &[IpAddr],
    validity: Validity,
    issuer: &Issuer<'_, impl SigningKey>,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), CertificateFault> {
    let mut params = params(identity, validity)?;
    for name in names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into().map_err(signing)?));
    }
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    let key = KeyPair::generate().map_err(signing)?;
    let certificate = params.signed_by(&key, issuer).map_err(signing)?;
    Ok((certificate.into(), key.into()))
}

/// RFC 7468 text of one DER value.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
