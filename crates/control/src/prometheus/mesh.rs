//! The mesh as one page to scrape: counters of every edge, which only grow while the control plane runs, in bounded memory.
//!
//! They are kept beside the store, which forgets: each scrape adds what was sealed since the last one. Nothing is done for nobody: before the
//! first scrape there is nothing but the newest seconds. When the control plane starts anew they begin at 0, as those of a process do.

use super::traffic::{FAMILIES, Slot, each, recorded};
use crate::signals::Store;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use taut_model::signal::{Edge, Reporter, Second, Signals};
use taut_observe::exposition::{Exposition, Format, raw_pair};
use taut_observe::metrics::{BUCKETS, Kind};
use taut_observe::names::{self, label};
use taut_observe::{flags, labels, record};

/// Edges with series of their own, about 30 each; what comes beyond is summed in one per reporter.
const MOST_EDGES: usize = 2000;
/// An edge that has not changed for so long goes, as in proxies (`observe/metrics`).
const EXPIRES_AFTER: Second = 600;

pub struct Mesh {
    store: Store,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    /// What was sealed up to this frame is in here; `None` before the first scrape.
    through: Option<u64>,
    /// When counting began.
    since: Second,
    rows: HashMap<Arc<Edge>, Row>,
    /// What found no row, by reporter: these stay.
    others: BTreeMap<Reporter, Row>,
}

/// One edge.
struct Row {
    edge: record::Edge,
    outcomes: Vec<(u16, Option<u16>, &'static str)>,
    values: BTreeMap<Slot, f64>,
    changed: Second,
}

impl Mesh {
    pub fn new(store: Store) -> Self {
        Self { store, totals: Mutex::default() }
    }

    /// The page. May read from disk.
    pub fn page(&self, format: Format) -> String {
        let mut totals = self.totals.lock();
        totals.catch_up(&self.store);
        totals.page(format)
    }
}

impl Totals {
    /// Adds what was sealed since the last time. When some of that is gone already, counting begins anew: a sum that lacks something and
    /// does not say so would be wrong.
    fn catch_up(&mut self, store: &Store) {
        let now = store.latest();
        let begin = store.oldest_in_memory();
        let from = match self.through {
            Some(through) if store.has_all_since(through) => through,
            _ => {
                *self = Self { since: now, ..Self::default() };
                begin
            }
        };
        let through = store.sealed_since(from, &mut |edge, signals| self.add(edge, signals, now));
        self.through = Some(through.max(from));
        self.rows.retain(|_, row| row.changed + EXPIRES_AFTER >= now);
    }

    fn add(&mut self, edge: &Arc<Edge>, signals: &Signals, now: Second) {
        let room = self.rows.len() < MOST_EDGES;
        let row = match self.rows.get_mut(edge) {
            Some(row) => row,
            None if room && !edge.is_other() => self.rows.entry(edge.clone()).or_insert_with(|| Row::new(edge)),
            None => self.others.entry(edge.reporter).or_insert_with(|| Row::new(&Edge::other(edge.reporter))),
        };
        row.add(edge, signals, now);
    }

    fn page(&self, format: Format) -> String {
        let mut page = Exposition::new(format);
        page.head(names::MESH_SINCE, "Unix time since when the counters of this page count.", Kind::Gauge);
        page.line(names::MESH_SINCE, "", "", self.since as f64);
        page.head(names::MESH_EDGES, "Edges of the mesh that this page tells apart.", Kind::Gauge);
        page.line(names::MESH_EDGES, "", "", self.rows.len() as f64);
        let mut rows: Vec<(&Arc<Edge>, &Row)> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(edge, _)| *edge);
        let rows: Vec<(&Row, String)> = rows.into_iter().map(|(_, row)| row).chain(self.others.values()).map(|row| (row, row.labels())).collect();
        for family in FAMILIES {
            let lines: Vec<&(&Row, String)> = rows.iter().filter(|(row, _)| row.has(family.name)).collect();
            if lines.is_empty() {
                continue;
            }
            page.head(family.name, family.help, if family.kind == "histogram" { Kind::Histogram } else { Kind::Counter });
            lines.into_iter().for_each(|(row, labels)| row.write(family.name, labels, &mut page));
        }
        page.finish()
    }
}

impl Row {
    fn new(edge: &Edge) -> Self {
        Self { edge: recorded(edge), outcomes: Vec::new(), values: BTreeMap::new(), changed: 0 }
    }

    fn add(&mut self, edge: &Edge, signals: &Signals, now: Second) {
        self.changed = now;
        let values = &mut self.values;
        each(edge, signals, &mut self.outcomes, &|_| true, &mut |slot, value| *values.entry(slot).or_default() += value);
    }

    /// Those of the edge, escaped, without any of an outcome.
    fn labels(&self) -> String {
        let mut text = String::with_capacity(1024);
        labels::of_edge(&self.edge, None, "", &mut |name, value| {
            if name != label::RESPONSE_FLAGS {
                raw_pair(&mut text, name, value);
            }
        });
        text
    }

    fn value(&self, slot: Slot) -> f64 {
        self.values.get(&slot).copied().unwrap_or_default()
    }

    fn has(&self, family: &str) -> bool {
        match family {
            names::REQUESTS => !self.outcomes.is_empty(),
            names::REQUEST_DURATION => self.values.contains_key(&Slot::Durations),
            names::REQUEST_BYTES => self.values.contains_key(&Slot::RequestBodies),
            names::RESPONSE_BYTES => self.values.contains_key(&Slot::ResponseBodies),
            _ => of_connections(family).is_some_and(|slot| self.values.contains_key(&slot)),
        }
    }

    fn write(&self, family: &str, labels: &str, page: &mut Exposition) {
        match family {
            names::REQUESTS => self.write_requests(page),
            names::REQUEST_DURATION => self.write_durations(labels, page),
            names::REQUEST_BYTES => self.write_bodies(family, labels, (Slot::RequestBytes, Slot::RequestBodies), page),
            names::RESPONSE_BYTES => self.write_bodies(family, labels, (Slot::ResponseBytes, Slot::ResponseBodies), page),
            _ => {
                let Some(slot) = of_connections(family) else { return };
                let mut labels = labels.to_owned();
                raw_pair(&mut labels, label::RESPONSE_FLAGS, flags::NONE);
                page.line(family, "", &labels, self.value(slot));
            }
        }
    }

    fn write_requests(&self, page: &mut Exposition) {
        for ((status, grpc, flags), place) in self.outcomes.iter().zip(0..) {
            let mut text = String::with_capacity(1024);
            labels::of_edge(&self.edge, Some((*status, *grpc)), flags, &mut |name, value| raw_pair(&mut text, name, value));
            page.line(names::REQUESTS, "", &text, self.value(Slot::Outcome(place)));
        }
    }

    fn write_durations(&self, labels: &str, page: &mut Exposition) {
        let mut sum = 0.0;
        for (place, bound) in BUCKETS.iter().map(Some).chain([None]).enumerate() {
            sum += self.value(Slot::Bucket(u16::try_from(place).unwrap_or(u16::MAX)));
            page.bucket(names::REQUEST_DURATION, labels, bound.copied(), sum as u64, None);
        }
        page.line(names::REQUEST_DURATION, "_sum", labels, self.value(Slot::Duration));
        page.line(names::REQUEST_DURATION, "_count", labels, self.value(Slot::Durations));
    }

    fn write_bodies(&self, family: &str, labels: &str, (bytes, bodies): (Slot, Slot), page: &mut Exposition) {
        // Without bounds there is one bucket, of all.
        page.bucket(family, labels, None, self.value(bodies) as u64, None);
        page.line(family, "_sum", labels, self.value(bytes));
        page.line(family, "_count", labels, self.value(bodies));
    }
}

fn of_connections(family: &str) -> Option<Slot> {
    Some(match family {
        names::TCP_OPENED => Slot::Opened,
        names::TCP_CLOSED => Slot::Closed,
        names::TCP_SENT => Slot::Sent,
        names::TCP_RECEIVED => Slot::Received,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
