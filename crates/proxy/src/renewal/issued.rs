//! Checks what the authority sent before it is taken up.

use super::{Refused, Request};
use crate::current::Current;
use crate::identity::HeldIdentity;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use taut_model::identity::Identity;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// The certificate must be for our key, for the identity we asked for, and valid now by our clock.
pub(super) fn accept(chain: &[String], request: &Request, current: &Current, now: Timestamp, serial: u64) -> Result<HeldIdentity, Refused> {
    let mut certificates = decode(chain)?;
    let Some(root) = certificates.pop().filter(|_| !certificates.is_empty()) else {
        return Err(Refused(format!("the authority sent {} certificates; expected a leaf, intermediates, and the root last", chain.len())));
    };
    usable(certificates, vec![root], &request.key(), current, now, serial)
}

/// The leaf of `chain` must be for this key (PKCS #8), for this workload, and valid now by our clock.
pub(super) fn usable(
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    key: &[u8],
    current: &Current,
    now: Timestamp,
    serial: u64,
) -> Result<HeldIdentity, Refused> {
    let leaf = Leaf::read(chain.first().ok_or_else(|| Refused("the authority sent no certificate".to_owned()))?)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
        .map_err(|error| Refused(format!("the key cannot be used: {error}")))?;
    if key.public_key().is_none_or(|public| public.as_ref() != leaf.public_key) {
        return Err(Refused("the authority's certificate is for another key than the one in the request".to_owned()));
    }
    let (identity, own) = (leaf.identity, current.workload());
    if identity.namespace != own.namespace || identity.service_account != own.service_account {
        return Err(Refused(format!(
            "the authority's certificate says {identity}; this workload is namespace {:?}, service account {:?}: was the token made for another workload?",
            own.namespace, own.service_account
        )));
    }
    let before = current.identity();
    if let Some(before) = before.filter(|before| !before.is_ours(&identity.trust_domain)) {
        return Err(Refused(format!(
            "the authority's certificate is of trust domain {}, expected {}",
            identity.trust_domain, before.identity.trust_domain
        )));
    }
    valid_now(leaf.not_before, leaf.not_after, now)?;
    Ok(HeldIdentity {
        serial,
        chain,
        key,
        roots,
        revoked: std::sync::Arc::default(),
        federated: std::sync::Arc::default(),
        names: std::sync::Arc::default(),
        identity,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
    })
}

/// Whose certificate it is, if it names exactly one.
pub(super) fn identity_in(certificate: &CertificateDer<'_>) -> Option<Identity> {
    Leaf::read(certificate).ok().map(|leaf| leaf.identity)
}

fn valid_now(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Result<(), Refused> {
    let skewed = |what: &str, edge: Timestamp| {
        Err(Refused(format!(
            "the clocks disagree: the authority issued a certificate that {what} {edge}, and this machine's clock says {now}; set both by NTP"
        )))
    };
    match () {
        () if now < not_before => skewed("becomes valid only at", not_before),
        () if now >= not_after => skewed("expired at", not_after),
        () => Ok(()),
    }
}

fn decode(chain: &[String]) -> Result<Vec<CertificateDer<'static>>, Refused> {
    // One entry may hold several certificates.
    let all = chain.iter().flat_map(|text| CertificateDer::pem_slice_iter(text.as_bytes()));
    all.collect::<Result<_, _>>().map_err(|error| Refused(format!("the authority sent what is not a PEM certificate: {error:?}")))
}

struct Leaf {
    identity: Identity,
    /// SubjectPublicKeyInfo.
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Leaf {
    fn read(der: &CertificateDer<'_>) -> Result<Self, Refused> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| Refused(format!("the authority's certificate cannot be read: {error}")))?;
        let uris = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let mut uris = uris.flatten().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(Refused("the authority's certificate does not carry exactly one SPIFFE id".to_owned()));
        };
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| Refused(format!("the authority's certificate: {error}")));
        Ok(Self {
            identity: Identity::parse(uri).map_err(|error| Refused(error.to_string()))?,
            public_key: certificate.public_key().raw.to_vec(),
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
        })
    }
}
