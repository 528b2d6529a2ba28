//! How probable a score is, learned from the scores before it: the body by its 98th percentile, what lies beyond by the mean of its excess
//! (peaks over threshold, extreme value theory), both in constant memory.

use serde::{Deserialize, Serialize};

/// Share of the scores that lies beyond the threshold.
const BEYOND: f64 = 0.02;
/// `-log10(BEYOND)`.
const AT_THRESHOLD: f64 = 1.698_970_004_336_018_8;
/// Nothing surprises more: further off the shape of a tail is guesswork.
const MOST: f64 = 300.0;
/// Scores after which the threshold stops settling and only follows.
const REMEMBERED: u32 = 20_000;
/// Scores that what is assumed at first is worth.
const ASSUMED: f64 = 50.0;

/// Mean excesses that one peak counts for at most.
const HIGHEST: f64 = 3.0;

/// What is assumed of a kind of score before any is seen.
#[derive(Debug)]
pub struct Law {
    pub threshold: f64,
    pub least_threshold: f64,
    pub excess: f64,
    pub least_excess: f64,
    /// Of the generalised Pareto distribution: 0 for an exponential tail, more for a heavier one.
    pub shape: f64,
}

/// Of one direction of one score. It is always asked by the same law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    threshold: f32,
    excess: f32,
    seen: u32,
}

impl Tail {
    /// Where the tail begins, and the mean of what goes beyond.
    fn shape(&self, law: &Law) -> (f64, f64) {
        if self.seen == 0 { (law.threshold, law.excess) } else { (f64::from(self.threshold), f64::from(self.excess)) }
    }

    /// -log10 of the probability of a score as high.
    pub fn surprise(&self, law: &Law, score: f64) -> f64 {
        let (threshold, excess) = self.shape(law);
        if score.is_nan() || score <= 0.0 {
            return 0.0;
        }
        if score <= threshold {
            return AT_THRESHOLD * score / threshold;
        }
        let excesses = (score - threshold) / excess;
        let nats = if law.shape > 0.0 { (law.shape * excesses).ln_1p() / law.shape } else { excesses };
        (AT_THRESHOLD + nats * std::f64::consts::LOG10_E).min(MOST)
    }

    /// A score that nothing was amiss with, or the first of a run of strange ones: peaks that come together count once.
    pub fn learn(&mut self, law: &Law, score: f64) {
        let (threshold, excess) = self.shape(law);
        self.seen = (self.seen + 1).min(REMEMBERED);
        let beyond = score > threshold;
        // Robbins and Monro's step towards a quantile, for the density that an exponential tail has there.
        let step = excess / BEYOND / (ASSUMED + f64::from(self.seen));
        let towards = if beyond { 1.0 - BEYOND } else { -BEYOND };
        self.threshold = (threshold + step * towards).max(law.least_threshold) as f32;
        // One peak says little about how high peaks are, and a fault that comes again must not become usual.
        let peak = if beyond { (score - threshold).min(HIGHEST * excess) } else { excess };
        let share = 1.0 / (20.0 + BEYOND * f64::from(self.seen));
        self.excess = (excess + share * (peak - excess)).max(law.least_excess) as f32;
    }
}
