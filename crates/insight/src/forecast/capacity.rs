//! Whether a service can do what is forecast of it: requests under way, by Little's law, against the most that are let in.

use super::Forecast;
use serde::{Deserialize, Serialize};

/// What a service is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Requests under way that are let in at once, over all its endpoints.
    pub limit: f64,
    /// How long a request takes in the mean, in seconds, while it is not overloaded.
    pub latency: f64,
}

/// What is asked of it in a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Requests under way in the mean, if the forecast is right.
    pub expected: f64,
    /// If it is at the upper end of what is likely, and of what is certain.
    pub likely: f64,
    pub certain: f64,
    /// Share of the limit that `likely` takes; above 1 requests are turned away.
    pub share: f64,
    /// Endpoints in relation to those there are, so that `likely` takes no more than `target` of the limit.
    pub scale: f64,
}

impl Capacity {
    /// `forecast` in requests per second; `target` is the share of the limit that is meant to be used. `None` without a limit or a latency.
    pub fn demand(&self, forecast: &Forecast, target: f64) -> Option<Demand> {
        let usable = |value: f64| value.is_finite() && value > 0.0;
        if !(usable(self.limit) && usable(self.latency) && usable(target)) {
            return None;
        }
        let under_way = |rate: f64| rate.max(0.0) * self.latency;
        let likely = under_way(forecast.likely.high);
        let share = likely / self.limit;
        Some(Demand { expected: under_way(forecast.mean), likely, certain: under_way(forecast.certain.high), share, scale: share / target })
    }
}
