//! Simple rules beside `locate`: the highest z of any figure, CPU alone, and a search down the graph.

use crate::asked::{Change, Moment, change};
use std::collections::{BTreeMap, BTreeSet};
use taut_insight::locate::Limits;

pub const NAMES: [&str; 7] = ["locate", "without the gap", "max z", "cpu z", "cpu and gap", "traversal", "3 sigma"];

/// The services that a rule names once it is that sure, in deviations.
pub fn answer(rule: &str, moment: &Moment<'_>, off: f64) -> Vec<String> {
    let plain = |found: Vec<(String, f64)>| found.into_iter().map(|(name, _)| name).collect();
    let limits = Limits { target: off, ..Limits::default() };
    match rule {
        "locate" => plain(moment.located(&limits)),
        "without the gap" => plain(Moment { with_gap: false, ..*moment }.located(&limits)),
        "max z" => ranked(latency(moment, Change::z), off),
        "cpu z" => ranked(cpu(moment), off),
        "cpu and gap" => {
            let mut all = gap(moment);
            for (service, z) in cpu(moment) {
                let known = all.entry(service).or_insert(z);
                *known = known.max(z);
            }
            ranked(all, off)
        }
        "traversal" => traversal(moment, off),
        _ => ranked(latency(moment, |change| if change.deviation > 0.0 { (change.now - change.before) / change.deviation } else { 0.0 }), off),
    }
}

fn ranked(scores: BTreeMap<String, f64>, off: f64) -> Vec<String> {
    let mut scores: Vec<(String, f64)> = scores.into_iter().filter(|(_, z)| *z >= off).collect();
    scores.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    scores.into_iter().map(|(name, _)| name).collect()
}

/// How far the latency of each service is off, as its callers see it.
fn latency(moment: &Moment<'_>, z: impl Fn(Change) -> f64) -> BTreeMap<String, f64> {
    let mut scores: BTreeMap<String, f64> = BTreeMap::new();
    let front = moment.day.front.get("LatencyP50(s)").map(|series| (&moment.day.entry, series));
    let pods = moment.day.pods.iter().filter(|_| moment.day.callers.is_empty());
    let pods = pods.filter_map(|(service, pod)| Some((service, pod.get("PodServerLatencyP90(s)")?)));
    for (callee, series) in moment.day.callers.iter().map(|((_, callee), series)| (callee, series)).chain(front).chain(pods) {
        let score = change(series, moment.at).map_or(0.0, &z);
        let known = scores.entry(callee.clone()).or_default();
        *known = known.max(score);
    }
    scores
}

fn cpu(moment: &Moment<'_>) -> BTreeMap<String, f64> {
    let of = |(service, table): (&String, &crate::day::Table)| Some((service.clone(), change(table.get("CpuUsageRate(%)")?, moment.at)?.z()));
    moment.day.pods.iter().filter_map(of).collect()
}

/// By how much the callers of a service, or it as a caller, see more than the other side.
fn gap(moment: &Moment<'_>) -> BTreeMap<String, f64> {
    let mut scores: BTreeMap<String, f64> = BTreeMap::new();
    for (link, caller) in &moment.day.callers {
        let sides = moment.day.callees.get(link).and_then(|callee| Some((change(caller, moment.at)?, change(callee, moment.at)?)));
        let Some((caller, callee)) = sides else { continue };
        let excess = (caller.now - callee.now) - (caller.before - callee.before);
        let z = excess / caller.deviation.hypot(callee.deviation).max(1e-4);
        let known = scores.entry(link.1.clone()).or_default();
        *known = known.max(z);
    }
    scores
}

/// Services that are off and call none that is.
fn traversal(moment: &Moment<'_>, off: f64) -> Vec<String> {
    let scores = latency(moment, Change::z);
    let is_off: BTreeSet<&String> = scores.iter().filter(|(_, z)| **z >= off).map(|(service, _)| service).collect();
    let calls = |service: &String| moment.day.callers.keys().any(|(caller, callee)| caller == service && is_off.contains(callee));
    ranked(scores.iter().filter(|(service, _)| is_off.contains(service) && !calls(service)).map(|(a, b)| (a.clone(), *b)).collect(), off)
}
