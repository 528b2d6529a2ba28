//! Reading frames edge after edge: in memory, and from packed files only the bytes of the edges and columns that are asked for.

use super::address::{ByAddress, address};
use super::cover::Wanted;
use super::disk::Opened;
use super::frame::{Columns, Frame, Part, Written};
use super::level::SPANS;
use super::packed::{Open, Postings};
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use taut_model::signal::{Edge, Second};

/// Edges whose bytes are read from disk at once.
const BLOCK: usize = 256;
/// No edge that is wanted.
const NONE: u32 = u32::MAX;

/// What the frames were, whoever was in them.
#[derive(Default)]
pub struct Seen {
    pub highest: Option<u64>,
    pub starts: Vec<Second>,
    pub steps: Vec<usize>,
}

impl Seen {
    fn note(&mut self, step: usize, start: Second, number: u64) {
        self.highest = self.highest.max(Some(number));
        if self.starts.last() != Some(&start) {
            self.starts.push(start);
        }
        if self.steps.last() != Some(&step) {
            self.steps.push(step);
        }
    }
}

/// Calls `visit` once with each edge that is accepted and has anything, and with all its parts, in no order. Not to be called under a
/// lock: it may read from disk.
pub fn walk(wanted: Wanted, accepts: &dyn Fn(&Edge) -> bool, columns: Columns, visit: &mut dyn FnMut(&Arc<Edge>, &[Part<'_>])) -> Seen {
    let mut seen = Seen::default();
    let sources = Sources::open(wanted, &mut seen);
    let mut slots = Slots::new(accepts);
    let in_memory = InMemory::new(&sources.frames, &mut slots);
    let mut files: Vec<Listed<'_>> = sources.files.iter().map(|file| Listed::new(file, &mut slots)).collect();
    for first in (0..slots.edges.len()).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(slots.edges.len());
        let read: Vec<Block<'_>> = files.iter_mut().filter_map(|file| file.read(block.end, columns)).collect();
        let mut next = vec![0; read.len()];
        let mut parts = Vec::new();
        for slot in block {
            parts.clear();
            parts.extend(in_memory.of(slot));
            for (block, next) in read.iter().zip(&mut next) {
                block.take(slot, next, &mut parts);
            }
            if !parts.is_empty() {
                visit(&slots.edges[slot], &parts);
            }
        }
    }
    seen
}

/// Frames in memory, and packed files with the steps of their frames.
struct Sources {
    frames: Vec<(usize, Arc<Frame>)>,
    files: Vec<File>,
}

struct File {
    open: Open,
    /// Step, start and end of each frame; `None`: not wanted.
    frames: Vec<Option<(usize, Second, Second)>>,
}

impl Sources {
    fn open(wanted: Wanted, seen: &mut Seen) -> Self {
        let Wanted { mut frames, readings, cover, before } = wanted;
        let mut files = Vec::new();
        for reading in &readings {
            let (level, before) = (reading.level, before[reading.level]);
            let step = |start, end, number| if number < before { cover.step(level, start, end, number) } else { None };
            match reading.open(&step) {
                Opened::Frames(more) => frames.extend(more),
                Opened::Packed(open) => {
                    let placed = |(start, number): &(Second, u64)| {
                        let end = start.saturating_add(SPANS[level]);
                        let step = step(*start, end, *number)?;
                        seen.note(step, *start, *number);
                        Some((step, *start, end))
                    };
                    let frames: Vec<_> = open.directory.heads.iter().map(placed).collect();
                    if frames.iter().any(Option::is_some) {
                        files.push(File { open, frames });
                    }
                }
            }
        }
        frames.sort_by_key(|(_, frame)| (frame.start, frame.number));
        frames.iter().for_each(|(step, frame)| seen.note(*step, frame.start, frame.number));
        Self { frames, files }
    }
}

/// A number for each edge that is wanted. An edge may have several addresses; each is looked at once.
struct Slots<'a> {
    accepts: &'a dyn Fn(&Edge) -> bool,
    by_address: ByAddress<u32>,
    by_value: HashMap<Arc<Edge>, u32, RandomState>,
    edges: Vec<Arc<Edge>>,
}

impl<'a> Slots<'a> {
    fn new(accepts: &'a dyn Fn(&Edge) -> bool) -> Self {
        Self { accepts, by_address: ByAddress::default(), by_value: HashMap::default(), edges: Vec::new() }
    }

    fn of(&mut self, edge: &Arc<Edge>) -> u32 {
        let address = address(edge);
        if let Some(slot) = self.by_address.get(&address) {
            return *slot;
        }
        let slot = if (self.accepts)(edge) { self.numbered(edge) } else { NONE };
        self.by_address.insert(address, slot);
        slot
    }

    fn numbered(&mut self, edge: &Arc<Edge>) -> u32 {
        if let Some(slot) = self.by_value.get(edge) {
            return *slot;
        }
        let Some(slot) = u32::try_from(self.edges.len()).ok().filter(|slot| *slot < NONE) else { return NONE };
        self.by_value.insert(edge.clone(), slot);
        self.edges.push(edge.clone());
        slot
    }
}

/// What frames in memory have, by slot: a list for each, all in one vector.
struct InMemory<'a> {
    frames: &'a [(usize, Arc<Frame>)],
    /// Where the list of each slot begins, and where the last ends.
    begins: Vec<u32>,
    /// Frame, and place in it.
    entries: Vec<(u32, (u32, u32))>,
}

impl<'a> InMemory<'a> {
    fn new(frames: &'a [(usize, Arc<Frame>)], slots: &mut Slots<'_>) -> Self {
        let mut found: Vec<Vec<(u32, (u32, u32))>> = Vec::with_capacity(frames.len());
        let mut before: Vec<(usize, u32)> = Vec::new();
        for (_, frame) in frames {
            let mut now = Vec::with_capacity(frame.len());
            let (mut wanted, mut at) = (Vec::new(), 0);
            for (edge, place) in frame.places() {
                let address = address(edge);
                // Both are in the order of addresses, mostly of the same ones.
                while before.get(at).is_some_and(|(other, _)| *other < address) {
                    at += 1;
                }
                let slot = before.get(at).filter(|(other, _)| *other == address).map_or_else(|| slots.of(edge), |(_, slot)| *slot);
                now.push((address, slot));
                if slot != NONE {
                    wanted.push((slot, place));
                }
            }
            before = now;
            found.push(wanted);
        }
        Self::sorted(frames, &found, slots.edges.len())
    }

    /// A counting sort.
    fn sorted(frames: &'a [(usize, Arc<Frame>)], found: &[Vec<(u32, (u32, u32))>], slots: usize) -> Self {
        let mut begins = vec![0_u32; slots + 1];
        found.iter().flatten().for_each(|(slot, _)| begins[*slot as usize + 1] += 1);
        for slot in 0..slots {
            begins[slot + 1] += begins[slot];
        }
        let mut next = begins.clone();
        let mut entries = vec![(0, (0, 0)); begins.last().map_or(0, |all| *all as usize)];
        for (frame, wanted) in found.iter().enumerate() {
            for (slot, place) in wanted {
                let at = &mut next[*slot as usize];
                entries[*at as usize] = (frame as u32, *place);
                *at += 1;
            }
        }
        Self { frames, begins, entries }
    }

    fn of(&self, slot: usize) -> impl Iterator<Item = Part<'a>> {
        let range = match self.begins.get(slot..slot + 2) {
            Some([from, to]) => *from as usize..*to as usize,
            _ => 0..0,
        };
        self.entries[range].iter().map(|(frame, place)| {
            let (step, frame) = &self.frames[*frame as usize];
            Part { step: *step, start: frame.start, end: frame.end(), written: Written::Whole(frame.written(*place)) }
        })
    }
}

/// The edges of a packed file that are wanted, in the order of their slots.
struct Listed<'a> {
    file: &'a File,
    /// Slot, and number in the file.
    edges: Vec<(u32, u32)>,
    next: usize,
}

impl<'a> Listed<'a> {
    fn new(file: &'a File, slots: &mut Slots<'_>) -> Self {
        let all = file.open.directory.edges.iter().zip(0_u32..);
        let mut edges: Vec<(u32, u32)> = all.map(|(edge, number)| (slots.of(edge), number)).filter(|(slot, _)| *slot != NONE).collect();
        edges.sort_unstable();
        Self { file, edges, next: 0 }
    }

    /// Reads the edges before a slot that were not read yet; `None` without any.
    fn read(&mut self, before: usize, columns: Columns) -> Option<Block<'a>> {
        let from = self.next;
        self.next += self.edges[from..].partition_point(|(slot, _)| (*slot as usize) < before);
        let edges = self.edges[from..self.next].to_vec();
        if edges.is_empty() {
            return None;
        }
        let numbers: Vec<u32> = edges.iter().map(|(_, number)| *number).collect();
        let read = || -> io::Result<_> {
            let latency = match columns {
                Columns::All => Some(self.file.open.latency(&numbers)?),
                Columns::Counts => None,
            };
            Ok((self.file.open.counts(&numbers)?, latency))
        };
        match read() {
            Ok((counts, latency)) => Some(Block { file: self.file, edges, counts, latency }),
            Err(error) => {
                tracing::warn!(%error, "signals cannot be read");
                None
            }
        }
    }
}

/// What was read of some edges of a packed file.
struct Block<'a> {
    file: &'a File,
    edges: Vec<(u32, u32)>,
    counts: Postings,
    latency: Option<Postings>,
}

impl Block<'_> {
    /// Appends the parts of a slot; slots are asked for in order.
    fn take<'p>(&'p self, slot: usize, next: &mut usize, parts: &mut Vec<Part<'p>>) {
        // An edge that the file names twice has two entries.
        while let Some((_, edge)) = self.edges.get(*next).filter(|(of, _)| *of as usize == slot) {
            *next += 1;
            let mut latency = self.latency.as_ref().map(|latency| latency.of(*edge)).into_iter().flatten().peekable();
            for (number, counts) in self.counts.of(*edge) {
                let durations = latency.next_if(|(of, _)| *of == number).map_or(&[] as &[u8], |(_, bytes)| bytes);
                let Some(Some((step, start, end))) = self.file.frames.get(number as usize) else { continue };
                parts.push(Part { step: *step, start: *start, end: *end, written: Written::Apart(counts, durations) });
            }
        }
    }
}
