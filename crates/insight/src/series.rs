//! How surprising each value of a series is, told online, from the past alone, in constant memory. Whether anybody is hurt by it is not
//! decided here.
//!
//! [`Detector`] is for the mesh: one per edge or service and signal, fed every second, in about 100 ns and 400 bytes. It notices single ticks and
//! what goes on for ten seconds or a minute, learns nothing while it is surprised, and takes what lasts (half an hour, unless told otherwise) for
//! usual.
//!
//! [`Thorough`] is for few series with sparse values of any kind, one in minutes: it asks how new what it sees is, in two microseconds and 75 kB.

mod detector;
#[cfg(test)]
pub(crate) mod dice;
mod estimate;
mod known;
mod lag;
mod peaks;
mod season;
mod tail;
#[cfg(test)]
mod tests;
mod thorough;
mod window;

pub use detector::{Detector, Settings};
pub use season::Period;
pub use thorough::{Fact, Thorough, ThoroughSettings};

use serde::{Deserialize, Serialize};

/// What a detector thinks of the latest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surprise {
    /// -log10 of how probable something as far off is while nothing has changed: 0 is usual, 3 is seen once in a thousand observations.
    pub value: f64,
    /// Whether what surprises is too much, not too little.
    pub above: bool,
    /// What was expected, in the unit of the series.
    pub baseline: f64,
    /// How far from it values usually are: one standard deviation, in the unit of the series.
    pub spread: f64,
    /// Enough has been seen for the rest to mean something.
    pub ready: bool,
}
