//! The store of signals: what every edge of the mesh carried, at one second, rolled up with age, in bounded memory and on bounded disk.
//!
//! Batches of proxies are added up per second. A second that is over is *sealed* into a frame, which never changes; what comes later
//! for it makes one more frame, and frames of a span add up. Ten seconds, a minute, an hour are sealed from the frames below, each of
//! which is taken up exactly once. So any window is a sum of whole frames, and its totals are the same at every resolution.
//!
//! A batch is acknowledged when the frame that holds it is written, and the frame says which batches it holds: after a crash, proxies
//! send what was not acknowledged, and nothing counts twice. A disk that fails is no reason to stop: the store goes on in memory.

mod address;
mod ceilings;
mod cover;
mod directory;
mod disk;
mod filter;
mod frame;
mod inner;
mod level;
mod log;
mod packed;
mod query;
mod reporters;
mod roll;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod walk;

pub use ceilings::{Ceiling, Ceilings, Known};
pub use filter::{By, Filter, Key, Reports};
pub use frame::{Columns, Sum};
pub use query::{Answer, Bucket, Point, Series};
pub use reporters::Gap;

use crate::world::World;
use disk::Disk;
use inner::Inner;
use level::SPANS;
use parking_lot::Mutex;
use segment::{Found, Record};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_insight::change::Change;
use taut_model::signal::{Batch, Edge, Second, Signals};
use taut_observe::names;
use tokio::sync::watch;

/// How long a second waits for reports that are under way before it is sealed. Readers see a second when it is sealed.
pub const GRACE: Second = 3;
/// How long a proxy keeps what it could not deliver: older reports are of a clock that is wrong.
pub const LONGEST_DELAY: Second = 330;
/// How often the disk is asked to keep what it has; a power cut may take what came after.
const SYNC_EVERY: Second = 10;
/// Changes of endpoints that are kept.
const MOST_ENDPOINT_CHANGES: usize = 10_000;
/// Records that wait for a disk that fails.
const MOST_UNWRITTEN: usize = 300;

/// Frames that [`Store::each_bucket`] reads at once: as many as hold about [`PIECE`] edges.
const FEWEST_FRAMES: Second = 4;
const MOST_FRAMES: Second = 1024;
const PIECE: usize = 20_000;

/// What the store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for frames. The edges come on top: about 700 bytes each, and as much again for each of the last seconds.
    pub memory: usize,
    /// Bytes on disk.
    pub disk: u64,
    /// Edges that are told apart at a time.
    pub edges: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 << 20, disk: 1 << 30, edges: 30_000 }
    }
}

/// Signals of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Held by one tick at a time, and never while `inner` is waited for elsewhere.
    writing: Mutex<Writing>,
    limits: Limits,
    on_disk: bool,
    sealed: watch::Sender<Second>,
    misdated: AtomicU64,
    foreign: AtomicU64,
    ceilings: Ceilings,
    /// Endpoints that came and went since this process began: recordings carry them.
    endpoints: Mutex<VecDeque<Change>>,
}

#[derive(Default)]
struct Writing {
    unwritten: VecDeque<Record>,
    /// Records that had to go before they could be written.
    dropped: u64,
    errors: u64,
    /// Why the last write failed; `None` when it did not.
    failing: Option<String>,
    synced: Second,
    deleted: u64,
}

impl Store {
    /// One that forgets everything when it is dropped.
    pub fn in_memory(limits: Limits) -> Self {
        Self::new(limits, None)
    }

    /// One that is kept in a directory, from where it goes on.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        Ok(Self::new(limits, Some(Disk::open(directory, limits.disk)?)))
    }

    fn new(limits: Limits, disk: Option<(Disk, Found)>) -> Self {
        let on_disk = disk.is_some();
        let inner = Inner::new(limits.edges, disk);
        let sealed = watch::Sender::new(inner.latest());
        let (misdated, foreign, endpoints) = Default::default();
        let (writing, ceilings) = (Mutex::default(), Ceilings::default());
        let shared = Shared { inner: Mutex::new(inner), writing, limits, on_disk, sealed, misdated, foreign, ceilings, endpoints };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a batch that arrived at `now`. One that was taken before changes nothing.
    pub fn add(&self, batch: Batch, now: Second) {
        if !self.shared.inner.lock().add(batch, now) {
            self.note_misdated();
        }
    }

    /// Endpoints came or went. The newest are kept.
    pub fn note_endpoints(&self, changes: &[Change]) {
        let mut kept = self.shared.endpoints.lock();
        kept.extend(changes.iter().cloned());
        let surplus = kept.len().saturating_sub(MOST_ENDPOINT_CHANGES);
        kept.drain(..surplus);
    }

    /// What was noted of endpoints in a window, the oldest first.
    pub fn endpoints(&self, window: &Range<Second>) -> Vec<Change> {
        self.shared.endpoints.lock().iter().filter(|change| window.contains(&change.at)).cloned().collect()
    }

    /// A report was dated by its age, since its clock cannot be right.
    pub fn note_misdated(&self) {
        self.shared.misdated.fetch_add(1, Ordering::Relaxed);
    }

    /// Entries that were refused: a proxy reported what did not pass its own workload.
    pub fn note_foreign(&self, entries: u64) {
        self.shared.foreign.fetch_add(entries, Ordering::Relaxed);
    }

    /// What sidecars have proven that their applications can do.
    pub fn ceilings(&self) -> &Ceilings {
        &self.shared.ceilings
    }

    /// Seals what is over at `now`, rolls up, writes, and lets go of what is beyond the ceilings. To be called every second; may wait for
    /// the disk.
    pub fn tick(&self, now: Second) {
        let mut writing = self.shared.writing.lock();
        let mut records = self.shared.inner.lock().seal(now);
        self.write(&mut writing, &mut records);
        for (level, span) in SPANS.into_iter().enumerate().skip(1) {
            let due = self.shared.inner.lock().due(level, now);
            let Some(rolled) = due.and_then(|wanted| roll::roll_up(wanted, span)) else { continue };
            let mut records = self.shared.inner.lock().take_up(level, rolled);
            self.write(&mut writing, &mut records);
        }
        self.pack();
        let mut inner = self.shared.inner.lock();
        writing.deleted += inner.shed(self.shared.limits.memory, now);
        let latest = inner.latest();
        drop(inner);
        self.sync(&mut writing, now);
        drop(writing);
        self.shared.sealed.send_replace(latest);
    }

    /// Lays one complete log out again, if there is one: it takes a moment, and readers need not wait for it.
    fn pack(&self) {
        let Some((level, reading)) = self.shared.inner.lock().unpacked() else { return };
        let packed = packed::pack(&reading.segment, level, &reading.addresses);
        if let Err(error) = &packed {
            tracing::warn!(path = %reading.segment.path.display(), %error, "a file of signals stays as it is, and is slower to read");
        }
        self.shared.inner.lock().pack(level, &reading.segment.path, packed.ok());
    }

    /// Writes records in their order, those that wait first. What cannot be written waits, and counts as kept: it is in memory.
    fn write(&self, writing: &mut Writing, records: &mut Vec<Record>) {
        if records.is_empty() && writing.unwritten.is_empty() {
            return;
        }
        writing.unwritten.extend(records.drain(..));
        while let Some(record) = writing.unwritten.pop_front() {
            let mut inner = self.shared.inner.lock();
            match inner.write(&record) {
                Ok(()) => {
                    if writing.failing.take().is_some() {
                        tracing::info!("signals are written again");
                    }
                    inner.keep(&record);
                }
                Err(error) => {
                    writing.unwritten.push_front(record);
                    writing.unwritten.iter().for_each(|record| inner.keep(record));
                    drop(inner);
                    self.failed(writing, &error);
                    return;
                }
            }
        }
    }

    fn failed(&self, writing: &mut Writing, error: &io::Error) {
        writing.errors += 1;
        if writing.failing.replace(error.to_string()).is_none() {
            tracing::warn!(%error, "signals cannot be written; they are kept in memory only until the disk takes them");
        }
        while writing.unwritten.len() > MOST_UNWRITTEN {
            writing.unwritten.pop_front();
            writing.dropped += 1;
        }
    }

    fn sync(&self, writing: &mut Writing, now: Second) {
        if now >= writing.synced && now < writing.synced + SYNC_EVERY {
            return;
        }
        writing.synced = now;
        if let Err(error) = self.shared.inner.lock().sync() {
            self.failed(writing, &error);
        }
    }

    /// Tells the newest sealed second whenever seconds are sealed.
    pub fn sealed(&self) -> watch::Receiver<Second> {
        self.shared.sealed.subscribe()
    }

    /// The newest second that is sealed; 0 before the first. A window that ends after it is not complete.
    pub fn latest(&self) -> Second {
        *self.shared.sealed.borrow()
    }

    /// The first second that is known at any resolution; `None` before there is one.
    pub fn oldest(&self) -> Option<Second> {
        self.shared.inner.lock().first()
    }

    /// Up to which batch a proxy's reports are kept for good.
    pub fn kept(&self, proxy: &str, epoch: u64) -> u64 {
        self.shared.inner.lock().kept(proxy, epoch)
    }

    /// What edges carried in the window, in the order of the edges. The window is widened to what the store can tell apart at its age.
    /// May read from disk.
    pub fn edges(&self, window: Range<Second>, filter: &Filter) -> Vec<(Arc<Edge>, Signals)> {
        let wanted = self.shared.inner.lock().windows(std::slice::from_ref(&window));
        query::edges(wanted, window.end, filter)
    }

    /// What each edge carried in each of some windows that follow each other: edge after edge, and for each the windows in which it
    /// carried anything, by their places and in order, until `visit` says no. May read from disk.
    pub fn steps(&self, windows: &[Range<Second>], filter: &Filter, columns: Columns, visit: &mut dyn FnMut(&Arc<Edge>, usize, &Signals) -> bool) {
        let wanted = self.shared.inner.lock().windows(windows);
        let ends: Vec<Second> = windows.iter().map(|window| window.end).collect();
        query::steps(wanted, &ends, filter, columns, visit);
    }

    /// What groups of edges carried, step by step: at most `most` series, the busiest first, and one of all others. May read from disk.
    pub fn series(&self, window: Range<Second>, step: Second, filter: &Filter, by: By, most: usize) -> Answer {
        let inner = self.shared.inner.lock();
        let level = inner.level_of_steps(window.start, step);
        let step = query::fitting_step(step, SPANS[level]);
        let window = window.start / step * step..window.end.div_ceil(step) * step;
        // Who was busy is told by the coarsest frames there are, which are few.
        let (weighed, wanted) = (inner.windows(std::slice::from_ref(&window)), inner.steps(level, &window, step));
        drop(inner);
        let keys = query::busiest(weighed, filter, by);
        let most = query::most_series(query::points(&window, step), most);
        Answer { step, series: query::series(wanted, &window, step, filter, by, keys, most) }
    }

    /// What each edge carried in the seconds that were sealed after a frame's number, edge after edge; the number to go on from, which is
    /// not below the one before. May read from disk.
    pub fn sealed_since(&self, after: u64, visit: &mut dyn FnMut(&Arc<Edge>, &Signals)) -> u64 {
        let (wanted, end) = (self.shared.inner.lock().sealed_since(after), self.latest() + 1);
        query::sums(wanted, end, visit).unwrap_or(after)
    }

    /// Whether all that was sealed after a frame's number is still known by the second.
    pub fn has_all_since(&self, after: u64) -> bool {
        self.shared.inner.lock().has_all_since(after)
    }

    /// The number after which frames of single seconds are in memory.
    pub fn oldest_in_memory(&self) -> u64 {
        self.shared.inner.lock().oldest_in_memory()
    }

    /// What edges carried in each bucket of the window, as finely as the store can tell its seconds apart, in the order of time. The
    /// window is widened to whole buckets. Reads from disk, piece by piece: memory holds one piece.
    ///
    /// # Errors
    /// What `take` returns; then it is not called again.
    pub fn each_bucket<E>(&self, window: Range<Second>, filter: &Filter, mut take: impl FnMut(Bucket) -> Result<(), E>) -> Result<(), E> {
        let (mut from, mut pieces) = (window.start, FEWEST_FRAMES);
        while from < window.end {
            let inner = self.shared.inner.lock();
            let span = inner.finest_at(from).unwrap_or(1);
            let level = SPANS.iter().position(|known| *known == span).unwrap_or_default();
            let start = from / span * span;
            let end = (start + span * pieces).min(window.end.div_ceil(span) * span);
            // From there on it is known more finely.
            let end = inner.finer_after(level, start).map_or(end, |finer| end.min(finer));
            let wanted = inner.steps(level, &(start..end), span);
            drop(inner);
            let buckets = query::buckets(wanted, start..end, span, filter);
            let found: usize = buckets.iter().map(|bucket| bucket.edges.len()).sum();
            buckets.into_iter().try_for_each(&mut take)?;
            pieces = if found < PIECE { pieces * 2 } else { pieces / 2 }.clamp(FEWEST_FRAMES, MOST_FRAMES);
            from = end;
        }
        Ok(())
    }

    /// How finely a window that begins at a second can be told apart, in seconds.
    pub fn finest_at(&self, second: Second) -> Second {
        self.shared.inner.lock().finest_at(second).unwrap_or(1)
    }

    /// Since when all is known in spans of at most so many seconds; `None`: nothing is.
    pub fn known_since(&self, span: Second) -> Option<Second> {
        self.shared.inner.lock().known_since(span)
    }

    /// What is missing in a window, and why.
    pub fn gaps(&self, window: Range<Second>) -> Vec<Gap> {
        self.shared.inner.lock().gaps(&window)
    }

    /// What the store is up to, as JSON.
    pub fn about(&self) -> Value {
        let inner = self.shared.inner.lock();
        let (levels, numbers, gaps) = (inner.levels_json(), inner.numbers(), inner.gaps(&(0..Second::MAX)));
        drop(inner);
        let writing = self.shared.writing.lock();
        let limits = self.shared.limits;
        json!({
            "onDisk": self.shared.on_disk, "latest": self.latest(), "levels": levels, "gaps": gaps,
            "memoryBytes": numbers.memory, "memoryCeiling": limits.memory, "directoryBytes": numbers.directories, "diskBytes": numbers.disk, "diskCeiling": limits.disk,
            "edges": numbers.edges, "edgesCeiling": limits.edges, "edgesOverflow": numbers.overflow, "proxies": numbers.proxies,
            "repeats": numbers.repeats, "misdated": self.shared.misdated.load(Ordering::Relaxed), "refused": self.shared.foreign.load(Ordering::Relaxed),
            "writeErrors": writing.errors, "failing": writing.failing, "unwritten": writing.unwritten.len(), "dropped": writing.dropped,
            "deletedFiles": writing.deleted,
        })
    }

    /// The same as Prometheus text.
    pub fn metrics(&self) -> String {
        let numbers = self.shared.inner.lock().numbers();
        let writing = self.shared.writing.lock();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let rows = [
            (names::SIGNALS_MEMORY, "gauge", "Bytes of memory that frames of signals take.", numbers.memory as u64),
            (names::SIGNALS_DISK, "gauge", "Bytes on disk that signals take.", numbers.disk),
            (names::SIGNALS_EDGES, "gauge", "Edges that are told apart.", numbers.edges as u64),
            (names::SIGNALS_PROXIES, "gauge", "Proxies that report, or have within the last hour.", numbers.proxies as u64),
            (names::SIGNALS_LATEST, "gauge", "The newest second that is complete.", self.latest()),
            (names::SIGNALS_OVERFLOW, "counter", "Reports of edges that found no room and count as other.", numbers.overflow),
            (names::SIGNALS_REPEATS, "counter", "Reports that had been taken before.", numbers.repeats),
            (names::SIGNALS_MISDATED, "counter", "Reports whose clock cannot be right.", load(&self.shared.misdated)),
            (names::SIGNALS_REFUSED, "counter", "Entries of reports that were not the proxy's to tell.", load(&self.shared.foreign)),
            (names::SIGNALS_WRITE_ERRORS, "counter", "Writes of signals that failed.", writing.errors),
            (names::SIGNALS_UNWRITTEN, "gauge", "Records that wait for the disk.", writing.unwritten.len() as u64),
            (names::SIGNALS_DROPPED, "counter", "Records that went before the disk took them.", writing.dropped),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }
}

/// Keeps the store: seals each second when it is over. Never ends.
pub async fn keep(store: Store, world: World) {
    loop {
        let wall_ms = world.wall().as_millisecond().unsigned_abs();
        let (due, now) = (store.clone(), wall_ms / 1000);
        drop(world.aside(move || due.tick(now)).await);
        let wall_ms = world.wall().as_millisecond().unsigned_abs();
        tokio::time::sleep(Duration::from_millis(1000 - wall_ms % 1000)).await;
    }
}
