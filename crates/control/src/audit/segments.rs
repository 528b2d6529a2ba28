//! The log on disk: `STATE/audit/NUMBER.jsonl`, one entry on a line, in files of bounded size of which a bounded number is kept; and
//! `checkpoint.json`, which says where the log begins and ends.

use super::chain::{Entry, GENESIS};
use crate::authority::{keep_private, private_directory, write_private};
use crate::fault::Fault;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file this long is followed by another one.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// Older files go away: some hundred thousand entries are kept.
const SEGMENTS: usize = 16;
/// No entry is longer.
const LONGEST: u64 = 1024 * 1024;
/// The checkpoint has always this length, so that it can be written over in place.
const CHECKPOINT: usize = 256;

/// Where the log begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The oldest entry that is kept, and the hash before it.
    pub first: u64,
    pub before_first: String,
    /// The newest that was written.
    pub newest: u64,
    pub hash: String,
}

pub struct Segments {
    directory: PathBuf,
    /// Of the file that is written now.
    number: u64,
    file: File,
    length: u64,
    longest: u64,
    checkpoint_file: File,
    checkpoint: Option<Checkpoint>,
}

impl Segments {
    /// The log, and its newest entry.
    pub fn open(directory: &Path) -> Result<(Self, Option<Entry>), Fault> {
        Self::of(directory, SEGMENT)
    }

    pub(super) fn of(directory: &Path, longest: u64) -> Result<(Self, Option<Entry>), Fault> {
        private_directory(directory)?;
        let failed = |error: io::Error| unusable(directory, &error);
        let place = directory.join("checkpoint.json");
        keep_private(&place);
        if !place.exists() {
            write_private(&place, &[])?;
        }
        let number = numbers(directory).map_err(failed)?.last().copied().unwrap_or(1);
        let file = opened(directory, number).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let checkpoint_file = OpenOptions::new().read(true).write(true).open(&place).map_err(failed)?;
        let mut segments = Self { directory: directory.to_owned(), number, file, length, longest, checkpoint_file, checkpoint: None };
        segments.checkpoint = segments.checkpoint()?;
        segments.cut_torn_line().map_err(failed)?;
        let mut newest = None;
        segments.read(|line| newest = line.and_then(|line| Entry::read(&line)).ok().or(newest.take()))?;
        Ok((segments, newest))
    }

    /// A crash may have come in the middle of a line, which then was never noted in the checkpoint: it did not happen.
    fn cut_torn_line(&mut self) -> io::Result<()> {
        let bytes = fs::read(path(&self.directory, self.number))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) as u64;
        if whole != self.length {
            self.file.set_len(whole)?;
            self.length = whole;
        }
        Ok(())
    }

    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.length > 0 && self.length + line.len() as u64 > self.longest {
            self.begin_another()?;
        }
        self.file.write_all(&line)?;
        self.length += line.len() as u64;
        let (first, before_first) = match self.checkpoint.take() {
            Some(checkpoint) => (checkpoint.first, checkpoint.before_first),
            None => (entry.number, entry.previous.clone()),
        };
        self.put_checkpoint(Checkpoint { first, before_first, newest: entry.number, hash: entry.hash.clone() })
    }

    fn put_checkpoint(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        let text = serde_json::to_vec(&checkpoint)?;
        let mut whole = vec![b' '; CHECKPOINT.max(text.len() + 1)];
        whole[..text.len()].copy_from_slice(&text);
        if let Some(end) = whole.last_mut() {
            *end = b'\n';
        }
        self.checkpoint = Some(checkpoint);
        self.checkpoint_file.write_all_at(&whole, 0)
    }

    fn begin_another(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.number += 1;
        self.file = opened(&self.directory, self.number)?;
        self.length = 0;
        let numbers = numbers(&self.directory)?;
        let gone = numbers.len().saturating_sub(SEGMENTS);
        for number in &numbers[..gone] {
            fs::remove_file(path(&self.directory, *number))?;
        }
        if gone > 0
            && let Some(first) = first_of(&self.directory, numbers[gone])?
            && let Some(checkpoint) = self.checkpoint.take()
        {
            self.put_checkpoint(Checkpoint { first: first.number, before_first: first.previous, ..checkpoint })?;
        }
        Ok(())
    }

    /// Every line, oldest first; `Err` for one that is no text.
    pub fn read(&self, mut line: impl FnMut(Result<String, String>)) -> Result<(), Fault> {
        let mut read = || -> io::Result<()> {
            for number in numbers(&self.directory)? {
                let mut file = BufReader::new(File::open(path(&self.directory, number))?);
                let mut bytes = Vec::new();
                while file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? > 0 {
                    let text = String::from_utf8(std::mem::take(&mut bytes)).map_err(|error| error.to_string());
                    line(text.map(|text| text.trim_end_matches('\n').to_owned()));
                }
            }
            Ok(())
        };
        read().map_err(|error| unusable(&self.directory, &error))
    }

    /// As it is on disk. `None`: nothing was written yet.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, Fault> {
        let text = fs::read(self.directory.join("checkpoint.json")).map_err(|error| unusable(&self.directory, &error))?;
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        // One that cannot be read holds nothing: what it should hold is then told as the break.
        let broken = Checkpoint { first: 1, before_first: GENESIS.to_owned(), newest: u64::MAX, hash: String::new() };
        Ok(Some(serde_json::from_slice(&text).unwrap_or(broken)))
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.checkpoint_file.sync_data()
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.jsonl"))
}

fn opened(directory: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path(directory, number))
}

/// The files that are there, oldest first.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut numbers = Vec::new();
    for name in names {
        numbers.extend(name?.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn first_of(directory: &Path, number: u64) -> io::Result<Option<Entry>> {
    let mut line = String::new();
    match BufReader::new(File::open(path(directory, number))?).read_line(&mut line) {
        Ok(_) => Ok(Entry::read(line.trim_end()).ok()),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn unusable(directory: &Path, error: &io::Error) -> Fault {
    Fault::new(format!("the audit log in {} cannot be used: {error}", directory.display()), "Let this user read and write that directory")
}
