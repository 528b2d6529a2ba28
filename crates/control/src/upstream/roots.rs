//! The roots of another CA: a file, read again when it changes. What cannot be used is said, and what was believed before stays.

use crate::fault::Fault;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// No file of roots is larger.
const LARGEST: u64 = 1024 * 1024;
const MOST: usize = 64;

/// How the file was when it was looked at: device, inode, size, and time of change. `None`: it was not there.
pub(super) type Mark = Option<(u64, u64, u64, i64, i64)>;

pub(super) fn mark(path: &Path) -> Mark {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}

/// # Errors
/// It cannot be read, or holds what is no root: nothing of it counts then.
pub(super) fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let unusable = |why: &dyn std::fmt::Display| {
        Fault::new(
            format!("cannot use the roots of the upstream CA in {}: {why}", file.display()),
            "Name a PEM file of its roots with --upstream-ca-roots",
        )
    };
    let facts = std::fs::metadata(file).map_err(|error| unusable(&error))?;
    if facts.len() > LARGEST {
        return Err(unusable(&format!("it is larger than {LARGEST} bytes")));
    }
    let text = std::fs::read(file).map_err(|error| unusable(&error))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let roots = read.map_err(|error| unusable(&format!("it is not PEM: {error:?}")))?;
    for (number, root) in roots.iter().enumerate() {
        is_root(root).map_err(|why| unusable(&format!("certificate {} {why}", number + 1)))?;
    }
    match roots.len() {
        0 => Err(unusable(&"it holds no certificate")),
        1..=MOST => Ok(roots),
        count => Err(unusable(&format!("it holds {count} certificates, and {MOST} at most are taken"))),
    }
}

/// A leaf in its place would make its owner an authority.
pub(crate) fn is_root(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("cannot be read: {error}"))?;
    if !parsed.is_ca() {
        return Err("may not sign others (no CA basic constraint), so it is no root".to_owned());
    }
    webpki::anchor_from_trusted_cert(certificate).map(drop).map_err(|error| format!("cannot be used as a root: {error}"))
}
