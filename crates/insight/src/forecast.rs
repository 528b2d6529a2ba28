//! What load comes next: several simple experts, weighted by how well each has done of late, with intervals that hold as often as they say.
//! Online, from the past alone, in constant memory. What is done about it is decided elsewhere.

mod blend;
mod capacity;
mod expert;
mod interval;
mod ridge;
#[cfg(test)]
mod tests;

pub use capacity::{Capacity, Demand};
pub use expert::Expert;
pub use interval::Interval;

use blend::Track;
use expert::Memory;
use serde::{Deserialize, Serialize};

/// What a forecaster is told of its series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Steps in a day, or in what else the series repeats itself after.
    pub day: usize,
    /// How many of the next steps each forecast is the mean of.
    pub horizons: Vec<usize>,
}

impl Default for Settings {
    /// Steps of five minutes: the next ten minutes, half hour and hour.
    fn default() -> Self {
        Self { day: 288, horizons: vec![2, 6, 12] }
    }
}

/// The mean of the next steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Of how many steps.
    pub horizon: usize,
    pub mean: f64,
    /// Four of five times it is in there.
    pub likely: Interval,
    /// 19 of 20 times.
    pub certain: Interval,
    /// How far off such forecasts have been of late, in the mean, in the unit of the series.
    pub error: f64,
    /// How many have been compared with what came; few of them, and the intervals are guesses.
    pub tried: u64,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    memory: Memory,
    tracks: Vec<Track>,
}

impl Forecaster {
    pub fn new(settings: &Settings) -> Self {
        let horizons = settings.horizons.iter().map(|horizon| Track::new((*horizon).max(1)));
        let longest = settings.horizons.iter().copied().max().unwrap_or(1);
        Self { memory: Memory::new(settings.day.max(2), longest), tracks: horizons.collect() }
    }

    /// The value of one more step. A step of which nothing is known repeats what was expected of it, and teaches nothing.
    pub fn observe(&mut self, value: Option<f64>) {
        let known = value.filter(|value| value.is_finite()).map(|value| value.clamp(-1e15, 1e15));
        let filled = known.unwrap_or_else(|| self.memory.expected());
        for track in &mut self.tracks {
            track.compare(filled, known.is_some());
        }
        self.memory.observe(filled);
        for track in &mut self.tracks {
            track.forecast(&self.memory);
        }
    }

    /// One per horizon; none before anything was observed.
    pub fn forecasts(&self) -> impl Iterator<Item = Forecast> + '_ {
        self.tracks.iter().filter_map(Track::latest)
    }

    /// What each expert says of the horizon at `index` by itself, and what weight it has.
    pub fn experts(&self, index: usize) -> Vec<(Expert, f64, f64)> {
        self.tracks.get(index).map(Track::experts).unwrap_or_default()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.memory.heap() + self.tracks.iter().map(Track::bytes).sum::<usize>()
    }
}
