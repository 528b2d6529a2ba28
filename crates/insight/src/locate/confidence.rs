//! How often a cause that looks like this one was right.

/// What of a cause tells right from wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Features {
    /// Of the hurt, what it explains.
    pub share: f64,
    /// By how much that is more than what the next one explains.
    pub margin: f64,
    /// How many standard deviations it is off.
    pub z: f64,
}

/// A logistic function of the features, none with a negative weight: more evidence never makes a cause less sure.
const INTERCEPT: f64 = -2.0;
const SHARE: f64 = 2.5;
const MARGIN: f64 = 1.5;
const SURPRISE: f64 = 0.5;

pub(super) fn confidence(features: Features) -> f64 {
    let surprise = (features.z.clamp(1.0, 1000.0) / 3.0).ln();
    let sum = INTERCEPT + SHARE * features.share + MARGIN * features.margin.max(0.0) + SURPRISE * surprise;
    1.0 / (1.0 + (-sum).exp())
}
