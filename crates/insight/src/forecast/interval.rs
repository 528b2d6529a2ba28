//! Intervals that hold as often as they say, whatever the errors look like: quantiles of past errors (conformal prediction), their level
//! corrected by how often the interval has held (adaptive conformal inference, Gibbs and Candes 2021).

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Past errors that are kept.
const KEPT: usize = 400;
/// What one miss moves the level by.
const CORRECTION: f64 = 0.005;
/// Where nothing is known of errors yet: so many times the error of late to each side.
const GUESS: f64 = 3.0;
const FEWEST: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Past errors in relation to how large errors were at the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    latest: VecDeque<f32>,
    ordered: Vec<f32>,
}

impl Errors {
    pub fn learn(&mut self, relative: f64) {
        let error = relative.clamp(-1e6, 1e6) as f32;
        if self.latest.len() >= KEPT
            && let Some(oldest) = self.latest.pop_front()
        {
            let at = self.ordered.partition_point(|other| *other < oldest);
            if at < self.ordered.len() {
                self.ordered.remove(at);
            }
        }
        self.latest.push_back(error);
        let at = self.ordered.partition_point(|other| *other < error);
        self.ordered.insert(at, error);
    }

    /// The value below which a share of the errors is, by linear interpolation between the ranks.
    fn quantile(&self, share: f64) -> f64 {
        if self.ordered.len() < FEWEST {
            return if share < 0.5 { -GUESS } else { GUESS };
        }
        // Conformal ranks: of n errors and the next one.
        let rank = (share * (self.ordered.len() + 1) as f64 - 1.0).clamp(0.0, (self.ordered.len() - 1) as f64);
        let (below, part) = (rank.floor() as usize, rank.fract());
        let above = (below + 1).min(self.ordered.len() - 1);
        f64::from(self.ordered[below]) * (1.0 - part) + f64::from(self.ordered[above]) * part
    }

    pub fn heap(&self) -> usize {
        (self.latest.capacity() + self.ordered.capacity()) * size_of::<f32>()
    }
}

/// One level of confidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Share of misses that is meant, and that which the quantiles are taken for.
    meant: f64,
    taken: f64,
}

impl Level {
    pub fn new(misses: f64) -> Self {
        Self { meant: misses, taken: misses }
    }

    /// `scale`: how large errors are of late.
    pub fn interval(&self, errors: &Errors, mean: f64, scale: f64) -> Interval {
        // When even the largest past error does not hold often enough, more than it is needed.
        let (share, stretch) = if self.taken > 0.0 { (self.taken / 2.0, 1.0) } else { (0.0, 1.0 - 10.0 * self.taken) };
        let (low, high) = (errors.quantile(share), errors.quantile(1.0 - share));
        Interval { low: mean + scale * stretch * low.min(0.0), high: mean + scale * stretch * high.max(0.0) }
    }

    pub fn learn(&mut self, interval: Interval, actual: f64) {
        let missed = f64::from(u8::from(actual < interval.low || actual > interval.high));
        self.taken = (self.taken + CORRECTION * (self.meant - missed)).clamp(-0.1, 0.9);
    }
}
