//! An authority that the operator brings: a directory in the layout of Istio's `cacerts` secret (`ca-cert.pem`, `ca-key.pem`, `root-cert.pem`,
//! `cert-chain.pem`). Read whole and checked; what becomes of it is the authority's decision.

use super::SecretKey;
use super::signer::{Names, Signer, fingerprint};
use crate::fault::Fault;
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use zeroize::Zeroizing;

const LAYOUT: &str = "The directory must hold ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, as Istio's cacerts secret does";
/// No authority's files are larger.
const LARGEST: u64 = 1024 * 1024;

/// # Errors
/// Whatever keeps leaves of this authority from being believed: each names the file, and what to do.
pub(super) fn read(directory: &Path, trust_domain: &str, now: Timestamp) -> Result<Signer, Fault> {
    let name = |file: &str| directory.join(file).display().to_string();
    let names = Names { certificate: name("ca-cert.pem"), key: name("ca-key.pem"), root: name("root-cert.pem"), chain: name("cert-chain.pem") };
    let certificate = only(&names.certificate, certificates(&names.certificate)?)?;
    let root = only(&names.root, certificates(&names.root)?)?;
    let key = key(&names.key)?;
    let mut chain = certificates(&names.chain)?.into_iter();
    if chain.next().is_none_or(|first| first != certificate) {
        return Err(Fault::new(
            format!("{} does not begin with the certificate of {}", names.chain, names.certificate),
            "Write the intermediate first, then those above it, each signed by the next",
        ));
    }
    let above: Vec<_> = chain.filter(|one| fingerprint(one) != fingerprint(&root)).collect();
    let signer = Signer::new(certificate, key, above, root, &names)?;
    signer.check(trust_domain, &names, now)?;
    Ok(signer)
}

fn content(file: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| Fault::new(format!("cannot read {file}: {error}"), LAYOUT);
    let facts = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    match facts.len() <= LARGEST {
        true => std::fs::read(file).map(Zeroizing::new).map_err(|error| unreadable(&error)),
        false => Err(unreadable(&format!("it is larger than {LARGEST} bytes"))),
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let text = content(file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|error| Fault::new(format!("{file} is not PEM: {error:?}"), LAYOUT))?;
    match read.is_empty() {
        true => Err(Fault::new(format!("{file} holds no certificate"), LAYOUT)),
        false => Ok(read),
    }
}

/// A second root would be believed without anybody having said so: roots are added by a rotation, and go again by one.
fn only(file: &str, mut all: Vec<CertificateDer<'static>>) -> Result<CertificateDer<'static>, Fault> {
    match (all.len(), all.pop()) {
        (1, Some(one)) => Ok(one),
        (count, _) => Err(Fault::new(
            format!("{file} holds {count} certificates, where one is expected"),
            "To replace a root, use `taut trust rotate --to DIR`",
        )),
    }
}

fn key(file: &str) -> Result<SecretKey, Fault> {
    let text = content(file)?;
    // The parser's own error is left out: it could quote the key.
    let bad = || Fault::new(format!("{file} is not a PEM private key (PKCS#8, SEC1 or PKCS#1, not encrypted)"), LAYOUT);
    let text = std::str::from_utf8(&text).map_err(|_| bad())?;
    KeyPair::from_pem(text).map(SecretKey).map_err(|_| bad())
}
