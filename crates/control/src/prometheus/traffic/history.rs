//! What each edge has added to each of its series, span by span, without what nobody asked for.

use super::{Changes, OWN_LABELS, series_name};
use crate::prometheus::labels::LabelSet;
use crate::prometheus::series::{Condition, Selector};
use crate::signals::{Columns, Filter, Reports};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::signal::{Edge, Protocol, Reporter, Security, Signals, Sketch, UNKNOWN};
use taut_observe::metrics::BUCKETS;
use taut_observe::names::label;
use taut_observe::{flags, labels, record};

/// One number of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// By its place in [`History::outcomes`].
    Outcome(u16),
    /// By the place of a bound of [`BUCKETS`]; the one after the last is +Inf.
    Bucket(u16),
    /// Milliseconds of all requests.
    Duration,
    Durations,
    RequestBytes,
    RequestBodies,
    ResponseBytes,
    ResponseBodies,
    Opened,
    Closed,
    Sent,
    Received,
}

/// Status, gRPC status, and response flags.
type Outcome = (u16, Option<u16>, &'static str);

pub struct History {
    edge: record::Edge,
    /// Labels of the edge that do not depend on an outcome.
    base: LabelSet,
    outcomes: Vec<Outcome>,
    changes: BTreeMap<Slot, Changes>,
}

impl History {
    /// Of every series that has changed lately. Buckets hold all requests up to their bound.
    pub fn changes(&self) -> Vec<(Slot, Changes)> {
        let is_bucket = |slot: &Slot| matches!(slot, Slot::Bucket(_));
        let lives = |changes: &Changes| !changes.at.is_empty();
        let mut all: Vec<(Slot, Changes)> = self
            .changes
            .iter()
            .filter(|(slot, changes)| !is_bucket(slot) && lives(changes))
            .map(|(slot, changes)| (*slot, changes.clone()))
            .collect();
        if self.changes.iter().any(|(slot, changes)| is_bucket(slot) && lives(changes)) {
            // One that holds nothing yet is there as long as the others.
            let places: BTreeSet<usize> =
                self.changes.iter().filter(|(slot, _)| is_bucket(slot)).flat_map(|(_, c)| &c.at).map(|(at, _)| *at).collect();
            let mut sum = Changes { before: 0.0, at: places.into_iter().map(|at| (at, 0.0)).collect() };
            for place in 0..=BUCKETS.len() {
                let slot = Slot::Bucket(u16::try_from(place).unwrap_or(u16::MAX));
                if let Some(more) = self.changes.get(&slot) {
                    sum.add(more.clone());
                }
                all.push((slot, sum.clone()));
            }
        }
        all
    }

    /// The edge's labels, those of an outcome, and more.
    pub fn labelled(&self, outcome: Option<Slot>, more: impl IntoIterator<Item = (&'static str, String)>) -> LabelSet {
        let of_outcome = match outcome {
            Some(Slot::Outcome(place)) => self.outcomes.get(usize::from(place)),
            _ => None,
        };
        let base = match of_outcome {
            Some((status, grpc, flags)) => pairs(&self.edge, Some((*status, *grpc)), flags),
            None => self.base.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        LabelSet::new(base.into_iter().chain(more.into_iter().map(|(name, value)| (name.to_owned(), value))))
    }
}

fn pairs(edge: &record::Edge, code: Option<(u16, Option<u16>)>, flags: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::with_capacity(28);
    labels::of_edge(edge, code, flags, &mut |name, value| pairs.push((name.to_owned(), value.to_owned())));
    pairs
}

/// Which span is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By the place of the bound at which it ends.
    Step(usize),
    SinceEver,
}

pub struct Histories {
    selector: Selector,
    all: Vec<History>,
    /// The edge that is being read, and the place of its history; `None`: not asked for.
    current: Option<(Arc<Edge>, Option<usize>)>,
}

impl Histories {
    pub fn new(selector: Selector) -> Self {
        Self { selector, all: vec![], current: None }
    }

    /// What the store need not give.
    pub fn filter(&self) -> Filter {
        let reporters = [Reporter::Source, Reporter::Destination].into_iter().filter(|it| self.selector.admits(label::REPORTER, &it.to_string()));
        let reporters: Vec<Reporter> = reporters.collect();
        let named = |label: &str| {
            self.selector.matchers.iter().find_map(|matcher| match &matcher.condition {
                Condition::Is(value) if matcher.label == label && !value.is_empty() && value != UNKNOWN => Some(value.clone()),
                _ => None,
            })
        };
        Filter {
            reports: if let [one] = reporters[..] { Reports::Of(one) } else { Reports::Both },
            workload: named(label::DESTINATION_WORKLOAD).or_else(|| named(label::SOURCE_WORKLOAD)),
            service: named(label::DESTINATION_SERVICE_NAME).or_else(|| named(label::DESTINATION_SERVICE)),
            ..Filter::default()
        }
    }

    /// What of the store's signals is asked for.
    pub fn columns(&self) -> Columns {
        let of_durations = [Slot::Bucket(0), Slot::Duration, Slot::Durations];
        match of_durations.into_iter().any(|slot| self.selector.admits(super::NAME, series_name(slot))) {
            true => Columns::All,
            false => Columns::Counts,
        }
    }

    pub fn into_all(self) -> Vec<History> {
        self.all
    }

    /// Takes what an edge has added in a span; how many numbers that are. All spans of an edge come one after the other.
    pub fn read(&mut self, edge: &Arc<Edge>, reading: Reading, signals: &Signals) -> usize {
        let Some(place) = self.place(edge, reading) else { return 0 };
        let (history, selector, mut read) = (&mut self.all[place], &self.selector, 0);
        each(edge, signals, &mut history.outcomes, &|name| selector.admits(super::NAME, name), &mut |slot, value| {
            read += 1;
            match reading {
                Reading::Step(place) => history.changes.entry(slot).or_default().at.push((place, value)),
                Reading::SinceEver => history.changes.entry(slot).or_default().before += value,
            }
        });
        read
    }

    /// The place of an edge's history, unless nobody asks for it.
    fn place(&mut self, edge: &Arc<Edge>, reading: Reading) -> Option<usize> {
        if let Some((_, place)) = self.current.as_ref().filter(|(current, _)| Arc::ptr_eq(current, edge)) {
            return *place;
        }
        // Older sums belong to what is there now: others have ended.
        if reading == Reading::SinceEver {
            return None;
        }
        let recorded = recorded(edge);
        let base = LabelSet::new(pairs(&recorded, None, "").into_iter().filter(|(name, _)| name != label::RESPONSE_FLAGS));
        let of_edge = |label: &str| !OWN_LABELS.contains(&label);
        let wanted =
            self.selector.matchers.iter().filter(|matcher| of_edge(&matcher.label)).all(|matcher| matcher.matches(base.value(&matcher.label)));
        let place = wanted.then(|| {
            self.all.push(History { edge: recorded, base, outcomes: vec![], changes: BTreeMap::new() });
            self.all.len() - 1
        });
        self.current = Some((edge.clone(), place));
        place
    }
}

/// As records have it, from which labels are made.
pub fn recorded(edge: &Edge) -> record::Edge {
    record::Edge {
        reporter: edge.reporter,
        source: edge.source.clone(),
        destination: edge.destination.clone(),
        service_host: edge.service.host.as_str().into(),
        service_name: edge.service.name.as_str().into(),
        service_namespace: edge.service.namespace.as_str().into(),
        mutual_tls: edge.security == Security::MutualTls,
        protocol: edge.protocol,
    }
}

/// Calls `visit` with each number above 0 of the series that are asked for. `asked`: by the series' name.
pub fn each(edge: &Edge, signals: &Signals, outcomes: &mut Vec<Outcome>, asked: &dyn Fn(&str) -> bool, visit: &mut dyn FnMut(Slot, f64)) {
    let mut count = |slot: Slot, value: u64| {
        if value > 0 && asked(series_name(slot)) {
            visit(slot, value as f64);
        }
    };
    count(Slot::Opened, signals.opened);
    count(Slot::Closed, signals.closed);
    if edge.protocol == Protocol::Tcp {
        count(Slot::Sent, signals.response_bytes);
        count(Slot::Received, signals.request_bytes);
        return;
    }
    count(Slot::RequestBytes, signals.request_bytes);
    count(Slot::RequestBodies, signals.requests);
    count(Slot::ResponseBytes, signals.response_bytes);
    count(Slot::ResponseBodies, signals.requests);
    count(Slot::Durations, signals.latency.count());
    if asked(series_name(Slot::Outcome(0))) {
        for (outcome, times) in signals.outcomes.iter() {
            let flags = outcome.reason.as_deref().map_or(flags::NONE, flags::of_reason);
            let told = (outcome.status, outcome.grpc, flags);
            let place = outcomes.iter().position(|known| *known == told).unwrap_or_else(|| {
                outcomes.push(told);
                outcomes.len() - 1
            });
            count(Slot::Outcome(u16::try_from(place).unwrap_or(u16::MAX)), *times);
        }
    }
    if asked(series_name(Slot::Bucket(0))) {
        for (place, requests) in by_bound(&signals.latency).into_iter().enumerate() {
            count(Slot::Bucket(u16::try_from(place).unwrap_or(u16::MAX)), requests);
        }
    }
    if signals.latency.sum() > 0 && asked(series_name(Slot::Duration)) {
        visit(Slot::Duration, signals.latency.sum() as f64 / 1000.0);
    }
}

/// Requests between each bound of [`BUCKETS`] and the one before. A bucket of the sketch counts as its middle, so that sums over time and
/// edges are the same whichever is summed first; a request within 1 % of a bound may count on its other side.
fn by_bound(sketch: &Sketch) -> [u64; BUCKETS.len() + 1] {
    let mut counts = [0; BUCKETS.len() + 1];
    for (low, high, times) in sketch.buckets() {
        let middle = (low as f64 + high as f64) / 2.0 / 1000.0;
        counts[BUCKETS.partition_point(|bound| *bound < middle)] += times;
    }
    counts
}
