//! One resolution of the store: its frames, newest in memory, and what of the next finer resolution it has taken up already.

use super::frame::Frame;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::Second;

/// Seconds of a frame, finest first.
pub const SPANS: [Second; 4] = [1, 10, 60, 3600];

/// The part of a ceiling that each level may take when all want more, in percent. What one leaves, the others may have.
const SHARES: [u64; SPANS.len()] = [40, 30, 20, 10];

/// The level whose oldest goes when all together are too large: the one that is most above its share. `oldest`: the time that would go,
/// `None` where nothing can. What is coarse stays as long as what is finer of the same time: windows are answered by the coarsest.
pub fn which_goes(bytes: [u64; SPANS.len()], oldest: impl Fn(usize) -> Option<Range<Second>>) -> Option<usize> {
    // Of equals the last one: the finest.
    let level = (0..SPANS.len()).rev().filter(|level| oldest(*level).is_some()).max_by_key(|level| bytes[*level] * 100 / SHARES[*level])?;
    let end = oldest(level)?.end;
    let as_old = |finer: &usize| oldest(*finer).is_some_and(|time| time.start < end);
    Some((0..level).find(as_old).unwrap_or(level))
}

#[derive(Default)]
pub struct Level {
    /// In the order in which they were sealed, which is nearly that of time.
    frames: VecDeque<Arc<Frame>>,
    /// Bytes of `frames`.
    weight: usize,
    /// Frames of the next finer level up to this number are in here.
    pub through: u64,
    /// Frames with a smaller number are not in memory (any more).
    pub kept_from: u64,
    /// The end of what was let go of.
    pub gone: Second,
}

impl Level {
    pub fn push(&mut self, frame: Arc<Frame>) {
        self.weight += frame.weight();
        self.frames.push_back(frame);
    }

    /// Lets go of the oldest.
    pub fn pop(&mut self) -> Option<Arc<Frame>> {
        let oldest = self.frames.pop_front()?;
        self.weight -= oldest.weight();
        self.kept_from = oldest.number + 1;
        self.gone = self.gone.max(oldest.end());
        Some(oldest)
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn oldest(&self) -> Option<&Arc<Frame>> {
        self.frames.front()
    }

    pub fn frames(&self) -> impl Iterator<Item = &Arc<Frame>> {
        self.frames.iter()
    }

    /// Those that were sealed after a number.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Arc<Frame>> {
        // They are numbered in order.
        let from = self.frames.partition_point(|frame| frame.number <= number);
        self.frames.range(from..)
    }
}
