//! Metrics: fed by records, read as Prometheus text or OpenMetrics, under Istio's names and labels.
//!
//! Memory is bounded: a family holds at most its limit of series, about 2 KiB each at most; what comes beyond is counted in one series
//! per reporter whose labels are `other`, and in `taut_metric_series_overflow_total`. A series without a change for ten minutes is
//! gone; should it come back it starts from 0, which Prometheus' `rate` takes for what it is, a restart of the counter.

mod relabel;
mod standard;

pub use crate::exposition::Kind;
pub use standard::{Standard, Value};

use crate::exposition::{Exemplar, Exposition, Format};
use crate::flags;
use crate::names::{self, label};
use crate::record::{ConnectionRecord, Edge, ExchangeRecord};
use crate::series::{Family, Labels, pair};
use crate::text::Id;
use parking_lot::Mutex;
use relabel::{Sum, changed};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use taut_model::telemetry::MetricOverride;

/// Upper bounds of Envoy's default histogram buckets, which Istio uses for durations (ms) and sizes (bytes) alike.
pub const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

const DEFAULT_SERIES: usize = 2000;

/// How long a series without a change is kept. A connection that is open longer is counted as closed in a new series.
const SERIES_AGE: Duration = Duration::from_secs(600);

/// Counts of one proxy, shared by its workers.
pub struct Registry {
    exchanges: Family<Exchanges>,
    connections: Family<Connections>,
    exchange_overflow: AtomicU64,
    connection_overflow: AtomicU64,
    connections_open: AtomicI64,
    retries: AtomicU64,
    mirrors_dropped: AtomicU64,
    waited: AtomicU64,
    shed: AtomicU64,
    hedges: AtomicU64,
    concurrency_limit: AtomicI64,
    /// By port of the application.
    doors: Mutex<BTreeMap<u16, Doors>>,
    /// What [`Registry::render`] leaves out and changes.
    overrides: Mutex<Arc<Vec<MetricOverride>>>,
}

/// The workers' ways in to one port of the application.
#[derive(Default)]
struct Doors {
    all: usize,
    /// Of them have proven a limit.
    proven: usize,
    /// Their limits' sum.
    limit: u32,
}

#[derive(Clone, Default)]
struct Exchanges {
    duration_ms: Histogram,
    /// The newest of each bucket of `duration_ms` that has one, by the bucket's place.
    exemplars: Vec<(u8, Exemplar)>,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

#[derive(Clone, Copy, Default)]
struct Connections {
    opened: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

#[derive(Clone, Copy, Default)]
struct Histogram {
    /// Not cumulative; the last one is +Inf.
    counts: [u64; BUCKETS.len() + 1],
    sum: f64,
}

impl Sum for Exchanges {
    fn add(&mut self, other: &Self) {
        self.duration_ms.add(&other.duration_ms);
        for (bucket, exemplar) in &other.exemplars {
            self.exemplify(usize::from(*bucket), *exemplar);
        }
        self.request_bytes.add(&other.request_bytes);
        self.response_bytes.add(&other.response_bytes);
    }
}

impl Sum for Connections {
    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Histogram {
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// The place of the value's bucket.
    fn observe(&mut self, value: f64) -> usize {
        let bucket = BUCKETS.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
        bucket
    }
}

impl Exchanges {
    fn exemplify(&mut self, bucket: usize, exemplar: Exemplar) {
        let bucket = bucket as u8;
        match self.exemplars.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, kept)) => *kept = exemplar,
            None => self.exemplars.push((bucket, exemplar)),
        }
    }

    fn exemplar(&self, bucket: usize) -> Option<&Exemplar> {
        self.exemplars.iter().find(|(known, _)| usize::from(*known) == bucket).map(|(_, exemplar)| exemplar)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(DEFAULT_SERIES)
    }
}

impl Registry {
    /// `series`: the limit of each family.
    pub fn new(series: usize) -> Self {
        Self {
            exchanges: Family::new(series, true),
            connections: Family::new(series, false),
            exchange_overflow: AtomicU64::new(0),
            connection_overflow: AtomicU64::new(0),
            connections_open: AtomicI64::new(0),
            retries: AtomicU64::new(0),
            mirrors_dropped: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            concurrency_limit: AtomicI64::new(0),
            doors: Mutex::default(),
            overrides: Mutex::default(),
        }
    }

    /// From now on the text is as these want it.
    pub fn override_text(&self, overrides: Arc<Vec<MetricOverride>>) {
        *self.overrides.lock() = overrides;
    }

    /// Forgets the series that nothing has changed for ten minutes. To be called now and then, with the time since any start: what
    /// is counted between two calls counts as of the first.
    pub fn expire(&self, now: Duration) {
        self.exchanges.expire(now, SERIES_AGE);
        self.connections.expire(now, SERIES_AGE);
    }

    pub fn exchange(&self, record: &ExchangeRecord) {
        let labels = Labels { edge: &record.edge, code: Some((record.status, record.grpc_status)), flags: flags::of(record.failure.as_ref()) };
        let kept = self.exchanges.update(&labels, |value| {
            let milliseconds = record.duration_us as f64 / 1000.0;
            let bucket = value.duration_ms.observe(milliseconds);
            if let Id::Trace(trace) = record.trace_id {
                value.exemplify(bucket, Exemplar { trace, value: milliseconds, at: record.started });
            }
            value.request_bytes.observe(record.request_bytes as f64);
            value.response_bytes.observe(record.response_bytes as f64);
        });
        if !kept {
            self.exchange_overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A TCP connection has reached its destination, or is about to try.
    pub fn connection_opened(&self, edge: &Edge) {
        self.count_connection(&Labels { edge, code: None, flags: flags::NONE }, |value| value.opened += 1);
    }

    /// A TCP connection has ended. Bytes are as seen by the application's side of the client: sent is what the destination
    /// sent (Istio: "size of total bytes sent during response").
    pub fn connection(&self, record: &ConnectionRecord) {
        let labels = Labels { edge: &record.edge, code: None, flags: flags::of(record.failure.as_ref()) };
        self.count_connection(&labels, |value| {
            value.closed += 1;
            value.sent += record.sent_bytes;
            value.received += record.received_bytes;
        });
    }

    fn count_connection(&self, labels: &Labels<'_>, change: impl FnOnce(&mut Connections)) {
        if !self.connections.update(labels, change) {
            self.connection_overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn connections_open(&self, delta: i64) {
        self.connections_open.fetch_add(delta, Ordering::Relaxed);
    }

    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn waited(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    pub fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn hedged(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub fn limit_changed(&self, delta: i64) {
        self.concurrency_limit.fetch_add(delta, Ordering::Relaxed);
    }

    /// A worker begins to let requests in to a port of the application.
    pub fn door_opened(&self, port: u16) {
        self.doors.lock().entry(port).or_default().all += 1;
    }

    /// What a worker has proven that the application can work on at a time at a port.
    pub fn proven_limit_changed(&self, port: u16, before: Option<u32>, now: Option<u32>) {
        let mut doors = self.doors.lock();
        let doors = doors.entry(port).or_default();
        doors.proven = (doors.proven + usize::from(now.is_some())).saturating_sub(usize::from(before.is_some()));
        doors.limit = doors.limit.saturating_add(now.unwrap_or(0)).saturating_sub(before.unwrap_or(0));
    }

    /// How many requests the application has proven to be able to work on at a time, over all workers. A port of which one worker knows no
    /// limit has none.
    pub fn proven_limit(&self) -> Option<u32> {
        let doors = self.doors.lock();
        let limits = doors.values().filter(|doors| doors.all > 0 && doors.proven == doors.all).map(|doors| doors.limit);
        limits.reduce(u32::saturating_add)
    }

    pub fn mirror_dropped(&self) {
        self.mirrors_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything as Prometheus text, with `others` (what only the process knows) at the end.
    pub fn render(&self, others: &[Sample<'_>]) -> String {
        self.render_as(Format::Text, others)
    }

    /// `others` of one name stand side by side.
    pub fn render_as(&self, format: Format, others: &[Sample<'_>]) -> String {
        let mut out = Exposition::new(format);
        self.render_exchanges(&mut out);
        self.render_connections(&mut out);
        for (family, overflow) in [(names::REQUESTS, &self.exchange_overflow), (names::TCP_CLOSED, &self.connection_overflow)] {
            let labels = [(label::FAMILY, family)];
            let help = "Records counted in the overflow series of a full family.";
            let sample = Sample { name: names::SERIES_OVERFLOW, help, kind: Kind::Counter, labels: &labels, value: relaxed(overflow) };
            sample.render(&mut out, family == names::REQUESTS);
        }
        let open = self.connections_open.load(Ordering::Relaxed) as f64;
        Sample::gauge(names::CONNECTIONS_OPEN, "Connections that stand, of any kind.", open).render(&mut out, true);
        Sample::counter(names::RETRIES, "Attempts beyond the first.", relaxed(&self.retries)).render(&mut out, true);
        let dropped = relaxed(&self.mirrors_dropped);
        Sample::counter(names::MIRRORS_DROPPED, "Mirrored copies that were not sent.", dropped).render(&mut out, true);
        let counters = [
            (names::HEDGES, "Second copies of requests that took long.", &self.hedges),
            (names::WAITED, "Requests that waited for their turn with the application.", &self.waited),
            (names::SHED, "Requests that were sent away so that the application is not overrun.", &self.shed),
        ];
        for (name, help, count) in counters {
            Sample::counter(name, help, relaxed(count)).render(&mut out, true);
        }
        let limit = self.concurrency_limit.load(Ordering::Relaxed) as f64;
        Sample::gauge(names::CONCURRENCY_LIMIT, "Requests that the application may work on at a time; 0 for no limit.", limit).render(&mut out, true);
        let mut before = "";
        for sample in others {
            sample.render(&mut out, sample.name != before);
            before = sample.name;
        }
        out.finish()
    }

    fn render_exchanges(&self, out: &mut Exposition) {
        let all = self.exchanges.read(Exchanges::clone);
        if all.is_empty() {
            return;
        }
        let rules = self.overrides.lock().clone();
        out.head(names::REQUESTS, "Requests, by source, destination and result.", Kind::Counter);
        for (labels, value) in changed(&rules, names::REQUESTS, &all).iter() {
            let count: u64 = value.duration_ms.counts.iter().sum();
            out.line(names::REQUESTS, "", labels, count as f64);
        }
        let help = "Milliseconds from the first byte of a request to the last of its response.";
        out.head(names::REQUEST_DURATION, help, Kind::Histogram);
        for (labels, value) in changed(&rules, names::REQUEST_DURATION, &all).iter() {
            render_histogram(out, names::REQUEST_DURATION, labels, &value.duration_ms, |bucket| value.exemplar(bucket));
        }
        type Pick = fn(&Exchanges) -> &Histogram;
        let histograms: [(&str, &str, Pick); 2] = [
            (names::REQUEST_BYTES, "Bytes of request bodies.", |v| &v.request_bytes),
            (names::RESPONSE_BYTES, "Bytes of response bodies.", |v| &v.response_bytes),
        ];
        for (name, help, pick) in histograms {
            out.head(name, help, Kind::Histogram);
            for (labels, value) in changed(&rules, name, &all).iter() {
                render_histogram(out, name, labels, pick(value), |_| None);
            }
        }
    }

    fn render_connections(&self, out: &mut Exposition) {
        let all = self.connections.read(|value| *value);
        if all.is_empty() {
            return;
        }
        type Pick = fn(&Connections) -> u64;
        let counters: [(&str, &str, Pick); 4] = [
            (names::TCP_OPENED, "TCP connections opened.", |v| v.opened),
            (names::TCP_CLOSED, "TCP connections closed.", |v| v.closed),
            (names::TCP_SENT, "Bytes that destinations sent over TCP connections.", |v| v.sent),
            (names::TCP_RECEIVED, "Bytes that destinations received over TCP connections.", |v| v.received),
        ];
        let rules = self.overrides.lock().clone();
        for (name, help, pick) in counters {
            out.head(name, help, Kind::Counter);
            for (labels, value) in changed(&rules, name, &all).iter() {
                out.line(name, "", labels, pick(value) as f64);
            }
        }
    }
}

/// One metric without records behind it.
pub struct Sample<'a> {
    pub name: &'a str,
    pub help: &'a str,
    pub kind: Kind,
    pub labels: &'a [(&'a str, &'a str)],
    pub value: f64,
}

impl<'a> Sample<'a> {
    pub fn gauge(name: &'a str, help: &'a str, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: &[], value }
    }

    pub fn counter(name: &'a str, help: &'a str, value: f64) -> Self {
        Self { name, help, kind: Kind::Counter, labels: &[], value }
    }

    fn render(&self, out: &mut Exposition, with_head: bool) {
        if with_head {
            out.head(self.name, self.help, self.kind);
        }
        let mut labels = String::new();
        for (name, value) in self.labels {
            pair(&mut labels, name, value);
        }
        out.line(self.name, "", &labels, self.value);
    }
}

fn relaxed(value: &AtomicU64) -> f64 {
    value.load(Ordering::Relaxed) as f64
}

fn render_histogram<'a>(out: &mut Exposition, name: &str, labels: &str, histogram: &Histogram, exemplar: impl Fn(usize) -> Option<&'a Exemplar>) {
    let mut cumulative = 0;
    let bounds = BUCKETS.into_iter().map(Some).chain([None]);
    for (place, (count, bound)) in histogram.counts.iter().zip(bounds).enumerate() {
        cumulative += count;
        out.bucket(name, labels, bound, cumulative, exemplar(place));
    }
    out.line(name, "_sum", labels, histogram.sum);
    out.line(name, "_count", labels, cumulative as f64);
}

#[cfg(test)]
mod tests;
