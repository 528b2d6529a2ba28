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
    /// How many standard deviations it is off.
    pub z: f64,
}

const INTERCEPT: f64 = -3.03;
const WEIGHTS: [f64; Features::COUNT] = [6.63, 0.57];

impl Features {
    pub const COUNT: usize = 2;

    /// On scales on which each step counts about the same. (By how much more a cause explains than the next one adds nothing: shares say it.)
    pub fn values(&self) -> [f64; Self::COUNT] {
        // Beyond a thousand deviations, or below three, no more is to be learned.
        [self.share, (self.z.clamp(3.0, 1000.0) / 3.0).ln()]
    }
}

pub(super) fn confidence(features: &Features) -> f64 {
    let sum: f64 = INTERCEPT + WEIGHTS.iter().zip(features.values()).map(|(weight, value)| weight * value).sum::<f64>();
    1.0 / (1.0 + (-sum).exp())
}
