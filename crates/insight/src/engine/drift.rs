//! What becomes worse so slowly, or by so little, that no second shows it: failures and durations of a service in steps of five minutes, of which
//! half an hour is held against every half hour of the week before.
//!
//! It is a matter of rank, not of novelty: what rises slowly is never far from what was just seen, so that a detector of what is new gets used to
//! it. Days and nights are in the week that it is held against; until a day is known nothing is told.

use super::watch::{Alarm, Passed};
use crate::incident::Signal;
use std::collections::VecDeque;
use taut_model::signal::{Second, Sketch};

/// Seconds of a step.
const STEP: Second = 300;
/// So many steps in a row must be worse: half an hour.
const HELD: usize = 6;
/// Of a step with fewer requests nothing is known.
const FEWEST: u64 = 100;
/// Steps that are held against: a day at least, a week at most, and none of the last six hours, in which it may have begun.
const LEAST: usize = 288;
const MOST: usize = 7 * 288;
const YOUNG: usize = 72;
/// It must be so many times the worst half hour that was, and more than that in its unit: users must feel it.
const TIMES: f64 = 1.3;
const MORE_MS: f64 = 25.0;
const MICROSECONDS: f64 = 1000.0;

#[derive(Clone, Debug)]
struct Course {
    signal: Signal,
    recent: VecDeque<f64>,
    /// The least of each half hour, as it ended with each step.
    levels: VecDeque<f32>,
    alarm: Option<Alarm>,
}

/// See the file's first sentence. About 25 kB when a week is known.
#[derive(Clone, Debug)]
pub struct Drift {
    /// Which step is under way.
    number: Second,
    requests: u64,
    errors: u64,
    latency: Sketch,
    /// Something is wrong that seconds show: nothing is learnt from the step.
    spoiled: bool,
    courses: [Course; 3],
}

impl Default for Drift {
    fn default() -> Self {
        let course = |signal| Course { signal, recent: VecDeque::new(), levels: VecDeque::new(), alarm: None };
        let courses = [Signal::ErrorRatio, Signal::LatencyP50, Signal::LatencyP99].map(course);
        Self { number: 0, requests: 0, errors: 0, latency: Sketch::default(), spoiled: false, courses }
    }
}

impl Drift {
    /// `errors`: so many more must fail, as a share; `patience`: what lasts longer is taken for usual.
    pub fn observe(&mut self, at: Second, passed: &Passed, well: bool, errors: f64, patience: Second) {
        let number = at / STEP;
        if number != self.number {
            // Steps of which nothing came, and clocks that jump, are gaps.
            let follows = number == self.number + 1;
            self.end(number.saturating_mul(STEP), follows, errors, patience);
            self.number = number;
        }
        self.requests += passed.requests;
        self.errors += passed.errors;
        self.latency.merge(&passed.latency);
        self.spoiled |= !well;
    }

    fn end(&mut self, at: Second, follows: bool, errors: f64, patience: Second) {
        let latency = std::mem::take(&mut self.latency);
        let (requests, failed) = (std::mem::take(&mut self.requests), std::mem::take(&mut self.errors));
        let known = follows && requests >= FEWEST && !std::mem::take(&mut self.spoiled);
        let quantile = |quantile| latency.quantile(quantile).map(|micros| micros / MICROSECONDS);
        let values = [Some(failed as f64 / requests.max(1) as f64), quantile(0.5), quantile(0.99)];
        // Half of what a second must show: it has lasted half an hour.
        let more = [errors / 2.0, MORE_MS, 4.0 * MORE_MS];
        for ((course, value), more) in self.courses.iter_mut().zip(values).zip(more) {
            match value.filter(|_| known) {
                Some(value) => course.step(at, value, more, patience),
                None => course.recent.clear(),
            }
        }
    }

    /// What is worse than it ever was, since when.
    pub fn alarms(&self) -> impl Iterator<Item = (&Signal, &Alarm)> {
        self.courses.iter().filter_map(|course| Some((&course.signal, course.alarm.as_ref()?)))
    }
}

impl Course {
    fn step(&mut self, at: Second, value: f64, more: f64, patience: Second) {
        self.recent.push_back(value);
        if self.recent.len() > HELD {
            self.recent.pop_front();
        }
        let level = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
        let (record, bound) = self.bound(more);
        self.alarm = match self.alarm.take() {
            Some(alarm) if at.saturating_sub(alarm.since) > patience || value < (record + bound) / 2.0 => None,
            Some(alarm) => return self.alarm = Some(alarm.goes_on(at, value)),
            None if self.recent.len() == HELD && level >= bound => {
                let surprise = (self.levels.len() as f64 + 1.0).log10();
                let since = at.saturating_sub(HELD as Second * STEP);
                self.alarm = Some(Alarm::lasting(since, at, record, value, surprise));
                return;
            }
            None => None,
        };
        if self.recent.len() == HELD {
            self.levels.push_back(level as f32);
            let surplus = self.levels.len().saturating_sub(MOST + YOUNG);
            self.levels.drain(..surplus);
        }
    }

    /// The worst half hour that was, and from where on one is worse. None is, until enough is known.
    fn bound(&self, more: f64) -> (f64, f64) {
        let old = self.levels.len().saturating_sub(YOUNG);
        if old < LEAST {
            return (0.0, f64::INFINITY);
        }
        let record = self.levels.iter().take(old).map(|level| f64::from(*level)).fold(0.0, f64::max);
        (record, (TIMES * record).max(record + more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::dice::Dice;
    use taut_model::signal::Signals;

    const START: Second = 1_790_000_100;
    const DAY: Second = 86_400;

    /// Ten seconds at once, of a service that is busier, and slower, by day; `worse` makes it so many times slower, and so many more fail.
    fn live(days: std::ops::Range<f64>, drift: &mut Drift, dice: &mut Dice, worse: &dyn Fn(f64) -> (f64, f64)) -> Vec<(f64, Signal)> {
        let mut told = Vec::new();
        for second in ((days.start * DAY as f64) as Second..(days.end * DAY as f64) as Second).step_by(10) {
            let day = second as f64 / DAY as f64;
            let sun = (day * std::f64::consts::TAU).sin();
            let (times, more) = worse(day);
            let mut signals = Signals { requests: dice.poisson(20.0 + 10.0 * sun), ..Signals::default() };
            for _ in 0..signals.requests {
                let micros = 40_000.0 * times * (1.0 + 0.3 * sun) * (0.6 * dice.normal()).exp();
                signals.latency.record(micros as u64);
            }
            let errors = dice.binomial(signals.requests, 0.001 + more);
            let mut passed = Passed::default();
            passed.add(&signals, errors);
            let before = drift.alarms().count();
            drift.observe(START + second, &passed, true, 0.02, 6 * 3600);
            if drift.alarms().count() > before {
                told.extend(drift.alarms().map(|(signal, _)| (day, signal.clone())));
            }
        }
        told
    }

    #[test]
    fn days_and_nights_are_usual() {
        for seed in 0..2 {
            let told = live(0.0..4.0, &mut Drift::default(), &mut Dice(seed), &|_| (1.0, 0.0));
            assert_eq!(told, [], "seed {seed}");
        }
    }

    #[test]
    fn what_becomes_worse_over_hours_is_told() {
        let (mut drift, mut dice) = (Drift::default(), Dice(7));
        // From the third day on twice as slow within four hours, or three in a hundred fail.
        let told = live(0.0..3.4, &mut drift, &mut dice, &|day| (1.0 + ((day - 3.0) * 6.0).clamp(0.0, 1.0), 0.0));
        assert!(
            told.first().is_some_and(|(day, signal)| (3.0..3.25).contains(day) && matches!(signal, Signal::LatencyP50 | Signal::LatencyP99)),
            "{told:?}"
        );
        let told = live(0.0..3.4, &mut Drift::default(), &mut dice, &|day| (1.0, 0.03 * ((day - 3.0) * 6.0).clamp(0.0, 1.0)));
        assert!(told.first().is_some_and(|(day, signal)| (3.0..3.2).contains(day) && *signal == Signal::ErrorRatio), "{told:?}");
        live(3.4..3.5, &mut drift, &mut dice, &|_| (1.0, 0.0));
        assert_eq!(drift.alarms().count(), 0, "it is over");
    }

    #[test]
    fn gaps_few_requests_and_clocks_that_jump_are_borne() {
        let mut drift = Drift::default();
        for at in [0, u64::MAX, START, 5, START + 300, START + 600, u64::MAX - 1] {
            drift.observe(at, &Passed::default(), true, 0.02, 60);
        }
        assert_eq!(drift.alarms().count(), 0);
    }
}
