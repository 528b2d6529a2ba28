//! Certificates that are not to be believed any more: those that an operator named, kept in `STATE/ca/revoked.json`, and those of the
//! revocation lists of files.

use super::{Authority, Standing, cannot};
use crate::crl::{self, Lists, MOST};
use crate::fault::Fault;
use jiff::{Span, Timestamp};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use taut_model::trust::{Revoked, serial_of, serial_text};

const NOTE: &str = "revoked.json";
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
        if named.len() + standing.listed_count() > MOST {
            return Err(Fault::new(format!("more than {MOST} certificates would be revoked"), "Replace the root with `taut trust rotate` instead"));
        }
        if let Some(chest) = &self.chest {
            let text = serde_json::to_vec_pretty(&named).map_err(|error| cannot("write down what is revoked", &error))?;
            chest.store_note(NOTE, Some(&text))?;
        }
        self.put(|standing| Standing { named, ..standing });
        Ok(())
    }

    /// Takes up a file of revocation lists (PEM or DER), in the place of what it said before. Beside it, others may be followed.
    ///
    /// # Errors
    /// It cannot be read, one of its lists is not signed by an authority of this mesh, or they are too long: what was taken up before stays.
    pub fn take_lists(&self, file: &Path) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let standing = self.standing();
        let lists = read(file, &standing)?;
        if standing.listed.get(file) != Some(&lists) {
            tracing::info!(file = %file.display(), revoked = lists.revoked.len(), next = ?lists.next_update.map(|due| due.to_string()), "took up revocation lists");
            let mut listed = (*standing.listed).clone();
            listed.insert(file.to_owned(), lists);
            self.put(|standing| Standing { listed: listed.into(), ..standing });
        }
        Ok(())
    }
}

/// A list says something only about certificates of the authority that signed it, and only those of this mesh count here.
fn read(file: &Path, standing: &Standing) -> Result<Lists, Fault> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Fault::new(
            format!("cannot use the revocation lists of {}: {why}", file.display()),
            "Put lists of this mesh's authorities there, as PEM or DER",
        )
    };
    let facts = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    if facts.len() > LARGEST {
        return Err(unreadable(&format!("it is larger than {LARGEST} bytes")));
    }
    let content = std::fs::read(file).map_err(|error| unreadable(&error))?;
    let own = standing.signers().flat_map(|signer| [&signer.certificate, &signer.root].into_iter().chain(&signer.above));
    let foreign = standing.foreign.iter().flat_map(|foreign| foreign.roots.iter().chain(&foreign.issuers));
    // What is signed here is believed by nobody while another authority signs.
    let ours: Vec<_> = own.filter(|_| standing.foreign.is_none()).chain(foreign).cloned().collect();
    crl::lists(&content, &ours).map_err(|why| unreadable(&format!("it {why}")))
}

impl Standing {
    /// How many certificates the lists of files revoke.
    pub fn listed_count(&self) -> usize {
        self.listed.values().map(|lists| lists.revoked.len()).sum()
    }

    /// All that is revoked, as proxies are told it.
    pub(super) fn revoked(&self) -> BTreeSet<Revoked> {
        let mut all: BTreeSet<Revoked> = self.listed.values().flat_map(|lists| &lists.revoked).cloned().collect();
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
