//! How much a link is off and how sure that is: excess of time and of failures against before, with its standard deviation.

use super::reason::{ALL, CLASSES, Class, class};
use super::side::Side;
use super::situation::{Span, Spread, sane};

/// The least by which two means of durations are told apart: clocks and wake-ups differ by that much.
const LEAST_MS: f64 = 0.1;
/// How far a mean wanders between windows, where nobody has measured it.
const USUAL_MEAN: f64 = 0.05;
/// The same for the share of failures.
const USUAL_FAILURES: f64 = 0.0025;
/// A link without a past counts as one on which so many requests went well.
const NO_PAST: f64 = 100.0;
/// Below one deviation an excess counts for nothing, from three on in full.
const NOTHING: f64 = 1.0;
const FULL: f64 = 3.0;

/// An excess per second, in request-seconds or in failures, and its standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Weight {
    pub excess: f64,
    pub deviation: f64,
}

impl Weight {
    pub fn z(self) -> f64 {
        if self.deviation > 0.0 { self.excess / self.deviation } else { 0.0 }
    }

    /// What may be believed of an excess; nothing of one that chance makes.
    pub fn counted(self) -> f64 {
        self.excess.max(0.0) * ((self.z() - NOTHING) / (FULL - NOTHING)).clamp(0.0, 1.0)
    }

    /// Whether it is more than chance makes.
    pub fn is_sure(self) -> bool {
        self.z() >= FULL
    }

    pub fn add(&mut self, other: Self) {
        self.excess += other.excess;
        self.deviation = self.deviation.hypot(other.deviation);
    }

    /// What remains when others' part is taken off.
    pub fn less(self, other: Self) -> Self {
        Self { excess: self.excess - other.excess, deviation: self.deviation.hypot(other.deviation) }
    }

    pub fn at_least(self, other: Self) -> Self {
        if other.counted() > self.counted() { other } else { self }
    }
}

/// Time that requests took beyond what they took before, in request-seconds per second. `usual_ms` stands in for a link without a past.
pub(super) fn time(side: &Side<'_>, usual_ms: Option<f64>) -> Weight {
    waiting(side).at_least(slower(side, usual_ms))
}

fn slower(side: &Side<'_>, usual_ms: Option<f64>) -> Weight {
    let (before, now) = (&side.before, &side.now);
    let Some(mean_ms) = now.mean_ms().filter(|_| now.seconds > 0.0) else { return Weight::default() };
    let base_ms = before.mean_ms().or(usual_ms).unwrap_or(mean_ms);
    let scale = now.timed / now.seconds / 1000.0;
    Weight { excess: (mean_ms - base_ms) * scale, deviation: mean_deviation_ms(before, now, &side.spread, base_ms) * scale }
}

/// How far the mean of now may be from the mean of before by chance: by how single requests differ, and by how windows do.
pub(super) fn mean_deviation_ms(before: &Span, now: &Span, spread: &Spread, base_ms: f64) -> f64 {
    let single = before.deviation_ms().max(now.deviation_ms());
    let chance = single / now.timed.max(1.0).sqrt() + before.deviation_ms() / before.timed.max(1.0).sqrt();
    let windows = spread.mean_ms.map_or(0.0, sane).max(USUAL_MEAN * base_ms);
    chance.hypot(windows).max(LEAST_MS)
}

/// Requests that do not end tell nothing about durations; they are seen by being many at once (Little's law: what is under way is
/// request-seconds per second).
fn waiting(side: &Side<'_>) -> Weight {
    let (before, now) = (&side.before, &side.now);
    let fewer_end = now.rate() < 0.7 * before.rate();
    let excess = now.in_flight - before.in_flight;
    // Twice the most that was ever seen, and two more, is no chance.
    if fewer_end && excess > before.in_flight + 2.0 { Weight { excess, deviation: (before.in_flight + 1.0).sqrt() / 2.0 } } else { Weight::default() }
}

/// Failures per second beyond what there were before, by class.
pub(super) fn failures(side: &Side<'_>) -> [Weight; CLASSES] {
    let (before, now) = (tally(&side.before), tally(&side.now));
    ALL.map(|class| failures_of(side, before[class as usize], now[class as usize]))
}

fn tally(span: &Span) -> [f64; CLASSES] {
    let mut sums = [0.0; CLASSES];
    for (reason, times) in &span.failures {
        if let Some(class) = class(reason) {
            sums[class as usize] += times;
        }
    }
    sums
}

fn failures_of(side: &Side<'_>, before: f64, now: f64) -> Weight {
    let (tried_before, tried) = (side.before.attempts(), side.now.attempts());
    if side.now.seconds <= 0.0 || tried <= 0.0 || (now <= 0.0 && before <= 0.0) {
        return Weight::default();
    }
    // What has no past is expected to work, as what has a short one in which all went well.
    let tried_before = if tried_before > 0.0 { tried_before } else { NO_PAST };
    // Half a failure more than there were: that none was seen yet is no proof that none can be (Krichevsky and Trofimov).
    let share = ((before + 0.5) / (tried_before + 1.0)).min(1.0);
    let expected = tried * before / tried_before.max(1.0);
    let chance = (tried * share * (1.0 - share)).max(1.0);
    let past = tried * tried * share / (tried_before + 1.0);
    let windows = tried * side.spread.failures.map_or(0.0, sane).max(USUAL_FAILURES);
    let deviation = (chance + past + windows * windows).sqrt();
    Weight { excess: (now - expected.min(tried)) / side.now.seconds, deviation: deviation / side.now.seconds }
}

/// The failures that hurt a caller: all but those of callers that left.
pub(super) fn hurting(classes: &[Weight; CLASSES]) -> Weight {
    let mut sum = Weight::default();
    for class in ALL.into_iter().filter(|class| *class != Class::Left) {
        let weight = classes[class as usize];
        sum.add(Weight { excess: weight.excess.max(0.0), ..weight });
    }
    sum
}

/// -log10 of how probable it is that chance makes something that many deviations off, 16 at most: no model of chance is better than that.
pub(super) fn surprise(z: f64) -> f64 {
    if z.is_nan() || z <= 0.0 {
        return 0.0;
    }
    // The normal tail within a thousandth (Karagiannidis and Lioumpas, IEEE Communications Letters 2007).
    let tail = (1.0 - (-1.4 * z).exp()) * (-z * z / 2.0).exp() / (1.135 * (2.0 * std::f64::consts::PI).sqrt() * z);
    if tail > 0.0 { (-tail.log10()).clamp(0.0, 16.0) } else { 16.0 }
}
