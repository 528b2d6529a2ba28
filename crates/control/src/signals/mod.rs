//! The store of signals: what every edge of the mesh carried, at one second, rolled up with age, in bounded memory.
//!
//! Batches of proxies are added up per second. A second that is over is *sealed* into a frame, which never changes; what comes later
//! for it makes one more frame, and frames of a span add up. Ten seconds, a minute, an hour are sealed from the frames below, each of
//! which is taken up exactly once. So any window is a sum of whole frames, and its totals are the same at every resolution.

mod filter;
mod frame;
mod level;
mod query;
mod reporters;
#[cfg(test)]
mod tests;

pub use filter::{By, Filter, Key, Reports};
pub use query::{Answer, Point, Series};
pub use reporters::Gap;

use frame::{Frame, Sum, Sums};
use level::{Level, SPANS};
use parking_lot::Mutex;
use query::Frames;
use reporters::{Heard, Reporters};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Batch, Edge, Second, Signals};
use tokio::sync::watch;

/// How long a second waits for reports that are under way before it is sealed. Readers see a second when it is sealed.
pub const GRACE: Second = 3;
/// How long a proxy keeps what it could not deliver: older reports are of a clock that is wrong.
pub const LONGEST_DELAY: Second = 330;

/// What the store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for frames.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 << 20 }
    }
}

/// Signals of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    limits: Limits,
    sealed: Arc<watch::Sender<Second>>,
}

/// A second that is not over yet, or not for long.
#[derive(Default)]
struct OpenSecond {
    sums: Sums,
    /// Batches in it: proxy, epoch, sequence.
    batches: Vec<(String, u64, u64)>,
}

struct Inner {
    open: BTreeMap<Second, OpenSecond>,
    levels: [Level; SPANS.len()],
    /// Of the next frame.
    number: u64,
    /// One address for each edge.
    edges: HashSet<Arc<Edge>>,
    reporters: Reporters,
    repeats: u64,
    misdated: u64,
}

impl Store {
    /// One that forgets everything when it is dropped.
    pub fn in_memory(limits: Limits) -> Self {
        let inner = Inner {
            open: BTreeMap::new(),
            levels: SPANS.map(Level::new),
            number: 1,
            edges: HashSet::new(),
            reporters: Reporters::default(),
            repeats: 0,
            misdated: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), limits, sealed: Arc::new(watch::Sender::new(0)) }
    }

    /// Takes a batch that arrived at `now`. One that was taken before changes nothing.
    pub fn add(&self, batch: Batch, now: Second) {
        self.inner.lock().add(batch, now);
    }

    /// Seals what is over at `now`. To be called every second.
    pub fn tick(&self, now: Second) {
        let mut inner = self.inner.lock();
        inner.seal(now);
        (1..SPANS.len()).for_each(|level| inner.roll_up(level, now));
        inner.shed(self.limits.memory);
        inner.reporters.forget_old(now);
        let latest = inner.latest();
        drop(inner);
        self.sealed.send_replace(latest);
    }

    /// Tells the newest sealed second whenever it moves.
    pub fn sealed(&self) -> watch::Receiver<Second> {
        self.sealed.subscribe()
    }

    /// The newest second that is sealed; 0 before the first. A window that ends after it is not complete.
    pub fn latest(&self) -> Second {
        *self.sealed.borrow()
    }

    /// Up to which batch a proxy's reports are kept for good.
    pub fn kept(&self, proxy: &str, epoch: u64) -> u64 {
        self.inner.lock().reporters.kept(proxy, epoch)
    }

    /// What edges carried in the window, in the order of the edges. The window is widened to what the store can tell apart at its age.
    pub fn edges(&self, window: Range<Second>, filter: &Filter) -> Vec<(Arc<Edge>, Signals)> {
        let frames = self.inner.lock().window(&window);
        query::edges(&frames, window.end, filter)
    }

    /// What groups of edges carried, step by step: at most `most` series, the busiest first, and one of all others.
    pub fn series(&self, window: Range<Second>, step: Second, filter: &Filter, by: By, most: usize) -> Answer {
        let inner = self.inner.lock();
        let level = inner.level_of_steps(window.start, step);
        let step = query::fitting_step(step, SPANS[level]);
        let window = window.start / step * step..window.end.div_ceil(step) * step;
        let frames = inner.at_level(level, &window);
        drop(inner);
        Answer { step, series: query::series(&frames, &window, step, filter, by, most) }
    }

    /// How finely a window that begins at a second can be told apart, in seconds.
    pub fn finest_at(&self, second: Second) -> Second {
        self.inner.lock().finest_at(second).unwrap_or(1)
    }

    /// What is missing in a window, and why.
    pub fn gaps(&self, window: Range<Second>) -> Vec<Gap> {
        let inner = self.inner.lock();
        let missing = inner.reporters.missing(inner.latest());
        inner.reporters.gaps().cloned().chain(missing).filter(|gap| gap.from < window.end && gap.to > window.start).collect()
    }
}

impl Inner {
    fn add(&mut self, batch: Batch, now: Second) {
        let Batch { proxy, epoch, sequence, second, entries, lost, last } = batch;
        // Clocks of hosts differ; what cannot be true is dated when it came.
        let believed = (now.saturating_sub(LONGEST_DELAY)..=now + GRACE).contains(&second);
        let second = if believed { second } else { now };
        let second = self.reporters.in_order(&proxy, epoch, second);
        match self.reporters.hear(&proxy, epoch, sequence, second, lost, now) {
            Heard::Repeat => {
                self.repeats += 1;
                return;
            }
            Heard::New => self.misdated += u64::from(!believed),
        }
        if last {
            self.reporters.ended(&proxy, epoch);
        }
        let entries: Vec<_> = entries.into_iter().map(|(edge, signals)| (self.intern(edge), signals)).collect();
        let open = self.open.entry(second).or_default();
        open.batches.push((proxy, epoch, sequence));
        for (edge, signals) in entries {
            open.sums.entry(edge).or_default().merge(&signals);
        }
    }

    fn intern(&mut self, edge: Arc<Edge>) -> Arc<Edge> {
        if let Some(known) = self.edges.get(&edge) {
            return known.clone();
        }
        self.edges.insert(edge.clone());
        edge
    }

    /// Seals the seconds that are over, those without any report too: that nothing was reported is known. A clock that was set back
    /// leaves seconds in its future: these are over as well.
    fn seal(&mut self, now: Second) {
        let over = now.saturating_sub(GRACE);
        let latest = self.latest();
        if latest > 0 && latest < over {
            let from = (latest + 1).max(over.saturating_sub(GRACE));
            (from..=over).for_each(|second| drop(self.open.entry(second).or_default()));
        }
        let due: Vec<Second> = self.open.keys().copied().filter(|second| *second <= over || *second > now + GRACE).collect();
        for second in due {
            let Some(OpenSecond { sums, batches }) = self.open.remove(&second) else { continue };
            let number = self.take_number();
            self.levels[0].push(Arc::new(Frame::seal(second, 1, number, &sums)));
            batches.iter().for_each(|(proxy, epoch, sequence)| self.reporters.sealed(proxy, *epoch, *sequence));
        }
    }

    fn take_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    /// The newest sealed second.
    fn latest(&self) -> Second {
        self.levels[0].newest().map_or(0, |frame| frame.start)
    }

    /// Seals what is new in the level below when a span of this level is over.
    fn roll_up(&mut self, level: usize, now: Second) {
        let (span, through) = (SPANS[level], self.levels[level].through);
        let below: Frames = self.levels[level - 1].after(through).cloned().collect();
        let is_over = |frame: &Arc<Frame>| frame.start / span * span + span + GRACE + SPANS[level - 1] <= now;
        let Some(newest) = below.last().filter(|_| below.iter().any(is_over)) else { return };
        // All of it at once, whatever it is about: so one number says what was taken up.
        let through = newest.number;
        let mut by_start: BTreeMap<Second, Frames> = BTreeMap::new();
        for frame in below {
            by_start.entry(frame.start / span * span).or_default().push(frame);
        }
        for (start, mut frames) in by_start {
            frames.sort_by_key(|frame| frame.start);
            let number = self.take_number();
            let rolled = roll(start, span, number, &frames);
            self.levels[level].push(Arc::new(rolled));
        }
        self.levels[level].through = through;
    }

    /// Lets go of the oldest and finest beyond the ceiling.
    fn shed(&mut self, ceiling: usize) {
        /// Frames of a level that go last.
        const LAST: usize = 60;
        while self.levels.iter().map(Level::weight).sum::<usize>() > ceiling {
            let many = self.levels.iter().position(|level| level.len() > LAST);
            let Some(level) = many.or_else(|| self.levels.iter().position(|level| level.len() > 0)) else { return };
            self.levels[level].pop();
        }
    }

    /// The frames that add up to a window, in the order of time.
    fn window(&self, window: &Range<Second>) -> Frames {
        let mut frames = Frames::new();
        self.collect(SPANS.len() - 1, self.known(window), &mut frames);
        frames.sort_by_key(|frame| (frame.start, frame.span));
        frames
    }

    /// The window as the store can tell it apart: its ends lie between frames.
    fn known(&self, window: &Range<Second>) -> Range<Second> {
        let start = self.finest_at(window.start).map_or(window.start, |span| window.start / span * span);
        let end = self.finest_at(window.end).map_or(window.end, |span| window.end.div_ceil(span) * span);
        start..end
    }

    /// The span of the finest frames that reach back to a second.
    fn finest_at(&self, second: Second) -> Option<Second> {
        (0..SPANS.len()).find(|level| self.reaches(*level, second)).map(|level| SPANS[level])
    }

    /// Whether a level (with what it has not taken up yet) knows all that is known since a second.
    fn reaches(&self, level: usize, second: Second) -> bool {
        match self.levels[level].oldest() {
            // Nothing was let go of when the first frames of all coarser levels hold the first one of this.
            Some(oldest) => {
                oldest.start <= second || self.levels[level + 1..].iter().filter_map(Level::oldest).all(|coarser| oldest.start < coarser.end())
            }
            None => level > 0 && self.levels[level].through == 0 && self.reaches(level - 1, second),
        }
    }

    fn collect(&self, level: usize, window: Range<Second>, frames: &mut Frames) {
        let span = SPANS[level];
        let whole = window.start.div_ceil(span) * span..window.end / span * span;
        if whole.start < whole.end {
            frames.extend(self.levels[level].within(&whole).cloned());
            self.not_yet(level, &whole, frames);
            if level > 0 {
                self.collect(level - 1, window.start..whole.start, frames);
                self.collect(level - 1, whole.end..window.end, frames);
            }
        } else if level > 0 && window.start < window.end {
            self.collect(level - 1, window, frames);
        }
    }

    /// What a level has not taken up yet, of a window of whole spans.
    fn not_yet(&self, level: usize, window: &Range<Second>, frames: &mut Frames) {
        let Some(below) = level.checked_sub(1) else { return };
        let inside = |frame: &&Arc<Frame>| frame.start >= window.start && frame.end() <= window.end;
        frames.extend(self.levels[below].after(self.levels[level].through).filter(inside).cloned());
        self.not_yet(below, window, frames);
    }

    /// Frames of one level, and what it has not taken up yet, in the order of time.
    fn at_level(&self, level: usize, window: &Range<Second>) -> Frames {
        let mut frames: Frames = self.levels[level].within(window).cloned().collect();
        self.not_yet(level, window, &mut frames);
        frames.sort_by_key(|frame| (frame.start, frame.span));
        frames
    }

    /// The coarsest level that fits the steps, or the finest that reaches back to where they begin.
    fn level_of_steps(&self, from: Second, step: Second) -> usize {
        let fitting = query::level_for(step);
        (fitting..SPANS.len()).find(|level| self.reaches(*level, from)).unwrap_or(fitting)
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
