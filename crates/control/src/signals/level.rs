//! One resolution of the store: its frames, newest in memory, and what of the next finer resolution it has taken up already.

use super::frame::Frame;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::Second;

/// Seconds of a frame, finest first.
pub const SPANS: [Second; 4] = [1, 10, 60, 3600];

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

    /// Those that lie in the window.
    pub fn within<'a>(&'a self, window: &'a Range<Second>) -> impl Iterator<Item = &'a Arc<Frame>> {
        self.frames.iter().filter(|frame| frame.start >= window.start && frame.end() <= window.end)
    }

    /// Those that were sealed after a number.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Arc<Frame>> {
        // They are numbered in order.
        let from = self.frames.partition_point(|frame| frame.number <= number);
        self.frames.range(from..)
    }
}
