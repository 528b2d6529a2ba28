//! How much a suggestion can be relied on: what share of the window is known, and how likely there is a caller that was not seen.

use crate::calls::HOUR;
use serde::Serialize;
use std::collections::BTreeSet;
use taut_model::signal::Second;

const DAY: Second = 24 * HOUR;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Low,
    Medium,
    High,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Confidence {
    pub level: Level,
    /// The estimated share of callers' hours that are of callers nobody has seen yet, from 0 to 1: callers that were seen in one hour only,
    /// out of all hours in which callers were seen (A. M. Turing's estimate: I. J. Good, Biometrika 40, 1953). 1 when there was no caller.
    pub unseen: f64,
    /// Seconds that are known, and their share of the window.
    pub known_seconds: Second,
    pub known_share: f64,
}

/// `hours`: of each caller, the hours in which it was seen.
pub fn confidence<'a>(hours: impl Iterator<Item = &'a BTreeSet<u64>>, known_seconds: Second, window_seconds: Second, crowded: bool) -> Confidence {
    let (mut once, mut all) = (0_usize, 0_usize);
    for hours in hours {
        once += usize::from(hours.len() == 1);
        all += hours.len();
    }
    let unseen = if all == 0 { 1.0 } else { once as f64 / all as f64 };
    let known_share = known_seconds as f64 / window_seconds.max(1) as f64;
    let level = match () {
        () if crowded => Level::Low,
        () if known_seconds >= 7 * DAY * 99 / 100 && known_share >= 0.99 && unseen <= 0.01 => Level::High,
        () if known_seconds >= DAY * 95 / 100 && known_share >= 0.95 && unseen <= 0.05 => Level::Medium,
        () => Level::Low,
    };
    Confidence { level, unseen, known_seconds, known_share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_needs_time_and_callers_that_come_again() {
        let hours = |count: u64| (0..count).collect::<BTreeSet<u64>>();
        let level = |callers: &[u64], known, window, crowded| {
            let callers: Vec<_> = callers.iter().map(|count| hours(*count)).collect();
            let found = confidence(callers.iter(), known, window, crowded);
            (found.level, (found.unseen * 1000.0).round() / 1000.0)
        };
        for (callers, known, window, want) in [
            (&[1, 1][..], 600, DAY, (Level::Low, 1.0)),
            (&[24, 24], DAY, DAY, (Level::Medium, 0.0)),
            // One that came in a single hour of the day: others like it may not have come at all.
            (&[24, 1], DAY, DAY, (Level::Medium, 0.04)),
            (&[10, 1], DAY, DAY, (Level::Low, 0.091)),
            (&[24], DAY / 2, DAY, (Level::Low, 0.0)),
            (&[168, 90], 7 * DAY, 7 * DAY, (Level::High, 0.0)),
            (&[168, 1, 1, 1], 7 * DAY, 7 * DAY, (Level::Medium, 0.018)),
            (&[168], 7 * DAY, 8 * DAY, (Level::Low, 0.0)),
            (&[], 7 * DAY, 7 * DAY, (Level::Low, 1.0)),
        ] {
            assert_eq!(level(callers, known, window, false), want, "{callers:?} {known} of {window}");
        }
        assert_eq!(level(&[168, 168], 7 * DAY, 7 * DAY, true).0, Level::Low);
    }
}
