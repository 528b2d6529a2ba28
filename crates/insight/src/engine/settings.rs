//! What the engine takes for unusual, for hurt, and for over. Users may tune it on recordings of their own past.

use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// How surprising a symptom must be to count: -log10 of its probability. At 8, a hundred services that are looked at three ways each
    /// second would be wrong about once in a month if counts were as independent as the model says.
    pub surprise: f64,
    /// So many more of the requests must fail than usual: share, 0 to 1.
    pub errors: f64,
    /// So many more must be slow (two and a half times the usual median, and 50 ms more than it): share, 0 to 1.
    pub slow: f64,
    /// So many more must be very slow (four times the usual 99th percentile and 250 ms): share, 0 to 1.
    pub stuck: f64,
    /// An incident closes when nothing was wrong for so many seconds; twice as many after a relapse, four times after more.
    pub quiet_seconds: Second,
    /// An incident that closed so many seconds ago opens again when what it was about comes back.
    pub relapse_seconds: Second,
    /// After so many seconds what is wrong is taken for the new usual, and no more for an incident.
    pub patience_seconds: Second,
}

impl Default for Settings {
    fn default() -> Self {
        Self { surprise: 8.0, errors: 0.02, slow: 0.3, stuck: 0.02, quiet_seconds: 15, relapse_seconds: 120, patience_seconds: 6 * 3600 }
    }
}
