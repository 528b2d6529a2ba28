//! The latest observations against what was expected of them, over windows that forget geometrically; what a window holds is as certain as
//! the observations in it make it.

use crate::rarity::rarity;
use serde::{Deserialize, Serialize};

/// What each window keeps of itself from one step to the next: the observation alone, some ten, some sixty.
pub const KEPT: [f64; SCALES] = [0.0, 0.9, 1.0 - 1.0 / 60.0];
pub const SCALES: usize = 3;

/// Sums of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Counts: how many came. Values: weighted deviations from the baseline.
    actual: f64,
    /// Counts: how many were expected. Values: weights.
    expected: f64,
    /// Of `actual`, in units of one expected count, or of the spread squared.
    variance: f64,
    /// Counts: how many the season expects. Values: weighted deviations from the season.
    seasonal: f64,
}

/// What a window says: how far off, and how far in relation to what is expected, by the baseline and by the season.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    pub score: f64,
    pub seasonal: f64,
    pub lean: f64,
}

impl Window {
    pub fn pass(&mut self, kept: f64, steps: u64) {
        let kept = if steps == 1 { kept } else { kept.powi(steps.min(100_000) as i32) };
        self.actual *= kept;
        self.expected *= kept;
        self.seasonal *= kept;
        self.variance *= kept * kept;
    }

    /// A value: how far it is from the baseline and from what the season says, and how many observations it is worth.
    pub fn add_value(&mut self, off: f64, off_season: f64, weight: f64) {
        self.actual += weight * off;
        self.seasonal += weight * off_season;
        self.expected += weight;
        self.variance += weight;
    }

    pub fn add_count(&mut self, count: f64, expected: f64, seasonal: f64) {
        self.actual += count;
        self.expected += expected;
        self.seasonal += seasonal;
        self.variance += expected;
    }

    /// In standard deviations: `spread` is that of one observation of weight 1, `floor` a deviation that is no news however sure it is.
    pub fn value(&self, spread: f64, floor: f64) -> Reading {
        if self.expected <= 0.0 {
            return Reading::default();
        }
        let sampled = spread * spread * self.variance / (self.expected * self.expected);
        let deviation = (sampled + floor * floor).sqrt();
        if deviation <= 0.0 {
            return Reading::default();
        }
        let lean = self.actual / self.expected;
        Reading { score: lean / deviation, seasonal: self.seasonal / self.expected / deviation, lean }
    }

    /// As -log10 of the probability that so many (or so few) come, negative for few, where counts vary as Poisson's around a rate that itself
    /// varies by `dispersion` (its variance over its square).
    pub fn count(&self, dispersion: f64) -> Reading {
        if self.variance <= 0.0 {
            return Reading::default();
        }
        // Weighted counts are as certain as this share of plain ones.
        let worth = self.expected / self.variance;
        let count = self.actual * worth;
        let score = rarity(count, self.expected * worth, dispersion);
        let seasonal = if self.seasonal == self.expected { score } else { rarity(count, self.seasonal * worth, dispersion) };
        Reading { score, seasonal, lean: self.actual / self.expected - 1.0 }
    }

    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
