//! The detector for few series with sparse values, whatever they measure: how new several facts about the latest values are, each calibrated
//! by its own peaks, summed.

use super::Surprise;
use super::known::Known;
use super::peaks::Peaks;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Observations before anything is told.
const ENOUGH: u64 = 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThoroughSettings {
    pub facts: Vec<Fact>,
    /// Observations after a surprise in which only a greater one is told.
    pub calm: usize,
}

impl Default for ThoroughSettings {
    /// A value that never was; a restlessness that never was; a height that was never held for long; a drift to where it never was.
    fn default() -> Self {
        Self { facts: vec![Fact::Mean(1), Fact::Range(32), Fact::Least(8), Fact::Mean(128)], calm: 150 }
    }
}

/// What may be new, of so many latest observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// Of one observation: the value itself.
    Mean(usize),
    Range(usize),
    Least(usize),
}

/// One series, fed in the order of time; gaps are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thorough {
    settings: ThoroughSettings,
    novelties: Vec<Novelty>,
    seen: u64,
    /// The latest values, the newest first, as many as the longest fact needs.
    latest: VecDeque<f64>,
    /// What was found in the calm before.
    before: VecDeque<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Novelty {
    fact: Fact,
    known: Known,
    peaks: Peaks,
}

impl Thorough {
    pub fn new(settings: ThoroughSettings) -> Self {
        let novelty = |fact: &Fact| Novelty { fact: *fact, known: Known::default(), peaks: Peaks::default() };
        let novelties = settings.facts.iter().map(novelty).collect();
        Self { settings, novelties, seen: 0, latest: VecDeque::new(), before: VecDeque::new() }
    }

    /// The surprises of all facts together: each is calibrated, the sum is a rank (8 is rare in any series). What is no number is a gap.
    pub fn observe(&mut self, value: f64) -> Surprise {
        if !value.is_finite() {
            return Surprise::default();
        }
        let (baseline, spread) = self.usual();
        self.latest.push_front(value.clamp(-1e30, 1e30));
        self.latest.truncate(self.settings.facts.iter().map(Fact::span).max().unwrap_or(1));
        let found: f64 = self.novelties.iter_mut().map(|novelty| novelty.observe(&self.latest)).sum();
        let record = self.before.iter().copied().fold(0.0, f64::max);
        self.before.push_back(found);
        if self.before.len() > self.settings.calm {
            self.before.pop_front();
        }
        self.seen += 1;
        let ready = self.seen > ENOUGH;
        Surprise { value: if ready && found > record { found } else { 0.0 }, above: value > baseline, baseline, spread, ready }
    }

    /// Mean and standard deviation of the latest values.
    fn usual(&self) -> (f64, f64) {
        let count = self.latest.len().max(1) as f64;
        let mean = self.latest.iter().sum::<f64>() / count;
        let variance = self.latest.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let novelties = self.novelties.iter().map(|novelty| size_of::<Novelty>() + novelty.known.heap() + novelty.peaks.heap());
        size_of::<Self>() + novelties.sum::<usize>() + (self.latest.capacity() + self.before.capacity()) * size_of::<f64>()
    }
}

impl Novelty {
    fn observe(&mut self, latest: &VecDeque<f64>) -> f64 {
        let Some(distance) = self.fact.of(latest).and_then(|value| self.known.meet(value)) else { return 0.0 };
        let surprise = self.peaks.surprise(distance);
        self.peaks.learn(distance);
        surprise
    }
}

impl Fact {
    fn span(&self) -> usize {
        match *self {
            Self::Mean(span) | Self::Range(span) | Self::Least(span) => span.max(1),
        }
    }

    /// `None` until there are as many observations.
    fn of(self, latest: &VecDeque<f64>) -> Option<f64> {
        let span = self.span();
        let values = || latest.iter().take(span).copied();
        let least = || values().fold(f64::INFINITY, f64::min);
        (latest.len() >= span).then(|| match self {
            Self::Mean(_) => values().sum::<f64>() / span as f64,
            Self::Range(_) => values().fold(f64::NEG_INFINITY, f64::max) - least(),
            Self::Least(_) => least(),
        })
    }
}
