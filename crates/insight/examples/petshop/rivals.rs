//! Simple rules that `locate` must be better than, and `locate` with one of its ideas taken away.

use crate::asked::{Change, Question, named};
use std::collections::{BTreeMap, BTreeSet};
use taut_insight::locate::Limits;

/// A service must be that many deviations off for a simple rule to name it: the usual choice.
const OFF: f64 = 3.0;
/// A deviation is at least this share of the usual.
const LEAST: f64 = 0.05;

pub const NAMES: [&str; 9] = [
    "locate",
    "without requests as weights",
    "without taking callees off",
    "without following (all that is off)",
    "without a gate on the target",
    "max z",
    "traversal",
    "ranked correlation",
    "3 sigma",
];

/// The services that a rule names, the likeliest first.
pub fn answer(rule: &str, question: &Question<'_>) -> Vec<String> {
    let plain = |found: Vec<(String, f64)>| found.into_iter().map(|(name, _)| name).collect();
    match rule {
        "locate" => plain(question.located(&Limits::default())),
        "without a gate on the target" => plain(question.located(&Limits { target: 0.0, cause: 0.0, ..Limits::default() })),
        "without requests as weights" => plain(named(&question.situation(false), &Limits::default())),
        "without taking callees off" => masses(question, false),
        "without following (all that is off)" => masses(question, true),
        "max z" => by_z(question),
        "traversal" => traversal(question),
        "ranked correlation" => correlation(question),
        _ => three_sigma(question),
    }
}

/// How many deviations a service is off in the bad direction.
fn z(question: &Question<'_>, service: &str) -> Option<f64> {
    let Change { before, now, deviation } = question.change(&question.noticed.figure(), service)?;
    let (excess, least) = match question.noticed.metric.as_str() {
        "availability" => (before - now, 0.25),
        _ => (now - before, LEAST * before),
    };
    Some(excess / deviation.max(least).max(1e-9))
}

fn reached<'q>(question: &'q Question<'_>, through: impl Fn(&str) -> bool) -> BTreeSet<&'q str> {
    let mut reached = BTreeSet::from([question.noticed.service.as_str()]);
    let mut edge: Vec<&str> = reached.iter().copied().collect();
    while let Some(at) = edge.pop() {
        for (_, callee) in question.calls.iter().filter(|(caller, callee)| caller == at && through(callee)) {
            if reached.insert(callee) {
                edge.push(callee);
            }
        }
    }
    reached
}

fn ranked(scores: impl Iterator<Item = (String, f64)>) -> Vec<String> {
    let mut scores: Vec<(String, f64)> = scores.filter(|(_, score)| score.is_finite()).collect();
    scores.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    scores.into_iter().map(|(name, _)| name).collect()
}

fn is_off(question: &Question<'_>, service: &str) -> bool {
    z(question, service).is_some_and(|z| z >= OFF)
}

/// Requests times excess of all below the target that is off, with or without what the callees explain taken off.
fn masses(question: &Question<'_>, less_callees: bool) -> Vec<String> {
    if !is_off(question, &question.noticed.service) {
        return Vec::new();
    }
    let mass = |service: &str| {
        let Some(Change { before, now: value, .. }) = question.change(&question.noticed.figure(), service) else { return 0.0 };
        let requests = question.requests(service).1;
        requests * if question.noticed.metric == "availability" { before - value } else { value - before }
    };
    let all: BTreeMap<&str, f64> =
        reached(question, |_| true).into_iter().filter(|service| is_off(question, service)).map(|service| (service, mass(service))).collect();
    let own = |service: &str, mass: f64| {
        let callees = question.calls.iter().filter(|(caller, callee)| caller == service && callee != service);
        let taken: f64 = callees.filter_map(|(_, callee)| all.get(callee.as_str())).sum();
        if less_callees { mass - taken } else { mass }
    };
    ranked(all.iter().map(|(service, mass)| ((*service).to_owned(), own(service, *mass))))
}

fn by_z(question: &Question<'_>) -> Vec<String> {
    let below = reached(question, |_| true).into_iter();
    let off = below.filter_map(|service| Some((service.to_owned(), z(question, service).filter(|z| *z >= OFF)?)));
    if is_off(question, &question.noticed.service) { ranked(off) } else { Vec::new() }
}

/// Those that are off and call nobody who is, along paths of those that are off.
fn traversal(question: &Question<'_>) -> Vec<String> {
    if !is_off(question, &question.noticed.service) {
        return Vec::new();
    }
    let off = reached(question, |service| is_off(question, service));
    let last =
        |service: &&&str| !question.calls.iter().any(|(caller, callee)| caller == **service && callee != caller && off.contains(callee.as_str()));
    ranked(off.iter().filter(last).map(|service| ((*service).to_owned(), z(question, service).unwrap_or(0.0))))
}

/// Those off whose rows go most alike the target's.
fn correlation(question: &Question<'_>) -> Vec<String> {
    let figure = question.noticed.figure();
    let target = question.metrics.of(&figure, &question.noticed.service);
    if !is_off(question, &question.noticed.service) {
        return Vec::new();
    }
    let services = question.metrics.services().filter(|service| **service != question.noticed.service && is_off(question, service));
    ranked(services.filter_map(|service| Some((service.clone(), pearson(target, question.metrics.of(&figure, service))?))))
}

fn pearson(a: &[Option<f64>], b: &[Option<f64>]) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
    let middle = |of: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(of).collect::<Vec<_>>());
    let (x, y) = (middle(|pair| pair.0)?, middle(|pair| pair.1)?);
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(a, b)| of(a - x, b - y)).sum::<f64>();
    let scale = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    (pairs.len() >= 2 && scale > 0.0).then(|| sum(&|a, b| a * b) / scale)
}

/// Any service whose figure is three deviations from its mean, wherever it is.
fn three_sigma(question: &Question<'_>) -> Vec<String> {
    let figure = question.noticed.figure();
    let score = |service: &String| {
        let usual: Vec<f64> = question.normal.of(&figure, service).iter().flatten().copied().collect();
        let center = mean(&usual)?;
        let deviation = mean(&usual.iter().map(|value| (value - center).powi(2)).collect::<Vec<_>>())?.sqrt();
        let value = question.metrics.of(&figure, service).get(question.now).copied().flatten()?;
        let off = if question.noticed.metric == "availability" { center - value } else { value - center };
        Some((service.clone(), (off / deviation.max(1e-9)).min(1e9))).filter(|(_, z)| *z >= OFF)
    };
    ranked(question.metrics.services().filter_map(score))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
