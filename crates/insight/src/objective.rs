//! Service level objectives: what share of requests must be good, how fast the budget of bad ones burns, and when it will be gone. Constant memory.
//!
//! Alerts are those of Google's SRE Workbook, chapter 5: a long and a short window must both burn, so that it is worth a page and not over yet.

mod counts;
#[cfg(test)]
mod tests;

use crate::rarity::rarity;
use counts::Counts;
use serde::{Deserialize, Serialize};
use taut_model::signal::{Second, Signals};

const MINUTE: Second = 60;
const HOUR: Second = 3600;
const DAY: Second = 86_400;
/// In buckets of so many seconds, so far back.
const RINGS: [(Second, Second); 3] = [(10, 30 * MINUTE), (5 * MINUTE, 6 * HOUR), (3 * HOUR, 30 * DAY)];

/// Bad requests that are expected of a service that just keeps its objective come as often as this by chance at most (-log10): one error of the
/// only request of an hour is no page.
const PROVEN: f64 = 3.0;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    pub indicator: Indicator,
    /// Share of the requests that are good: above 0, below 1.
    pub target: f64,
    /// Over how long, in seconds; 30 days as a rule, 30 days at most.
    pub window: Second,
}

/// Which requests are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Indicator {
    /// Those that did not fail. A client that leaves is nobody's failure.
    Availability,
    /// Those that took no longer than so many microseconds.
    Latency { under: u64 },
}

impl Indicator {
    /// Bad ones, and all.
    pub fn count(&self, signals: &Signals) -> (u64, u64) {
        match self {
            Self::Availability => {
                let errors = signals.errors();
                // Connections that failed are no requests.
                (errors, signals.requests.max(errors))
            }
            Self::Latency { under } => {
                let all = signals.latency.count();
                (all.saturating_sub(signals.latency.count_up_to(*under)), all)
            }
        }
    }
}

/// Requests of a span that begins at a second, and bad ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub at: Second,
    pub bad: u64,
    pub all: u64,
}

/// The same past in fewer counts (some five hundred at most), as exactly as a [`Budget`] tells it apart. The oldest come first.
pub fn condensed(past: &[Count]) -> Vec<Count> {
    let Some((last, older)) = past.split_last() else { return Vec::new() };
    // The newest bucket of each ring is not whole.
    let width = |at: Second| RINGS.iter().find(|(width, span)| last.at.saturating_sub(at) <= span + width).map_or(RINGS[2].0, |(width, _)| *width);
    let mut kept: Vec<Count> = Vec::new();
    for count in older {
        match kept.last_mut() {
            Some(before) if width(before.at) == width(count.at) && before.at / width(count.at) == count.at / width(count.at) => {
                before.bad = before.bad.saturating_add(count.bad.min(count.all));
                before.all = before.all.saturating_add(count.all);
            }
            _ => kept.push(Count { bad: count.bad.min(count.all), ..*count }),
        }
    }
    kept.push(*last);
    kept
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Urgency {
    /// Someone must look within days.
    Ticket,
    /// Someone must look now.
    Page,
}

/// One pair of windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Burn {
    pub urgency: Urgency,
    pub long: Second,
    pub short: Second,
    /// From this burn rate on it fires. At 1 the budget lasts exactly as long as its window.
    pub limit: f64,
    /// Burn rates over the long and the short window.
    pub over_long: f64,
    pub over_short: f64,
    pub fires: bool,
}

/// Share of the budget that may burn in a long window before it fires, the long and the short window. Of 30 days: 14.4, 6 and 1 times the rate.
const PAIRS: [(Urgency, f64, Second, Second); 3] =
    [(Urgency::Page, 0.02, HOUR, 5 * MINUTE), (Urgency::Page, 0.05, 6 * HOUR, 30 * MINUTE), (Urgency::Ticket, 0.1, 3 * DAY, 6 * HOUR)];

/// How it stands with an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Share of the budget of the window that is left; below 0 the objective is broken. The budget is that of a whole window of the traffic seen.
    pub left: f64,
    /// Requests in the window, and bad ones.
    pub all: u64,
    pub bad: u64,
    pub burns: [Burn; PAIRS.len()],
    /// Seconds until nothing is left, at the rate of the last hour; `None` while nothing burns or it lasts longer than the window.
    pub exhausted_in: Option<Second>,
}

impl Standing {
    /// The most urgent of what fires.
    pub fn fires(&self) -> Option<Urgency> {
        self.burns.iter().filter(|burn| burn.fires).map(|burn| burn.urgency).max()
    }
}

/// The budget of one objective. Counts come in the order of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    objective: Objective,
    first: Option<Second>,
    last: Second,
    /// Ten seconds, five minutes and three hours in a bucket.
    minutes: Counts,
    hours: Counts,
    days: Counts,
}

impl Budget {
    pub fn new(objective: Objective) -> Self {
        // What is no number promises nothing.
        let target = if objective.target.is_nan() { 0.0 } else { objective.target };
        let objective = Objective { window: objective.window.clamp(HOUR, 30 * DAY), target, ..objective };
        Self {
            objective,
            first: None,
            last: 0,
            minutes: Counts::new(RINGS[0].0, RINGS[0].1),
            hours: Counts::new(RINGS[1].0, RINGS[1].1),
            days: Counts::new(RINGS[2].0, RINGS[2].1),
        }
    }

    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// What came in one tick. A clock that goes back by more than is kept starts anew.
    pub fn observe(&mut self, at: Second, bad: u64, all: u64) {
        let bad = bad.min(all);
        for counts in [&mut self.minutes, &mut self.hours, &mut self.days] {
            counts.add(at, bad, all);
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = at;
    }

    pub fn standing(&self) -> Standing {
        let allowed = self.allowed();
        let (bad, all) = self.over(self.objective.window);
        let seen = self.last.saturating_sub(self.first.unwrap_or(self.last)).clamp(HOUR, self.objective.window);
        let budget = allowed * all as f64 * (self.objective.window as f64 / seen as f64);
        let left = if budget > 0.0 { 1.0 - bad as f64 / budget } else { 1.0 };
        Standing { left, all, bad, burns: PAIRS.map(|pair| self.burn(pair)), exhausted_in: self.exhausted_in(left) }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + [&self.minutes, &self.hours, &self.days].map(Counts::heap).iter().sum::<usize>()
    }

    /// Share of requests that may be bad.
    fn allowed(&self) -> f64 {
        (1.0 - self.objective.target).clamp(1e-9, 1.0)
    }

    fn over(&self, window: Second) -> (u64, u64) {
        let counts = [&self.minutes, &self.hours, &self.days].into_iter().find(|counts| counts.covers(window)).unwrap_or(&self.days);
        counts.sum(self.last, window)
    }

    fn rate(&self, (bad, all): (u64, u64)) -> f64 {
        if all == 0 { 0.0 } else { bad as f64 / all as f64 / self.allowed() }
    }

    fn burn(&self, (urgency, share, long, short): (Urgency, f64, Second, Second)) -> Burn {
        // Slower than 1 no budget is ever used up.
        let limit = (share * self.objective.window as f64 / long as f64).max(1.0);
        let (bad, all) = self.over(long);
        let (over_long, over_short) = (self.rate((bad, all)), self.rate(self.over(short)));
        let proven = bad > 0 && rarity(bad as f64, all as f64 * self.allowed(), 0.0) >= PROVEN;
        Burn { urgency, long, short, limit, over_long, over_short, fires: over_long >= limit && over_short >= limit && proven }
    }

    fn exhausted_in(&self, left: f64) -> Option<Second> {
        if left <= 0.0 {
            return Some(0);
        }
        let burns_now = self.over(5 * MINUTE).0 > 0;
        let rate = self.rate(self.over(HOUR));
        let seconds = left * self.objective.window as f64 / rate;
        (burns_now && seconds < self.objective.window as f64).then_some(seconds as Second)
    }
}
