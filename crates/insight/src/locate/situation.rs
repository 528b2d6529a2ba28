//! What the search for a cause is told and what it answers: what passed before and now on every link, and the ranked causes. Types only.

use crate::change::Change;
use crate::incident::{Cause, Signal, Verdict};
use crate::tick::{Node, Part, Pressure};
use std::borrow::Cow;
use std::sync::Arc;
use taut_model::signal::{Reporter, Second, Signals};

/// Everything that is known when somebody is hurt. Order does not matter; several entries of one link add up.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Whose hurt is to be explained.
    pub targets: Vec<Target>,
    /// When it began, as far as the signals say.
    pub began: Second,
    pub seen: Vec<Seen>,
    pub pressures: Vec<Pressed>,
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub node: Node,
    pub signal: Signal,
    /// How much of the whole hurt it is, against the other targets; 1 where that is not known.
    pub weight: f64,
}

impl Target {
    pub fn new(node: Node, signal: Signal) -> Self {
        Self { node, signal, weight: 1.0 }
    }
}

/// What one side of a link has reported: a service that called another, and which part of that has served.
#[derive(Clone, Debug)]
pub struct Seen {
    pub source: Node,
    pub destination: Node,
    /// `None` when nobody was reached, or when it is not known.
    pub part: Option<Part>,
    /// The destination is no part of the mesh.
    pub external: bool,
    pub reporter: Reporter,
    pub before: Span,
    pub now: Span,
    pub spread: Spread,
}

/// How much a link's figures differ from one window to the next when nothing is wrong, robustly (1.48 times the median deviation), for
/// windows as long as `now`. Unknown: 5 % of the mean and of the gap, and a quarter of a percent of requests that fail.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    pub mean_ms: Option<f64>,
    /// Of the caller's mean less the callee's.
    pub gap_ms: Option<f64>,
    /// Of the share of failures, 0 to 1.
    pub failures: Option<f64>,
}

/// What passed in one span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub seconds: f64,
    /// Exchanges (or connections) that have ended.
    pub requests: f64,
    /// How many of them have a duration.
    pub timed: f64,
    /// Sum of the durations, in milliseconds.
    pub time_ms: f64,
    /// Sum of their squares; 0 when it is not known.
    pub squares: f64,
    /// Exchanges under way: the most at once.
    pub in_flight: f64,
    /// Failures by reason, as [`taut_model::signal::Outcome::failure`] names them.
    pub failures: Vec<(Arc<str>, f64)>,
}

impl Span {
    pub fn of(signals: &Signals, seconds: f64) -> Self {
        let squares = signals.latency.buckets().map(|(low, high, times)| {
            let middle_ms = (low as f64 + high as f64) / 2000.0;
            middle_ms * middle_ms * times as f64
        });
        Self {
            seconds,
            requests: if signals.requests > 0 { signals.requests } else { signals.closed } as f64,
            timed: signals.latency.count() as f64,
            time_ms: signals.latency.sum() as f64 / 1000.0,
            squares: squares.sum(),
            in_flight: signals.in_flight as f64,
            failures: signals.failures().into_iter().map(|(reason, times)| (reason.into(), times as f64)).collect(),
        }
    }

    /// Requests that took `mean_ms` on average, and differed from that by `deviation_ms`.
    pub fn steady(seconds: f64, requests: f64, mean_ms: f64, deviation_ms: f64) -> Self {
        let squares = requests * (mean_ms * mean_ms + deviation_ms * deviation_ms);
        let in_flight = if seconds > 0.0 { requests / seconds * mean_ms / 1000.0 } else { 0.0 };
        Self { seconds, requests, timed: requests, time_ms: requests * mean_ms, squares, in_flight, failures: Vec::new() }
    }

    pub fn fail(&mut self, reason: &str, times: f64) {
        match self.failures.iter_mut().find(|(known, _)| &**known == reason) {
            Some((_, count)) => *count += times,
            None => self.failures.push((reason.into(), times)),
        }
    }

    /// Adds what passed beside it in the same span of time. Whatever is no number, endless or negative counts as nothing: what comes from
    /// outside is not trusted to be sane.
    pub fn merge(&mut self, other: &Self) {
        self.seconds = self.seconds.max(sane(other.seconds));
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.timed, other.timed),
            (&mut self.time_ms, other.time_ms),
            (&mut self.squares, other.squares),
            (&mut self.in_flight, other.in_flight),
        ] {
            *sum += sane(more);
        }
        for (reason, times) in &other.failures {
            match self.failures.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += sane(*times),
                None => self.failures.push((reason.clone(), sane(*times))),
            }
        }
    }

    /// The same, with nothing in place of what is no figure.
    pub(super) fn sane(&self) -> Cow<'_, Self> {
        let figures = [self.seconds, self.requests, self.timed, self.time_ms, self.squares, self.in_flight];
        let mut all = figures.into_iter().chain(self.failures.iter().map(|(_, times)| *times));
        if all.all(|figure| (0.0..=MOST).contains(&figure)) {
            return Cow::Borrowed(self);
        }
        let mut copy = Self::default();
        copy.merge(self);
        Cow::Owned(copy)
    }

    /// How often somebody tried: connections that failed are no requests.
    pub(super) fn attempts(&self) -> f64 {
        self.requests.max(self.failures.iter().map(|(_, times)| times).sum())
    }

    pub(super) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.attempts() / self.seconds } else { 0.0 }
    }

    pub(super) fn mean_ms(&self) -> Option<f64> {
        (self.timed > 0.0).then(|| self.time_ms / self.timed)
    }

    pub(super) fn deviation_ms(&self) -> f64 {
        let Some(mean) = self.mean_ms() else { return 0.0 };
        (self.squares / self.timed - mean * mean).max(0.0).sqrt()
    }
}

/// The most that any figure may be: sums and products of such stay finite.
const MOST: f64 = 1e15;

pub(super) fn sane(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, MOST) }
}

/// How hard the machine below a node works, where something tells.
#[derive(Clone, Debug)]
pub struct Pressed {
    pub node: Node,
    pub before: Pressure,
    pub now: Pressure,
    /// How much the shares differ when nothing is wrong; unknown: 0.05.
    pub spread: Option<f64>,
}

/// What is asked of evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How many standard deviations a target must be off before anything is blamed at all.
    pub target: f64,
    /// The same for a cause.
    pub cause: f64,
    /// A cause that explains less than this share of the hurt is not told.
    pub share: f64,
    /// At most so many causes.
    pub causes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Three deviations: what one window in 700 exceeds by chance. A twentieth of the hurt is what one can still act on.
        Self { target: 3.0, cause: 3.0, share: 0.05, causes: 5 }
    }
}

/// The likeliest causes first; none unless the verdict is `Found` or `OutsideMesh`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    pub verdict: Verdict,
    pub causes: Vec<Cause>,
}

impl Ranking {
    pub(super) fn without(verdict: Verdict) -> Self {
        Self { verdict, causes: Vec::new() }
    }
}
