//! What the store knows, behind its lock: open seconds, frames in memory, files, and which of them answer for a window.

use super::address::address;
use super::cover::{Cover, Wanted};
use super::disk::{Disk, Reading};
use super::frame::{Frame, Sums};
use super::level::{Level, SPANS, which_goes};
use super::reporters::{Gap, Heard, Reporters};
use super::roll::Rolled;
use super::segment::{Contained, Found, Record, Segment};
use super::table::Table;
use super::{GRACE, LONGEST_DELAY};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use taut_model::signal::{Batch, Second};

/// Steps are told apart by spans of so many times their length at most: what is only known more coarsely is said to be unknown.
const MOST_COARSE: Second = 10;

/// How often what is kept in memory about files is looked through.
const TEND_EVERY: Second = 60;

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
    tended: Second,
}

/// For metrics and status.
pub(super) struct Numbers {
    pub memory: usize,
    /// Bytes of memory of what is known of files.
    pub directories: usize,
    pub disk: u64,
    pub edges: usize,
    pub overflow: u64,
    pub proxies: usize,
    pub repeats: u64,
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
        Self { open, levels, disk, number, latest, table: Table::new(edges), reporters, repeats: 0, tended: 0 }
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
            match open.sums.entry(address(&edge)) {
                Entry::Occupied(mut known) => known.get_mut().1.merge(&signals),
                Entry::Vacant(place) => drop(place.insert((edge, signals))),
            }
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
        if self.latest == 0 && self.open.is_empty() {
            // From now on it is known that nothing passes.
            self.latest = over;
        } else if self.latest > 0 && self.latest < over {
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

    /// What a level is to take up now, if one of its spans is over. Steps are its spans.
    pub fn due(&self, level: usize, now: Second) -> Option<Wanted> {
        let (span, through) = (SPANS[level], self.levels[level].through);
        let is_over = |start: Second| start / span * span + span + GRACE + SPANS[level - 1] <= now || start > now + GRACE;
        let in_memory = self.levels[level - 1].after(through).any(|frame| is_over(frame.start));
        let on_disk = || self.files(level - 1, through + 1).any(|segment| is_over(segment.time.start));
        (in_memory || on_disk()).then(|| {
            let mut cover = Cover::default();
            cover.add(level - 1, through, 0..Second::MAX, 0, span);
            self.wanted(cover)
        })
    }

    /// Takes in what was rolled up from the level below, all at once, whatever it is about: so one number says what was taken up.
    pub fn take_up(&mut self, level: usize, rolled: Rolled) -> Vec<Record> {
        let Rolled { through, frames } = rolled;
        let frames: Vec<Arc<Frame>> = frames.into_iter().map(|frame| Arc::new(frame.numbered(self.take_number()))).collect();
        frames.iter().for_each(|frame| self.levels[level].push(frame.clone()));
        self.levels[level].through = through;
        vec![Record::Frames { level, through, frames, batches: Vec::new() }]
    }

    /// Lets go of what is beyond the ceilings; how many files went.
    pub fn shed(&mut self, memory: usize, now: Second) -> u64 {
        let through = self.taken_up();
        let mut lost = self.shed_memory(memory, &through);
        self.reporters.forget_old(now);
        self.table.tend(now);
        let mut files = 0;
        if let Some(disk) = &mut self.disk {
            if now < self.tended || now >= self.tended + TEND_EVERY {
                self.tended = now;
                disk.tend();
            }
            let shed = disk.shed(&through);
            lost.extend(shed.lost);
            files = shed.files;
        }
        for time in lost {
            let why = "the store of signals has no room even for what is not rolled up yet".to_owned();
            self.reporters.note(Gap { from: time.start, to: time.end, why, proxy: None });
        }
        files
    }

    /// What went that nothing else holds.
    fn shed_memory(&mut self, memory: usize, through: &[u64; SPANS.len()]) -> Vec<Range<Second>> {
        let mut lost = Vec::new();
        loop {
            let bytes = self.levels.each_ref().map(|level| level.weight() as u64);
            if bytes.iter().sum::<u64>() <= memory as u64 {
                return lost;
            }
            let oldest = |level: usize| self.levels[level].oldest().map(|frame| (frame.number, frame.start..frame.end()));
            // What is on disk can be read from there when it is rolled up.
            let safe = |level: usize| oldest(level).filter(|(number, _)| self.disk.is_some() || *number <= through[level]);
            let time = |oldest: Option<(u64, Range<Second>)>| oldest.map(|(_, time)| time);
            if let Some(level) = which_goes(bytes, |level| time(safe(level))) {
                self.levels[level].pop();
            } else if let Some(level) = which_goes(bytes, |level| time(oldest(level))) {
                lost.extend(self.levels[level].pop().map(|frame| frame.start..frame.end()));
            } else {
                return lost;
            }
        }
    }

    /// Up to which number each level was taken up by the next; the last one is the last.
    fn taken_up(&self) -> [u64; SPANS.len()] {
        std::array::from_fn(|level| self.levels.get(level + 1).map_or(u64::MAX, |coarser| coarser.through))
    }

    /// A complete log that is to be packed.
    pub fn unpacked(&self) -> Option<(usize, Reading)> {
        let disk = self.disk.as_ref()?;
        disk.unpacked().map(|(level, segment)| (level, Reading { segment, level, addresses: disk.addresses() }))
    }

    /// A log was packed, or cannot be.
    pub fn pack(&mut self, level: usize, path: &Path, packed: Option<Segment>) {
        self.disk.iter_mut().for_each(|disk| disk.pack(level, path, packed.clone()));
    }

    /// The frames that add up to windows, which do not overlap: each is a step.
    pub fn windows(&self, windows: &[Range<Second>]) -> Wanted {
        let mut cover = Cover::default();
        for (step, window) in windows.iter().enumerate() {
            self.collect(SPANS.len() - 1, self.known(window), step, &mut cover);
        }
        self.wanted(cover)
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
        self.gone(level) <= second
    }

    /// What is older is not known at a level.
    fn gone(&self, level: usize) -> Second {
        self.disk.as_ref().map_or(self.levels[level].gone, |disk| disk.gone(level))
    }

    /// Where, after a second, a finer level than this one begins to know.
    pub fn finer_after(&self, level: usize, second: Second) -> Option<Second> {
        let span = SPANS[level];
        let begins = (0..level).filter_map(|finer| self.oldest(finer)).map(|oldest| oldest.div_ceil(span) * span);
        begins.filter(|begin| *begin > second).min()
    }

    /// The first second that any level knows. A coarse frame begins before what it was made of: what is finer and has lost
    /// nothing of it tells from when on.
    pub fn first(&self) -> Option<Second> {
        let oldest = |level: usize| self.oldest(level).map(|start| start..start + SPANS[level]);
        let frame = (0..SPANS.len()).filter_map(oldest).min_by_key(|frame| frame.start)?;
        let whole = (0..SPANS.len()).filter(|level| self.gone(*level) <= frame.start);
        whole.filter_map(|level| self.oldest(level)).filter(|start| frame.contains(start)).max().or(Some(frame.start))
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

    fn collect(&self, level: usize, window: Range<Second>, step: usize, cover: &mut Cover) {
        let span = SPANS[level];
        let whole = window.start.div_ceil(span) * span..window.end / span * span;
        if whole.start < whole.end {
            self.add_level(level, &whole, step, Second::MAX, cover);
            if level > 0 {
                self.collect(level - 1, window.start..whole.start, step, cover);
                self.collect(level - 1, whole.end..window.end, step, cover);
            }
        } else if level > 0 && window.start < window.end {
            self.collect(level - 1, window, step, cover);
        }
    }

    /// Frames of one level in a window of whole spans, and what of the levels below it they have not taken up yet. `length`: seconds of
    /// each step from the first one on.
    fn add_level(&self, level: usize, window: &Range<Second>, step: usize, length: Second, cover: &mut Cover) {
        cover.add(level, 0, window.clone(), step, length);
        for level in 1..=level {
            cover.add(level - 1, self.levels[level].through, window.clone(), step, length);
        }
    }

    /// Files of a level that have frames from a number on which are not in memory.
    fn files(&self, level: usize, from: u64) -> impl Iterator<Item = &Segment> {
        let before = self.levels[level].kept_from;
        self.segments(level).filter(move |segment| segment.numbers.start < before && segment.numbers.end > from)
    }

    /// The frames of a cover that are in memory, and where to read the others.
    fn wanted(&self, mut cover: Cover) -> Wanted {
        cover.order();
        let mut wanted = Wanted::default();
        for (level, kept) in self.levels.iter().enumerate() {
            if cover.is_empty(level) {
                continue;
            }
            let step = |frame: &Arc<Frame>| cover.step(level, frame.start, frame.end(), frame.number);
            wanted.frames.extend(kept.frames().filter_map(|frame| Some((step(frame)?, frame.clone()))));
            let Some(disk) = &self.disk else { continue };
            let files = self.files(level, 0).filter(|segment| cover.touches(level, &segment.time, segment.numbers.end));
            wanted.readings.extend(files.map(|segment| Reading { segment: segment.clone(), level, addresses: disk.addresses() }));
            wanted.before[level] = kept.kept_from;
        }
        wanted.cover = cover;
        wanted
    }

    /// Frames of one level in steps of a window, and what it has not taken up yet.
    pub fn steps(&self, level: usize, window: &Range<Second>, length: Second) -> Wanted {
        let mut cover = Cover::default();
        self.add_level(level, window, 0, length, &mut cover);
        self.wanted(cover)
    }

    /// The coarsest level whose frames fit into the steps, or the finest that reaches back to where they begin. Where that one could
    /// not tell the steps apart at all, one that knows the newer of them.
    pub fn level_of_steps(&self, from: Second, step: Second) -> usize {
        let fitting = SPANS.iter().rposition(|span| step.is_multiple_of(*span)).unwrap_or_default();
        let found = (fitting..SPANS.len()).find(|level| self.reaches(*level, from)).unwrap_or(fitting);
        let bearable = (fitting..found).filter(|level| SPANS[*level] <= MOST_COARSE * step && self.gone(*level) < self.latest);
        if SPANS[found] <= MOST_COARSE * step { found } else { bearable.min_by_key(|level| self.gone(*level)).unwrap_or(found) }
    }

    /// Since when all is known in spans of at most so many seconds; `None`: it is not.
    pub fn known_since(&self, span: Second) -> Option<Second> {
        let levels = (0..SPANS.len()).filter(|level| SPANS[*level] <= span);
        levels.map(|level| self.gone(level)).min().filter(|gone| *gone < self.latest)
    }

    /// Single seconds that were sealed after a number.
    pub fn sealed_since(&self, after: u64) -> Wanted {
        let mut cover = Cover::default();
        cover.add(0, after, 0..Second::MAX, 0, Second::MAX);
        self.wanted(cover)
    }

    /// The number after which single seconds are in memory.
    pub fn oldest_in_memory(&self) -> u64 {
        self.levels[0].kept_from.saturating_sub(1)
    }

    /// Whether none of the single seconds after a number has gone. Numbers of other levels lie between, so this may say no too early.
    pub fn has_all_since(&self, after: u64) -> bool {
        let on_disk = || self.segments(0).next().is_some_and(|oldest| oldest.numbers.start <= after + 1);
        after >= self.oldest_in_memory() || on_disk()
    }

    pub fn gaps(&self, window: &Range<Second>) -> Vec<Gap> {
        let missing = self.reporters.missing(self.latest);
        self.reporters.gaps().cloned().chain(missing).filter(|gap| gap.from < window.end && gap.to > window.start).collect()
    }

    pub fn numbers(&self) -> Numbers {
        Numbers {
            memory: self.levels.iter().map(Level::weight).sum(),
            directories: self.disk.as_ref().map_or(0, Disk::listed_bytes),
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
