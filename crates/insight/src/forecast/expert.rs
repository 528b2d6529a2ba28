//! The experts: what each takes the mean of the next steps for, and the memory that all of them read.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expert {
    /// As it is.
    Last,
    /// As it was of late, what is later counting more.
    Smoothed,
    /// As in the last six steps.
    Recent,
    /// As a day ago.
    DayAgo,
    /// As a day ago, in relation to the hour before.
    DayShape,
    /// Level, damped trend and time of day (Holt and Winters).
    Seasonal,
    /// Regressed on the latest steps and the day before: see [`super::ridge`].
    Regressed,
}

pub const EXPERTS: [Expert; 7] =
    [Expert::Last, Expert::Smoothed, Expert::Recent, Expert::DayAgo, Expert::DayShape, Expert::Seasonal, Expert::Regressed];

/// Steps in what the experts call an hour.
const HOUR: usize = 12;
/// What the smoothed mean learns from a step.
const SMOOTHING: f64 = 0.3;
/// Holt's and Winters' rates, and the damping of the trend; common values, not fitted.
const LEVEL: f64 = 0.3;
const TREND: f64 = 0.02;
const DAMPING: f64 = 0.95;
const SEASON: f64 = 0.2;
/// What a regression is of; see [`Memory::features`].
pub const FEATURES: usize = 8;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    day: usize,
    /// The latest first; a day, an hour and the longest horizon.
    values: VecDeque<f64>,
    kept: usize,
    seen: u64,
    smoothed: f64,
    level: f64,
    trend: f64,
    /// By step of the day, what is added to the level.
    season: Vec<f64>,
}

impl Memory {
    pub fn new(day: usize, longest: usize) -> Self {
        let kept = day + HOUR + longest;
        Self { day, values: VecDeque::new(), kept, seen: 0, smoothed: 0.0, level: 0.0, trend: 0.0, season: vec![0.0; day] }
    }

    pub fn observe(&mut self, value: f64) {
        if self.seen == 0 {
            (self.smoothed, self.level) = (value, value);
        }
        self.smoothed += SMOOTHING * (value - self.smoothed);
        let expected = self.level + DAMPING * self.trend;
        let at = self.step_of_day(0);
        if let Some(season) = self.season.get_mut(at) {
            let level = expected + LEVEL * (value - *season - expected);
            self.trend = DAMPING * self.trend + TREND * (level - self.level - DAMPING * self.trend);
            self.level = level;
            *season += SEASON * (value - level - *season);
        }
        self.values.push_front(value);
        self.values.truncate(self.kept);
        self.seen += 1;
    }

    /// Of a step that comes: 0 is the next.
    fn step_of_day(&self, ahead: usize) -> usize {
        ((self.seen + ahead as u64) % self.day.max(1) as u64) as usize
    }

    /// The best guess of the next step, for one that is not told.
    pub fn expected(&self) -> f64 {
        if self.seen == 0 { 0.0 } else { self.smoothed }
    }

    fn ago(&self, steps: usize) -> f64 {
        self.values.get(steps).or(self.values.back()).copied().unwrap_or(0.0)
    }

    /// The mean of `count` steps, the latest of them `from` ago.
    fn mean(&self, from: usize, count: usize) -> f64 {
        (from..from + count).map(|steps| self.ago(steps)).sum::<f64>() / count as f64
    }

    /// The mean of the last hour, and of the same hour and of the steps after it a day ago; the former for all while there was no such day.
    fn hours(&self, horizon: usize) -> (f64, f64, f64) {
        let hour = self.mean(0, HOUR);
        if self.seen < (self.day + HOUR) as u64 {
            return (hour, hour, hour);
        }
        (hour, self.mean(self.day, HOUR), self.after_day_ago(horizon))
    }

    /// What came a day ago after this time of the day; of a horizon longer than a day, of its end.
    fn after_day_ago(&self, horizon: usize) -> f64 {
        self.mean(self.day.saturating_sub(horizon), horizon.min(self.day))
    }

    /// What an expert but the regression says.
    pub fn ask(&self, expert: Expert, horizon: usize) -> f64 {
        let (hour, hour_before, after_before) = self.hours(horizon);
        match expert {
            Expert::Last | Expert::Regressed => self.ago(0),
            Expert::Smoothed => self.smoothed,
            Expert::Recent => self.mean(0, 6),
            Expert::DayAgo => after_before,
            // A night's quiet says nothing about the size of the day: the ratio is bounded.
            Expert::DayShape => after_before * if hour_before > 0.0 { (hour / hour_before).clamp(0.2, 5.0) } else { 1.0 },
            Expert::Seasonal => self.seasonal(horizon),
        }
    }

    fn seasonal(&self, horizon: usize) -> f64 {
        let (mut trend, mut damping, mut sum) = (0.0, 1.0, 0.0);
        for ahead in 0..horizon {
            damping *= DAMPING;
            trend += damping * self.trend;
            sum += self.level + trend + self.season.get(self.step_of_day(ahead)).copied().unwrap_or(0.0);
        }
        sum / horizon as f64
    }

    /// What the mean of the next steps, less that of the last hour, is regressed on.
    pub fn features(&self, horizon: usize) -> ([f64; FEATURES], f64) {
        let (hour, hour_before, after_before) = self.hours(horizon);
        let features = [
            self.ago(0) - hour,
            self.ago(1) - hour,
            self.ago(2) - hour,
            self.mean(0, 6) - hour,
            self.ago(HOUR - 1) - hour,
            after_before - hour_before,
            after_before - hour,
            self.smoothed - hour,
        ];
        (features, hour)
    }

    pub fn heap(&self) -> usize {
        (self.values.capacity() + self.season.capacity()) * size_of::<f64>()
    }
}
