//! The files that the authority follows: a plugged-in authority's directory, and revocation lists. Looked at when they change; what cannot
//! be used is said, and what was in force before stays.

use super::expiry::Alarm;
use crate::authority::{Authority, Plugged};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use taut_model::problem::Severity;

const FILES: [&str; 4] = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"];
/// Beside them, as Istio has it from 1.27 on; it need not be there.
const LISTS: &str = "ca-crl.pem";

/// How a file was when it was looked at: device, inode, size, and time of change. `None`: it was not there.
type Mark = Option<(u64, u64, u64, i64, i64)>;

pub struct Sources {
    directory: Option<PathBuf>,
    /// Of the operator's own, which must be there, and beside the plugged-in authority.
    lists: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// `None`: to be looked at.
    directory: Option<Vec<Mark>>,
    /// By file: how it was, and who signed leaves then.
    lists: BTreeMap<PathBuf, (Mark, [u8; 32])>,
    /// What is to be said of the directory; what is wrong with the lists.
    of_directory: Option<(Severity, String)>,
    of_lists: BTreeMap<PathBuf, String>,
}

impl Sources {
    pub fn new(directory: Option<PathBuf>, lists: Option<PathBuf>) -> Self {
        let beside = directory.as_ref().map(|directory| directory.join(LISTS));
        Self { directory, lists: lists.into_iter().chain(beside).collect(), seen: Mutex::default() }
    }

    /// The directory of the plugged-in authority.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The lists without which more would be believed than is meant, when the control plane starts. Those beside an authority that does not sign
    /// yet are not meant yet.
    pub fn needed(&self, authority: &Authority, now: Timestamp) -> Vec<&Path> {
        let signs = |directory: &Path| authority.take_plugged(directory, now).is_ok_and(|plugged| plugged == Plugged::InForce);
        let beside = |file: &Path| self.directory.as_deref().filter(|directory| file.parent() == Some(*directory));
        let is_needed = |file: &&Path| beside(file).is_none_or(|directory| file.exists() && signs(directory));
        self.lists.iter().map(PathBuf::as_path).filter(is_needed).collect()
    }

    /// Takes up what has changed since this was called last.
    pub fn look(&self, authority: &Authority, now: Timestamp) {
        let mut seen = self.seen.lock();
        if let Some(directory) = &self.directory {
            let marks: Vec<Mark> = FILES.iter().map(|name| mark(&directory.join(name))).collect();
            // What waits for a rotation looks different after it.
            if seen.directory.as_ref() != Some(&marks) || seen.of_directory.as_ref().is_some_and(|(severity, _)| *severity == Severity::Warning) {
                seen.directory = Some(marks);
                let said = said(authority.take_plugged(directory, now).map_err(|fault| fault.to_string()), directory);
                if let Some((_, text)) = said.as_ref().filter(|said| seen.of_directory.as_ref() != Some(said)) {
                    tracing::warn!("{text}");
                }
                seen.of_directory = said;
            }
        }
        for file in &self.lists {
            self.look_at_lists(file, authority, &mut seen);
        }
    }

    /// A list that could not be used is looked at again when another authority signs: it may be that one's.
    fn look_at_lists(&self, file: &Path, authority: &Authority, seen: &mut Seen) {
        let (mark, signs) = (mark(file), authority.standing().signing.fingerprint());
        let before = seen.lists.insert(file.to_owned(), (mark, signs));
        let same_mark = before.is_some_and(|(before, _)| before == mark);
        if same_mark && (before.is_some_and(|(_, before)| before == signs) || !seen.of_lists.contains_key(file)) {
            return;
        }
        // The one beside a plugged-in authority need not be there, but does not go unnoticed.
        let may_lack = self.directory.as_deref() == file.parent() && !authority.standing().listed.contains_key(file);
        if mark.is_none() && may_lack {
            seen.of_lists.remove(file);
            return;
        }
        match authority.take_lists(file) {
            Ok(()) => drop(seen.of_lists.remove(file)),
            Err(fault) => {
                tracing::error!("{fault} What was revoked before stays revoked.");
                seen.of_lists.insert(file.to_owned(), fault.to_string());
            }
        }
    }

    pub(super) fn alarms(&self) -> Vec<Alarm> {
        let seen = self.seen.lock();
        let directory = seen.of_directory.iter().map(|(severity, text)| Alarm { severity: *severity, of: "ca-dir".to_owned(), text: text.clone() });
        let stays = |text: &String| format!("{text} What was revoked before stays revoked.");
        let lists = seen.of_lists.values().map(|text| Alarm { severity: Severity::Error, of: "crl".to_owned(), text: stays(text) });
        directory.chain(lists).collect()
    }

    /// For `taut trust`.
    pub(super) fn shown(&self) -> Value {
        let seen = self.seen.lock();
        let why = seen.of_directory.as_ref().map(|(_, text)| text);
        self.directory
            .as_ref()
            .map_or(Value::Null, |directory| json!({"directory": directory.display().to_string(), "inForce": why.is_none(), "why": why}))
    }
}

fn said(plugged: Result<Plugged, String>, directory: &Path) -> Option<(Severity, String)> {
    let shown = directory.display();
    match plugged {
        Ok(Plugged::InForce) => None,
        Ok(Plugged::OtherRoot) => {
            Some((Severity::Warning, format!("{shown} holds another root than the mesh believes: go over to it with `taut trust rotate`")))
        }
        Ok(Plugged::RotationUnderWay) => Some((Severity::Warning, format!("{shown} is taken up when the rotation of the root is over"))),
        Err(why) => Some((Severity::Error, format!("{why} (what signed before goes on)"))),
    }
}

fn mark(path: &Path) -> Mark {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}
