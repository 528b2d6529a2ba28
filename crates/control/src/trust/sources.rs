//! The files that the authority follows: a plugged-in authority's directory, and revocation lists. Looked at when they change; what cannot
//! be used is said, and what was in force before stays.

use super::expiry::Alarm;
use crate::authority::{Authority, Plugged};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use taut_model::problem::Severity;

const FILES: [&str; 4] = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"];

/// How a file was when it was looked at: device, inode, size, and time of change. `None`: it was not there.
type Mark = Option<(u64, u64, u64, i64, i64)>;

pub struct Sources {
    directory: Option<PathBuf>,
    lists: Option<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// `None`: to be looked at.
    directory: Option<Vec<Mark>>,
    lists: Option<Mark>,
    /// What is to be said of the directory; what is wrong with the lists.
    of_directory: Option<(Severity, String)>,
    of_lists: Option<String>,
}

impl Sources {
    pub fn new(directory: Option<PathBuf>, lists: Option<PathBuf>) -> Self {
        Self { directory, lists, seen: Mutex::default() }
    }

    /// The directory of the plugged-in authority.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
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
        if let Some(lists) = &self.lists {
            let mark = mark(lists);
            if seen.lists != Some(mark) {
                seen.lists = Some(mark);
                seen.of_lists = authority.take_lists(lists, now).err().map(|fault| fault.to_string());
                if let Some(text) = &seen.of_lists {
                    tracing::error!("{text} What was revoked before stays revoked.");
                }
            }
        }
    }

    pub(super) fn alarms(&self) -> Vec<Alarm> {
        let seen = self.seen.lock();
        let directory = seen.of_directory.iter().map(|(severity, text)| Alarm { severity: *severity, of: "ca-dir".to_owned(), text: text.clone() });
        let lists = seen.of_lists.iter().map(|text| Alarm { severity: Severity::Error, of: "crl".to_owned(), text: text.clone() });
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
