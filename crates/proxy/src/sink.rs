//! Where finished records go: metrics, the access log, the ring that `taut why REQUEST-ID` reads, and beside it the way to collectors.

use crate::evidence::Evidence;
use crate::refusals::Refusals;
use crate::ring::{Kept, Ring, Tapped};
use crate::telemetry::{Telemetry, is_connection_logged, is_logged};
use crate::watched::Watched;
use crate::world::World;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use taut_observe::access_log::{AccessLog, Format};
use taut_observe::metrics::Registry;
use taut_observe::record::{ConnectionRecord, Edge, ExchangeRecord};
use taut_observe::tally::Tally;

/// How often metric series are looked through for those that nothing changes.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// Takes records from all workers. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    /// Of this worker; `None` when signals are off.
    tally: Option<Arc<Tally>>,
}

struct Shared {
    registry: Arc<Registry>,
    access_log: OnceLock<AccessLog>,
    /// Whether the proxy was started with one, which Telemetry may say otherwise about.
    logs: bool,
    telemetry: Telemetry,
    ring: Ring,
    watched: Watched,
    refusals: Refusals,
    /// Of each worker.
    tallies: Mutex<Vec<Arc<Tally>>>,
}

impl Sink {
    pub fn new(registry: Arc<Registry>, access_log: Option<AccessLog>, keep: usize) -> Self {
        let logs = access_log.is_some();
        let access_log = access_log.map_or_else(OnceLock::new, OnceLock::from);
        let (telemetry, ring, watched, refusals) = (Telemetry::default(), Ring::new(keep), Watched::default(), Refusals::default());
        Self { shared: Arc::new(Shared { registry, access_log, logs, telemetry, ring, watched, refusals, tallies: Mutex::default() }), tally: None }
    }

    /// The same with a tally of its own, for one worker.
    pub fn tallied(&self) -> Self {
        let tally = Arc::new(Tally::default());
        self.shared.tallies.lock().push(tally.clone());
        Self { shared: self.shared.clone(), tally: Some(tally) }
    }

    /// Where this worker sums its signals, if it does.
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_deref()
    }

    /// Where all workers sum theirs.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.shared.tallies.lock().clone()
    }

    /// One HTTP exchange has ended.
    pub fn exchange(&self, record: Arc<ExchangeRecord>, evidence: Evidence) {
        self.shared.registry.exchange(&record);
        self.shared.refusals.note(&record);
        if let Some(log) = self.shared.access_log.get()
            && is_logged(&record, &evidence, self.shared.logs)
        {
            log.exchange(&record);
        }
        self.shared.ring.push_exchange(record, evidence);
    }

    /// One connection has ended.
    pub fn connection(&self, record: ConnectionRecord, evidence: Option<Evidence>) {
        self.shared.registry.connection(&record);
        if let Some(log) = self.shared.access_log.get()
            && is_connection_logged(&record, evidence.as_ref(), self.shared.logs)
        {
            log.connection(&record);
        }
        self.shared.telemetry.connection(&record, evidence.as_ref());
        self.shared.ring.push_connection(record, evidence);
    }

    /// A TCP connection has reached its destination; [`Sink::connection`] follows at its end.
    pub fn connection_opened(&self, edge: &Edge) {
        self.shared.registry.connection_opened(edge);
    }

    /// Connections that stand, of any kind: +1 when one is accepted, -1 when it ends.
    pub fn connections_open(&self, delta: i64) {
        self.shared.registry.connections_open(delta);
    }

    /// An attempt beyond the first was made.
    pub fn retried(&self) {
        self.shared.registry.retried();
    }

    /// A request had to wait for its turn with the application.
    pub fn waited(&self) {
        self.shared.registry.waited();
    }

    /// A request was sent away before it reached the application.
    pub fn shed(&self) {
        self.shared.registry.shed();
    }

    /// A second copy was sent.
    pub fn hedged(&self) {
        self.shared.registry.hedged();
    }

    /// The limit of a worker for one port of the application has moved by this much; no limit counts as 0.
    pub fn limit_changed(&self, delta: i64) {
        self.shared.registry.limit_changed(delta);
    }

    /// A worker begins to let requests in to a port of the application.
    pub fn door_opened(&self, port: u16) {
        self.shared.registry.door_opened(port);
    }

    /// What a worker has proven that the application can work on at a time at a port.
    pub fn proven_limit_changed(&self, port: u16, before: Option<u32>, now: Option<u32>) {
        self.shared.registry.proven_limit_changed(port, before, now);
    }

    /// A mirrored copy was not sent, because too many were under way.
    pub fn mirror_dropped(&self) {
        self.shared.registry.mirror_dropped();
    }

    /// The records with this request id (or connection id) and what they were decided from, newest first.
    pub fn find(&self, id: &str) -> Vec<Kept> {
        self.shared.ring.find(id)
    }

    /// The newest records, newest first.
    pub fn newest(&self, count: usize) -> Vec<Kept> {
        self.shared.ring.newest(count)
    }

    /// What came after a position of the ring: see [`Ring::since`].
    pub fn since(&self, position: u64) -> Tapped {
        self.shared.ring.since(position)
    }

    /// Headers that taps ask about.
    pub fn watched(&self) -> &Watched {
        &self.shared.watched
    }

    /// Access log lines that were lost.
    pub fn access_log_dropped(&self) -> u64 {
        self.shared.access_log.get().map_or(0, AccessLog::dropped)
    }

    /// Telemetry wants an access log of a proxy that was started without one: as text, on standard output.
    pub fn open_access_log(&self) {
        if self.shared.access_log.get().is_some() {
            return;
        }
        match AccessLog::start(Format::Text, std::io::stdout()) {
            // Nobody else opens one.
            Ok(log) => drop(self.shared.access_log.set(log)),
            Err(error) => tracing::error!(%error, "no thread for the access log: nothing is logged"),
        }
    }

    /// How often policies refuse.
    pub fn refusals(&self) -> &Refusals {
        &self.shared.refusals
    }

    /// What goes to collectors.
    pub fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }
}

/// Forgets metric series that nothing changes, now and then. Never ends.
pub async fn expire_series(world: World, registry: Arc<Registry>) {
    loop {
        registry.expire(world.now());
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}
