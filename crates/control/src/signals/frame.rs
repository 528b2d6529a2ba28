//! A frame: what all edges have signalled in one span of time, as bytes. It does not change any more; frames of the same span add up.

use super::address::ByAddress;
use std::sync::Arc;
use taut_model::signal::varint::{Malformed, Reader};
use taut_model::signal::{Edge, Gauges, Second, Signals, SketchSum};

/// Signals by edge while they are being summed: by its address, which [`super::table::Table`] makes the one it has.
pub type Sums = ByAddress<(Arc<Edge>, Signals)>;

#[derive(Debug)]
pub struct Frame {
    pub start: Second,
    /// Seconds from `start` on.
    pub span: Second,
    /// Frames are numbered in the order in which they were sealed.
    pub number: u64,
    entries: Vec<(Arc<Edge>, u32)>,
    /// Written signals, one after the other; an entry names the end of its own.
    bytes: Vec<u8>,
}

impl Frame {
    pub fn new(start: Second, span: Second, number: u64) -> Self {
        Self { start, span, number, entries: Vec::new(), bytes: Vec::new() }
    }

    /// Seals sums, in the order of their edges' addresses: so readers find edges of frames that follow each other at the same places, and
    /// what they add up lies in the order in which it is wanted.
    pub fn seal(start: Second, span: Second, number: u64, sums: &Sums) -> Self {
        let mut frame = Self::new(start, span, number);
        let mut ordered: Vec<(usize, &(Arc<Edge>, Signals))> = sums.iter().map(|(address, sum)| (*address, sum)).collect();
        ordered.sort_unstable_by_key(|(address, _)| *address);
        frame.entries.reserve_exact(sums.len());
        for (_, (edge, signals)) in ordered {
            frame.push(edge.clone(), |out| signals.write(out));
        }
        frame.bytes.shrink_to_fit();
        frame
    }

    /// Appends an entry whose signals `write` writes. What would make the frame longer than 4 GiB is left out.
    pub fn push(&mut self, edge: Arc<Edge>, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        match u32::try_from(self.bytes.len()) {
            Ok(end) => self.entries.push((edge, end)),
            Err(_) => self.bytes.truncate(before),
        }
    }

    /// The same with its number, complete: one that is made outside of the store's lock has none yet.
    pub fn numbered(mut self, number: u64) -> Self {
        self.number = number;
        self.entries.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self
    }

    pub fn end(&self) -> Second {
        self.start.saturating_add(self.span)
    }

    /// How many edges.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Written signals by their place in the frame's bytes, as [`Frame::places`] gives it.
    pub fn written(&self, place: (u32, u32)) -> &[u8] {
        self.bytes.get(place.0 as usize..place.1 as usize).unwrap_or_default()
    }

    /// Edges and where their signals are.
    pub fn places(&self) -> impl Iterator<Item = (&Arc<Edge>, (u32, u32))> {
        let mut from = 0;
        self.entries.iter().map(move |(edge, end)| (edge, (std::mem::replace(&mut from, *end), *end)))
    }

    /// Edges and their written signals.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Edge>, &[u8])> {
        self.places().map(|(edge, place)| (edge, self.written(place)))
    }

    /// Bytes of memory, without those of the edges themselves.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<(Arc<Edge>, u32)>() + self.bytes.capacity()
    }
}

/// What of signals is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    All,
    /// All but durations, which are most of the bytes.
    Counts,
}

/// Written signals of one edge in one frame.
#[derive(Clone, Copy, Debug)]
pub enum Written<'a> {
    Whole(&'a [u8]),
    /// See [`Signals::split_written`]; durations are empty without any, and where they are not asked for.
    Apart(&'a [u8], &'a [u8]),
}

impl<'a> Written<'a> {
    pub fn counts(self) -> &'a [u8] {
        match self {
            Self::Whole(bytes) | Self::Apart(bytes, _) => bytes,
        }
    }

    fn add_apart(self, signals: &mut Signals, latency: &mut SketchSum) -> Result<Gauges, Malformed> {
        match self {
            Self::Whole(bytes) => signals.add_written_apart(bytes, latency),
            Self::Apart(counts, []) => signals.add_written_counts(counts),
            Self::Apart(counts, durations) => {
                latency.add_written(&mut Reader::new(durations))?;
                signals.add_written_counts(counts)
            }
        }
    }
}

/// What an edge has in one frame.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Of those that a reader asked for.
    pub step: usize,
    pub start: Second,
    pub end: Second,
    pub written: Written<'a>,
}

/// The gauges of one span, over all edges that are added up.
#[derive(Clone, Debug)]
struct Moment {
    start: Second,
    end: Second,
    gauges: Gauges,
}

/// Signals that are added up over edges and time, in any order.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    signals: Signals,
    moments: Vec<Moment>,
    /// The latest start.
    newest: Second,
}

impl Sum {
    /// What was carried in one span.
    pub fn of(start: Second, end: Second, signals: Signals) -> Self {
        let gauges = Gauges { connections: signals.connections, in_flight: signals.in_flight };
        Self { signals, moments: vec![Moment { start, end, gauges }], newest: start }
    }

    /// Adds what others have carried.
    pub fn merge(&mut self, other: Self) {
        self.signals.merge(&other.signals);
        other.moments.into_iter().for_each(|moment| self.note(moment));
    }

    /// Adds many at once, to what has no durations yet.
    pub fn add_all(&mut self, parts: &[Part<'_>], columns: Columns, latency: &mut SketchSum) {
        for part in parts {
            let added = match columns {
                Columns::All => part.written.add_apart(&mut self.signals, latency),
                Columns::Counts => self.signals.add_written_counts(part.written.counts()),
            };
            match added {
                Ok(gauges) => self.note(Moment { start: part.start, end: part.end, gauges }),
                // Frames are checked when they are read or taken, so this does not happen.
                Err(error) => tracing::warn!(%error, "a kept signal cannot be read"),
            }
        }
        self.signals.latency = latency.take();
    }

    fn note(&mut self, new: Moment) {
        // Mostly they come in the order of time.
        if self.moments.is_empty() || self.newest < new.start {
            self.newest = new.start;
            self.moments.push(new);
            return;
        }
        match self.moments.iter_mut().rev().find(|moment| moment.start == new.start) {
            Some(moment) => {
                moment.end = moment.end.max(new.end);
                moment.gauges.connections = moment.gauges.connections.saturating_add(new.gauges.connections);
                moment.gauges.in_flight = moment.gauges.in_flight.saturating_add(new.gauges.in_flight);
            }
            None => self.moments.push(new),
        }
    }

    /// The sums; connections are those that were open at `end`, a few seconds more or less.
    pub fn finish(mut self, end: Second) -> Signals {
        const NEAR: Second = 5;
        self.signals.in_flight = self.moments.iter().map(|moment| moment.gauges.in_flight).max().unwrap_or_default();
        let last = self.moments.iter().max_by_key(|moment| moment.start);
        self.signals.connections = last.filter(|last| last.end.saturating_add(NEAR) >= end).map_or(0, |last| last.gauges.connections);
        self.signals
    }
}
