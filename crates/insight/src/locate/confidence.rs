//! How often a cause that looks like this one was right.
//!
//! A logistic function of a few features, none with a negative weight: more evidence never makes a cause less sure. Its constants are fitted
//! (`cargo run --release -p taut-insight --example causes -- --fit`) on synthetic meshes with 25 kinds of faults, one or two at a time, and
//! harmless changes; `bench/insight/causes.md` shows how often causes of other meshes were right against what they said.

/// What of a cause tells right from wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features {
    /// Of the hurt, what it explains.
    pub share: f64,
    /// By how much that is more than what the next one explains; of those behind the first, 0.
    pub margin: f64,
    /// How many standard deviations it is off.
    pub z: f64,
}

const INTERCEPT: f64 = -2.0;
const WEIGHTS: [f64; Features::COUNT] = [2.5, 1.5, 0.5];

impl Features {
    pub const COUNT: usize = 3;

    /// On scales on which each step counts about the same.
    pub fn values(&self) -> [f64; Self::COUNT] {
        // Beyond a thousand deviations, or below three, no more is to be learned.
        [self.share, self.margin.max(0.0), (self.z.clamp(3.0, 1000.0) / 3.0).ln()]
    }
}

pub(super) fn confidence(features: &Features) -> f64 {
    let sum: f64 = INTERCEPT + WEIGHTS.iter().zip(features.values()).map(|(weight, value)| weight * value).sum::<f64>();
    1.0 / (1.0 + (-sum).exp())
}
