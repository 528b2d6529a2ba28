//! Certificates that are not to be believed any more: those that an operator named, kept in `STATE/ca/revoked.json`, and those of the
//! revocation lists of a file.

use super::signer::parsed;
use super::{Authority, Standing, cannot};
use crate::fault::Fault;
use jiff::{Span, Timestamp};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use taut_model::trust::{Revoked, serial_of, serial_text};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

const NOTE: &str = "revoked.json";
/// Proxies keep all in memory: about 50 bytes for each.
const MOST: usize = 50_000;
const LARGEST: u64 = 16 * 1024 * 1024;
/// Longer than any leaf lives.
const KEPT_DAYS: i64 = 400;

/// One that an operator has named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Hexadecimal.
    pub serial: String,
    /// Whose it was, if that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    pub by: String,
    pub at: Timestamp,
}

/// What a file of revocation lists says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lists {
    pub revoked: BTreeSet<Revoked>,
    /// When the first of them should have been followed by a newer one.
    pub next_update: Option<Timestamp>,
}

pub(super) fn read_note(authority: &Authority, now: Timestamp) -> Result<Vec<Named>, Fault> {
    let Some(text) = authority.chest.as_ref().map(|chest| chest.note(NOTE)).transpose()?.flatten() else { return Ok(Vec::new()) };
    let mut named: Vec<Named> = serde_json::from_slice(&text)
        .map_err(|error| Fault::new(format!("ca/{NOTE} is damaged: {error}"), "Mend it: without it, revoked certificates would be believed again"))?;
    let oldest = now.checked_sub(Span::new().hours(24 * KEPT_DAYS)).unwrap_or(Timestamp::MIN);
    named.retain(|one| one.at > oldest);
    Ok(named)
}

impl Authority {
    /// Nobody believes a leaf of these serial numbers any more, whichever of our authorities signed it.
    ///
    /// # Errors
    /// A serial number that is none, or one of our own authorities; a disk that cannot be written; too many.
    pub fn revoke(&self, serials: &[String], workload: Option<&str>, by: &str, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        let mut named = standing.named.clone();
        for serial in serials {
            let bytes = serial_of(serial).ok_or_else(|| {
                Fault::new(format!("{serial:?} is no serial number"), "Write it in hexadecimal, as `taut trust` and `openssl x509 -serial` do")
            })?;
            let serial = serial_text(&bytes);
            let foreign = standing.foreign.iter().flat_map(|foreign| foreign.roots.iter().chain(&foreign.issuers));
            let mut authorities = standing.signers().map(|signer| &signer.certificate).chain(foreign);
            if authorities.any(|certificate| super::signer::serial(certificate) == serial) {
                return Err(Fault::new(
                    format!("{serial} is the authority's own certificate: without it nobody would be believed"),
                    "Replace the authority with `taut trust rotate`",
                ));
            }
            if !named.iter().any(|one| one.serial == serial) {
                named.push(Named { serial, workload: workload.map(str::to_owned), by: by.to_owned(), at: now });
            }
        }
        if named.len() + standing.listed.revoked.len() > MOST {
            return Err(Fault::new(format!("more than {MOST} certificates would be revoked"), "Replace the root with `taut trust rotate` instead"));
        }
        if let Some(chest) = &self.chest {
            let text = serde_json::to_vec_pretty(&named).map_err(|error| cannot("write down what is revoked", &error))?;
            chest.store_note(NOTE, Some(&text))?;
        }
        self.put(|standing| Standing { named, ..standing });
        Ok(())
    }

    /// Takes up a file of revocation lists (PEM or DER), in the place of what it said before.
    ///
    /// # Errors
    /// It cannot be read, one of its lists is not signed by an authority of this mesh, or they are too long: what was taken up before stays.
    pub fn take_lists(&self, file: &Path, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        let lists = read(file, &standing)?;
        if let Some(due) = lists.next_update.filter(|due| *due <= now) {
            tracing::warn!(file = %file.display(), %due, "a revocation list is older than its own next update; what it revokes stays revoked");
        }
        if lists != *standing.listed {
            tracing::info!(file = %file.display(), revoked = lists.revoked.len(), "took up revocation lists");
            self.put(|standing| Standing { listed: lists.into(), ..standing });
        }
        Ok(())
    }
}

fn read(file: &Path, standing: &Standing) -> Result<Lists, Fault> {
    let shown = file.display();
    let unreadable =
        |why: &dyn std::fmt::Display| Fault::new(format!("cannot read the revocation lists of {shown}: {why}"), "Name a PEM or DER file with --crl");
    let facts = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    if facts.len() > LARGEST {
        return Err(unreadable(&format!("it is larger than {LARGEST} bytes")));
    }
    let content = std::fs::read(file).map_err(|error| unreadable(&error))?;
    let ders: Vec<Vec<u8>> = match content.starts_with(b"0") || !content.windows(5).any(|window| window == b"-----") {
        true => vec![content],
        false => {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&content).collect();
            lists.map_err(|error| unreadable(&format!("{error:?}")))?.iter().map(|der| der.to_vec()).collect()
        }
    };
    let mut lists = Lists::default();
    for der in &ders {
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        signed_by_us(&list, standing).map_err(|why| unreadable(&why))?;
        let issuer = content_of(list.issuer().as_raw());
        lists.revoked.extend(list.iter_revoked_certificates().map(|one| Revoked::new(issuer, one.raw_serial())));
        let due = list.next_update().and_then(|due| Timestamp::from_second(due.timestamp()).ok());
        lists.next_update = [lists.next_update, due].into_iter().flatten().min();
        if lists.revoked.len() > MOST {
            return Err(unreadable(&format!("they revoke more than {MOST} certificates")));
        }
    }
    match ders.is_empty() {
        true => Err(unreadable(&"it holds no X509 CRL")),
        false => Ok(lists),
    }
}

/// A list says something only about certificates of the authority that signed it.
fn signed_by_us(list: &CertificateRevocationList<'_>, standing: &Standing) -> Result<(), String> {
    let own = standing.signers().flat_map(|signer| [&signer.certificate, &signer.root].into_iter().chain(&signer.above));
    let foreign = standing.foreign.iter().flat_map(|foreign| foreign.roots.iter().chain(&foreign.issuers));
    // What is signed here is believed by nobody while another authority signs.
    let ours = own.filter(|_| standing.foreign.is_none()).chain(foreign);
    let mut named = false;
    for certificate in ours {
        let authority = parsed("an authority's certificate", certificate).map_err(|fault| fault.to_string())?;
        if authority.subject().as_raw() == list.issuer().as_raw() {
            named = true;
            if list.verify_signature(authority.public_key()).is_ok() {
                return Ok(());
            }
        }
    }
    let issuer = list.issuer();
    Err(match named {
        true => format!("the list of {issuer} is not signed by the authority of that name"),
        false => format!("the list is of {issuer}, which is no authority of this mesh"),
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

impl Standing {
    /// All that is revoked, as proxies are told it.
    pub(super) fn revoked(&self) -> BTreeSet<Revoked> {
        let mut all = self.listed.revoked.clone();
        let own = self.signers().map(|signer| &signer.certificate);
        let foreign = self.foreign.iter().flat_map(|foreign| foreign.roots.iter().chain(&foreign.issuers));
        for certificate in own.chain(foreign) {
            let Ok(authority) = webpki::EndEntityCert::try_from(certificate) else { continue };
            all.extend(self.named.iter().filter_map(|one| Some(Revoked::new(authority.subject(), &serial_of(&one.serial)?))));
        }
        all
    }

    /// Whether one of the certificates that somebody shows is revoked.
    pub fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        let all = self.revoked_now();
        let revoked = |certificate: &CertificateDer<'_>| {
            webpki::EndEntityCert::try_from(certificate).is_ok_and(|one| all.contains(&Revoked::new(one.issuer(), one.serial())))
        };
        !all.is_empty() && chain.iter().any(revoked)
    }
}
