//! ServiceLevelObjective -> what is promised of the Services that it names. Proxies hear nothing of it.

use super::{api, services};
use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The SRE Workbook's window, and the longest that is counted.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// What one object promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Promised {
    pub namespace: String,
    pub name: String,
    /// Names of Services in the namespace.
    pub services: Vec<String>,
    /// Share of requests that must be good, above 0 and below 1.
    pub target: f64,
    /// Requests that take longer are bad; `None`: those that fail.
    pub threshold: Option<Duration>,
    pub window: Duration,
}

pub fn service_level_objective(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::ServiceLevelObjective = reader.spec(&[]);
    let target = spec.target.unwrap_or_default();
    if !(target > 0.0 && target < 100.0) {
        reader.invalid("spec.target", "must be a percentage above 0 and below 100, such as 99.9");
    }
    let threshold = spec.latency.and_then(|latency| reader.positive_duration("spec.latency.threshold", latency.threshold.as_deref()));
    let window = days(reader, spec.window.as_deref()).unwrap_or(WINDOW);
    if !(DAY..=WINDOW).contains(&window) {
        reader.invalid("spec.window", "must be between 1d and 30d");
    }
    let services = services(reader, spec.target_refs);
    let object = reader.object();
    Meaning::Promised(Promised {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        services,
        target: target / 100.0,
        threshold,
        window,
    })
}

/// Kubernetes' durations know no days.
fn days(reader: &mut Reader<'_>, text: Option<&str>) -> Option<Duration> {
    match text.and_then(|text| text.strip_suffix('d')).and_then(|days| days.parse::<u32>().ok()) {
        Some(days) => Some(DAY * days),
        None => reader.positive_duration("spec.window", text),
    }
}
