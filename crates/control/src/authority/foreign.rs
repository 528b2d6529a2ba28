//! Another authority in the place of the own one: whose roots the mesh believes then, until when, and by which certificates it has signed. Asking
//! it is `upstream`'s and `agent`'s.

use super::{Authority, Standing};
use crate::fault::Fault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const NOTE: &str = "foreign.json";
/// Issuing certificates that are remembered, so that what they signed can be revoked: the newest.
const ISSUERS: usize = 16;

/// What stands in the place of the own roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// The one that the control plane's own certificate leads to comes first.
    pub roots: Vec<CertificateDer<'static>>,
    /// Until when a root is still believed that is not named any more; in the order of `roots`.
    pub until: Vec<Option<Timestamp>>,
    /// What has signed leaves, and is no root.
    pub issuers: Vec<CertificateDer<'static>>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    roots: Vec<(String, Option<Timestamp>)>,
    issuers: Vec<String>,
}

impl Foreign {
    /// These roots, and for as long as `fade` says those that were named before: what they have signed is still shown.
    fn followed_by(&self, roots: &[CertificateDer<'static>], fade: Timestamp, now: Timestamp) -> Self {
        let mut next = Self { roots: Vec::new(), until: Vec::new(), issuers: self.issuers.clone() };
        let mut add = |root: &CertificateDer<'static>, until: Option<Timestamp>| {
            if !next.roots.contains(root) {
                next.roots.push(root.clone());
                next.until.push(until);
            }
        };
        // Those that stay keep their place: the first of them is what join tokens name.
        for root in self.roots.iter().filter(|root| roots.contains(root)).chain(roots) {
            add(root, None);
        }
        for (root, until) in self.roots.iter().zip(&self.until) {
            let until = until.unwrap_or(fade);
            if until > now {
                add(root, Some(until));
            }
        }
        next
    }

    /// The roots that are named now, and sign.
    pub fn named(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().zip(&self.until).filter(|(_, until)| until.is_none()).map(|(root, _)| root)
    }

    /// Until when a root is believed that is named no more.
    pub fn fades(&self, root: &CertificateDer<'_>) -> Option<Timestamp> {
        self.roots.iter().zip(&self.until).find(|(one, _)| *one == root).and_then(|(_, until)| *until)
    }

    fn read(note: &[u8]) -> Option<Self> {
        let Note { roots, issuers } = serde_json::from_slice(note).ok()?;
        let certificate = |text: &String| STANDARD.decode(text).ok().map(CertificateDer::from);
        let (roots, until): (Vec<_>, Vec<_>) = roots.into_iter().unzip();
        Some(Self {
            roots: roots.iter().map(certificate).collect::<Option<_>>()?,
            until,
            issuers: issuers.iter().map(certificate).collect::<Option<_>>()?,
        })
    }

    fn written(&self) -> Option<Vec<u8>> {
        let text = |certificate: &CertificateDer<'_>| STANDARD.encode(certificate);
        let roots = self.roots.iter().map(text).zip(self.until.iter().copied()).collect();
        serde_json::to_vec_pretty(&Note { roots, issuers: self.issuers.iter().map(text).collect() }).ok()
    }
}

impl Authority {
    /// Another authority's roots are believed from now on, and what is signed here no more. Roots that were named before and are not any
    /// more go on being believed until `fade`.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn believe(&self, roots: &[CertificateDer<'static>], fade: Timestamp, now: Timestamp) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let before = self.standing().foreign.clone();
        let kept = || self.chest.as_ref().and_then(|chest| chest.note(NOTE).ok().flatten()).and_then(|note| Foreign::read(&note));
        let next = before.as_deref().cloned().or_else(kept).unwrap_or_default().followed_by(roots, fade, now);
        self.replace_foreign(before.as_deref(), next)
    }

    /// A leaf has come that leads to this root, by way of these certificates; `own`: it is the control plane's.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn signed_by(&self, root: &CertificateDer<'static>, above: &[CertificateDer<'static>], own: bool) -> Result<(), Fault> {
        let _one_at_a_time = self.steps.lock();
        let Some(before) = self.standing().foreign.clone() else { return Ok(()) };
        let mut next = Foreign::clone(&before);
        if own && let Some(place) = next.roots.iter().position(|one| one == root) {
            next.roots[..=place].rotate_right(1);
            next.until[..=place].rotate_right(1);
        }
        for issuer in above {
            if !next.issuers.contains(issuer) {
                next.issuers.push(issuer.clone());
            }
        }
        let too_many = next.issuers.len().saturating_sub(ISSUERS);
        next.issuers.drain(..too_many);
        self.replace_foreign(Some(&*before), next)
    }

    fn replace_foreign(&self, before: Option<&Foreign>, next: Foreign) -> Result<(), Fault> {
        if before == Some(&next) {
            return Ok(());
        }
        if let Some(chest) = &self.chest {
            chest.store_note(NOTE, next.written().as_deref())?;
        }
        self.put(|standing| Standing { foreign: Some(Arc::new(next)), ..standing });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn roots(names: &str) -> Vec<CertificateDer<'static>> {
        names.bytes().map(|name| CertificateDer::from(vec![name])).collect()
    }

    #[test]
    fn a_root_that_is_named_no_more_is_believed_until_what_it_signed_has_ended() {
        let first = Foreign::default().followed_by(&roots("ab"), at(100), at(0));
        assert_eq!((first.roots.clone(), first.until.clone()), (roots("ab"), vec![None, None]));
        let second = first.followed_by(&roots("cb"), at(110), at(10));
        assert_eq!((second.roots.clone(), second.until.clone()), (roots("bca"), vec![None, None, Some(at(110))]));
        assert_eq!(second.named().cloned().collect::<Vec<_>>(), roots("bc"));
        // The time does not begin again, and the root may come back.
        assert_eq!(second.followed_by(&roots("cb"), at(150), at(50)), second);
        assert_eq!(second.followed_by(&roots("cb"), at(210), at(110)).roots, roots("bc"));
        assert_eq!(second.followed_by(&roots("acb"), at(150), at(50)).until, vec![None, None, None]);
        assert_eq!(Foreign::read(&second.written().unwrap()), Some(second));
    }
}
