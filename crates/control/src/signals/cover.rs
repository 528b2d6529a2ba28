//! Which frames add up to what was asked for: windows of each resolution, in memory and on disk.

use super::disk::Reading;
use super::frame::Frame;
use super::level::SPANS;
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::Second;

/// Frames of one level in one window.
struct Piece {
    window: Range<Second>,
    /// Only those sealed after this number.
    after: u64,
    /// The step of what begins with the window, and how many seconds each step has from there on.
    step: usize,
    length: Second,
}

/// Windows of each level. Those of a level do not overlap.
#[derive(Default)]
pub struct Cover {
    pieces: [Vec<Piece>; SPANS.len()],
}

impl Cover {
    pub fn add(&mut self, level: usize, after: u64, window: Range<Second>, step: usize, length: Second) {
        if window.start < window.end {
            self.pieces[level].push(Piece { window, after, step, length: length.max(1) });
        }
    }

    /// Has to be called when all are there, before anything is looked up.
    pub fn order(&mut self) {
        self.pieces.iter_mut().for_each(|pieces| pieces.sort_by_key(|piece| piece.window.start));
    }

    pub fn is_empty(&self, level: usize) -> bool {
        self.pieces[level].is_empty()
    }

    /// The step of a frame, if it is wanted.
    pub fn step(&self, level: usize, start: Second, end: Second, number: u64) -> Option<usize> {
        let pieces = &self.pieces[level];
        let piece = &pieces[pieces.partition_point(|piece| piece.window.start <= start).checked_sub(1)?];
        (end <= piece.window.end && number > piece.after)
            .then(|| piece.step + usize::try_from((start - piece.window.start) / piece.length).unwrap_or(usize::MAX))
    }

    /// Whether any frame of a time and with a number below one can be wanted.
    pub fn touches(&self, level: usize, time: &Range<Second>, number: u64) -> bool {
        let from = self.pieces[level].partition_point(|piece| piece.window.end <= time.start);
        let near = self.pieces[level][from..].iter().take_while(|piece| piece.window.start < time.end);
        near.into_iter().any(|piece| piece.after + 1 < number)
    }
}

/// The frames that add up to something: those in memory, and where to read the others.
#[derive(Default)]
pub struct Wanted {
    /// With their steps.
    pub frames: Vec<(usize, Arc<Frame>)>,
    pub readings: Vec<Reading>,
    pub cover: Cover,
    /// Frames of a level with a smaller number are not in memory.
    pub before: [u64; SPANS.len()],
}
