//! Files of signals that are complete, laid out again edge after edge: who wants one edge, or no durations, reads no others.
//!
//! Behind the header come the counts of each edge, frame after frame; behind all of them its durations; and at the end one record with
//! all the rest: frames, batches, gaps, edges, and how long the bytes of each edge are. Those begin with their CRC-32. A file takes the
//! place of the log that it was made of by being renamed, so one of the two is there as a whole.

use super::directory::{Addresses, Directory, place};
use super::level::SPANS;
use super::log::{self, Entry, Records};
use super::reporters::Gap;
use super::segment::{Contained, Found, Layout, Segment};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use taut_model::signal::varint::{Malformed, Reader, put};
use taut_model::signal::{Edge, Second, Signals};

pub const MAGIC: &[u8; 8] = b"TAUTSIG\x02";
/// The header, and where the last record begins.
const BODY: u64 = 16;
/// What a file is called while it is written.
pub const UNFINISHED: &str = "packing";

/// A log in memory, ready to be laid out again.
#[derive(Default)]
struct Contents<'a> {
    through: u64,
    gaps: Vec<Gap>,
    /// The newest of each life of a proxy, and the second it is in: older ones say nothing more.
    batches: HashMap<(String, u64), (Second, Contained)>,
    heads: Vec<(Second, u64)>,
    edges: Vec<Arc<Edge>>,
    /// Edge, frame, and signals.
    entries: Vec<(u32, u32, &'a [u8])>,
}

/// Lays a complete log out again; the segment that has taken its place, and what is in it.
///
/// # Errors
/// The log cannot be read, or the other not written; then the log stays.
pub fn pack(segment: &Segment, level: usize, addresses: &Addresses) -> io::Result<Segment> {
    let bytes = fs::read(&segment.path)?;
    let mut contents = read_log(&bytes, segment.bytes, addresses)?;
    contents.entries.sort_by_key(|(edge, frame, _)| (*edge, *frame));
    let path = segment.path.with_extension(UNFINISHED);
    let written = write(&path, &contents).and_then(|(directory, bytes)| {
        fs::rename(&path, &segment.path)?;
        Ok((directory, bytes))
    });
    let (directory, bytes) = written.inspect_err(|_| drop(fs::remove_file(&path)))?;
    let mut packed = Segment::new(segment.path.clone(), Layout::Packed(Arc::new(Mutex::new(Some(Arc::new(directory))))));
    packed.bytes = bytes;
    for (start, number) in &contents.heads {
        packed.covers(*number, *start, start.saturating_add(SPANS[level]));
    }
    Ok(packed)
}

fn read_log<'a>(bytes: &'a [u8], length: u64, addresses: &Addresses) -> io::Result<Contents<'a>> {
    let mut contents = Contents::default();
    let mut records = Records::new(bytes).ok_or_else(|| io::Error::other("it is no log of signals"))?;
    for payload in records.by_ref() {
        add_record(payload, &mut contents, addresses).map_err(io::Error::other)?;
    }
    // What cannot be read must not be left out unseen.
    if records.at as u64 != length {
        return Err(io::Error::other(format!("it can be read up to byte {} of {length}", records.at)));
    }
    Ok(contents)
}

fn add_record<'a>(payload: &'a [u8], contents: &mut Contents<'a>, addresses: &Addresses) -> Result<(), Malformed> {
    let (through, batches, frames) = match log::take(payload, &mut contents.edges, addresses)? {
        Entry::Gap(gap) => {
            contents.gaps.push(gap);
            return Ok(());
        }
        Entry::Frames { through, batches, frames } => (through, batches, frames),
    };
    contents.through = contents.through.max(through);
    let second = frames.last().map_or(0, |frame| frame.start);
    for batch in batches {
        let newest = contents.batches.entry((batch.proxy.clone(), batch.epoch)).or_insert_with(|| (second, batch.clone()));
        let last = newest.1.last || batch.last;
        if batch.sequence >= newest.1.sequence {
            *newest = (second, batch);
        }
        newest.1.last = last;
    }
    for mut frame in frames {
        let position = u32::try_from(contents.heads.len()).map_err(|_| Malformed::TooLarge)?;
        contents.heads.push((frame.start, frame.number));
        while let Some((edge, written)) = frame.next()? {
            if edge >= contents.edges.len() {
                return Err(Malformed::Value);
            }
            contents.entries.push((u32::try_from(edge).map_err(|_| Malformed::TooLarge)?, position, written));
        }
    }
    Ok(())
}

/// Writes a packed file and has the system keep it; its directory and how long it is.
fn write(path: &Path, contents: &Contents<'_>) -> io::Result<(Directory, u64)> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    out.write_all(MAGIC)?;
    out.write_all(&[0; 8])?;
    let (counts, at) = write_column(&mut out, contents, BODY, |counts, _| counts)?;
    let (latency, at) = write_column(&mut out, contents, at, |_, latency| latency)?;
    let mut record = vec![0; 8];
    encode_rest(contents, &counts, &latency, &mut record);
    log::seal_record(&mut record)?;
    out.write_all(&record)?;
    let file = out.into_inner()?;
    file.write_all_at(&at.to_le_bytes(), MAGIC.len() as u64)?;
    file.sync_data()?;
    let directory = Directory { edges: contents.edges.clone(), heads: contents.heads.clone(), counts, latency };
    Ok((directory, at + record.len() as u64))
}

/// One part of all signals, edge after edge: where each begins, and where the last ends.
fn write_column(
    out: &mut impl Write,
    contents: &Contents<'_>,
    mut at: u64,
    part: impl for<'a> Fn(&'a [u8], &'a [u8]) -> &'a [u8],
) -> io::Result<(Vec<u32>, u64)> {
    let mut places = Vec::with_capacity(contents.edges.len() + 1);
    let (mut next, mut posting) = (0, Vec::new());
    for edge in 0..contents.edges.len() {
        places.push(u32::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?);
        posting.clear();
        posting.extend_from_slice(&[0; 4]);
        let mut before = 0;
        while let Some((_, frame, written)) = contents.entries.get(next).filter(|(of, ..)| *of as usize == edge) {
            let (counts, latency) = Signals::split_written(written).map_err(io::Error::other)?;
            let part = part(counts, latency);
            if !part.is_empty() {
                put(&mut posting, u64::from(frame - before));
                put(&mut posting, part.len() as u64);
                posting.extend_from_slice(part);
                before = *frame;
            }
            next += 1;
        }
        if posting.len() > 4 {
            let sum = crc32fast::hash(&posting[4..]);
            posting[..4].copy_from_slice(&sum.to_le_bytes());
            out.write_all(&posting)?;
            at += posting.len() as u64;
        }
    }
    places.push(u32::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?);
    Ok((places, at))
}

fn encode_rest(contents: &Contents<'_>, counts: &[u32], latency: &[u32], out: &mut Vec<u8>) {
    put(out, contents.through);
    put(out, contents.gaps.len() as u64);
    contents.gaps.iter().for_each(|gap| log::put_gap(out, gap));
    let mut batches: Vec<&(Second, Contained)> = contents.batches.values().collect();
    batches.sort_by_key(|(second, batch)| (*second, &batch.proxy, batch.sequence));
    put(out, batches.len() as u64);
    for (second, batch) in batches {
        put(out, *second);
        log::put_batches(out, std::slice::from_ref(batch));
    }
    put(out, contents.heads.len() as u64);
    for (start, number) in &contents.heads {
        put(out, *start);
        put(out, *number);
    }
    put(out, contents.edges.len() as u64);
    contents.edges.iter().for_each(|edge| edge.write(out));
    for places in [counts, latency] {
        places.windows(2).for_each(|ends| put(out, u64::from(ends[1] - ends[0])));
    }
}

/// The last record of a file.
fn rest(file: &File) -> io::Result<(u64, Vec<u8>)> {
    let mut at = [0; 8];
    file.read_exact_at(&mut at, MAGIC.len() as u64)?;
    let at = u64::from_le_bytes(at);
    let length = file.metadata()?.len().checked_sub(at).filter(|length| *length <= log::LONGEST_RECORD as u64 + 8);
    let mut record = vec![0; usize::try_from(length.ok_or_else(damaged)?).map_err(|_| damaged())?];
    file.read_exact_at(&mut record, at)?;
    if log::record_at(&record, 0).is_none_or(|payload| payload.len() + 8 != record.len()) {
        return Err(damaged());
    }
    Ok((at, record))
}

fn damaged() -> io::Error {
    io::Error::other("its last record is damaged")
}

/// What a file holds, without its edges and signals.
///
/// # Errors
/// It cannot be read or is damaged.
pub fn scan(path: &Path, file: &File, level: usize, found: &mut Found) -> io::Result<Segment> {
    let (_, record) = rest(file)?;
    let mut segment = Segment::new(path.into(), Layout::Packed(Arc::default()));
    segment.bytes = file.metadata()?.len();
    note(&record[8..], level, &mut segment, found).map_err(io::Error::other)?;
    Ok(segment)
}

fn note(payload: &[u8], level: usize, segment: &mut Segment, found: &mut Found) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    found.through[level] = found.through[level].max(reader.number()?);
    for _ in 0..reader.number()? {
        found.gaps.push(log::read_gap(&mut reader)?);
    }
    for _ in 0..reader.number()? {
        let second = reader.number()?;
        found.batches.extend(log::read_batches(&mut reader)?.into_iter().map(|batch| (second, batch)));
    }
    let heads = log::read_heads(&mut reader)?;
    for (start, number) in &heads {
        segment.covers(*number, *start, start.saturating_add(SPANS[level]));
        found.number = found.number.max(*number);
    }
    if let (0, Some((start, _))) = (level, heads.last()) {
        found.latest = *start;
    }
    Ok(())
}

fn read_directory(file: &File, addresses: &Addresses) -> io::Result<Directory> {
    let (_, record) = rest(file)?;
    decode_directory(&record[8..], addresses).map_err(io::Error::other)
}

fn decode_directory(payload: &[u8], addresses: &Addresses) -> Result<Directory, Malformed> {
    let mut reader = Reader::new(payload);
    reader.number()?;
    for _ in 0..reader.number()? {
        log::read_gap(&mut reader)?;
    }
    for _ in 0..reader.number()? {
        reader.number()?;
        log::read_batches(&mut reader)?;
    }
    let heads = log::read_heads(&mut reader)?;
    let mut edges = Vec::new();
    for _ in 0..reader.number()? {
        edges.push(addresses.of(Edge::read(&mut reader)?));
    }
    let mut at = BODY as u32;
    let mut column = || {
        let mut places = vec![at];
        for _ in 0..edges.len() {
            at = at.checked_add(reader.small()?).ok_or(Malformed::TooLarge)?;
            places.push(at);
        }
        Ok(places)
    };
    let (counts, latency) = (column()?, column()?);
    Ok(Directory { edges, heads, counts, latency })
}

/// A packed file that is being read.
pub struct Open {
    file: File,
    pub directory: Arc<Directory>,
}

impl Open {
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn new(file: File, kept: &Mutex<Option<Arc<Directory>>>, addresses: &Addresses) -> io::Result<Self> {
        let known = kept.lock().clone();
        let directory = match known {
            Some(directory) => directory,
            None => {
                let read = Arc::new(read_directory(&file, addresses)?);
                kept.lock().insert(read).clone()
            }
        };
        Ok(Self { file, directory })
    }

    /// Reads the counts of some edges of the file, in the order of their places.
    pub fn counts(&self, edges: &[u32]) -> io::Result<Postings> {
        self.read(edges, &self.directory.counts)
    }

    /// Reads their durations.
    pub fn latency(&self, edges: &[u32]) -> io::Result<Postings> {
        self.read(edges, &self.directory.latency)
    }

    fn read(&self, edges: &[u32], places: &[u32]) -> io::Result<Postings> {
        /// Bytes that are rather read than left out.
        const NEAR: u64 = 16 << 10;
        let mut postings = Postings { bytes: Vec::new(), places: HashMap::with_capacity(edges.len()) };
        let mut ordered: Vec<(u32, Range<u64>)> = edges.iter().map(|edge| (*edge, place(places, *edge as usize))).collect();
        ordered.sort_unstable_by_key(|(_, range)| range.start);
        let mut from = 0;
        while let Some((_, first)) = ordered.get(from) {
            let (start, mut end, mut to) = (first.start, first.end, from + 1);
            while let Some((_, range)) = ordered.get(to).filter(|(_, range)| range.start <= end + NEAR) {
                end = end.max(range.end);
                to += 1;
            }
            let base = postings.bytes.len();
            postings.bytes.resize(base + (end - start) as usize, 0);
            self.file.read_exact_at(&mut postings.bytes[base..], start)?;
            for (edge, range) in &ordered[from..to] {
                let within = |at: u64| base + (at - start) as usize;
                postings.places.insert(*edge, within(range.start)..within(range.end));
            }
            from = to;
        }
        Ok(postings)
    }
}

/// What was read of some edges.
pub struct Postings {
    bytes: Vec<u8>,
    places: HashMap<u32, Range<usize>>,
}

impl Postings {
    /// The parts of an edge, in the order of the frames; empty when it is damaged.
    pub fn of(&self, edge: u32) -> Parts<'_> {
        let bytes = self.places.get(&edge).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default();
        let whole = bytes.split_first_chunk::<4>().filter(|(sum, payload)| u32::from_le_bytes(**sum) == crc32fast::hash(payload));
        if whole.is_none() && !bytes.is_empty() {
            tracing::warn!("signals of an edge were damaged on disk and are left out");
        }
        Parts { reader: Reader::new(whole.map_or(&[], |(_, payload)| payload)), frame: 0 }
    }
}

/// Frames and bytes of one edge.
pub struct Parts<'a> {
    reader: Reader<'a>,
    frame: u32,
}

impl<'a> Iterator for Parts<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        // The sum was right, so what was written is what is read.
        let (step, length) = (self.reader.small::<u32>().ok()?, self.reader.small::<usize>().ok()?);
        self.frame = self.frame.checked_add(step)?;
        Some((self.frame, self.reader.bytes(length).ok()?))
    }
}
