//! What one link is off by, from what its two sides have seen.

use super::reason::{CLASSES, Class};
use super::side::Side;
use super::situation::{Seen, Span, Spread, sane};
use super::weigh::{self, Weight};
use taut_model::signal::Reporter;

/// Both sides of a link, of which one may have no proxy.
#[derive(Default)]
pub(super) struct Sides<'a> {
    pub caller: Option<Side<'a>>,
    pub callee: Option<Side<'a>>,
}

impl<'a> Sides<'a> {
    pub fn of(seen: impl Iterator<Item = &'a Seen>) -> Self {
        let mut sides = Self::default();
        for seen in seen {
            let side = match seen.reporter {
                Reporter::Source => &mut sides.caller,
                Reporter::Destination => &mut sides.callee,
            };
            match side {
                Some(side) => side.merge(seen),
                None => *side = Some(Side::of(seen)),
            }
        }
        sides
    }

    /// What the caller felt, or, of callers without a proxy, what the callee saw.
    pub fn felt(&self) -> Option<&Side<'a>> {
        self.caller.as_ref().or(self.callee.as_ref())
    }

    /// What is usual at the callee is asked for where one of the sides has no past.
    pub fn weigh(&self, usual_ms: impl FnOnce() -> Option<f64>) -> Weights {
        let Some(felt) = self.felt() else { return Weights::default() };
        let all = [&self.caller, &self.callee].into_iter().flatten().all(|side| side.before.mean_ms().is_some());
        let usual_ms = if all { None } else { usual_ms() };
        let mut weights = Weights { time: weigh::time(felt, usual_ms), failures: weigh::failures(felt), ..Weights::default() };
        weights.served = weights.time;
        if let (Some(caller), Some(callee)) = (&self.caller, &self.callee) {
            weights.served = weigh::time(callee, usual_ms);
            weights.gap = gap(caller, callee, weights.time, weights.served);
            weights.served_failures = weigh::failures(callee);
            weights.silent = callee.before.attempts() > 0.0 && callee.is_silent() && caller.now.attempts() > 0.0;
        }
        weights
    }
}

/// What a link is off by.
#[derive(Default)]
pub(super) struct Weights {
    /// As the caller feels it.
    pub time: Weight,
    /// As the callee's proxy sees it: the network between the two is not in it.
    pub served: Weight,
    /// The difference.
    pub gap: Weight,
    pub failures: [Weight; CLASSES],
    /// Failures that the callee's proxy has seen.
    pub served_failures: [Weight; CLASSES],
    /// The callee's proxy has reported before, and says nothing now, though it is called.
    pub silent: bool,
}

impl Weights {
    pub fn class(&self, class: Class) -> Weight {
        self.failures[class as usize]
    }

    pub fn served_class(&self, class: Class) -> Weight {
        self.served_failures[class as usize]
    }

    /// What of a class a caller may have passed on, or waited for. That a caller left counts when it had to wait: else it is only a sign
    /// that whoever called it has left too.
    pub fn passed_on(&self, class: Class) -> Weight {
        let weight = self.class(class);
        if weight.excess <= 0.0 || (class == Class::Left && !self.time.is_sure()) { Weight::default() } else { weight }
    }
}

/// Retries make one exchange of the caller several of the callee's; below this ratio it is only windows that do not quite match.
const RETRIED: f64 = 1.2;

/// What of a request's time lies between the two proxies, now against before. Both look at the same requests: how these differ among
/// each other cancels out, and what windows are apart by is the error.
fn gap(caller: &Side<'_>, callee: &Side<'_>, time: Weight, served: Weight) -> Weight {
    let means = (caller.before.mean_ms(), callee.before.mean_ms(), caller.now.mean_ms(), callee.now.mean_ms());
    let (Some(caller_before), Some(callee_before), Some(caller_now), Some(callee_now)) = means else {
        return Weight { excess: (time.excess - served.excess).max(0.0), deviation: time.deviation.hypot(served.deviation) };
    };
    let tries = |callee: &Span, caller: &Span| match callee.timed / caller.timed {
        ratio if ratio > RETRIED => ratio,
        _ => 1.0,
    };
    let (before, now) = (tries(&callee.before, &caller.before), tries(&callee.now, &caller.now));
    let excess_ms = (caller_now - callee_now * now) - (caller_before - callee_before * before);
    let scale = caller.now.timed / caller.now.seconds.max(1e-9) / 1000.0;
    let between = (caller_before - callee_before * before).abs();
    // A share of what is served, because not all requests are in both windows.
    let windows = caller.spread.gap_ms.map_or(0.0, sane).max(0.05 * between).max(0.02 * callee_now * now);
    let unlike = 0.2 * weigh::mean_deviation_ms(&callee.before, &callee.now, &Spread::default(), 0.0);
    Weight { excess: excess_ms * scale, deviation: windows.hypot(unlike).max(0.1) * scale }
}
