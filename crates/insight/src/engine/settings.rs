//! What the engine takes for unusual, for hurt, and for over. Users may tune it on recordings of their own past.

use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// How surprising a symptom must be to count: -log10 of its probability. At 9, a hundred services that are looked at four ways each
    /// second would be wrong about once in a month if counts were as independent as the model says.
    pub surprise: f64,
    /// So many more of the requests must fail than usual: share, 0 to 1.
    pub errors: f64,
    /// So many more must be slow (two and a half times the usual median, and 50 ms more than it), and half of all: share, 0 to 1.
    pub slow: f64,
    /// So many more must be very slow (three times the usual 99th percentile, and 150 ms more than it): share, 0 to 1.
    pub stuck: f64,
    /// So many more of the tries must fail that callers' retries make good for: share, 0 to 1.
    pub covered: f64,
    /// An incident closes when nothing was wrong for so many seconds; twice as many after a relapse for the same cause, four times after more.
    pub quiet_seconds: Second,
    /// An incident that closed so many seconds ago opens again when what it was about comes back.
    pub relapse_seconds: Second,
    /// After so many seconds what is wrong is taken for the new usual, and no more for an incident.
    pub patience_seconds: Second,
}

impl Settings {
    /// What cannot be meant, by its name as it is written.
    pub fn nonsense(&self) -> Option<(&'static str, &'static str)> {
        const SHARE: &str = "must be a share above 0 and at most 1";
        let shares = [("errors", self.errors), ("slow", self.slow), ("stuck", self.stuck), ("covered", self.covered)];
        let share = shares.into_iter().find(|(_, share)| !(*share > 0.0 && *share <= 1.0)).map(|(name, _)| (name, SHARE));
        let surprise = (!(self.surprise > 0.0 && self.surprise <= 300.0)).then_some(("surprise", "must be above 0 and at most 300"));
        let times = [("quietSeconds", self.quiet_seconds), ("relapseSeconds", self.relapse_seconds), ("patienceSeconds", self.patience_seconds)];
        let time = times.into_iter().find(|(_, seconds)| *seconds > LONGEST).map(|(name, _)| (name, "must be at most 31536000, a year"));
        surprise.or(share).or(time)
    }
}

/// A year.
const LONGEST: Second = 31_536_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            surprise: 9.0,
            errors: 0.02,
            slow: 0.3,
            stuck: 0.02,
            covered: 0.2,
            quiet_seconds: 15,
            relapse_seconds: 120,
            patience_seconds: 6 * 3600,
        }
    }
}
