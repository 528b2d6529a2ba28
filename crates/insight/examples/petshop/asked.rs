//! One question of the protocol (who is the cause of this?), and what `locate` is told of it.
//!
//! PetShop knows figures per service, `locate` reads links. A service's requests are shared among those who call it, by how much they are
//! called themselves; all links of a service have its latency and availability. Nobody reports the other side: no network can be told.

use crate::read;
use crate::scenario::{AFTER, Metrics, Noticed, TRIGGER};
use std::collections::BTreeMap;
use taut_insight::incident::{Place, Signal};
use taut_insight::locate::{Limits, Seen, Situation, Span, Spread, Target, locate_with};
use taut_insight::tick::Node;
use taut_model::signal::Reporter;

pub struct Question<'a> {
    pub calls: &'a [(String, String)],
    pub noticed: &'a Noticed,
    pub normal: &'a Metrics,
    pub metrics: &'a Metrics,
    /// The row that is looked at.
    pub now: usize,
}

/// Five minutes.
const ROW_SECONDS: f64 = 300.0;

/// One service before and now, and how it differs between fault-free rows.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub before: f64,
    pub now: f64,
    pub deviation: f64,
}

impl<'a> Question<'a> {
    /// Rows come every five minutes and a fault lasts for some of them: now is the row, from the trigger on, in which the target is worst.
    pub fn new(calls: &'a [(String, String)], noticed: &'a Noticed, normal: &'a Metrics, metrics: &'a Metrics) -> Self {
        let rows = metrics.of(&noticed.figure(), &noticed.service);
        let badness = |at: usize| {
            let value = rows.get(at).copied().flatten()?;
            Some(if noticed.metric == "availability" { -value } else { value })
        };
        let candidates = (TRIGGER..TRIGGER + AFTER).filter_map(|at| Some((at, badness(at)?)));
        let now = candidates.max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a))).map_or(TRIGGER, |(at, _)| at);
        Self { calls, noticed, normal, metrics, now }
    }

    /// A figure of a service. Before is the middle between the usual and the first row of the issue, which knows the time of day; the second
    /// row is left out, because a fault begins before somebody notices it.
    pub fn change(&self, figure: &str, service: &str) -> Option<Change> {
        let usual: Vec<f64> = self.normal.of(figure, service).iter().flatten().copied().collect();
        let earlier = self.metrics.of(figure, service).first().copied().flatten();
        let before = read::median(earlier.into_iter().chain(read::median(usual.iter().copied())))?;
        let now = self.metrics.of(figure, service).get(self.now).copied().flatten()?;
        Some(Change { before, now, deviation: read::robust_deviation(&usual).unwrap_or(0.0) })
    }

    /// Requests in a row, before and now.
    pub fn requests(&self, service: &str) -> (f64, f64) {
        let rows = self.metrics.of("requests Sum", service);
        let at = |row: usize| rows.get(row).copied().flatten().unwrap_or(0.0);
        (at(0), at(self.now))
    }

    /// Callers of each service, with the share of its requests that is theirs.
    fn callers(&self) -> BTreeMap<&str, Vec<(&str, f64)>> {
        let mut callers: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for (caller, callee) in self.calls.iter().filter(|(caller, callee)| caller != callee) {
            callers.entry(callee).or_default().push((caller, self.requests(caller).1.max(1e-3)));
        }
        for shares in callers.values_mut() {
            let whole: f64 = shares.iter().map(|(_, share)| share).sum();
            shares.iter_mut().for_each(|(_, share)| *share /= whole);
        }
        callers
    }

    pub fn situation(&self, with_requests: bool) -> Situation {
        let callers = self.callers();
        let mut seen = Vec::new();
        for service in self.metrics.services() {
            let outside = [("outside", 1.0)];
            let shares = callers.get(service.as_str()).map_or(outside.as_slice(), Vec::as_slice);
            // Shares of one service do not differ from each other: together they must be as unsure as the service is.
            let alike = 1.0 / shares.iter().map(|(_, share)| share * share).sum::<f64>().sqrt();
            for (caller, share) in shares {
                seen.extend(self.link(service, caller, *share, alike, with_requests));
            }
        }
        let signal = if self.noticed.metric == "availability" { Signal::ErrorRatio } else { Signal::LatencyP50 };
        Situation { targets: vec![Target::new(node(&self.noticed.service), signal)], seen, ..Situation::default() }
    }

    fn link(&self, service: &str, caller: &str, share: f64, alike: f64, with_requests: bool) -> Option<Seen> {
        let latency = self.change(&format!("latency {}", self.statistic("latency")), service);
        let available = self.change("availability Average", service);
        let (requests_before, requests) = if with_requests { self.requests(service) } else { (1000.0, 1000.0) };
        let span = |requests: f64, ms: Option<f64>, available: Option<f64>| {
            let requests = requests * share;
            let mut span = Span::steady(ROW_SECONDS, requests, ms.unwrap_or(0.0), 0.0);
            span.timed = if ms.is_some() { requests } else { 0.0 };
            // Rows of five minutes tell nothing of what is under way.
            (span.squares, span.in_flight) = (0.0, 0.0);
            span.fail("http_5xx", requests * (1.0 - available.unwrap_or(100.0) / 100.0).clamp(0.0, 1.0));
            span
        };
        let ms = |seconds: f64| 1000.0 * seconds;
        let spread = Spread {
            mean_ms: latency.map(|change| ms(change.deviation.max(0.05 * change.before)) * alike),
            gap_ms: None,
            failures: available.map(|change| (change.deviation / 100.0).max(0.0025) * alike),
        };
        Some(Seen {
            source: if caller == "outside" { Node::outside() } else { node(caller) },
            destination: node(service),
            part: None,
            external: false,
            reporter: Reporter::Destination,
            before: span(requests_before, latency.map(|change| ms(change.before)), available.map(|change| change.before)),
            now: span(requests, latency.map(|change| ms(change.now)), available.map(|change| change.now)),
            spread,
        })
    }

    fn statistic(&self, metric: &str) -> &str {
        if self.noticed.metric == metric { &self.noticed.statistic } else { "Average" }
    }

    /// The services that `locate` names, the likeliest first, with its confidence.
    pub fn located(&self, limits: &Limits) -> Vec<(String, f64)> {
        named(&self.situation(true), limits)
    }
}

pub fn named(situation: &Situation, limits: &Limits) -> Vec<(String, f64)> {
    let name = |place: Place| match place {
        Place::Service(node) | Place::Outside(node) | Place::Part(node, _) | Place::Link(_, node) => node.name().to_owned(),
    };
    locate_with(situation, limits).causes.into_iter().map(|cause| (name(cause.place), cause.confidence)).collect()
}

pub fn node(service: &str) -> Node {
    Node::new("petshop", service)
}
