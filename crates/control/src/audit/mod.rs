//! What must not be denied later: identities given and refused, tokens, changes of configuration with their authors, steps of trust. Each entry
//! carries the hash of the one before, so that whoever changes or takes one away breaks the chain, and the newest is held by a checkpoint, so
//! that the end cannot be cut off either. `ledger` keeps what was changed; this keeps that it was.

mod chain;
mod follow;
pub mod routes;
mod segments;

pub use chain::{Break, Entry, Verified};
pub use follow::follow;

use crate::fault::Fault;
use jiff::Timestamp;
use parking_lot::Mutex;
use segments::Segments;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Entries that are kept where there is no disk.
const IN_MEMORY: usize = 10_000;

/// Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct Audit(Arc<Mutex<Log>>);

struct Log {
    newest: Option<Entry>,
    kept: Kept,
}

enum Kept {
    Memory(std::collections::VecDeque<Entry>),
    Disk(Segments),
}

impl Audit {
    /// Goes on where `STATE/audit` ends.
    ///
    /// # Errors
    /// The directory cannot be read or written. A chain that is broken is no fault: `taut audit verify` names it, and the log goes on.
    pub fn open(state: Option<&Path>) -> Result<Self, Fault> {
        let log = match state {
            None => Log { newest: None, kept: Kept::Memory(Default::default()) },
            Some(state) => {
                let (segments, newest) = Segments::open(&state.join("audit"))?;
                Log { newest, kept: Kept::Disk(segments) }
            }
        };
        Ok(Self(Arc::new(Mutex::new(log))))
    }

    /// Notes that `who` did `what` (`certificate.issued`, `trust.rotation`); `details` hold no secret. What cannot be written is told in the
    /// log: refusing to serve would make the disk a switch for the whole mesh.
    pub fn note(&self, now: Timestamp, who: &str, what: &str, details: Value) {
        let mut log = self.0.lock();
        let entry = Entry::after(log.newest.as_ref(), now, who, what, details);
        let written = match &mut log.kept {
            Kept::Memory(entries) => {
                if entries.len() == IN_MEMORY {
                    entries.pop_front();
                }
                entries.push_back(entry.clone());
                Ok(())
            }
            Kept::Disk(segments) => segments.append(&entry),
        };
        if let Err(error) = written {
            tracing::error!(%error, what, "the audit log cannot be written");
        }
        log.newest = Some(entry);
    }

    /// The newest entries that fit, oldest first.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn entries(&self, most: usize, fits: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>, Fault> {
        let log = self.0.lock();
        let mut found = std::collections::VecDeque::new();
        let mut take = |entry: &Entry| {
            if fits(entry) {
                if found.len() == most {
                    found.pop_front();
                }
                found.push_back(entry.clone());
            }
        };
        match &log.kept {
            Kept::Memory(entries) => entries.iter().for_each(take),
            Kept::Disk(segments) => segments.read(|line| {
                if let Ok(entry) = line.and_then(|line| Entry::read(&line)) {
                    take(&entry);
                }
            })?,
        }
        Ok(found.into())
    }

    /// Whether every entry follows from the one before, up to the newest that was ever written.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn verify(&self) -> Result<Verified, Fault> {
        let log = self.0.lock();
        match &log.kept {
            Kept::Memory(entries) => {
                let mut verifier = chain::Verifier::starting_at(entries.front().map(|first| (first.number, first.previous.clone())));
                entries.iter().for_each(|entry| verifier.entry(entry));
                Ok(verifier.end(log.newest.as_ref().map(|newest| (newest.number, newest.hash.clone()))))
            }
            Kept::Disk(segments) => {
                let checkpoint = segments.checkpoint()?;
                let mut verifier =
                    chain::Verifier::starting_at(checkpoint.as_ref().map(|checkpoint| (checkpoint.first, checkpoint.before_first.clone())));
                segments.read(|line| verifier.line(line))?;
                Ok(verifier.end(checkpoint.map(|checkpoint| (checkpoint.newest, checkpoint.hash))))
            }
        }
    }

    /// On disk for good. To be called now and then: a machine that fails loses what came since.
    pub fn sync(&self) {
        if let Kept::Disk(segments) = &self.0.lock().kept
            && let Err(error) = segments.sync()
        {
            tracing::error!(%error, "the audit log cannot be brought to disk");
        }
    }
}

#[cfg(test)]
mod tests;
