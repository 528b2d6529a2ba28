//! Objectives as users set them, their past from the store of signals, and how it stands with them as JSON and as metrics.

use crate::signals::{self, Filter, Reports};
use crate::translate::{Promised, Translation};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Range;
use taut_insight::engine::Promise;
use taut_insight::objective::{Count, Indicator, Objective, Standing, Urgency, condensed};
use taut_insight::tick::Node;
use taut_model::signal::Second;
use taut_observe::names;

const DAY: f64 = 86_400.0;

/// All that is promised.
pub fn promises(mesh: &Translation) -> Vec<Promise> {
    mesh.promised.values().flat_map(|promised| of(promised)).collect()
}

fn of(promised: &Promised) -> impl Iterator<Item = Promise> + '_ {
    let under = promised.threshold.map(|threshold| u64::try_from(threshold.as_micros()).unwrap_or(u64::MAX));
    let indicator = under.map_or(Indicator::Availability, |under| Indicator::Latency { under });
    let objective = Objective { indicator, target: promised.target, window: promised.window.as_secs() };
    let name = format!("{}/{}", promised.namespace, promised.name);
    promised.services.iter().map(move |service| Promise { name: name.clone(), node: Node::new(&promised.namespace, service), objective })
}

/// What came to an objective's service in a window of the past. Reads from disk.
pub fn past(signals: &signals::Store, promise: &Promise, window: Range<Second>) -> Vec<Count> {
    let service = Some(format!("{}.{}", promise.node.name(), promise.node.namespace()));
    let filter = Filter { service, reports: Reports::Once, ..Filter::default() };
    let mut past = Vec::new();
    let Ok(()) = signals.each_bucket::<Infallible>(window, &filter, |bucket| {
        let counts = bucket.edges.iter().map(|(_, signals)| promise.objective.indicator.count(signals));
        let (bad, all) = counts.fold((0, 0), |(bad, all), (more_bad, more)| (bad + more_bad, all + more));
        past.push(Count { at: bucket.start, bad, all });
        Ok(())
    });
    condensed(&past)
}

/// `5m`, `1h`, `3d`.
fn span(seconds: Second) -> String {
    match seconds {
        seconds if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        seconds if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds => format!("{}m", seconds / 60),
    }
}

/// Burn rates by window, the shortest first.
fn burns(standing: &Standing) -> Vec<(Second, f64)> {
    let both = |burn: &taut_insight::objective::Burn| [(burn.short, burn.over_short), (burn.long, burn.over_long)];
    let mut burns: Vec<(Second, f64)> = standing.burns.iter().flat_map(both).collect();
    burns.sort_by_key(|(window, _)| *window);
    burns.dedup_by_key(|(window, _)| *window);
    burns
}

pub fn shown(promise: &Promise, standing: &Standing) -> Value {
    let (namespace, name) = promise.name.split_once('/').unwrap_or(("", &promise.name));
    let (kind, threshold) = match promise.objective.indicator {
        Indicator::Availability => ("availability", None),
        Indicator::Latency { under } => ("latency", Some(under as f64 / 1000.0)),
    };
    let alert = match standing.fires() {
        None => "none",
        Some(Urgency::Ticket) => "ticket",
        Some(Urgency::Page) => "page",
    };
    let burn: Vec<Value> = burns(standing).into_iter().map(|(window, rate)| json!({"window": span(window), "rate": rate})).collect();
    json!({
        "namespace": namespace, "name": name, "service": promise.node.id(), "kind": kind, "target": promise.objective.target,
        "thresholdMs": threshold, "windowDays": promise.objective.window as f64 / DAY, "budgetLeft": standing.left, "burn": burn, "alert": alert,
        "exhaustedIn": standing.exhausted_in, "requests": standing.all, "bad": standing.bad,
    })
}

/// As Prometheus text.
pub fn metrics(all: &[(Promise, Standing)]) -> String {
    let mut text = String::new();
    let (left, rate) = (names::SLO_BUDGET_LEFT, names::SLO_BURN_RATE);
    let _ = writeln!(text, "# HELP {left} Share of the objective's budget that is left; below 0 it is broken.\n# TYPE {left} gauge");
    for (promise, standing) in all {
        let _ = writeln!(text, "{left}{{{}}} {}", labels(promise), standing.left);
    }
    let _ = writeln!(text, "# HELP {rate} How fast the budget burns: at 1 it lasts exactly as long as its window.\n# TYPE {rate} gauge");
    for (promise, standing) in all {
        for (window, burn) in burns(standing) {
            let _ = writeln!(text, "{rate}{{{},window=\"{}\"}} {burn}", labels(promise), span(window));
        }
    }
    text
}

/// Names of Kubernetes need no escaping.
fn labels(promise: &Promise) -> String {
    let (namespace, name) = promise.name.split_once('/').unwrap_or(("", &promise.name));
    format!("namespace=\"{namespace}\",objective=\"{name}\",service=\"{}\"", promise.node.name())
}
