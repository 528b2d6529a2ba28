//! What is written to disk at once, and what is known of each file without reading it.

use super::directory::Directory;
use super::frame::Frame;
use super::reporters::Gap;
use parking_lot::Mutex;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use taut_model::signal::Second;

/// What covers nothing yet: whatever is added to it is all of it.
pub const NOTHING: Range<u64> = Range { start: u64::MAX, end: 0 };

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
    pub fn level(&self) -> usize {
        match self {
            Self::Frames { level, .. } => *level,
            Self::Gap(_) => 0,
        }
    }
}

/// How a file is laid out.
#[derive(Clone, Debug)]
pub enum Layout {
    /// Frame after frame, as they were sealed.
    Log,
    /// The same, and it cannot be packed: it stays as it is until the next start.
    Unpackable,
    /// Edge after edge. The directory is read when it is asked for, and let go of when there are too many.
    Packed(Arc<Mutex<Option<Arc<Directory>>>>),
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
    pub layout: Layout,
}

impl Segment {
    pub fn new(path: Arc<Path>, layout: Layout) -> Self {
        Self { path, numbers: NOTHING, time: NOTHING, bytes: 0, layout }
    }

    pub fn covers(&mut self, number: u64, start: Second, end: Second) {
        self.numbers = self.numbers.start.min(number)..self.numbers.end.max(number + 1);
        self.time = self.time.start.min(start)..self.time.end.max(end);
    }
}

/// What a start has found.
#[derive(Default)]
pub struct Found {
    /// Highest number of a frame.
    pub number: u64,
    pub through: [u64; super::level::SPANS.len()],
    pub latest: Second,
    pub batches: Vec<(Second, Contained)>,
    pub gaps: Vec<Gap>,
}
