//! The store of signals as Prometheus' series: Istio's metrics as every proxy exposes them, summed over the proxies.
//!
//! The store keeps what passed in each span of time; a counter here is the sum of all spans since the oldest that the store has. So within
//! one query a counter never falls. Between two queries it does when the store has let go of its oldest hour, which every client of
//! Prometheus takes for a restart. A counter begins with a sample of 0 just before its first change, and ends ten minutes after its last,
//! as in proxies. No sample stands in a time of which the store knows nothing.

mod history;

use super::labels::{LabelSet, NAME};
use super::series::{Budget, Failure, Family, Sample, Selector, Series, Source, Window};
use crate::signals::Store;
use history::{Histories, History, Reading};
pub use history::{Slot, each, recorded};
use std::collections::HashMap;
use taut_model::signal::Second;
use taut_observe::metrics::BUCKETS;
use taut_observe::names::{self, label};

/// How long a series without a change is still there: as in proxies (`observe/metrics`).
const AGE: Second = 600;
/// Distances of samples, in seconds: such that the store's own spans fit into them.
const SPACINGS: [Second; 12] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];

/// What there is, by slot: the name of its series.
pub const FAMILIES: [Family; 8] = [
    Family { name: names::REQUESTS, kind: "counter", help: "Requests, by source, destination and result.", series: &[names::REQUESTS] },
    Family {
        name: names::REQUEST_DURATION,
        kind: "histogram",
        help: "Milliseconds from the first byte of a request to the last of its response.",
        series: &[names::REQUEST_DURATION_BUCKET, names::REQUEST_DURATION_SUM, names::REQUEST_DURATION_COUNT],
    },
    Family {
        name: names::REQUEST_BYTES,
        kind: "histogram",
        help: "Bytes of request bodies: sum and count only.",
        series: &[names::REQUEST_BYTES_SUM, names::REQUEST_BYTES_COUNT],
    },
    Family {
        name: names::RESPONSE_BYTES,
        kind: "histogram",
        help: "Bytes of response bodies: sum and count only.",
        series: &[names::RESPONSE_BYTES_SUM, names::RESPONSE_BYTES_COUNT],
    },
    Family { name: names::TCP_OPENED, kind: "counter", help: "TCP connections opened.", series: &[names::TCP_OPENED] },
    Family { name: names::TCP_CLOSED, kind: "counter", help: "TCP connections closed.", series: &[names::TCP_CLOSED] },
    Family { name: names::TCP_SENT, kind: "counter", help: "Bytes that destinations sent over TCP connections.", series: &[names::TCP_SENT] },
    Family {
        name: names::TCP_RECEIVED,
        kind: "counter",
        help: "Bytes that destinations received over TCP connections.",
        series: &[names::TCP_RECEIVED],
    },
];

/// The name of a slot's series.
fn series_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Outcome(_) => names::REQUESTS,
        Slot::Bucket(_) => names::REQUEST_DURATION_BUCKET,
        Slot::Duration => names::REQUEST_DURATION_SUM,
        Slot::Durations => names::REQUEST_DURATION_COUNT,
        Slot::RequestBytes => names::REQUEST_BYTES_SUM,
        Slot::RequestBodies => names::REQUEST_BYTES_COUNT,
        Slot::ResponseBytes => names::RESPONSE_BYTES_SUM,
        Slot::ResponseBodies => names::RESPONSE_BYTES_COUNT,
        Slot::Opened => names::TCP_OPENED,
        Slot::Closed => names::TCP_CLOSED,
        Slot::Sent => names::TCP_SENT,
        Slot::Received => names::TCP_RECEIVED,
    }
}

/// Labels that a series has beside those of its edge: matchers of others can be told from the edge alone.
const OWN_LABELS: [&str; 5] = [NAME, label::LE, label::RESPONSE_CODE, label::GRPC_RESPONSE_STATUS, label::RESPONSE_FLAGS];

/// Samples are asked for a quarter of a range apart: they may come as far apart as the range, and no farther.
const RANGE: Second = 4;

/// Reads series from the store of signals.
pub struct Traffic {
    store: Store,
}

impl Traffic {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The ends of the spans that are summed up, in order; the first is where the sums begin. Empty: nothing is known then.
    fn bounds(&self, window: Window) -> Vec<Second> {
        let second = |ms: i64| Second::try_from(ms.div_euclid(1000)).unwrap_or_default();
        let end = second(window.to).min(self.store.latest() + 1);
        let from = second(window.from);
        if end <= from || self.store.latest() == 0 {
            return vec![];
        }
        let wanted = second(window.spacing);
        // A range has some samples, or it has none: what is known too coarsely for that is as if it had not been scraped yet.
        let known = self.store.known_since(RANGE * wanted.max(1)).filter(|known| (from..end).contains(known));
        let from = known.unwrap_or(from);
        let mut step = SPACINGS.into_iter().rev().find(|spacing| *spacing <= wanted).unwrap_or(1);
        // A time that is only known by the hour has no finer samples.
        for _ in 0..4 {
            let finest = self.store.finest_at(from / step * step);
            step = step.div_ceil(finest) * finest;
        }
        let first = from / step * step;
        // Before the window, only to know what is still there when it begins.
        let coarse = step.max(AGE / 10).next_multiple_of(self.store.finest_at(first.saturating_sub(AGE)));
        let mut bounds: Vec<Second> = (0..).map(|n| (first.saturating_sub(AGE) / coarse + n) * coarse).take_while(|at| *at < first).collect();
        bounds.extend((0..).map(|n| first + n * step).take_while(|at| *at <= end));
        let last = bounds.last().copied().unwrap_or(end);
        if last < end && self.store.finest_at(last) == 1 {
            bounds.push(end);
        }
        bounds
    }

    fn histories(&self, selector: &Selector, bounds: &[Second], budget: &mut Budget<'_>) -> Result<Histories, Failure> {
        let mut histories = Histories::new(selector.clone());
        let [first, ..] = bounds else { return Ok(histories) };
        let mut windows: Vec<_> = bounds.windows(2).map(|ends| ends[0]..ends[1]).collect();
        // What was before the first bound comes last of each edge: it counts only for those that are there now.
        let since_ever = windows.len();
        windows.push(0..*first);
        let (filter, columns, mut spent) = (histories.filter(), histories.columns(), Ok(()));
        self.store.steps(&windows, &filter, columns, &mut |edge, window, signals| {
            let reading = if window == since_ever { Reading::SinceEver } else { Reading::Step(window + 1) };
            spent = budget.spend(histories.read(edge, reading, signals));
            spent.is_ok()
        });
        spent.map(|()| histories)
    }
}

impl Source for Traffic {
    fn select(&self, selector: &Selector, window: Window, budget: &mut Budget<'_>) -> Result<Vec<Series>, Failure> {
        let bounds = self.bounds(window);
        let histories = self.histories(selector, &bounds, budget)?;
        let blind = self.blind(&bounds);
        let mut sums: HashMap<LabelSet, Changes, foldhash::quality::RandomState> = HashMap::default();
        for history in histories.into_all() {
            for (slot, changes) in history.changes() {
                let labels = labels_of(&history, slot);
                if selector.matches(&labels) {
                    sums.entry(labels).or_default().add(changes);
                }
            }
        }
        let mut found = Vec::with_capacity(sums.len());
        for (labels, changes) in sums {
            let paid = changes.at.len();
            let samples: Vec<Sample> = changes.samples(&bounds, &blind).filter(|sample| (window.from..=window.to).contains(&sample.at)).collect();
            // A sample takes the place of the change that was read for it.
            budget.spend(samples.len().saturating_sub(paid))?;
            if !samples.is_empty() {
                found.push(Series { labels, samples });
            }
        }
        Ok(found)
    }

    fn families(&self) -> &[Family] {
        &FAMILIES
    }
}

impl Traffic {
    /// Whether nothing is known of the span that ends at each bound.
    fn blind(&self, bounds: &[Second]) -> Vec<bool> {
        let ([first, ..], [.., last]) = (bounds, bounds) else { return vec![] };
        let gaps: Vec<_> = self.store.gaps(*first..*last).into_iter().filter(|gap| gap.proxy.is_none()).collect();
        bounds.iter().map(|at| gaps.iter().any(|gap| gap.from < *at && gap.to >= *at)).collect()
    }
}

fn labels_of(history: &History, slot: Slot) -> LabelSet {
    let name = (NAME, series_name(slot).to_owned());
    match slot {
        Slot::Outcome(_) => history.labelled(Some(slot), [name]),
        Slot::Bucket(place) => {
            let bound = BUCKETS.get(usize::from(place)).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            history.labelled(None, [name, (label::LE, bound)])
        }
        Slot::Opened | Slot::Closed | Slot::Sent | Slot::Received => {
            history.labelled(None, [name, (label::RESPONSE_FLAGS, taut_observe::flags::NONE.to_owned())])
        }
        _ => history.labelled(None, [name]),
    }
}

/// How much was added when.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Before the first bound, since ever.
    before: f64,
    /// By the place of the bound at which the span ends, in order.
    at: Vec<(usize, f64)>,
}

impl Changes {
    fn add(&mut self, more: Self) {
        self.before += more.before;
        if self.at.is_empty() {
            self.at = more.at;
            return;
        }
        self.at.extend(more.at);
        self.at.sort_by_key(|(place, _)| *place);
        self.at.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
    }

    /// A running sum at each bound at which the series is there.
    fn samples(self, bounds: &[Second], blind: &[bool]) -> impl Iterator<Item = Sample> {
        let Self { before, at } = self;
        let mut sum = before;
        let mut next = 0;
        let mut changed: Option<Second> = None;
        let mut samples = Vec::new();
        for (place, bound) in bounds.iter().enumerate() {
            while let Some((_, more)) = at.get(next).filter(|(at, _)| *at == place) {
                sum += more;
                changed = Some(*bound);
                next += 1;
            }
            let begins = at.get(next).is_some_and(|(at, _)| *at == place + 1);
            let there = begins || changed.is_some_and(|changed| bound - changed <= AGE);
            if there && !blind.get(place).copied().unwrap_or_default() {
                samples.push(Sample { at: i64::try_from(*bound).unwrap_or(i64::MAX / 1000).saturating_mul(1000), value: sum });
            }
        }
        samples.into_iter()
    }
}

#[cfg(test)]
mod tests;
