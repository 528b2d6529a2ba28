//! Files of signals as they are written: frame after frame, records that are there as a whole or not at all.
//!
//! A file is a header and records; a record is its length, a CRC-32 and its bytes, written by one call. What a crash cut short is cut
//! off when the file is opened again. Everything that belongs together is one record: a second with the numbers of the batches that are
//! in it; a roll-up with the number up to which it has taken up what is finer. Nothing is ever changed in place.

use super::directory::Addresses;
use super::frame::Frame;
use super::level::SPANS;
use super::reporters::Gap;
use super::segment::{Contained, Found, Layout, Record, Segment};
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use taut_model::signal::varint::{Malformed, Reader, put, put_text};
use taut_model::signal::{Edge, Second};

pub const MAGIC: &[u8; 8] = b"TAUTSIG\x01";
pub const LONGEST_TEXT: usize = 2048;
/// Of a record; a second of 100,000 edges is about 10 MB.
pub const LONGEST_RECORD: usize = 256 << 20;
const FRAMES: u64 = 0;
const GAP: u64 = 1;

pub struct Writer {
    pub file: File,
    pub segment: Segment,
    /// Edges that the segment has defined, by address; they are held, so no address changes its meaning.
    defined: HashMap<usize, (u32, Arc<Edge>)>,
    /// A failed write may have left something behind the last whole record.
    pub torn: bool,
}

impl Writer {
    pub fn new(path: &Path, number: u64) -> io::Result<Self> {
        // One that failed before its first record may be there under this name.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(MAGIC)?;
        let mut segment = Segment::new(path.into(), Layout::Log);
        (segment.numbers, segment.bytes) = (number..number, MAGIC.len() as u64);
        Ok(Self { file, segment, defined: HashMap::new(), torn: false })
    }

    pub fn append(&mut self, record: &Record, addresses: &Addresses) -> io::Result<()> {
        let mut bytes = vec![0; 8];
        self.encode(record, &mut bytes, addresses);
        seal_record(&mut bytes)?;
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

    fn encode(&mut self, record: &Record, out: &mut Vec<u8>, addresses: &Addresses) {
        let Record::Frames { through, frames, batches, .. } = record else {
            if let Record::Gap(gap) = record {
                put(out, GAP);
                put_gap(out, gap);
            }
            return;
        };
        put(out, FRAMES);
        put(out, *through);
        put_batches(out, batches);
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
                    addresses.adopt(edge);
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
    pub fn finish(self, into: &mut VecDeque<Segment>) -> io::Result<()> {
        let cut = if self.torn { self.file.set_len(self.segment.bytes) } else { Ok(()) };
        into.push_back(self.segment);
        cut
    }
}

/// Puts length and sum into the first eight bytes.
pub fn seal_record(bytes: &mut [u8]) -> io::Result<()> {
    let Some((head, payload)) = bytes.split_at_mut_checked(8) else { return Err(io::ErrorKind::InvalidInput.into()) };
    let length = u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Ok(())
}

pub fn put_gap(out: &mut Vec<u8>, gap: &Gap) {
    put(out, gap.from);
    put(out, gap.to);
    put_text(out, cut(&gap.why));
    put_text(out, cut(gap.proxy.as_deref().unwrap_or_default()));
}

pub fn read_gap(reader: &mut Reader<'_>) -> Result<Gap, Malformed> {
    let (from, to, why, proxy) = (reader.number()?, reader.number()?, reader.text(LONGEST_TEXT)?, reader.text(LONGEST_TEXT)?);
    Ok(Gap { from, to, why: why.to_owned(), proxy: Some(proxy.to_owned()).filter(|proxy| !proxy.is_empty()) })
}

pub fn put_batches(out: &mut Vec<u8>, batches: &[Contained]) {
    put(out, batches.len() as u64);
    for Contained { proxy, epoch, sequence, last } in batches {
        put_text(out, cut(proxy));
        put(out, *epoch);
        put(out, sequence << 1 | u64::from(*last));
    }
}

pub fn read_batches(reader: &mut Reader<'_>) -> Result<Vec<Contained>, Malformed> {
    let count = reader.small::<usize>()?;
    let mut batches = Vec::new();
    for _ in 0..count {
        let (proxy, epoch, sequence) = (reader.text(LONGEST_TEXT)?.to_owned(), reader.number()?, reader.number()?);
        batches.push(Contained { proxy, epoch, sequence: sequence >> 1, last: sequence & 1 == 1 });
    }
    Ok(batches)
}

/// Start and number of each frame.
pub fn read_heads(reader: &mut Reader<'_>) -> Result<Vec<(Second, u64)>, Malformed> {
    let count = reader.small::<usize>()?;
    let mut heads = Vec::new();
    for _ in 0..count {
        heads.push((reader.number()?, reader.number()?));
    }
    Ok(heads)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// The whole records of a file, in order, and where they end.
pub struct Records<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(MAGIC).then_some(Self { bytes, at: MAGIC.len() })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let payload = record_at(self.bytes, self.at)?;
        self.at += 8 + payload.len();
        Some(payload)
    }
}

/// The bytes of a record, if it is whole.
pub fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (length, sum) = bytes.get(at..at + 8)?.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LONGEST_RECORD {
        return None;
    }
    let payload = bytes.get(at + 8..at + 8 + length)?;
    (sum == crc32fast::hash(payload).to_le_bytes()).then_some(payload)
}

/// What a file holds, without its signals. What comes after its last whole record is cut off.
pub fn scan(path: &Path, bytes: &[u8], level: usize, found: &mut Found) -> io::Result<Option<Segment>> {
    let Some(mut records) = Records::new(bytes) else {
        return if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) { Ok(None) } else { Err(io::Error::other("it is no file of signals")) };
    };
    let mut segment = Segment::new(path.into(), Layout::Log);
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
        found.gaps.push(read_gap(&mut reader)?);
        return Ok(());
    }
    found.through[level] = found.through[level].max(reader.number()?);
    let batches = read_batches(&mut reader)?;
    let frames = read_heads(&mut reader)?;
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

/// One record, taken apart. Edges are those that the file has defined so far.
pub enum Entry<'a> {
    Gap(Gap),
    Frames { through: u64, batches: Vec<Contained>, frames: Vec<Body<'a>> },
}

/// A frame as it is written: for each edge its number in the file and its signals.
pub struct Body<'a> {
    pub start: Second,
    pub number: u64,
    entries: Reader<'a>,
}

impl<'a> Body<'a> {
    /// # Errors
    /// The bytes are none of a frame.
    pub fn next(&mut self) -> Result<Option<(usize, &'a [u8])>, Malformed> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let (edge, length) = (self.entries.small::<usize>()?, self.entries.small::<usize>()?);
        Ok(Some((edge, self.entries.bytes(length)?)))
    }
}

/// Takes a record apart and appends the edges that it defines.
///
/// # Errors
/// The bytes are no record.
pub fn take<'a>(payload: &'a [u8], edges: &mut Vec<Arc<Edge>>, addresses: &Addresses) -> Result<Entry<'a>, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.number()? == GAP {
        return Ok(Entry::Gap(read_gap(&mut reader)?));
    }
    let through = reader.number()?;
    let batches = read_batches(&mut reader)?;
    let heads = read_heads(&mut reader)?;
    let length = reader.small()?;
    let mut definitions = Reader::new(reader.bytes(length)?);
    while !definitions.is_empty() {
        edges.push(addresses.of(Edge::read(&mut definitions)?));
    }
    let mut frames = Vec::new();
    for (start, number) in heads {
        let length = reader.small()?;
        frames.push(Body { start, number, entries: Reader::new(reader.bytes(length)?) });
    }
    Ok(Entry::Frames { through, batches, frames })
}

/// The frames of a file that are wanted.
///
/// # Errors
/// The file was damaged since it was opened.
pub fn frames(
    bytes: &[u8],
    level: usize,
    addresses: &Addresses,
    wanted: &dyn Fn(Second, Second, u64) -> Option<usize>,
) -> Result<Vec<(usize, Arc<Frame>)>, Malformed> {
    let (mut edges, mut found) = (Vec::new(), Vec::new());
    let span = SPANS[level];
    for payload in Records::new(bytes).into_iter().flatten() {
        let Entry::Frames { frames, .. } = take(payload, &mut edges, addresses)? else { continue };
        for mut body in frames {
            let Some(step) = wanted(body.start, body.start.saturating_add(span), body.number) else { continue };
            let mut frame = Frame::new(body.start, span, body.number);
            while let Some((edge, written)) = body.next()? {
                let edge = edges.get(edge).ok_or(Malformed::Value)?;
                frame.push(edge.clone(), |out| out.extend_from_slice(written));
            }
            found.push((step, Arc::new(frame)));
        }
    }
    Ok(found)
}
