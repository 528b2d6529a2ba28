//! What the store knows, behind its lock: open seconds, frames in memory, files, and which of them answer for a window.

use super::disk::{Contained, Disk, Found, Reading, Record, Segment};
use super::frame::{Frame, Sum, Sums};
use super::level::{Level, SPANS};
use super::query::{self, Frames};
use super::reporters::{Gap, Heard, Reporters};
use super::table::Table;
use super::{GRACE, LONGEST_DELAY};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Batch, Edge, Second};

/// Frames of a level that go last when memory is short.
const LAST: usize = 60;

/// A second that is not over yet, or not for long.
#[derive(Default)]
struct OpenSecond {
    sums: Sums,
    batches: Vec<Contained>,
}

pub(super) struct Inner {
    open: BTreeMap<Second, OpenSecond>,
    levels: [Level; SPANS.len()],
    disk: Option<Disk>,
    /// Of the next frame.
    number: u64,
    latest: Second,
    table: Table,
    reporters: Reporters,
    repeats: u64,
}

/// For metrics and status.
pub(super) struct Numbers {
    pub memory: usize,
    pub disk: u64,
    pub edges: usize,
    pub overflow: u64,
    pub proxies: usize,
    pub repeats: u64,
}

/// The frames that add up to something: those in memory, and where to read the others.
#[derive(Default)]
pub(super) struct Wanted {
    frames: Frames,
    readings: Vec<Reading>,
}

impl Wanted {
    /// All of them in the order of time. Reads from disk: not to be called under a lock.
    pub fn frames(mut self) -> Frames {
        // Several windows may want the same file: it is read once for each, from the page cache.
        self.frames.extend(self.readings.iter().flat_map(Reading::frames));
        self.frames.sort_by_key(|frame| (frame.start, frame.span, frame.number));
        self.frames
    }
}

impl Inner {
    pub fn new(edges: usize, disk: Option<(Disk, Found)>) -> Self {
        let (disk, found) = disk.unzip();
        let found = found.unwrap_or_default();
        let mut reporters = Reporters::default();
        for (second, batch) in &found.batches {
            reporters.recall(&batch.proxy, batch.epoch, batch.sequence, *second, batch.last);
        }
        found.gaps.into_iter().for_each(|gap| reporters.remember(gap));
        let mut levels: [Level; SPANS.len()] = Default::default();
        for (level, through) in levels.iter_mut().zip(found.through) {
            (level.through, level.kept_from) = (through, found.number + 1);
        }
        let (open, number, latest) = (BTreeMap::new(), found.number + 1, found.latest);
        Self { open, levels, disk, number, latest, table: Table::new(edges), reporters, repeats: 0 }
    }

    /// False: its date cannot be right, and it counts for now.
    pub fn add(&mut self, batch: Batch, now: Second) -> bool {
        let Batch { proxy, epoch, sequence, second, entries, lost, last } = batch;
        // Clocks of hosts differ; what cannot be true is dated when it came.
        let believed = (now.saturating_sub(LONGEST_DELAY)..=now + GRACE).contains(&second);
        let second = if believed { second } else { now };
        let second = self.reporters.in_order(&proxy, epoch, second);
        if self.reporters.hear(&proxy, epoch, sequence, second, lost, now) == Heard::Repeat {
            self.repeats += 1;
            return true;
        }
        if last {
            self.reporters.ended(&proxy, epoch);
        }
        let open = self.open.entry(second).or_default();
        open.batches.push(Contained { proxy, epoch, sequence, last });
        for (edge, signals) in entries {
            let edge = self.table.admit(edge, signals.requests + signals.opened + signals.connections, now);
            open.sums.entry(edge).or_default().merge(&signals);
        }
        believed
    }

    pub fn kept(&self, proxy: &str, epoch: u64) -> u64 {
        self.reporters.kept(proxy, epoch)
    }

    /// Seals the seconds that are over, those without any report too: that nothing was reported is known. A clock that was set back
    /// leaves seconds in its future: these are over as well.
    pub fn seal(&mut self, now: Second) -> Vec<Record> {
        let over = now.saturating_sub(GRACE);
        if self.latest > 0 && self.latest < over {
            for second in (self.latest + 1).max(over.saturating_sub(GRACE))..=over {
                self.open.entry(second).or_default();
            }
        }
        let due: Vec<Second> = self.open.keys().copied().filter(|second| *second <= over || *second > now + GRACE).collect();
        let mut records = Vec::new();
        for second in due {
            let Some(OpenSecond { sums, batches }) = self.open.remove(&second) else { continue };
            let frame = Arc::new(Frame::seal(second, 1, self.take_number(), &sums));
            self.levels[0].push(frame.clone());
            self.latest = second;
            records.push(Record::Frames { level: 0, through: 0, frames: vec![frame], batches });
        }
        records.extend(self.reporters.take_fresh().into_iter().map(Record::Gap));
        records
    }

    fn take_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    /// The newest sealed second.
    pub fn latest(&self) -> Second {
        self.latest
    }

    /// # Errors
    /// The disk does not take it.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.disk {
            Some(disk) => disk.write(record),
            None => Ok(()),
        }
    }

    /// # Errors
    /// The disk says so.
    pub fn sync(&mut self) -> io::Result<()> {
        self.disk.as_mut().map_or(Ok(()), Disk::sync)
    }

    /// What is in a record needs not be sent again.
    pub fn keep(&mut self, record: &Record) {
        if let Record::Frames { batches, .. } = record {
            batches.iter().for_each(|batch| self.reporters.sealed(&batch.proxy, batch.epoch, batch.sequence));
        }
    }

    /// What a level is to take up now, if one of its spans is over.
    pub fn due(&self, level: usize, now: Second) -> Option<Wanted> {
        let (span, through) = (SPANS[level], self.levels[level].through);
        let is_over = |start: Second| start / span * span + span + GRACE + SPANS[level - 1] <= now || start > now + GRACE;
        let in_memory = self.levels[level - 1].after(through).any(|frame| is_over(frame.start));
        let on_disk = || self.readings(level - 1, through + 1, &(0..Second::MAX)).iter().any(|reading| is_over(reading.segment.time.start));
        (in_memory || on_disk()).then(|| self.not_taken_up(level, &(0..Second::MAX)))
    }

    /// Adds frames of the level below, all at once, whatever they are about: so one number says what was taken up.
    pub fn roll_up(&mut self, level: usize, frames: Frames) -> Vec<Record> {
        let span = SPANS[level];
        let Some(through) = frames.iter().map(|frame| frame.number).max() else { return Vec::new() };
        let mut by_start: BTreeMap<Second, Frames> = BTreeMap::new();
        for frame in frames {
            by_start.entry(frame.start / span * span).or_default().push(frame);
        }
        let rolled: Frames = by_start.into_iter().map(|(start, frames)| Arc::new(roll(start, span, self.take_number(), &frames))).collect();
        rolled.iter().for_each(|frame| self.levels[level].push(frame.clone()));
        self.levels[level].through = through;
        vec![Record::Frames { level, through, frames: rolled, batches: Vec::new() }]
    }

    /// Lets go of the oldest and finest beyond the ceilings; how many files went.
    pub fn shed(&mut self, memory: usize, now: Second) -> u64 {
        while self.levels.iter().map(Level::weight).sum::<usize>() > memory {
            let many = self.levels.iter().position(|level| level.len() > LAST);
            let Some(level) = many.or_else(|| self.levels.iter().position(|level| level.len() > 0)) else { break };
            self.levels[level].pop();
        }
        self.reporters.forget_old(now);
        self.table.tend(now);
        self.disk.as_mut().map_or(0, Disk::shed)
    }

    /// The frames that add up to a window.
    pub fn window(&self, window: &Range<Second>) -> Wanted {
        let mut wanted = Wanted::default();
        self.collect(SPANS.len() - 1, self.known(window), &mut wanted);
        wanted
    }

    /// The window as the store can tell it apart: its ends lie between frames.
    fn known(&self, window: &Range<Second>) -> Range<Second> {
        let start = self.finest_at(window.start).map_or(window.start, |span| window.start / span * span);
        let end = self.finest_at(window.end).map_or(window.end, |span| window.end.div_ceil(span) * span);
        start..end
    }

    /// The span of the finest frames that reach back to a second.
    pub fn finest_at(&self, second: Second) -> Option<Second> {
        (0..SPANS.len()).find(|level| self.reaches(*level, second)).map(|level| SPANS[level])
    }

    /// Whether a level (with what it has not taken up yet) knows all that is known since a second.
    fn reaches(&self, level: usize, second: Second) -> bool {
        match self.oldest(level) {
            // Nothing was let go of when the first frames of all coarser levels hold the first one of this.
            Some(oldest) => {
                let held = |coarser: usize| self.oldest(coarser).is_none_or(|first| oldest < first + SPANS[coarser]);
                oldest <= second || (level + 1..SPANS.len()).all(held)
            }
            None => level > 0 && self.levels[level].through == 0 && self.reaches(level - 1, second),
        }
    }

    /// Where, after a second, a finer level than this one begins to know.
    pub fn finer_after(&self, level: usize, second: Second) -> Option<Second> {
        let span = SPANS[level];
        let begins = (0..level).filter_map(|finer| self.oldest(finer)).map(|oldest| oldest.div_ceil(span) * span);
        begins.filter(|begin| *begin > second).min()
    }

    /// The first second that any level knows.
    pub fn first(&self) -> Option<Second> {
        (0..SPANS.len()).filter_map(|level| self.oldest(level)).min()
    }

    /// The first second that a level knows.
    fn oldest(&self, level: usize) -> Option<Second> {
        let in_memory = self.levels[level].oldest().map(|frame| frame.start);
        let on_disk = self.segments(level).map(|segment| segment.time.start).next();
        in_memory.into_iter().chain(on_disk).min()
    }

    fn segments(&self, level: usize) -> impl Iterator<Item = &Segment> {
        let any = |segment: &&Segment| segment.time.start < segment.time.end;
        self.disk.iter().flat_map(move |disk| disk.of_level(level)).filter(any)
    }

    fn collect(&self, level: usize, window: Range<Second>, wanted: &mut Wanted) {
        let span = SPANS[level];
        let whole = window.start.div_ceil(span) * span..window.end / span * span;
        if whole.start < whole.end {
            self.add_level(level, &whole, wanted);
            if level > 0 {
                self.collect(level - 1, window.start..whole.start, wanted);
                self.collect(level - 1, whole.end..window.end, wanted);
            }
        } else if level > 0 && window.start < window.end {
            self.collect(level - 1, window, wanted);
        }
    }

    /// Frames of one level in a window of whole spans, and what it has not taken up yet.
    fn add_level(&self, level: usize, window: &Range<Second>, wanted: &mut Wanted) {
        wanted.frames.extend(self.levels[level].within(window).cloned());
        wanted.readings.extend(self.readings(level, 0, window));
        self.not_yet(level, window, wanted);
    }

    /// What a level has not taken up yet, and what of that the levels below have not.
    fn not_yet(&self, level: usize, window: &Range<Second>, wanted: &mut Wanted) {
        let Some(below) = level.checked_sub(1) else { return };
        let Wanted { frames, readings } = self.not_taken_up(level, window);
        wanted.frames.extend(frames);
        wanted.readings.extend(readings);
        self.not_yet(below, window, wanted);
    }

    /// Frames of the level below that a level has not taken up.
    fn not_taken_up(&self, level: usize, window: &Range<Second>) -> Wanted {
        let through = self.levels[level].through;
        let inside = |frame: &&Arc<Frame>| frame.start >= window.start && frame.end() <= window.end;
        let frames = self.levels[level - 1].after(through).filter(inside).cloned().collect();
        Wanted { frames, readings: self.readings(level - 1, through + 1, window) }
    }

    /// Where to read what is not in memory, of a level from a number on.
    fn readings(&self, level: usize, from: u64, window: &Range<Second>) -> Vec<Reading> {
        let numbers = from..self.levels[level].kept_from;
        let is_wanted = |segment: &&Segment| {
            segment.numbers.start < numbers.end
                && segment.numbers.end > numbers.start
                && segment.time.start < window.end
                && segment.time.end > window.start
        };
        let reading = |segment: &Segment| Reading { segment: segment.clone(), level, numbers: numbers.clone(), window: window.clone() };
        self.segments(level).filter(is_wanted).map(reading).collect()
    }

    /// Frames of one level, and what it has not taken up yet.
    pub fn at_level(&self, level: usize, window: &Range<Second>) -> Wanted {
        let mut wanted = Wanted::default();
        self.add_level(level, window, &mut wanted);
        wanted
    }

    /// The coarsest level that fits the steps, or the finest that reaches back to where they begin.
    pub fn level_of_steps(&self, from: Second, step: Second) -> usize {
        let fitting = query::level_for(step);
        (fitting..SPANS.len()).find(|level| self.reaches(*level, from)).unwrap_or(fitting)
    }

    pub fn gaps(&self, window: &Range<Second>) -> Vec<Gap> {
        let missing = self.reporters.missing(self.latest);
        self.reporters.gaps().cloned().chain(missing).filter(|gap| gap.from < window.end && gap.to > window.start).collect()
    }

    pub fn numbers(&self) -> Numbers {
        Numbers {
            memory: self.levels.iter().map(Level::weight).sum(),
            disk: self.disk.as_ref().map_or(0, Disk::bytes),
            edges: self.table.len(),
            overflow: self.table.overflow(),
            proxies: self.reporters.proxies(),
            repeats: self.repeats,
        }
    }

    pub fn levels_json(&self) -> Vec<Value> {
        let level = |level: usize| {
            let (frames, bytes) = (self.levels[level].len(), self.levels[level].weight());
            let on_disk = self.segments(level).fold((0, 0), |(files, bytes), segment| (files + 1, bytes + segment.bytes));
            json!({
                "seconds": SPANS[level], "oldest": self.oldest(level), "framesInMemory": frames, "memoryBytes": bytes,
                "files": on_disk.0, "diskBytes": on_disk.1,
            })
        };
        (0..SPANS.len()).map(level).collect()
    }
}

/// Adds up frames, which are in the order of time.
fn roll(start: Second, span: Second, number: u64, frames: &Frames) -> Frame {
    let mut sums: HashMap<&Arc<Edge>, Sum> = HashMap::new();
    for frame in frames {
        for (edge, written) in frame.iter() {
            if let Err(error) = sums.entry(edge).or_default().add(frame.start, frame.end(), written) {
                tracing::warn!(%error, "a kept signal cannot be read");
            }
        }
    }
    let mut rolled = Frame::new(start, span, number);
    for (edge, sum) in sums {
        let signals = sum.finish(start + span);
        rolled.push(edge.clone(), |out| signals.write(out));
    }
    rolled
}
