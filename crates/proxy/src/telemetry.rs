//! What goes to collectors: of each finished exchange and connection, what Telemetry asks for. Owns the way from a worker to a collector's
//! outlet; never blocks, and costs an exchange that nobody asked about a look at its plan.

mod keeper;
mod log;
mod metrics;
mod outlet;
mod post;
mod resource;
mod span;

pub use keeper::keep;
pub use outlet::Source;

use crate::evidence::Evidence;
use crate::trace::Trail;
use arc_swap::ArcSwap;
use outlet::Outlet;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_model::expression::Expression;
use taut_model::telemetry::Collector;
use taut_observe::record::{ConnectionRecord, Edge, ExchangeRecord, Reporter};
use taut_plan::telemetry::{FileLog, Observed, Tracing};
use taut_plan::{Direction, Plan};
use taut_wire::otlp::Signal;
use tokio::sync::watch;

/// Spans of traces that were not sampled, per second and proxy: when everything fails, a share of it says so too.
const MOST_LATE: u64 = 50;

/// Takes what has happened from all workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    outlets: ArcSwap<Vec<Outlet>>,
    counts: Counts,
    late: Late,
    /// Outlets that still work.
    working: watch::Sender<usize>,
}

/// One thing on its way to a collector.
enum Item {
    Span(Box<Finished>),
    Exchange { record: Arc<ExchangeRecord>, span: u64, sampled: bool },
    Connection(Box<ConnectionRecord>),
}

/// An exchange whose span is reported.
struct Finished {
    record: Arc<ExchangeRecord>,
    trail: Trail,
    tracing: Arc<Tracing>,
    /// The other end of the client's connection, and the client as far as that is another.
    peer: Option<std::net::IpAddr>,
    client: Option<std::net::IpAddr>,
}

impl Item {
    fn signal(&self) -> Signal {
        match self {
            Self::Span(_) => Signal::Traces,
            Self::Exchange { .. } | Self::Connection(_) => Signal::Logs,
        }
    }
}

/// Why something did not reach a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// More came than the collector took.
    QueueFull,
    /// The collector said no.
    Refused,
    /// It could not be reached for too long.
    Unreachable,
    /// More failed in one second than is told.
    TooMany,
}

impl Loss {
    const ALL: [(Self, &'static str); 4] =
        [(Self::QueueFull, "queue_full"), (Self::Refused, "refused"), (Self::Unreachable, "unreachable"), (Self::TooMany, "too_many_failures")];
}

#[derive(Default)]
struct Counts {
    exported: [AtomicU64; Signal::ALL.len()],
    lost: [[AtomicU64; Loss::ALL.len()]; Signal::ALL.len()],
}

impl Counts {
    fn exported(&self, signal: Signal, count: u64) {
        self.exported[signal as usize].fetch_add(count, Ordering::Relaxed);
    }

    fn lost(&self, signal: Signal, loss: Loss, count: u64) {
        self.lost[signal as usize][loss as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// How many late spans this second had.
#[derive(Default)]
struct Late {
    second: AtomicU64,
    told: AtomicU64,
}

impl Late {
    /// Two workers that see a new second at once may both begin to count: a few more are told.
    fn has_room(&self, now: Duration) -> bool {
        if self.second.swap(now.as_secs(), Ordering::Relaxed) != now.as_secs() {
            self.told.store(0, Ordering::Relaxed);
        }
        self.told.fetch_add(1, Ordering::Relaxed) < MOST_LATE
    }
}

impl Telemetry {
    /// An exchange has ended. `dice` gives the time and a number for a span.
    pub fn exchange(&self, record: &Arc<ExchangeRecord>, trail: Trail, evidence: &Evidence, dice: impl FnOnce() -> (Duration, u64)) {
        let observed = evidence.plan.telemetry().of(evidence.facts.direction);
        let (span, sampled) = (trail.span, trail.sampled);
        if let Some(tracing) = &observed.tracing
            && let Some(trail) = self.told_of(tracing, record, trail, dice)
        {
            let (peer, client) = (evidence.facts.peer_address, evidence.facts.peer_client);
            let finished = Finished { record: record.clone(), trail, tracing: tracing.clone(), peer, client };
            self.put(&tracing.collector, Item::Span(Box::new(finished)));
        }
        for (collector, filter) in &observed.logs {
            if wanted(filter.as_deref(), record) {
                self.put(collector, Item::Exchange { record: record.clone(), span, sampled });
            }
        }
    }

    /// The place of a span that is to be reported.
    fn told_of(&self, tracing: &Tracing, record: &ExchangeRecord, mut trail: Trail, dice: impl FnOnce() -> (Duration, u64)) -> Option<Trail> {
        if trail.sampled {
            return Some(trail);
        }
        let slow = tracing.slower_than.is_some_and(|limit| u128::from(record.duration_us) > limit.as_micros());
        if !tracing.report || !(slow || tracing.failures && span::failed(record)) {
            return None;
        }
        let (now, span) = dice();
        if !self.shared.late.has_room(now) {
            self.shared.counts.lost(Signal::Traces, Loss::TooMany, 1);
            return None;
        }
        if trail.span == 0 {
            trail.span = span;
        }
        Some(trail)
    }

    /// A connection has ended.
    pub fn connection(&self, record: &ConnectionRecord, evidence: Option<&Evidence>) {
        let Some(observed) = evidence.map(|evidence| observed(&evidence.plan, &record.edge)) else { return };
        for (collector, filter) in &observed.logs {
            if filter.as_ref().is_none_or(|filter| filter.holds(&log::of_connection(record))) {
                self.put(collector, Item::Connection(Box::new(record.clone())));
            }
        }
    }

    fn put(&self, collector: &Arc<Collector>, item: Item) {
        let signal = item.signal();
        let outlets = self.shared.outlets.load();
        let outlet = outlets.iter().find(|outlet| Arc::ptr_eq(&outlet.collector, collector) || outlet.collector == *collector);
        if outlet.is_none_or(|outlet| outlet.queue.try_send(item).is_err()) {
            self.shared.counts.lost(signal, Loss::QueueFull, 1);
        }
    }

    /// Signal and count of what collectors have taken.
    pub fn exported(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Signal::ALL.into_iter().map(|signal| (signal.name(), self.shared.counts.exported[signal as usize].load(Ordering::Relaxed)))
    }

    /// Signal, reason and count of what was lost.
    pub fn lost(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let of = |signal: Signal| {
            let lost = &self.shared.counts.lost[signal as usize];
            Loss::ALL.into_iter().map(move |(loss, name)| (signal.name(), name, lost[loss as usize].load(Ordering::Relaxed)))
        };
        Signal::ALL.into_iter().flat_map(of)
    }
}

/// Whether the access log of the proxy is to have a line; `otherwise`: what it was started with.
pub fn is_logged(record: &ExchangeRecord, evidence: &Evidence, otherwise: bool) -> bool {
    match &evidence.plan.telemetry().of(evidence.facts.direction).file {
        None => otherwise,
        Some(FileLog::Off) => false,
        Some(FileLog::All) => true,
        Some(FileLog::Filtered(filter)) => wanted(Some(filter), record),
    }
}

/// The same for a connection.
pub fn is_connection_logged(record: &ConnectionRecord, evidence: Option<&Evidence>, otherwise: bool) -> bool {
    match evidence.and_then(|evidence| observed(&evidence.plan, &record.edge).file.as_ref()) {
        None => otherwise,
        Some(FileLog::Off) => false,
        Some(FileLog::All) => true,
        Some(FileLog::Filtered(filter)) => filter.holds(&log::of_connection(record)),
    }
}

fn wanted(filter: Option<&Expression>, record: &ExchangeRecord) -> bool {
    filter.is_none_or(|filter| filter.holds(&log::of_exchange(record)))
}

fn observed<'a>(plan: &'a Plan, edge: &Edge) -> &'a Observed {
    plan.telemetry().of(match edge.reporter {
        Reporter::Source => Direction::Outbound,
        Reporter::Destination => Direction::Inbound,
    })
}

/// What `/config` says of it.
pub fn describe(plan: &Plan) -> Value {
    let telemetry = plan.telemetry();
    let at = |collector: &Collector| format!("{}:{}", collector.host, collector.port);
    let side = |observed: &Observed| {
        let tracing = observed.tracing.as_ref().map(|tracing| {
            json!({
                "collector": at(&tracing.collector),
                "randomSamplingPercentage": tracing.sampling,
                "reports": tracing.report,
                "customTags": tracing.tags.iter().map(|(name, _)| name).collect::<Vec<_>>(),
                "failures": tracing.failures,
                "slowerThanSeconds": tracing.slower_than.map(|limit| limit.as_secs_f64()),
            })
        });
        let logs = observed.logs.iter().map(|(to, filter)| json!({ "collector": at(to), "filter": filter.as_ref().map(|filter| filter.text()) }));
        let file = match &observed.file {
            None => json!("as started"),
            Some(FileLog::Off) => json!("off"),
            Some(FileLog::All) => json!("on"),
            Some(FileLog::Filtered(filter)) => json!({ "filter": filter.text() }),
        };
        json!({ "tracing": tracing, "accessLog": file, "logs": logs.collect::<Vec<_>>() })
    };
    let metrics = telemetry.metrics.iter().map(|(to, rules)| json!({ "collector": at(to), "overrides": **rules }));
    json!({
        "from": telemetry.origins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "client": side(telemetry.of(Direction::Outbound)),
        "server": side(telemetry.of(Direction::Inbound)),
        "prometheusOverrides": *telemetry.prometheus,
        "metrics": metrics.collect::<Vec<_>>(),
    })
}
