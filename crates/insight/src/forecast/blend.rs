//! One horizon: what the experts have said and what came, how much each of them is trusted, and the forecast that is made of them.

use super::Forecast;
use super::expert::{EXPERTS, Expert, FEATURES, Memory};
use super::interval::{Errors, Interval, Level};
use super::ridge::Ridge;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What a forecast counts for in the loss of an expert: the last fifty or so decide.
const LATEST: f64 = 0.02;
/// How much better than others an expert must be to be trusted much more: losses to this power.
const SHARPNESS: i32 = 4;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    horizon: usize,
    ridge: Ridge,
    losses: [f64; EXPERTS.len()],
    loss: f64,
    errors: Errors,
    likely: Level,
    certain: Level,
    tried: u64,
    /// No value below zero was ever seen.
    positive: bool,
    /// Forecasts whose steps are not all there, the oldest first.
    open: VecDeque<Open>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    said: [f64; EXPERTS.len()],
    features: [f64; FEATURES],
    hour: f64,
    mean: f64,
    scale: f64,
    likely: Interval,
    certain: Interval,
    sum: f64,
    /// Whether all its steps were told.
    whole: bool,
}

impl Track {
    pub fn new(horizon: usize) -> Self {
        Self {
            horizon,
            ridge: Ridge::new(),
            losses: [0.0; EXPERTS.len()],
            loss: 0.0,
            errors: Errors::default(),
            likely: Level::new(0.2),
            certain: Level::new(0.05),
            tried: 0,
            positive: true,
            open: VecDeque::new(),
        }
    }

    /// One step more has come: the forecast that ends with it is compared.
    pub fn compare(&mut self, value: f64, known: bool) {
        self.positive &= value >= 0.0;
        for open in &mut self.open {
            open.sum += value;
            open.whole &= known;
        }
        if self.open.len() < self.horizon {
            return;
        }
        if let Some(done) = self.open.pop_front().filter(|done| done.whole) {
            self.learn(&done, done.sum / self.horizon as f64);
        }
    }

    fn learn(&mut self, done: &Open, actual: f64) {
        let share = LATEST.max(1.0 / (self.tried + 1) as f64);
        for (loss, said) in self.losses.iter_mut().zip(done.said) {
            *loss += share * ((said - actual).abs() - *loss);
        }
        self.loss += share * ((done.mean - actual).abs() - self.loss);
        self.tried += 1;
        self.ridge.learn(&done.features, actual - done.hour);
        self.likely.learn(done.likely, actual);
        self.certain.learn(done.certain, actual);
        if done.scale > 0.0 {
            self.errors.learn((actual - done.mean) / done.scale);
        }
    }

    pub fn forecast(&mut self, memory: &Memory) {
        let (features, hour) = memory.features(self.horizon);
        let regressed = hour + self.ridge.predict(&features);
        let said = EXPERTS.map(|expert| {
            let said = if expert == Expert::Regressed { regressed } else { memory.ask(expert, self.horizon) };
            if self.positive { said.max(0.0) } else { said }
        });
        let mean: f64 = said.iter().zip(self.weights()).map(|(said, weight)| said * weight).sum();
        // Before anything was compared, an error of half of the mean is assumed.
        let scale = if self.tried == 0 { mean.abs() / 2.0 } else { self.loss };
        let bounded = |level: &Level| {
            let interval = level.interval(&self.errors, mean, scale);
            if self.positive { Interval { low: interval.low.max(0.0), ..interval } } else { interval }
        };
        let (likely, certain) = (bounded(&self.likely), bounded(&self.certain));
        self.open.push_back(Open { said, features, hour, mean, scale, likely, certain, sum: 0.0, whole: true });
    }

    /// They sum to 1.
    fn weights(&self) -> [f64; EXPERTS.len()] {
        let best = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
        let trust = self.losses.map(|loss| if loss > 0.0 { (best / loss).powi(SHARPNESS) } else { 1.0 });
        let sum: f64 = trust.iter().sum();
        trust.map(|trust| trust / sum)
    }

    pub fn latest(&self) -> Option<Forecast> {
        let Open { mean, likely, certain, scale, .. } = *self.open.back()?;
        Some(Forecast { horizon: self.horizon, mean, likely, certain, error: scale, tried: self.tried })
    }

    pub fn experts(&self) -> Vec<(Expert, f64, f64)> {
        let said = self.open.back().map_or([0.0; EXPERTS.len()], |open| open.said);
        EXPERTS.iter().zip(said).zip(self.weights()).map(|((expert, said), weight)| (*expert, said, weight)).collect()
    }

    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.errors.heap() + self.open.capacity() * size_of::<Open>()
    }
}
