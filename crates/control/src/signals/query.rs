//! Reading the store: which frames answer for a window, and what they add up to.

use super::filter::{By, Filter, Key};
use super::frame::{Frame, Sum};
use super::level::SPANS;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Edge, Second, Signals};

/// The most points that are answered at once, over all series.
const MOST_POINTS: usize = 200_000;

/// What was measured in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The first second of the step.
    pub at: Second,
    /// `None`: the store knows nothing of that time, which is not the same as no traffic.
    pub signals: Option<Signals>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub key: Key,
    pub points: Vec<Point>,
}

/// Series of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Seconds of each step; more than was asked for when the time is only known more coarsely.
    pub step: Second,
    /// The busiest first; the last may be of all others together ([`Key::other`]).
    pub series: Vec<Series>,
}

/// Of what is read, in the order of time.
pub type Frames = Vec<Arc<Frame>>;

/// What edges have carried, in any order. Frames may hold an edge under several addresses: those read from disk have their own.
pub fn edges(frames: &Frames, end: Second, filter: &Filter) -> Vec<(Arc<Edge>, Signals)> {
    let mut wanted = Wanted::new(filter);
    let mut sums: HashMap<*const Edge, (Arc<Edge>, Sum)> = HashMap::new();
    for frame in frames {
        for (edge, written) in frame.iter().filter(|(edge, _)| wanted.accepts(edge)) {
            let (_, sum) = sums.entry(Arc::as_ptr(edge)).or_insert_with(|| (edge.clone(), Sum::default()));
            tell(sum.add(frame.start, frame.end(), written));
        }
    }
    let mut by_value: BTreeMap<Arc<Edge>, Signals> = BTreeMap::new();
    for (edge, sum) in sums.into_values() {
        let signals = sum.finish(end);
        match by_value.entry(edge) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(signals);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                // One of the two was read from disk and is older.
                let most = entry.get().in_flight.max(signals.in_flight);
                entry.get_mut().merge(&signals);
                entry.get_mut().in_flight = most;
            }
        }
    }
    by_value.into_iter().collect()
}

/// What edges have carried in one bucket of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub start: Second,
    /// Seconds from `start` on.
    pub span: Second,
    /// In the order of the edges.
    pub edges: Vec<(Arc<Edge>, Signals)>,
}

/// What edges have carried in each span, one bucket after the other, so that only one is in memory beside the frames. Frames must be in
/// the order of time.
pub fn buckets<'a>(frames: &'a Frames, span: Second, filter: &'a Filter) -> impl Iterator<Item = Bucket> + 'a {
    let mut wanted = Wanted::new(filter);
    let start_of = move |frame: &Arc<Frame>| frame.start / span * span;
    frames.chunk_by(move |one, next| start_of(one) == start_of(next)).filter_map(move |of_bucket| {
        let start = start_of(of_bucket.first()?);
        // By value: frames that were read from disk have edges of their own.
        let mut sums: BTreeMap<Arc<Edge>, Sum> = BTreeMap::new();
        for frame in of_bucket {
            for (edge, written) in frame.iter().filter(|(edge, _)| wanted.accepts(edge)) {
                tell(sums.entry(edge.clone()).or_default().add(frame.start, frame.end(), written));
            }
        }
        let edges = sums.into_iter().map(|(edge, sum)| (edge, sum.finish(start + span))).collect();
        Some(Bucket { start, span, edges })
    })
}

/// What groups of edges have carried in each step of the window, which begins at a multiple of the step. At most `most` series, the
/// busiest; all others are one more.
pub fn series(frames: &Frames, window: &Range<Second>, step: Second, filter: &Filter, by: By, most: usize) -> Vec<Series> {
    let points = usize::try_from(window.end.saturating_sub(window.start).div_ceil(step.max(1))).unwrap_or(usize::MAX);
    let mut groups = Groups::choose(frames, filter, by, most.min(MOST_POINTS / points.max(1)).max(1));
    let position = |frame: &Frame| usize::try_from((frame.start - window.start) / step).unwrap_or(usize::MAX);
    let seen: HashSet<usize> = frames.iter().map(|frame| position(frame)).collect();
    let mut sums: Vec<HashMap<usize, Sum>> = vec![HashMap::new(); groups.keys.len()];
    for frame in frames {
        let at = position(frame);
        for (edge, written) in frame.iter() {
            if let Some(group) = groups.of(edge) {
                tell(sums[group].entry(at).or_default().add(frame.start, frame.end(), written));
            }
        }
    }
    let keys = std::mem::take(&mut groups.keys);
    let made = keys.into_iter().zip(sums).map(|(key, mut sums)| {
        let point = |position: usize| {
            let at = window.start + step * position as Second;
            let measured = || sums.remove(&position).map(|sum| sum.finish(at + step)).unwrap_or_default();
            Point { at, signals: seen.contains(&position).then(measured) }
        };
        Series { key, points: (0..points).map(point).collect() }
    });
    made.collect()
}

/// Frames are checked when they are read or taken, so this does not happen.
fn tell(added: Result<(), taut_model::signal::varint::Malformed>) {
    if let Err(error) = added {
        tracing::warn!(%error, "a kept signal cannot be read");
    }
}

/// A filter that looks at each edge once.
struct Wanted<'a> {
    filter: &'a Filter,
    known: HashMap<*const Edge, bool>,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a Filter) -> Self {
        Self { filter, known: HashMap::new() }
    }

    fn accepts(&mut self, edge: &Arc<Edge>) -> bool {
        *self.known.entry(Arc::as_ptr(edge)).or_insert_with(|| self.filter.accepts(edge))
    }
}

/// Which series an edge belongs to. Addresses stand for edges while the frames that hold them are read.
struct Groups {
    keys: Vec<Key>,
    of: HashMap<*const Edge, Option<usize>>,
}

impl Groups {
    fn choose(frames: &Frames, filter: &Filter, by: By, most: usize) -> Self {
        let mut wanted = Wanted::new(filter);
        let mut weights: HashMap<*const Edge, (Arc<Edge>, u64)> = HashMap::new();
        for frame in frames {
            for (edge, written) in frame.iter().filter(|(edge, _)| wanted.accepts(edge)) {
                let weight = Signals::written_weight(written).unwrap_or_default();
                let (_, sum) = weights.entry(Arc::as_ptr(edge)).or_insert_with(|| (edge.clone(), 0));
                *sum = sum.saturating_add(weight);
            }
        }
        let keyed: Vec<(*const Edge, Key, u64)> = weights.into_iter().map(|(at, (edge, weight))| (at, by.key(&edge), weight)).collect();
        let mut heavy: HashMap<&Key, u64> = HashMap::new();
        for (_, key, weight) in &keyed {
            let sum = heavy.entry(key).or_default();
            *sum = sum.saturating_add(*weight);
        }
        let mut heavy: Vec<(&Key, u64)> = heavy.into_iter().collect();
        heavy.sort_by(|(key, weight), (other, than)| than.cmp(weight).then(key.cmp(other)));
        let crowded = heavy.len() > most;
        let chosen = if crowded { most - 1 } else { heavy.len() };
        let mut keys: Vec<Key> = heavy.iter().take(chosen).map(|(key, _)| (*key).clone()).collect();
        let position: HashMap<&Key, usize> = keys.iter().enumerate().map(|(position, key)| (key, position)).collect();
        let of = keyed.iter().map(|(at, key, _)| (*at, position.get(key).copied().or(crowded.then_some(chosen)))).collect();
        if crowded {
            keys.push(Key::other());
        }
        Self { keys, of }
    }

    fn of(&self, edge: &Arc<Edge>) -> Option<usize> {
        self.of.get(&Arc::as_ptr(edge)).copied().flatten()
    }
}

/// The step that can be answered: a multiple of `span`, at least what was asked for.
pub fn fitting_step(asked: Second, span: Second) -> Second {
    asked.max(1).div_ceil(span) * span
}

/// The coarsest level whose frames fit into steps.
pub fn level_for(step: Second) -> usize {
    SPANS.iter().rposition(|span| step.is_multiple_of(*span)).unwrap_or_default()
}
