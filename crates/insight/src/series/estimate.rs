//! What is usual: a level and how values vary around it, from sums that forget exponentially.

use serde::{Deserialize, Serialize};

/// Deviations beyond this many spreads move an estimate no further (Huber).
const CLIP: f64 = 3.0;
/// Of a normal distribution: standard deviation over mean absolute deviation.
const PER_ABSOLUTE: f64 = 1.253_314_137_315_500_3;
/// What counts are assumed to vary beyond Poisson's law (variance of the rate over its square), and how many squared expected counts that is worth.
const ASSUMED_DISPERSION: f64 = 0.1;
const ASSUMED_DISPERSION_WORTH: f64 = 10.0;
const MOST_DISPERSION: f64 = 1000.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Of values times their weights, or of counts.
    sum: f64,
    /// Of weights, or of what the counts are out of.
    weight: f64,
    /// Of absolute deviations, or of squared deviations beyond Poisson's.
    noise: f64,
    /// How many of the former, or of squared expected counts.
    noise_weight: f64,
    /// Observations, forgotten as the rest.
    seen: f64,
}

impl Estimate {
    pub fn seen(&self) -> f64 {
        self.seen
    }

    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The weighted mean; `None` before anything was seen.
    pub fn level(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// The standard deviation of a value of weight 1; too wide rather than too narrow while few were seen.
    pub fn spread(&self) -> f64 {
        if self.noise_weight <= 0.0 {
            return 0.0;
        }
        PER_ABSOLUTE * self.noise / self.noise_weight * (1.0 + 10.0 / self.seen.max(1.0))
    }

    /// Learns a value; `kept` is the share of all before it that is not forgotten.
    pub fn learn_value(&mut self, value: f64, weight: f64, kept: f64) {
        let level = self.level().unwrap_or(value);
        let root = weight.sqrt();
        let mut off = (value - level) * root;
        if self.seen >= 10.0 {
            let most = CLIP * self.spread();
            // A series that has never varied may begin to.
            let most = if most > 0.0 { most } else { off.abs() };
            off = off.clamp(-most, most);
        }
        self.forget(kept);
        self.sum += (level + off / root.max(f64::MIN_POSITIVE)) * weight;
        self.weight += weight;
        self.noise += off.abs();
        self.noise_weight += 1.0;
        self.seen += 1.0;
    }

    /// Counts in `exposure` (steps, or requests), with what was assumed beforehand.
    pub fn rate(&self, assumed: Assumed) -> f64 {
        (self.sum + assumed.count) / (self.weight + assumed.exposure)
    }

    /// How much the rate itself varies, and how little is known of it: both over its square. `taken` is the rate that is reckoned with.
    pub fn dispersion(&self, assumed: Assumed, taken: f64) -> f64 {
        let varies = (ASSUMED_DISPERSION * ASSUMED_DISPERSION_WORTH + self.noise) / (ASSUMED_DISPERSION_WORTH + self.noise_weight);
        let unsure = self.rate(assumed) / taken;
        varies.clamp(0.0, MOST_DISPERSION) + unsure * unsure / (self.sum + assumed.count)
    }

    /// Learns a count; `expected` is what the rate says of this exposure.
    pub fn learn_count(&mut self, count: f64, exposure: f64, expected: f64, kept: f64) {
        let off = (count - expected) * (count - expected) - expected;
        self.forget(kept);
        self.sum += count;
        self.weight += exposure;
        self.noise += off;
        self.noise_weight += expected * expected;
        self.seen += 1.0;
    }

    /// Believes what it knows less.
    pub fn forget(&mut self, kept: f64) {
        self.sum *= kept;
        self.weight *= kept;
        self.noise *= kept;
        self.noise_weight *= kept;
        self.seen *= kept;
    }
}

/// What is assumed of a rate before anything was counted.
#[derive(Clone, Copy, Debug)]
pub struct Assumed {
    pub count: f64,
    pub exposure: f64,
}
