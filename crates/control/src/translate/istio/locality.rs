//! The parts of `loadBalancer` that say where traffic should stay, and how new endpoints begin.

use super::api;
use crate::translate::reader::{Reader, code};
use taut_model::destination::{Distribute, LabelMatch, LocalityPolicy, WarmUp};

/// Istio's defaults.
const MINIMUM_PERCENT: f64 = 10.0;
const AGGRESSION: f64 = 1.0;

/// `judged`: something beside it finds out which endpoints are well.
pub fn locality(reader: &mut Reader<'_>, at: &str, written: Option<api::LocalitySetting>, judged: bool) -> Option<LocalityPolicy> {
    let written = written?;
    let at = format!("{at}.localityLbSetting");
    let said = [!written.distribute.is_empty(), !written.failover.is_empty(), !written.failover_priority.is_empty()];
    if said.iter().filter(|said| **said).count() > 1 {
        reader.unsupported_value(&at, "more than one of distribute, failover and failoverPriority", "choose one");
    }
    if !judged && written.enabled != Some(false) && written.distribute.is_empty() {
        let why =
            "keeps traffic near only where outlierDetection stands beside it or a HealthCheck names the service: nothing else tells when to leave";
        reader.warn(code::NO_EFFECT, &at, why);
    }
    let distribute = written.distribute.into_iter().enumerate();
    let failover = written.failover.into_iter().enumerate();
    Some(LocalityPolicy {
        disabled: written.enabled == Some(false),
        distribute: distribute.map(|(index, entry)| distributed(reader, &format!("{at}.distribute[{index}]"), entry)).collect(),
        failover: failover.map(|(index, entry)| regions(reader, &format!("{at}.failover[{index}]"), entry)).collect(),
        failover_priority: written.failover_priority.iter().map(|label| label_match(label)).collect(),
    })
}

/// Istio: the weights of one entry add up to 100.
fn distributed(reader: &mut Reader<'_>, at: &str, written: api::Distribute) -> Distribute {
    if written.from.is_empty() {
        reader.invalid(&format!("{at}.from"), "is missing: name a locality such as region/zone/* or *");
    }
    let mut to = Vec::new();
    for (locality, weight) in written.to {
        pattern(reader, &format!("{at}.to"), &locality);
        to.push((locality.clone(), reader.count(&format!("{at}.to[{locality:?}]"), Some(weight)).unwrap_or(0)));
    }
    pattern(reader, &format!("{at}.from"), &written.from);
    let total: u64 = to.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if total != 100 {
        reader.invalid(&format!("{at}.to"), format_args!("the weights add up to {total}, and must to 100"));
    }
    Distribute { from: written.from, to }
}

/// A star stands for a whole part and all behind it.
fn pattern(reader: &mut Reader<'_>, at: &str, locality: &str) {
    let parts: Vec<&str> = locality.split('/').collect();
    let stars = parts.iter().rev().skip(1).any(|part| part.contains('*')) || parts.last().is_some_and(|last| last.contains('*') && *last != "*");
    if parts.len() > 3 || stars {
        reader.invalid(at, format_args!("{locality:?} is not a locality such as region/zone/subzone, region/zone/*, region/* or *"));
    }
}

fn regions(reader: &mut Reader<'_>, at: &str, written: api::Failover) -> (String, String) {
    for (field, region) in [("from", &written.from), ("to", &written.to)] {
        if region.is_empty() || region.contains('/') || region.contains('*') {
            reader.invalid(&format!("{at}.{field}"), format_args!("{region:?} is not the name of a region"));
        }
    }
    if written.from == written.to {
        reader.invalid(at, "names the same region twice");
    }
    (written.from, written.to)
}

/// `label` or `label=value`.
fn label_match(written: &str) -> LabelMatch {
    match written.split_once('=') {
        Some((name, value)) => LabelMatch { name: name.to_owned(), value: Some(value.to_owned()) },
        None => LabelMatch { name: written.to_owned(), value: None },
    }
}

pub fn warm_up(reader: &mut Reader<'_>, at: &str, written: Option<api::WarmUp>, deprecated: Option<&str>) -> Option<WarmUp> {
    let Some(written) = written else {
        let duration = reader.positive_duration(&format!("{at}.warmupDurationSecs"), deprecated)?;
        return Some(WarmUp { duration, minimum_percent: MINIMUM_PERCENT, aggression: AGGRESSION });
    };
    if deprecated.is_some() {
        reader.invalid(&format!("{at}.warmupDurationSecs"), "stands beside warmup, which replaces it");
    }
    let at = format!("{at}.warmup");
    if written.duration.is_none() {
        reader.invalid(&format!("{at}.duration"), "is missing");
    }
    let duration = reader.positive_duration(&format!("{at}.duration"), written.duration.as_deref())?;
    let minimum_percent = reader.percent(&format!("{at}.minimumPercent"), written.minimum_percent.unwrap_or(MINIMUM_PERCENT));
    let aggression = written.aggression.unwrap_or(AGGRESSION);
    if !(aggression.is_finite() && aggression >= 1.0) {
        reader.invalid(&format!("{at}.aggression"), format_args!("{aggression} is not a number of at least 1"));
        return None;
    }
    Some(WarmUp { duration, minimum_percent, aggression })
}
