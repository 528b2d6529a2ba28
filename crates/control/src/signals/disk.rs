//! The store on disk: append-only segments, one row of files per resolution.
//!
//! A segment is a header and records; a record is its length, a CRC-32 and its bytes, written by one call. What a crash cut short is cut
//! off when the file is opened again, so a record is there as a whole or not at all. Everything that belongs together is one record: a
//! second with the numbers of the batches that are in it; a roll-up with the number up to which it has taken up what is finer. Each
//! segment defines the edges it names, so any of them can be deleted alone. Nothing is ever changed in place.

use super::frame::Frame;
use super::level::SPANS;
use super::reporters::Gap;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use taut_model::signal::varint::{Malformed, Reader, put, put_text};
use taut_model::signal::{Edge, Second};

const MAGIC: &[u8; 8] = b"TAUTSIG\x01";
const LONGEST_TEXT: usize = 2048;
/// Of a record; a second of 100,000 edges is about 10 MB.
const LONGEST_RECORD: usize = 256 << 20;
/// What covers nothing yet: whatever is added to it is all of it.
const NOTHING: Range<u64> = Range { start: u64::MAX, end: 0 };
const FRAMES: u64 = 0;
const GAP: u64 = 1;

/// A batch that is in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    pub proxy: String,
    pub epoch: u64,
    pub sequence: u64,
    /// It was the last of its epoch.
    pub last: bool,
}

/// What is written at once.
#[derive(Clone, Debug)]
pub enum Record {
    Frames { level: usize, through: u64, frames: Vec<Arc<Frame>>, batches: Vec<Contained> },
    Gap(Gap),
}

impl Record {
    fn level(&self) -> usize {
        match self {
            Self::Frames { level, .. } => *level,
            Self::Gap(_) => 0,
        }
    }
}

/// A file that is complete, or is being written.
#[derive(Clone, Debug)]
pub struct Segment {
    pub path: Arc<Path>,
    /// Numbers of its frames.
    pub numbers: Range<u64>,
    /// Seconds that they are about.
    pub time: Range<Second>,
    pub bytes: u64,
}

/// Which frames of a segment are wanted.
#[derive(Clone, Debug)]
pub struct Reading {
    pub segment: Segment,
    pub level: usize,
    pub numbers: Range<u64>,
    pub window: Range<Second>,
}

struct Writer {
    file: File,
    segment: Segment,
    /// Edges that the segment has defined, by address; they are held, so no address changes its meaning.
    defined: HashMap<usize, (u32, Arc<Edge>)>,
    /// A failed write may have left something behind the last whole record.
    torn: bool,
}

/// What a start has found.
#[derive(Default)]
pub struct Found {
    /// Highest number of a frame.
    pub number: u64,
    pub through: [u64; SPANS.len()],
    pub latest: Second,
    pub batches: Vec<(Second, Contained)>,
    pub gaps: Vec<Gap>,
}

pub struct Disk {
    directory: PathBuf,
    ceiling: u64,
    segments: [VecDeque<Segment>; SPANS.len()],
    writers: [Option<Writer>; SPANS.len()],
    unsynced: bool,
}

const NAMES: [&str; SPANS.len()] = ["1s", "10s", "1m", "1h"];

impl Disk {
    /// Opens or creates the directory, cuts off what a crash left unfinished, and tells what is there.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: &Path, ceiling: u64) -> io::Result<(Self, Found)> {
        fs::create_dir_all(directory)?;
        let mut disk = Self { directory: directory.to_owned(), ceiling, segments: Default::default(), writers: Default::default(), unsynced: false };
        let mut found = Found::default();
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let Some(level) = level_of(&path) else { continue };
            match scan(&path, level, &mut found) {
                Ok(Some(segment)) => disk.segments[level].push_back(segment),
                // Not one whole record: nothing is lost with it.
                Ok(None) => drop(fs::remove_file(&path)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a file of signals cannot be read and is left out"),
            }
        }
        for row in &mut disk.segments {
            row.make_contiguous().sort_by_key(|segment| segment.numbers.start);
        }
        Ok((disk, found))
    }

    pub fn bytes(&self) -> u64 {
        self.rows().map(|segment| segment.bytes).sum()
    }

    fn rows(&self) -> impl Iterator<Item = &Segment> {
        let open = self.writers.iter().flatten().map(|writer| &writer.segment);
        self.segments.iter().flatten().chain(open)
    }

    /// Segments of a level, the oldest first.
    pub fn of_level(&self, level: usize) -> impl Iterator<Item = &Segment> {
        self.segments[level].iter().chain(self.writers[level].as_ref().map(|writer| &writer.segment))
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Nothing was written, or nothing that counts.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let level = record.level();
        // Each defines its edges anew, which for 10,000 of them is 3 MB.
        let largest = (self.ceiling / 32).clamp(16 << 10, 32 << 20);
        let full = |writer: &Writer| writer.torn || writer.segment.bytes >= largest;
        if self.writers[level].as_ref().is_some_and(full)
            && let Some(writer) = self.writers[level].take()
        {
            writer.finish(&mut self.segments[level])?;
        }
        let number = match record {
            Record::Frames { frames, .. } => frames.first().map_or(0, |frame| frame.number),
            Record::Gap(_) => self.of_level(0).last().map_or(0, |segment| segment.numbers.end),
        };
        let writer = match &mut self.writers[level] {
            Some(writer) => writer,
            none => none.insert(Writer::new(&self.directory, level, number)?),
        };
        writer.append(record)?;
        self.unsynced = true;
        Ok(())
    }

    /// Has the system put on the disk what was written. A process that is killed loses nothing without it; a power cut may.
    ///
    /// # Errors
    /// The disk says so.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.writers.iter().flatten().try_for_each(|writer| writer.file.sync_data())?;
        }
        Ok(())
    }

    /// Deletes the oldest of the finest while all is larger than the ceiling; how many files went.
    pub fn shed(&mut self) -> u64 {
        let mut gone = 0;
        while self.bytes() > self.ceiling {
            let Some(row) = self.segments.iter_mut().find(|row| !row.is_empty()) else { break };
            let Some(oldest) = row.pop_front() else { break };
            if let Err(error) = fs::remove_file(&oldest.path) {
                tracing::warn!(path = %oldest.path.display(), %error, "an old file of signals cannot be removed");
            }
            gone += 1;
        }
        gone
    }
}

fn level_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.strip_suffix(".signals")?;
    let (level, _) = name.split_once('-')?;
    NAMES.iter().position(|known| *known == level)
}

impl Writer {
    fn new(directory: &Path, level: usize, number: u64) -> io::Result<Self> {
        // One that failed before its first record may be there under this name.
        let path: Arc<Path> = directory.join(format!("{}-{number:020}.signals", NAMES[level])).into();
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(MAGIC)?;
        let segment = Segment { path, numbers: number..number, time: NOTHING, bytes: MAGIC.len() as u64 };
        Ok(Self { file, segment, defined: HashMap::new(), torn: false })
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut bytes = vec![0; 8];
        self.encode(record, &mut bytes);
        let (head, payload) = bytes.split_at_mut(8);
        let length = u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        if let Err(error) = self.file.write_all(&bytes) {
            self.torn = true;
            return Err(error);
        }
        self.segment.bytes += bytes.len() as u64;
        if let Record::Frames { frames, .. } = record {
            for frame in frames {
                self.segment.covers(frame.number, frame.start, frame.end());
            }
        }
        Ok(())
    }

    fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        let Record::Frames { through, frames, batches, .. } = record else {
            if let Record::Gap(gap) = record {
                put(out, GAP);
                put(out, gap.from);
                put(out, gap.to);
                put_text(out, cut(&gap.why));
                put_text(out, cut(gap.proxy.as_deref().unwrap_or_default()));
            }
            return;
        };
        put(out, FRAMES);
        put(out, *through);
        put(out, batches.len() as u64);
        for Contained { proxy, epoch, sequence, last } in batches {
            put_text(out, cut(proxy));
            put(out, *epoch);
            put(out, sequence << 1 | u64::from(*last));
        }
        put(out, frames.len() as u64);
        for frame in frames {
            put(out, frame.start);
            put(out, frame.number);
        }
        let (mut definitions, mut bodies) = (Vec::new(), Vec::new());
        for frame in frames {
            let mut body = Vec::with_capacity(frame.weight());
            for (edge, written) in frame.iter() {
                let next = u32::try_from(self.defined.len()).unwrap_or(u32::MAX);
                let address = Arc::as_ptr(edge) as usize;
                let (number, _) = self.defined.entry(address).or_insert_with(|| {
                    edge.write(&mut definitions);
                    (next, edge.clone())
                });
                put(&mut body, (*number).into());
                put(&mut body, written.len() as u64);
                body.extend_from_slice(written);
            }
            bodies.push(body);
        }
        put(out, definitions.len() as u64);
        out.extend_from_slice(&definitions);
        for body in bodies {
            put(out, body.len() as u64);
            out.extend_from_slice(&body);
        }
    }

    /// Cuts off what a failed write left.
    fn finish(self, into: &mut VecDeque<Segment>) -> io::Result<()> {
        let cut = if self.torn { self.file.set_len(self.segment.bytes) } else { Ok(()) };
        into.push_back(self.segment);
        cut
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

impl Segment {
    fn covers(&mut self, number: u64, start: Second, end: Second) {
        self.numbers = self.numbers.start.min(number)..self.numbers.end.max(number + 1);
        self.time = self.time.start.min(start)..self.time.end.max(end);
    }
}

/// The whole records of a file, in order, and where they end.
struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(MAGIC).then_some(Self { bytes, at: MAGIC.len() })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let head = self.bytes.get(self.at..self.at + 8)?;
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let (length, sum) = (number(&head[..4])? as usize, number(&head[4..])?);
        if length > LONGEST_RECORD {
            return None;
        }
        let payload = self.bytes.get(self.at + 8..self.at + 8 + length)?;
        if crc32fast::hash(payload) != sum {
            return None;
        }
        self.at += 8 + length;
        Some(payload)
    }
}

fn all_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file holds, without its signals. What comes after its last whole record is cut off.
fn scan(path: &Path, level: usize, found: &mut Found) -> io::Result<Option<Segment>> {
    let bytes = all_of(path)?;
    let Some(mut records) = Records::new(&bytes) else {
        return if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) { Ok(None) } else { Err(io::Error::other("it is no file of signals")) };
    };
    let mut segment = Segment { path: path.into(), numbers: NOTHING, time: NOTHING, bytes: 0 };
    let mut any = false;
    for payload in records.by_ref() {
        any = true;
        note(payload, level, &mut segment, found).map_err(io::Error::other)?;
    }
    let end = records.at;
    if end < bytes.len() {
        tracing::info!(path = %path.display(), cut = bytes.len() - end, "a record was not finished when the control plane ended; it is cut off");
        OpenOptions::new().write(true).open(path)?.set_len(end as u64)?;
    }
    segment.bytes = end as u64;
    Ok(any.then_some(segment))
}

fn note(payload: &[u8], level: usize, segment: &mut Segment, found: &mut Found) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    if reader.number()? == GAP {
        let (from, to, why, proxy) = (reader.number()?, reader.number()?, reader.text(LONGEST_TEXT)?, reader.text(LONGEST_TEXT)?);
        found.gaps.push(Gap { from, to, why: why.to_owned(), proxy: Some(proxy.to_owned()).filter(|proxy| !proxy.is_empty()) });
        return Ok(());
    }
    found.through[level] = found.through[level].max(reader.number()?);
    let batches = batches(&mut reader)?;
    let frames = heads(&mut reader)?;
    for (start, number) in &frames {
        segment.covers(*number, *start, start.saturating_add(SPANS[level]));
        found.number = found.number.max(*number);
    }
    if let (0, Some((start, _))) = (level, frames.last()) {
        found.latest = *start;
        found.batches.extend(batches.into_iter().map(|batch| (*start, batch)));
    }
    Ok(())
}

fn batches(reader: &mut Reader<'_>) -> Result<Vec<Contained>, Malformed> {
    let count = reader.small::<usize>()?;
    let mut batches = Vec::new();
    for _ in 0..count {
        let (proxy, epoch, sequence) = (reader.text(LONGEST_TEXT)?.to_owned(), reader.number()?, reader.number()?);
        batches.push(Contained { proxy, epoch, sequence: sequence >> 1, last: sequence & 1 == 1 });
    }
    Ok(batches)
}

fn heads(reader: &mut Reader<'_>) -> Result<Vec<(Second, u64)>, Malformed> {
    let count = reader.small::<usize>()?;
    let mut heads = Vec::new();
    for _ in 0..count {
        heads.push((reader.number()?, reader.number()?));
    }
    Ok(heads)
}

impl Reading {
    /// The frames that are wanted. A file that was deleted in the meantime has none.
    pub fn frames(&self) -> Vec<Arc<Frame>> {
        match all_of(&self.segment.path) {
            Ok(bytes) => self.of(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.segment.path.display(), %error, "signals cannot be read");
                Vec::new()
            }
        }
    }

    fn of(&self, bytes: &[u8]) -> Vec<Arc<Frame>> {
        let (mut edges, mut frames) = (Vec::new(), Vec::new());
        for payload in Records::new(bytes).into_iter().flatten() {
            if let Err(error) = self.take(payload, &mut edges, &mut frames) {
                tracing::warn!(path = %self.segment.path.display(), %error, "signals cannot be read");
                break;
            }
        }
        frames
    }

    fn take(&self, payload: &[u8], edges: &mut Vec<Arc<Edge>>, frames: &mut Vec<Arc<Frame>>) -> Result<(), Malformed> {
        let mut reader = Reader::new(payload);
        if reader.number()? != FRAMES {
            return Ok(());
        }
        reader.number()?;
        batches(&mut reader)?;
        let heads = heads(&mut reader)?;
        let length = reader.small()?;
        let mut definitions = Reader::new(reader.bytes(length)?);
        while !definitions.is_empty() {
            edges.push(Arc::new(Edge::read(&mut definitions)?));
        }
        let span = SPANS[self.level];
        for (start, number) in heads {
            let length = reader.small()?;
            let mut entries = Reader::new(reader.bytes(length)?);
            let inside = start >= self.window.start && start.saturating_add(span) <= self.window.end;
            if !inside || !self.numbers.contains(&number) {
                continue;
            }
            let mut frame = Frame::new(start, span, number);
            while !entries.is_empty() {
                let (edge, length) = (entries.small::<usize>()?, entries.small::<usize>()?);
                let written = entries.bytes(length)?;
                let edge = edges.get(edge).ok_or(Malformed::Value)?;
                frame.push(edge.clone(), |out| out.extend_from_slice(written));
            }
            frames.push(Arc::new(frame));
        }
        Ok(())
    }
}
