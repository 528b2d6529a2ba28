//! What is near its end: said long before traffic could suffer from it.

use super::Trust;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use std::time::Duration;
use taut_model::problem::{Problem, Severity};
use taut_model::trust::{CLOCK_SKEW, LEAF_NOTICE, near_end};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A root needs a rotation, and the operator's own authority may be slow.
const ROOT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Renewed 60 days before its end where that is possible: with less left, it was not.
const INTERMEDIATE: Duration = Duration::from_secs(45 * 24 * 3600);

/// One certificate, or a source of certificates, that needs somebody's care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub severity: Severity,
    /// What it is about, as short as a metric's label.
    pub of: String,
    pub text: String,
}

impl Alarm {
    /// As findings about objects are told, though it is about none.
    pub fn to_json(&self) -> Value {
        let problem = Problem {
            severity: self.severity,
            code: "Trust",
            object: None,
            path: String::new(),
            location: None,
            message: self.text.clone(),
            help: None,
            excerpt: None,
        };
        let mut value = serde_json::to_value(problem).unwrap_or_default();
        (value["of"], value["text"]) = (self.of.as_str().into(), self.text.as_str().into());
        value
    }
}

/// When a workload's certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// `namespace/name` of the workload.
    pub workload: String,
    pub ends: Timestamp,
    /// From then on its sidecar renews it: half of its life.
    pub renewed_from: Timestamp,
    /// How bad it is that it was not renewed yet; `None`: not at all.
    pub severity: Option<Severity>,
}

impl Trust {
    /// The certificates of the workloads of a service that sidecars hold, the one that ends first before the others.
    pub fn leaves(&self, namespace: &str, service: &str) -> Vec<Leaf> {
        let now = self.world.wall();
        let host = format!("{service}.{namespace}.svc.");
        let published = self.published.borrow().clone();
        let serves =
            |uid: &str| published.translation.workloads.get(uid).is_some_and(|one| one.serves.iter().any(|serves| serves.host.starts_with(&host)));
        let leaf = |uid: &str, not_before: i64, not_after: i64| {
            let at = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
            let (from, ends) = (at(not_before), at(not_after));
            let life = Duration::try_from(ends.duration_since(from)).unwrap_or_default();
            let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
            let renewed_from = at(not_before.saturating_add(not_after.saturating_sub(not_before) / 2));
            Leaf { workload: uid.to_owned(), ends, renewed_from, severity: near_end(life.saturating_sub(CLOCK_SKEW), left, LEAF_NOTICE) }
        };
        let of_service = self.proxies.all().into_iter().filter(|proxy| serves(&proxy.uid));
        let mut leaves: Vec<Leaf> =
            of_service.filter_map(|proxy| proxy.holding.as_ref().map(|held| leaf(&proxy.uid, held.not_before, held.not_after))).collect();
        leaves.sort_by(|one, other| (one.ends, &one.workload).cmp(&(other.ends, &other.workload)));
        leaves
    }

    pub(super) fn root_ends(&self, root: &CertificateDer<'_>) -> Option<Timestamp> {
        span(root).map(|(_, until)| until)
    }

    /// `root`, `intermediate`, the first of the revocation lists that are followed -> seconds until it ends.
    pub fn expiries(&self) -> Vec<(&'static str, f64)> {
        let standing = self.authority.standing();
        let left = |until: Timestamp| until.duration_since(self.world.wall()).as_secs_f64();
        // What is signed with here says nothing about the mesh where another authority signs.
        let intermediate = standing.foreign.is_none().then(|| ("intermediate", left(standing.signing.not_after)));
        let root = standing.roots().filter_map(|root| self.root_ends(root)).min().map(|until| ("root", left(until)));
        let list = self.lists_due().into_iter().map(|(_, due)| due).min().map(|due| ("revocation list", left(due)));
        intermediate.into_iter().chain(root).chain(list).collect()
    }

    /// Until when the revocation lists are good, by what they are of: a file, or another trust domain.
    pub(super) fn lists_due(&self) -> Vec<(String, Timestamp)> {
        let standing = self.authority.standing();
        let own = standing.listed.iter().filter_map(|(file, lists)| Some((file.display().to_string(), lists.next_update?)));
        let published = self.published.borrow();
        let others = published.translation.lists_due.iter().map(|(domain, due)| (domain.clone(), *due));
        own.chain(others).collect()
    }

    /// What needs care now, the authority's own certificates first.
    pub fn alarms(&self) -> Vec<Alarm> {
        let standing = self.authority.standing();
        let now = self.world.wall();
        let mut alarms = self.sources.alarms();
        let troubles = self.signing.troubles().into_iter();
        alarms.extend(troubles.map(|(of, trouble)| Alarm { severity: Severity::Error, of: of.to_owned(), text: trouble.text }));
        alarms.extend(self.lists_due().into_iter().filter(|(_, due)| *due <= now).map(|(of, due)| {
            let text = format!("the revocation list of {of} should have been followed by a newer one at {due}: what it revokes stays revoked, what was revoked since is not known");
            Alarm { severity: Severity::Warning, of: "crl".to_owned(), text }
        }));
        let mut note = |of: String, (from, until): (Timestamp, Timestamp), widest: Duration, what: String, help: &str| {
            let life = Duration::try_from(until.duration_since(from)).unwrap_or_default().saturating_sub(CLOCK_SKEW);
            let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            if let Some(severity) = near_end(life, left, widest) {
                let text = if left.is_zero() { format!("{what} expired at {until}: {help}") } else { format!("{what} expires at {until}: {help}") };
                alarms.push(Alarm { severity, of, text });
            }
        };
        // Those that are believed no more go by themselves.
        let foreign = standing.foreign.iter().flat_map(|foreign| foreign.named()).filter_map(span);
        for span in foreign {
            note("root".to_owned(), span, ROOT, "a root of the authority that signs for the mesh".to_owned(), "replace it there");
        }
        if standing.foreign.is_none()
            && let Some(span) = span(&standing.signing.root)
        {
            note("root".to_owned(), span, ROOT, "the root certificate".to_owned(), "replace it with `taut trust rotate`");
        }
        let signing = (standing.signing.not_before, standing.signing.not_after);
        let help = match self.authority.has_root_key() {
            true => "the control plane renews it by itself and could not: see its log",
            false => "put the root's key back into STATE/ca/root.key until it is renewed, or plug in a new intermediate",
        };
        note("intermediate".to_owned(), signing, INTERMEDIATE, "the intermediate certificate".to_owned(), help);
        for proxy in self.proxies.all() {
            let Some(holding) = &proxy.holding else { continue };
            let at = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
            let what = format!("the certificate of {}", proxy.uid);
            let help = "its sidecar renews it at half of its life and could not: see its log";
            note(proxy.uid.clone(), (at(holding.not_before), at(holding.not_after)), LEAF_NOTICE, what, help);
        }
        alarms
    }
}

fn span(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let at = |seconds| Timestamp::from_second(seconds).ok();
    Some((at(parsed.validity().not_before.timestamp())?, at(parsed.validity().not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn an_alarm_comes_long_before_the_end_and_gets_louder() {
        let day = |days: u32| DAY * days;
        let hour = |hours: u32| DAY / 24 * hours;
        for (life, left, widest, want) in [
            (day(3650), day(400), ROOT, None),
            (day(3650), day(360), ROOT, Some(Severity::Warning)),
            (day(3650), day(90), ROOT, Some(Severity::Error)),
            (day(365), day(60), INTERMEDIATE, None),
            (day(365), day(44), INTERMEDIATE, Some(Severity::Warning)),
            (day(365), day(11), INTERMEDIATE, Some(Severity::Error)),
            (day(1), hour(11), day(30), None),
            (day(1), hour(7), day(30), Some(Severity::Warning)),
            (day(1), hour(2), day(30), Some(Severity::Error)),
            (day(1), Duration::ZERO, day(30), Some(Severity::Error)),
        ] {
            assert_eq!(near_end(life, left, widest), want, "{left:?} of {life:?}");
        }
    }
}
