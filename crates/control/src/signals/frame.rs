//! A frame: what all edges have signalled in one span of time, as bytes. It does not change any more; frames of the same span add up.

use std::collections::HashMap;
use std::sync::Arc;
use taut_model::signal::varint::Malformed;
use taut_model::signal::{Edge, Gauges, Second, Signals};

/// Signals by edge while they are being summed.
pub type Sums = HashMap<Arc<Edge>, Signals>;

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

    /// Seals sums, in the order of their edges' addresses or any other: readers do not care.
    pub fn seal(start: Second, span: Second, number: u64, sums: &Sums) -> Self {
        let mut frame = Self::new(start, span, number);
        frame.entries.reserve_exact(sums.len());
        for (edge, signals) in sums {
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

    pub fn end(&self) -> Second {
        self.start.saturating_add(self.span)
    }

    /// Edges and their written signals.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Edge>, &[u8])> {
        let mut from = 0;
        self.entries.iter().map(move |(edge, end)| {
            let written = self.bytes.get(from..*end as usize).unwrap_or_default();
            from = *end as usize;
            (edge, written)
        })
    }

    /// Bytes of memory, without those of the edges themselves.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<(Arc<Edge>, u32)>() + self.bytes.capacity()
    }
}

/// Signals that are added up over edges and time. Frames must come in the order of their starts.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    signals: Signals,
    /// Of the span that was added to last.
    start: Second,
    end: Second,
    now: Gauges,
}

impl Sum {
    /// # Errors
    /// The bytes are no signals.
    pub fn add(&mut self, start: Second, end: Second, written: &[u8]) -> Result<(), Malformed> {
        let gauges = self.signals.add_written(written)?;
        if start != self.start {
            self.signals.in_flight = self.signals.in_flight.max(self.now.in_flight);
            (self.start, self.end, self.now) = (start, end, Gauges::default());
        }
        self.now.connections = self.now.connections.saturating_add(gauges.connections);
        self.now.in_flight = self.now.in_flight.saturating_add(gauges.in_flight);
        Ok(())
    }

    /// The sums; connections are those that were open at `end`, a few seconds more or less.
    pub fn finish(mut self, end: Second) -> Signals {
        const NEAR: Second = 5;
        let still = self.end.saturating_add(NEAR) >= end;
        self.signals.in_flight = self.signals.in_flight.max(self.now.in_flight);
        self.signals.connections = if still { self.now.connections } else { 0 };
        self.signals
    }
}
