//! What `locate` is told of a minute of Nezha's day.
//!
//! The set has medians per link as either side saw them, and quantiles per pod. The mean that `locate` reads is put together from them:
//! the link's median stands for 70 % of requests, the pod's 90th percentile for the rest (higher ones are of so few requests a minute that
//! they are noise). So a difference between the two sides of a link is one of their medians. Only the front tells failures. Every service is a target, weighed by how far
//! it is off, since a user's median does not feel what one request in twenty feels.

use crate::day::{Day, Series};
use crate::read;
use std::collections::BTreeSet;
use taut_insight::incident::{Place, Signal};
use taut_insight::locate::{Limits, Pressed, Seen, Situation, Span, Spread, Target, locate_with};
use taut_insight::tick::{Node, Pressure};
use taut_model::signal::Reporter;

/// Faults last for three minutes, and need up to one to be in a figure of the last minute.
const LASTS: i64 = 180;
const LATE: [i64; 2] = [0, 60];
/// What came just before: rows of so many seconds.
const BEFORE: i64 = 300;

/// A figure just before and now, and how far it wanders between windows like now's.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub before: f64,
    pub now: f64,
    pub deviation: f64,
}

impl Change {
    pub fn z(self) -> f64 {
        (self.now - self.before) / self.deviation.max(0.05 * self.before.abs()).max(1e-9)
    }
}

/// `before` is the middle between the usual of the whole day and what came just before.
pub fn change(series: &Series, at: i64) -> Option<Change> {
    let now = read::median(series.within(at, at + LASTS))?;
    let before = read::median(series.within(at - BEFORE, at)).map_or(series.usual, |earlier| (earlier + series.usual) / 2.0);
    Some(Change { before, now, deviation: series.wander })
}

/// Parts of the requests that quantiles stand for.
const MEDIAN: f64 = 0.7;
const TAIL: [(&str, f64); 1] = [("P90", 0.3)];

/// Everything there is to ask about one moment.
pub struct Moment<'a> {
    pub day: &'a Day,
    pub at: i64,
    pub with_gap: bool,
}

impl<'a> Moment<'a> {
    /// Of the windows in which something from `at` on would show, the one in which links are off most.
    pub fn new(day: &'a Day, at: i64) -> Self {
        let off = |at: i64| {
            let pods = day.pods.values().filter(|_| day.callers.is_empty()).filter_map(|pod| pod.get("PodServerLatencyP90(s)"));
            let links = day.callers.values().chain(day.front.get("LatencyP50(s)")).chain(pods);
            links.filter_map(|series| change(series, at)).map(Change::z).fold(0.0, f64::max)
        };
        let best = LATE.into_iter().map(|late| at + late).max_by(|a, b| off(*a).total_cmp(&off(*b)).then(b.cmp(a)));
        Self { day, at: best.unwrap_or(at), with_gap: true }
    }

    fn tail(&self, column: impl Fn(&str) -> Option<Change>) -> Vec<(f64, Change)> {
        TAIL.iter().filter_map(|(quantile, weight)| Some((*weight, column(quantile)?))).collect()
    }

    fn pod(&self, service: &str, column: &str) -> Option<Change> {
        change(self.day.pods.get(service)?.get(column)?, self.at)
    }

    fn rate(&self, service: &str) -> (f64, f64) {
        self.pod(service, "PodWorkload(Ops)").map_or((1.0, 1.0), |rate| (rate.before.max(0.01), rate.now.max(0.01)))
    }

    pub fn situation(&self) -> Situation {
        let links: Vec<&(String, String)> =
            self.day.callers.keys().chain(self.day.callees.keys().filter(|link| !self.day.callers.contains_key(*link))).collect();
        let alone = self.day.pods.keys().filter(|service| **service != self.day.entry && !links.iter().any(|link| link.1 == **service));
        let mut seen = vec![self.front()];
        seen.extend(alone.clone().filter_map(|service| self.alone(service)));
        for link in &links {
            let callers = links.iter().filter(|other| other.1 == link.1).count() as f64;
            seen.extend(self.link(link, callers));
        }
        let mut situation = Situation { seen, pressures: self.pressures(), ..Situation::default() };
        let services: BTreeSet<&String> = links.iter().map(|link| &link.1).chain(alone).collect();
        situation.targets = services.into_iter().map(|service| self.target(node(service), Signal::LatencyP50, &situation.seen)).collect();
        situation.targets.push(self.target(node(&self.day.entry), Signal::LatencyP50, &situation.seen));
        situation.targets.push(Target { weight: MOST_OFF, ..Target::new(node(&self.day.entry), Signal::ErrorRatio) });
        situation
    }

    /// What either side of a link says of it.
    fn link(&self, link: &(String, String), callers: f64) -> Vec<Seen> {
        let tail = self.tail(|quantile| self.pod(&link.1, &format!("PodServerLatency{quantile}(s)")));
        let (before, now) = self.rate(&link.1);
        let sides = [(Reporter::Source, self.day.callers.get(link)), (Reporter::Destination, self.day.callees.get(link))];
        let told = if self.with_gap { &sides[..] } else { &sides[1..] };
        let medians = told.iter().filter_map(|(reporter, series)| Some((*reporter, change((*series)?, self.at)?)));
        let report = |(reporter, median)| {
            let mut told = report(link, reporter, median, &tail, (before / callers, now / callers));
            told.spread.gap_ms = self.day.gaps.get(link).map(|gap| 1000.0 * MEDIAN * gap.wander);
            told
        };
        medians.map(report).collect()
    }

    /// A service of which no link is known, as on days without the files of links: its pod's 90th percentile is all there is, and nobody
    /// knows whom it calls.
    fn alone(&self, service: &str) -> Option<Seen> {
        let link = ("outside".to_owned(), service.to_owned());
        Some(report(&link, Reporter::Destination, self.pod(service, "PodServerLatencyP90(s)")?, &[], self.rate(service)))
    }

    fn target(&self, node: Node, signal: Signal, seen: &[Seen]) -> Target {
        let weight = seen.iter().filter(|seen| seen.destination == node).map(off).fold(0.0, f64::max);
        Target { node, signal, weight }
    }

    /// Users, as the front sees them.
    fn front(&self) -> Seen {
        let of = |column: &str| change(self.day.front.get(column)?, self.at);
        let none = Change { before: 0.0, now: 0.0, deviation: 0.0 };
        let tail = self.tail(|quantile| of(&format!("Latency{quantile}(s)")));
        let link = ("outside".to_owned(), self.day.entry.clone());
        let rate = self.rate(&self.day.entry);
        let mut seen = report(&link, Reporter::Destination, of("LatencyP50(s)").unwrap_or(none), &tail, rate);
        if let Some(success) = of("SuccessRate(%)") {
            let failed = |percent: f64| (1.0 - percent / 100.0).clamp(0.0, 1.0);
            let (before, now) = (seen.before.requests, seen.now.requests);
            seen.before.fail("http_5xx", before * failed(success.before));
            seen.now.fail("http_5xx", now * failed(success.now));
            seen.spread.failures = Some(success.deviation / 100.0);
        }
        seen
    }

    fn pressures(&self) -> Vec<Pressed> {
        let of = |service: &String| {
            let (cpu, memory) = (self.pod(service, "CpuUsageRate(%)"), self.pod(service, "MemoryUsageRate(%)"));
            let share = |change: Option<Change>, of: fn(Change) -> f64| change.map(|change| of(change) / 100.0);
            let at = |of: fn(Change) -> f64| Pressure { cpu: share(cpu, of), memory: share(memory, of), concurrency: None };
            Pressed { node: node(service), before: at(|change| change.before), now: at(|change| change.now), spread: None }
        };
        self.day.pods.keys().map(of).collect()
    }

    /// The services that are named, the likeliest first, with the confidence. Of a link, the callee comes before the caller.
    pub fn located(&self, limits: &Limits) -> Vec<(String, f64)> {
        let mut named: Vec<(String, f64)> = Vec::new();
        for cause in locate_with(&self.situation(), limits).causes {
            let nodes = match cause.place {
                Place::Service(node) | Place::Part(node, _) | Place::Outside(node) => vec![node],
                Place::Link(caller, callee) => vec![callee, caller],
            };
            for node in nodes {
                if !named.iter().any(|(name, _)| name == node.name()) {
                    named.push((node.name().to_owned(), cause.confidence));
                }
            }
        }
        named
    }
}

/// Beyond that many deviations, more is not surer.
const MOST_OFF: f64 = 50.0;

fn off(seen: &Seen) -> f64 {
    let mean = |span: &Span| if span.timed > 0.0 { span.time_ms / span.timed } else { 0.0 };
    ((mean(&seen.now) - mean(&seen.before)) / seen.spread.mean_ms.unwrap_or(1.0).max(0.1)).clamp(0.0, MOST_OFF)
}

fn report(link: &(String, String), reporter: Reporter, median: Change, tail: &[(f64, Change)], rate: (f64, f64)) -> Seen {
    let mean = |of: fn(Change) -> f64| 1000.0 * (MEDIAN * of(median) + tail.iter().map(|(weight, change)| weight * of(*change)).sum::<f64>());
    let span = |seconds: f64, rate: f64, ms: f64| {
        let mut span = Span::steady(seconds, rate * seconds, ms, 0.0);
        // Nothing is known of single requests, nor of what is under way.
        (span.squares, span.in_flight) = (0.0, 0.0);
        span
    };
    let deviation = tail.iter().fold(MEDIAN * median.deviation, |sum, (weight, change)| sum.hypot(weight * change.deviation));
    Seen {
        source: if link.0 == "outside" { Node::outside() } else { node(&link.0) },
        destination: node(&link.1),
        part: None,
        external: false,
        reporter,
        before: span(BEFORE as f64, rate.0, mean(|change| change.before)),
        now: span(LASTS as f64, rate.1, mean(|change| change.now)),
        spread: Spread { mean_ms: Some(1000.0 * deviation), ..Spread::default() },
    }
}

pub fn node(service: &str) -> Node {
    Node::new("nezha", service)
}
