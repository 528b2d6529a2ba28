//! How long requests of a service usually take: a sketch of the last ten to twenty minutes, and the bounds above which one is slow.

use std::collections::VecDeque;
use taut_model::signal::{Second, Sketch};

/// A sketch is begun so often; the one before counts too.
const GENERATION: Second = 600;
/// What is younger than this is not learnt from: it may be the beginning of what is wrong.
const DELAY: Second = 8;
/// Bounds are found anew so often.
const REFRESH: Second = 10;
/// Fewer requests than this tell nothing about what is usual.
const FEWEST: u64 = 50;
/// Microseconds.
const MILLISECOND: f64 = 1000.0;

/// In microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub slow: u64,
    pub stuck: u64,
    pub p50: f64,
    pub p99: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    before: Sketch,
    since: Sketch,
    began: Second,
    /// What is not learnt yet.
    recent: VecDeque<(Second, Sketch)>,
    bounds: Option<Bounds>,
    refreshed: Second,
}

impl Latency {
    /// `None` while too little is known.
    pub fn bounds(&self) -> Option<Bounds> {
        self.bounds
    }

    pub fn observe(&mut self, at: Second, sketch: Sketch, learn: bool) {
        if !sketch.is_empty() {
            self.recent.push_back((at, sketch));
        }
        while let Some((_, old)) = self.recent.pop_front_if(|(begin, _)| begin.saturating_add(DELAY) <= at || *begin > at) {
            if learn {
                self.since.merge(&old);
            }
        }
        if at >= self.began.saturating_add(GENERATION) || at < self.began {
            if self.since.count() >= FEWEST {
                self.before = std::mem::take(&mut self.since);
            }
            self.began = at;
        }
        if at >= self.refreshed.saturating_add(REFRESH) || at < self.refreshed || self.bounds.is_none() {
            self.refreshed = at;
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        if self.before.count() + self.since.count() < FEWEST {
            return;
        }
        let mut usual = self.before.clone();
        usual.merge(&self.since);
        let (Some(p50), Some(p99)) = (usual.quantile(0.5), usual.quantile(0.99)) else { return };
        // Some requests are always that slow; how many is learnt, and it is about many more of them.
        let slow = (2.5 * p50).max(p50 + 50.0 * MILLISECOND);
        let stuck = (3.0 * p99).max(p99 + 150.0 * MILLISECOND);
        self.bounds = Some(Bounds { slow: slow as u64, stuck: stuck as u64, p50, p99 });
    }

    /// Of the last seconds, in milliseconds.
    pub fn now(&self, quantile: f64) -> Option<f64> {
        let mut recent = Sketch::default();
        self.recent.iter().for_each(|(_, sketch)| recent.merge(sketch));
        recent.quantile(quantile).map(|micros| micros / MILLISECOND)
    }
}
