//! One entry, its hash, and whether a row of entries hangs together. No files.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What stands in the place of the hash before the first entry.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 1 on, without gaps.
    pub number: u64,
    /// RFC 3339.
    pub at: String,
    pub who: String,
    pub what: String,
    pub details: Value,
    /// SHA-256 of the entry before, in hexadecimal.
    pub previous: String,
    /// SHA-256 of all that is above, as JSON with its keys in alphabetical order and without spaces.
    pub hash: String,
}

impl Entry {
    pub fn after(before: Option<&Entry>, at: Timestamp, who: &str, what: &str, details: Value) -> Self {
        let (number, previous) = before.map_or((1, GENESIS.to_owned()), |before| (before.number + 1, before.hash.clone()));
        let entry = Self { number, at: at.to_string(), who: who.to_owned(), what: what.to_owned(), details, previous, hash: String::new() };
        Self { hash: entry.computed(), ..entry }
    }

    /// # Errors
    /// Why it is no entry.
    pub fn read(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    fn computed(&self) -> String {
        let Self { number, at, who, what, details, previous, .. } = self;
        let text = json!({"at": at, "details": details, "number": number, "previous": previous, "what": what, "who": who}).to_string();
        digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The first entry that is not as it was written, or is not there.
    pub number: u64,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Entries that hang together from the first that is kept.
    pub entries: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Of the last of them: whoever keeps it elsewhere can tell later that nothing up to it was changed.
    pub hash: Option<String>,
    pub broken: Option<Break>,
}

/// Goes through entries in their order.
pub struct Verifier {
    /// The number and the hash before that the next entry must have.
    next: (u64, String),
    verified: Verified,
}

impl Verifier {
    /// `first`: the oldest entry that is kept, and the hash before it.
    pub fn starting_at(first: Option<(u64, String)>) -> Self {
        let next = first.unwrap_or((1, GENESIS.to_owned()));
        Self { next, verified: Verified { entries: 0, first: None, last: None, hash: None, broken: None } }
    }

    pub fn line(&mut self, line: Result<String, String>) {
        match line.and_then(|line| Entry::read(&line)) {
            Ok(entry) => self.entry(&entry),
            Err(why) => self.break_at(format!("it cannot be read: {why}")),
        }
    }

    pub fn entry(&mut self, entry: &Entry) {
        let (number, previous) = &self.next;
        if entry.number != *number {
            return self.break_at(format!("entry {} stands in its place", entry.number));
        }
        if entry.previous != *previous {
            return self.break_at("it does not follow from the one before".to_owned());
        }
        if entry.computed() != entry.hash {
            return self.break_at("it is not as it was written".to_owned());
        }
        if self.verified.broken.is_none() {
            self.verified.entries += 1;
            self.verified.first.get_or_insert(entry.number);
            (self.verified.last, self.verified.hash) = (Some(entry.number), Some(entry.hash.clone()));
            self.next = (entry.number + 1, entry.hash.clone());
        }
    }

    /// The first break counts: what comes after it cannot be told.
    fn break_at(&mut self, why: String) {
        self.verified.broken.get_or_insert(Break { number: self.next.0, why });
    }

    /// `newest`: the number and hash of the last entry that was written, as the checkpoint has it.
    pub fn end(mut self, newest: Option<(u64, String)>) -> Verified {
        if let Some((number, hash)) = newest.filter(|_| self.verified.broken.is_none()) {
            let last = self.verified.last.unwrap_or(self.next.0 - 1);
            if last < number {
                self.break_at(format!("the log ends before it, and entries up to {number} were written"));
            } else if last == number && self.verified.hash.as_ref().is_some_and(|found| *found != hash) {
                self.next.0 = number;
                self.break_at("it is not the entry that was written".to_owned());
            }
        }
        self.verified
    }
}
