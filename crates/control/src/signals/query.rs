//! Reading the store: what the frames that answer for a window add up to.

use super::cover::Wanted;
use super::filter::{By, Filter, Key};
use super::frame::{Columns, Part, Sum};
use super::walk::walk;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Edge, Second, Signals, SketchSum};

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

/// What edges have carried, in the order of the edges.
pub fn edges(wanted: Wanted, end: Second, filter: &Filter) -> Vec<(Arc<Edge>, Signals)> {
    let (mut found, mut latency) = (Vec::new(), SketchSum::default());
    walk(wanted, &|edge| filter.accepts(edge), Columns::All, &mut |edge, parts| {
        found.push((edge.clone(), add_up(parts, Columns::All, &mut latency).finish(end)));
    });
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// What edges have carried, one after the other; the highest number of a frame.
pub fn sums(wanted: Wanted, end: Second, visit: &mut dyn FnMut(&Arc<Edge>, &Signals)) -> Option<u64> {
    let (all, mut latency) = (|_: &Edge| true, SketchSum::default());
    walk(wanted, &all, Columns::All, &mut |edge, parts| visit(edge, &add_up(parts, Columns::All, &mut latency).finish(end))).highest
}

fn add_up(parts: &[Part<'_>], columns: Columns, latency: &mut SketchSum) -> Sum {
    let mut sum = Sum::default();
    sum.add_all(parts, columns, latency);
    sum
}

/// What each edge has carried in each step in which it has carried anything, edge after edge, steps in order. Stops when `visit` says so.
pub fn steps(wanted: Wanted, ends: &[Second], filter: &Filter, columns: Columns, visit: &mut dyn FnMut(&Arc<Edge>, usize, &Signals) -> bool) {
    let (mut goes_on, mut latency) = (true, SketchSum::default());
    walk(wanted, &|edge| filter.accepts(edge), columns, &mut |edge, parts| {
        let mut ordered = parts.to_vec();
        ordered.sort_by_key(|part| part.step);
        for of_step in ordered.chunk_by(|one, other| one.step == other.step) {
            let step = of_step[0].step;
            let end = ends.get(step).copied().unwrap_or_default();
            goes_on = goes_on && visit(edge, step, &add_up(of_step, columns, &mut latency).finish(end));
        }
    });
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

/// What edges have carried in each span of the window in which there was any, in the order of time.
pub fn buckets(wanted: Wanted, window: Range<Second>, span: Second, filter: &Filter) -> Vec<Bucket> {
    let starts: Vec<Second> = window.step_by(usize::try_from(span).unwrap_or(1)).collect();
    let ends: Vec<Second> = starts.iter().map(|start| start + span).collect();
    let mut made: Vec<Bucket> = starts.into_iter().map(|start| Bucket { start, span, edges: Vec::new() }).collect();
    steps(wanted, &ends, filter, Columns::All, &mut |edge, step, signals| {
        if let Some(bucket) = made.get_mut(step) {
            bucket.edges.push((edge.clone(), signals.clone()));
        }
        true
    });
    made.retain(|bucket| !bucket.edges.is_empty());
    made.iter_mut().for_each(|bucket| bucket.edges.sort_unstable_by(|(one, _), (other, _)| one.cmp(other)));
    made
}

/// How busy each key was, the busiest first.
pub fn busiest(wanted: Wanted, filter: &Filter, by: By) -> Vec<Key> {
    let mut weights: HashMap<Key, u64> = HashMap::new();
    walk(wanted, &|edge| filter.accepts(edge), Columns::Counts, &mut |edge, parts| {
        let weigh = |part: &Part<'_>| Signals::written_weight(part.written.counts()).unwrap_or_default();
        let weight = parts.iter().map(weigh).fold(0, u64::saturating_add);
        let sum = weights.entry(by.key(edge)).or_default();
        *sum = sum.saturating_add(weight);
    });
    let mut heavy: Vec<(Key, u64)> = weights.into_iter().collect();
    heavy.sort_by(|(key, weight), (other, than)| than.cmp(weight).then_with(|| key.cmp(other)));
    heavy.into_iter().map(|(key, _)| key).collect()
}

/// How many series of so many points are answered at once.
pub fn most_series(points: usize, asked: usize) -> usize {
    asked.min(MOST_POINTS / points.max(1)).max(1)
}

/// What groups of edges have carried in each step of the window, which begins at a multiple of the step. `keys`: the busiest first; when
/// they are more than `most`, the last of `most` series is of all others.
pub fn series(wanted: Wanted, window: &Range<Second>, step: Second, filter: &Filter, by: By, mut keys: Vec<Key>, most: usize) -> Vec<Series> {
    let points = points(window, step);
    let crowded = keys.len() > most;
    if crowded {
        keys.truncate(most - 1);
        keys.push(Key::other());
    }
    let others = crowded.then(|| keys.len() - 1);
    let known: HashMap<Key, usize> = keys.iter().cloned().enumerate().map(|(position, key)| (key, position)).collect();
    let mut sums: Vec<Vec<Option<Box<Sum>>>> = (0..keys.len()).map(|_| vec![None; points]).collect();
    let mut latency = SketchSum::default();
    let seen = walk(wanted, &|edge| filter.accepts(edge), Columns::All, &mut |edge, parts| {
        // One that was weighed too is among the keys, and whoever is not is among the others.
        let Some(group) = known.get(&by.key(edge)).copied().or(others) else { return };
        let mut ordered = parts.to_vec();
        ordered.sort_by_key(|part| (part.step, part.start));
        for of_step in ordered.chunk_by(|one, other| one.step == other.step) {
            if let Some(sum) = sums[group].get_mut(of_step[0].step) {
                sum.get_or_insert_default().merge(add_up(of_step, Columns::All, &mut latency));
            }
        }
    });
    let seen: HashSet<usize> = seen.steps.into_iter().collect();
    let made = keys.into_iter().zip(sums).map(|(key, sums)| {
        let point = |(position, sum): (usize, Option<Box<Sum>>)| {
            let at = window.start + step * position as Second;
            let measured = || sum.map(|sum| sum.finish(at + step)).unwrap_or_default();
            Point { at, signals: seen.contains(&position).then(measured) }
        };
        Series { key, points: sums.into_iter().enumerate().map(point).collect() }
    });
    made.collect()
}

/// How many steps a window has.
pub fn points(window: &Range<Second>, step: Second) -> usize {
    usize::try_from(window.end.saturating_sub(window.start).div_ceil(step.max(1))).unwrap_or(usize::MAX)
}

/// The step that can be answered: a multiple of `span`, at least what was asked for.
pub fn fitting_step(asked: Second, span: Second) -> Second {
    asked.max(1).div_ceil(span) * span
}
