//! Certificate revocation lists (RFC 5280 section 5): read, and held against the authorities that may have signed them. Which files are followed,
//! and for whom a list counts, is not decided here.

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeSet;
use taut_model::trust::Revoked;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// Proxies keep all in memory: about 50 bytes for each.
pub const MOST: usize = 50_000;
/// Certificates that may come along with lists, to prove who has signed them.
const MOST_AUTHORITIES: usize = 16;
/// RFC 5280 sections 5.2.4 and 5.3.3: a list of changes to another, and an entry that is another authority's.
const DELTA: &str = "2.5.29.27";
const OTHERS_ENTRY: &str = "2.5.29.29";

/// What lists say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    pub revoked: BTreeSet<Revoked>,
    /// When the first of them should have been followed by a newer one.
    pub next_update: Option<Timestamp>,
}

/// Reads lists, PEM or DER, each of which one of `authorities` must have signed, or one that is proven by them and comes along as PEM.
///
/// # Errors
/// There is no list, or one of them cannot be used: why, as the end of a sentence. Then none of them counts.
pub fn lists(content: &[u8], authorities: &[CertificateDer<'_>]) -> Result<Lists, String> {
    let (ders, along) = parts(content)?;
    let along = proven(&along, authorities);
    let mut lists = Lists::default();
    for der in &ders {
        let list = usable(der)?;
        signed_by_one(&list, authorities.iter().chain(along.iter().copied()))?;
        let issuer = content_of(list.issuer().as_raw());
        lists.revoked.extend(list.iter_revoked_certificates().map(|one| Revoked::new(issuer, one.raw_serial())));
        let due = list.next_update().and_then(|due| Timestamp::from_second(due.timestamp()).ok());
        lists.next_update = [lists.next_update, due].into_iter().flatten().min();
        if lists.revoked.len() > MOST {
            return Err(format!("revokes more than {MOST} certificates"));
        }
    }
    Ok(lists)
}

type Parts = (Vec<Vec<u8>>, Vec<CertificateDer<'static>>);

/// The lists in it, at least one, and the certificates.
fn parts(content: &[u8]) -> Result<Parts, String> {
    let is_der = content.starts_with(b"0") || !content.windows(5).any(|window| window == b"-----");
    let (ders, along) = match is_der {
        true => (vec![content.to_vec()], Vec::new()),
        false => {
            let broken = |error: rustls_pki_types::pem::Error| format!("is no whole PEM ({error:?})");
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(content).collect();
            let along: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
            (lists.map_err(broken)?.iter().map(|der| der.to_vec()).collect(), along.map_err(broken)?)
        }
    };
    match (ders.is_empty(), along.len() > MOST_AUTHORITIES) {
        (true, _) => Err("holds no X509 CRL".to_owned()),
        (_, true) => Err(format!("holds more than {MOST_AUTHORITIES} certificates")),
        _ => Ok((ders, along)),
    }
}

/// A list that is what it seems: a whole one, about certificates of its own issuer.
fn usable(der: &[u8]) -> Result<CertificateRevocationList<'_>, String> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|error| format!("holds a list that cannot be read: {error}"))?;
    if !rest.is_empty() {
        return Err("holds bytes after the end of a list".to_owned());
    }
    if list.extensions().iter().any(|extension| extension.oid.to_id_string() == DELTA) {
        return Err("holds a delta list, which says only what has changed: give the whole one".to_owned());
    }
    let others = |one: &x509_parser::revocation_list::RevokedCertificate<'_>| {
        one.extensions().iter().any(|extension| extension.oid.to_id_string() == OTHERS_ENTRY)
    };
    if list.iter_revoked_certificates().any(others) {
        return Err("holds an indirect list, with entries of other authorities: give one list for each".to_owned());
    }
    Ok(list)
}

/// Those of the certificates that came along which are authorities by the word of one that is believed.
fn proven<'a>(along: &'a [CertificateDer<'static>], authorities: &[CertificateDer<'_>]) -> Vec<&'a CertificateDer<'static>> {
    let mut proven: Vec<&CertificateDer<'static>> = Vec::new();
    // Each round proves those directly below what the one before has proven.
    for _ in 0..along.len() {
        let below = |one: &&&CertificateDer<'static>| {
            let above = authorities.iter().chain(proven.iter().copied());
            !proven.contains(*one) && above.into_iter().any(|above| is_authority_below(one, above))
        };
        let found: Vec<_> = along.iter().filter(|one| below(&one)).collect();
        if found.is_empty() {
            break;
        }
        proven.extend(found);
    }
    proven
}

fn is_authority_below(certificate: &CertificateDer<'_>, above: &CertificateDer<'_>) -> bool {
    let (Ok((_, one)), Ok((_, above))) = (X509Certificate::from_der(certificate), X509Certificate::from_der(above)) else { return false };
    one.is_ca() && above.is_ca() && one.issuer().as_raw() == above.subject().as_raw() && one.verify_signature(Some(above.public_key())).is_ok()
}

/// A list says something only about certificates of the authority that signed it.
fn signed_by_one<'a, 'b: 'a>(list: &CertificateRevocationList<'_>, authorities: impl Iterator<Item = &'a CertificateDer<'b>>) -> Result<(), String> {
    let mut named = false;
    for certificate in authorities {
        let Ok((_, authority)) = X509Certificate::from_der(certificate) else { continue };
        if authority.subject().as_raw() == list.issuer().as_raw() {
            named = true;
            if list.verify_signature(authority.public_key()).is_ok() {
                return Ok(());
            }
        }
    }
    let issuer = list.issuer();
    Err(match named {
        true => format!("holds a list of {issuer} that is not signed by the authority of that name"),
        false => format!("holds a list of {issuer}, which is none of the authorities that count here"),
    })
}

/// A DER sequence without its tag and length.
fn content_of(sequence: &[u8]) -> &[u8] {
    let header = match sequence.get(1) {
        Some(length) if length & 0x80 != 0 => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    sequence.get(header..).unwrap_or_default()
}

#[cfg(test)]
pub mod tests;
