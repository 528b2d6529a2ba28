//! What the trials come to: a table for people, a page for the repository, and the arithmetic of false alarms.

use super::kinds::{BENIGN, FAULTS, Kind};
use super::load::Seen;
use super::trial::Trial;
use serde_json::{Value, json};
use std::fmt::Write;

const WEEK_HOURS: f64 = 168.0;

/// `services`: how many the mesh under test has.
pub fn page(head: &str, trials: &[Trial], services: usize) -> String {
    let (unjudged, trials): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|trial| trial.unjudged);
    let mut page = format!("# Fault lab\n\n{head}\n\n");
    if !unjudged.is_empty() {
        let _ = writeln!(
            page,
            "{} more trials are left out: an earlier incident was still open, or visits still failed, when they began.\n",
            unjudged.len()
        );
    }
    page += &faults(&trials);
    page += &benign(&trials);
    page += &alarms(&trials, services);
    page + LEGEND
}

fn of<'a>(trials: &[&'a Trial], kind: &Kind) -> Vec<&'a Trial> {
    trials.iter().copied().filter(|trial| trial.kind.name == kind.name).collect()
}

fn faults(trials: &[&Trial]) -> String {
    let mut text = "## Faults\n\n\
        | kind | what is done | n | detected | after s: median | p95 | cause first | in three | and its kind | closed after s | incidents | visitors failed |\n\
        |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for kind in FAULTS {
        let all = of(trials, kind);
        if !all.is_empty() {
            text += &row(&format!("{} | {}", kind.name, kind.what), &all);
        }
    }
    let all: Vec<_> = trials.iter().copied().filter(|trial| trial.kind.truth.is_some()).collect();
    if !all.is_empty() {
        text += &row("**all** |", &all);
    }
    text + "\n"
}

fn row(name: &str, all: &[&Trial]) -> String {
    let detected: Vec<f64> = all.iter().filter_map(|trial| trial.detected).collect();
    let closed: Vec<f64> = all.iter().filter_map(|trial| trial.closed).collect();
    let count = |good: &dyn Fn(&Trial) -> bool| all.iter().filter(|trial| good(trial)).count();
    let incidents: usize = all.iter().map(|trial| trial.incidents.len()).sum();
    let failed = all.iter().map(|trial| trial.during.failed()).sum::<f64>() / all.len() as f64;
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {incidents} | {:.0} % |\n",
        all.len(),
        detected.len(),
        shown(quantile(&detected, 0.5)),
        shown(quantile(&detected, 0.95)),
        count(&|trial| trial.last.place == Some(1)),
        count(&|trial| trial.last.place.is_some_and(|place| place <= 3)),
        count(&|trial| trial.last.kind),
        shown(quantile(&closed, 0.5)),
        failed * 100.0
    )
}

fn benign(trials: &[&Trial]) -> String {
    let mut text = "## Benign changes\n\n| kind | what is done | n | false incidents | of these while visitors failed | visitors failed |\n|---|---|--:|--:|--:|--:|\n".to_owned();
    for kind in BENIGN {
        let all = of(trials, kind);
        if !all.is_empty() {
            let failed = all.iter().map(|trial| trial.during.failed()).sum::<f64>() / all.len() as f64;
            let alarms: usize = all.iter().map(|trial| trial.incidents.len()).sum();
            let borne: usize = all.iter().filter(|trial| !trial.hurt()).map(|trial| trial.incidents.len()).sum();
            let _ = writeln!(text, "| {} | {} | {} | {alarms} | {} | {:.1} % |", kind.name, kind.what, all.len(), alarms - borne, failed * 100.0);
        }
    }
    text + "\n"
}

/// False incidents per hour, and what they come to in a week of 100 services. Where none was seen, the most that is likely: three in all the
/// time (the rule of three, 95 %).
fn alarms(trials: &[&Trial], services: usize) -> String {
    let hours = trials.iter().map(|trial| trial.faultless).sum::<f64>() / 3600.0;
    let strays: usize = trials.iter().map(|trial| trial.strays.len()).sum();
    let benign = || trials.iter().filter(|trial| trial.kind.truth.is_none());
    let changes: usize = benign().map(|trial| trial.incidents.len()).sum();
    let hurt: usize = benign().filter(|trial| trial.hurt()).map(|trial| trial.incidents.len()).sum();
    let all = strays + changes;
    let (most, word) = if all == 0 { (3.0, "at most (95 %)") } else { (all as f64, "that is") };
    let hourly = most / hours.max(f64::MIN_POSITIVE);
    format!(
        "## False alarms\n\n{all} false incidents ({changes} of benign changes, of these {hurt} while visitors did fail, which then was not benign on this machine; {strays} in the calm between trials) in {hours:.2} hours without a fault: {word} \
         {hourly:.2} an hour. With {services} services, {hourly:.2} / {services} x {WEEK_HOURS} x 100 = {:.0} in a week of 100 services, if every hour were like \
         these, with a change every minute.\n\n",
        hourly / services as f64 * WEEK_HOURS * 100.0
    )
}

const LEGEND: &str = "`after s` runs from the moment before a fault is begun to the first look at `/taut/v1/incidents` that shows an incident which was not there \
before; it is looked at four times a second. `cause first` and `in three`: the first incident of the trial names, when the fault ends, the service that was \
broken (for faults of the network the way to it, or its network where all who call it feel it; where both look alike from the mesh, either). `and its kind`: the first cause is also of a kind that says it. \
`closed after s` runs from the end of the repair. `visitors failed`: what users saw while it lasted, for judging whether they were hurt. \
Services, processes and the order are by lot, from the seed. The mesh learns nothing of the lab but what its proxies see. The network is a relay before \
each sidecar's peer port: delay is added there, and a lost packet is a piece that waits for a retransmission (200 ms, then double), with what follows it.\n";

/// By nearest rank.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// From this share of visits that fail, a change was not benign: the machine or the mesh did not bear it.
const HURT: f64 = 0.02;

impl Trial {
    fn hurt(&self) -> bool {
        self.during.failed() >= HURT
    }
}

impl Seen {
    /// Share of the visits.
    pub fn failed(&self) -> f64 {
        self.bad as f64 / (self.good + self.bad).max(1) as f64
    }

    pub fn json(&self) -> Value {
        json!({ "good": self.good, "bad": self.bad, "p50": quantile(&self.took, 0.5), "p99": quantile(&self.took, 0.99) })
    }
}

/// One line while it runs.
pub fn line(trial: &Trial) -> String {
    let said = match (trial.kind.truth.is_some(), trial.detected, trial.incidents.first()) {
        (true, Some(after), Some(incident)) => {
            let cause = incident
                .causes
                .first()
                .map_or_else(|| incident.verdict.clone(), |cause| format!("{:?} {} ({:.2})", cause.place, cause.kind, cause.confidence));
            format!("after {after:.1} s: {cause}; right at {:?}; closed after {}", trial.last.place, shown(trial.closed))
        }
        (true, ..) => "nothing said".to_owned(),
        (false, ..) if trial.incidents.is_empty() => "quiet".to_owned(),
        (false, ..) => format!("{} FALSE", trial.incidents.len()),
    };
    let users = |seen: &Seen| {
        format!("{:.0} % failed, p50 {} ms, p99 {} ms", seen.failed() * 100.0, shown(quantile(&seen.took, 0.5)), shown(quantile(&seen.took, 0.99)))
    };
    let unjudged = if trial.unjudged { ", unjudged: it was not calm before" } else { "" };
    let strays = if trial.strays.is_empty() { String::new() } else { format!(", {} stray before", trial.strays.len()) };
    format!(
        "{:24} {:12} {said}{strays}{unjudged}\n{:38}visitors: {} -> {}",
        trial.kind.name,
        trial.service,
        "",
        users(&trial.before),
        users(&trial.during)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.95), Some(95.0));
    }

    #[test]
    fn without_a_false_alarm_the_bound_is_told() {
        let text = alarms(&[], 5);
        assert!(text.contains("0 false incidents") && text.contains("at most"), "{text}");
    }
}
