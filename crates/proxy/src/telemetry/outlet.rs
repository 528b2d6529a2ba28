//! What one collector gets: a bounded queue, batches, and patience with a collector that is away.

use super::post::{Post, Sent, authority};
use super::resource::{resource, scope};
use super::{Item, Loss, Telemetry, log, metrics, span};
use crate::backoff::Backoff;
use crate::current::Current;
use crate::world::World;
use jiff::Timestamp;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use taut_model::telemetry::Collector;
use taut_observe::metrics::Registry;
use taut_wire::otlp::{
    ExportLogsRequest, ExportMetricsRequest, ExportTraceRequest, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, ScopeLogs, ScopeMetrics,
    ScopeSpans, Signal,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What may wait for a collector: about 4 MiB of records.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// For how long one batch is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The entrance, for workers.
pub struct Outlet {
    pub collector: Arc<Collector>,
    pub(super) queue: mpsc::Sender<Item>,
}

/// What is behind it: [`Sender::run`] ends when every entrance is gone and what was in the queue was sent.
pub struct Sender {
    collector: Arc<Collector>,
    queue: mpsc::Receiver<Item>,
    post: Post,
    source: Source,
    telemetry: Telemetry,
    resource: Resource,
    backoff: Backoff,
    /// The collector did not take the last batch, and that was said.
    complained: bool,
}

/// Where metrics are read.
#[derive(Clone)]
pub struct Source {
    pub world: World,
    pub current: Arc<Current>,
    pub registry: Arc<Registry>,
    /// When the counters began.
    pub since: Timestamp,
}

impl Source {
    pub fn new(world: World, current: Arc<Current>, registry: Arc<Registry>) -> Self {
        Self { since: world.wall(), world, current, registry }
    }
}

/// Of the dice that waiting between tries rolls.
const SALT: u64 = 0x6f74_6c70;

pub fn outlet(collector: Arc<Collector>, source: Source, telemetry: Telemetry) -> (Outlet, Sender) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let sender = Sender {
        collector: collector.clone(),
        queue: receiver,
        post: Post::new(source.world.clone(), collector.clone()),
        resource: resource(source.current.workload()),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, source.world.dice(SALT)),
        source,
        telemetry,
        complained: false,
    };
    (Outlet { collector, queue }, sender)
}

impl Sender {
    pub async fn run(mut self) {
        let every = self.collector.metrics_every;
        let mut due = Instant::now() + every;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(due) => {
                    self.export_metrics().await;
                    due = Instant::now() + every;
                }
                first = self.queue.recv() => match first {
                    Some(first) => self.export_batch(first).await,
                    None => break,
                }
            }
        }
        self.export_metrics().await;
    }

    async fn export_batch(&mut self, first: Item) {
        let (until, mut batch) = (Instant::now() + GATHER, vec![first]);
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            // 0: every entrance is gone.
            if timeout_at(until, self.queue.recv_many(&mut batch, room)).await.is_ok_and(|received| received > 0) {
                continue;
            }
            break;
        }
        let (mut spans, mut logs) = (Vec::new(), Vec::new());
        for item in batch {
            match item {
                Item::Span(finished) => spans.push(span::span(&finished)),
                Item::Exchange { record, span, sampled } => logs.push(log::exchange(&record, span, sampled)),
                Item::Connection(record) => logs.push(log::connection(&record)),
            }
        }
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans }];
            let resource_spans = vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
            self.deliver(Signal::Traces, &ExportTraceRequest { resource_spans }, count).await;
        }
        if !logs.is_empty() {
            let count = logs.len() as u64;
            let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records: logs }];
            let resource_logs = vec![ResourceLogs { resource: Some(self.resource.clone()), scope_logs }];
            self.deliver(Signal::Logs, &ExportLogsRequest { resource_logs }, count).await;
        }
    }

    /// If this collector gets metrics.
    async fn export_metrics(&mut self) {
        let plan = self.source.current.plan();
        let Some((_, rules)) = plan.telemetry().metrics.iter().find(|(to, _)| *to == self.collector) else { return };
        let span = metrics::Span { since: self.source.since, until: self.source.world.wall() };
        let (metrics, points) = metrics::metrics(self.source.registry.standard(rules), span);
        if points > 0 {
            let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
            let resource_metrics = vec![ResourceMetrics { resource: Some(self.resource.clone()), scope_metrics }];
            self.deliver(Signal::Metrics, &ExportMetricsRequest { resource_metrics }, points).await;
        }
    }

    /// Sends one request until it is taken, refused, or too old. Meanwhile the queue fills, and what does not fit is counted.
    async fn deliver<M: Message + Clone + 'static>(&mut self, signal: Signal, message: &M, count: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (loss, why) = match self.post.send(signal, message).await {
                Sent::Taken { rejected, why } => {
                    let rejected = rejected.min(count);
                    let counts = &self.telemetry.shared.counts;
                    counts.exported(signal, count - rejected);
                    counts.lost(signal, Loss::Refused, rejected);
                    self.backoff.reset();
                    if rejected == 0 {
                        return self.is_well(signal);
                    }
                    return self.complain(signal, &format!("{rejected} of {count} were rejected: {why}"));
                }
                Sent::Refused { why } => (Loss::Refused, why),
                Sent::Later { wait, why } => {
                    let again = Instant::now() + wait.unwrap_or_else(|| self.backoff.next());
                    // Nobody waits for a proxy that stops. Values of metrics are sent anew at the next turn anyway.
                    if again < until && !self.queue.is_closed() && signal != Signal::Metrics {
                        self.complain(signal, &why);
                        sleep_until(again).await;
                        continue;
                    }
                    (Loss::Unreachable, why)
                }
            };
            self.telemetry.shared.counts.lost(signal, loss, count);
            return self.complain(signal, &why);
        }
    }

    fn is_well(&mut self, signal: Signal) {
        if std::mem::take(&mut self.complained) {
            tracing::info!(signal = signal.name(), "the collector at {} takes what is sent again", authority(&self.collector));
        }
    }

    /// Once, until it is well again.
    fn complain(&mut self, signal: Signal, why: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(
                signal = signal.name(),
                "the collector at {} does not take what is sent: {why}; what is lost is counted in {}",
                authority(&self.collector),
                taut_observe::names::TELEMETRY_DROPPED
            );
        }
    }
}
