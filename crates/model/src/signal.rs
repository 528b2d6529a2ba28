//! Signals: what went over one edge of the mesh in a span of time. They are summed in the proxy, sent and kept as bytes, and added up
//! again over edges and time; [`Signals::merge`] of parts is what the whole would have been.

mod codec;
pub mod sketch;
#[cfg(test)]
mod tests;
pub mod varint;

pub use sketch::{Sketch, SketchSum};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::{Arc, LazyLock};

/// Seconds since 1970.
pub type Second = u64;

/// The value of what is not known.
pub const UNKNOWN: &str = "unknown";
/// The value of every name of an edge that stands for those that found no room of their own.
pub const OTHER: &str = "other";

/// A workload as records and signals name it; unknown parts are `unknown`, as in Istio's metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Party {
    pub workload: String,
    pub namespace: String,
    pub app: String,
    pub version: String,
    /// `spiffe://…`, or `unknown`.
    pub principal: String,
}

impl Party {
    /// The one unknown party.
    pub fn nobody() -> Arc<Self> {
        static NOBODY: LazyLock<Arc<Party>> = LazyLock::new(|| Arc::new(Party::unknown()));
        NOBODY.clone()
    }

    pub fn unknown() -> Self {
        Self::of(UNKNOWN)
    }

    /// Of every edge that stands for others.
    pub fn other() -> Self {
        Self::of(OTHER)
    }

    fn of(name: &str) -> Self {
        let name = || name.to_owned();
        Self { workload: name(), namespace: name(), app: name(), version: name(), principal: name() }
    }
}

/// Which proxy of an edge has seen what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Http,
    Grpc,
    Tcp,
}

/// Whether what passes an edge is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    MutualTls,
    Plaintext,
    /// Nothing was carried yet.
    Unknown,
}

/// The service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceName {
    /// Fully qualified.
    pub host: String,
    pub namespace: String,
    pub name: String,
}

/// Who called whom, for what, how, as one of the two saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    pub source: Arc<Party>,
    pub service: Arc<ServiceName>,
    /// Unknown when nobody was reached.
    pub destination: Arc<Party>,
    pub protocol: Protocol,
    /// The name of the rule that decided, never a path; may be empty.
    pub route: Arc<str>,
    pub reporter: Reporter,
    pub security: Security,
}

impl Edge {
    /// Stands for those edges of a reporter that found no room of their own.
    pub fn other(reporter: Reporter) -> Self {
        let (party, name) = (Arc::new(Party::other()), || OTHER.to_owned());
        Self {
            source: party.clone(),
            service: Arc::new(ServiceName { host: name(), namespace: name(), name: name() }),
            destination: party,
            protocol: Protocol::Http,
            route: OTHER.into(),
            reporter,
            security: Security::Unknown,
        }
    }

    /// Whether it stands for edges that found no room of their own.
    pub fn is_other(&self) -> bool {
        self.service.host == OTHER && self.source.workload == OTHER
    }

    /// The party whose proxy reports.
    pub fn own(&self) -> &Arc<Party> {
        match self.reporter {
            Reporter::Source => &self.source,
            Reporter::Destination => &self.destination,
        }
    }

    /// True of one of the two reports of what passed between two proxies, so that each request counts once: the source's, and the
    /// destination's where the source has no proxy of the mesh.
    pub fn counts_once(&self) -> bool {
        self.reporter == Reporter::Source || self.security != Security::MutualTls
    }
}

/// How an exchange (or a connection that failed) has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Outcome {
    /// HTTP status as the client got it; 0 when it left before one, and for connections.
    pub status: u16,
    pub grpc: Option<u16>,
    /// Why it failed, in the words of the record; `None` when it was carried.
    pub reason: Option<Arc<str>>,
}

/// The reason that is no fault of the mesh's or the application's.
const CLIENT_LEFT: &str = "client_left";

impl Outcome {
    /// Why it failed: the record's reason, or `http_5xx` or `grpc_N` where the application itself failed.
    pub fn failure(&self) -> Option<&str> {
        static GRPC: LazyLock<Vec<String>> = LazyLock::new(|| (0..=16).map(|code| format!("grpc_{code}")).collect());
        match (&self.reason, self.grpc, self.status) {
            (Some(reason), _, _) => Some(reason),
            (None, Some(code), _) if code != 0 => Some(GRPC.get(usize::from(code)).map_or("grpc_unknown", String::as_str)),
            (None, _, 500..) => Some("http_5xx"),
            (None, _, _) => None,
        }
    }
}

/// How many outcomes of an edge are told apart. Applications and peers choose codes and reasons: what comes beyond is told apart by the
/// class of its status alone.
pub const MOST_OUTCOMES: usize = 32;

/// Counts by outcome, in order, few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes(Vec<(Outcome, u64)>);

impl Outcomes {
    pub fn iter(&self) -> impl Iterator<Item = &(Outcome, u64)> {
        self.0.iter()
    }

    /// Counts an outcome without a reason; the reason's text is only made when it is new.
    pub fn count(&mut self, status: u16, grpc: Option<u16>, reason: Option<&str>, times: u64) {
        let found = self.0.iter_mut().find(|(known, _)| known.status == status && known.grpc == grpc && known.reason.as_deref() == reason);
        match found {
            Some((_, count)) => *count = count.saturating_add(times),
            None => self.insert(Outcome { status, grpc, reason: reason.map(Arc::from) }, times),
        }
    }

    fn insert(&mut self, outcome: Outcome, times: u64) {
        let told_apart = self.0.iter().filter(|(known, _)| !is_coarse(known)).count();
        let outcome = if told_apart < MOST_OUTCOMES || is_coarse(&outcome) { outcome } else { coarse(&outcome) };
        match self.0.binary_search_by(|(known, _)| known.cmp(&outcome)) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(times),
            Err(at) => self.0.insert(at, (outcome, times)),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (outcome, times) in &other.0 {
            self.add(outcome, *times);
        }
    }

    fn add(&mut self, outcome: &Outcome, times: u64) {
        match self.0.iter_mut().find(|(known, _)| known == outcome) {
            Some((_, count)) => *count = count.saturating_add(times),
            None => self.insert(outcome.clone(), times),
        }
    }
}

/// The class of a status, for what finds no room: 0, 100, … 500 and 600 for whatever is above, with and without a failure.
fn coarse(outcome: &Outcome) -> Outcome {
    let reason = outcome.failure().is_some().then(|| Arc::from(OTHER));
    Outcome { status: (outcome.status / 100).min(6) * 100, grpc: None, reason }
}

fn is_coarse(outcome: &Outcome) -> bool {
    let class = outcome.status.is_multiple_of(100) && outcome.status <= 600 && outcome.grpc.is_none();
    class && outcome.reason.as_deref().map_or(outcome.status < 500, |reason| reason == OTHER)
}

/// What passed an edge in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Exchanges that have ended.
    pub requests: u64,
    /// How they ended; connections that failed are among them (status 0), and not among the requests.
    pub outcomes: Outcomes,
    /// How long exchanges took, from the request's head to the response's last byte, in microseconds.
    pub latency: Sketch,
    /// From the client: bodies of requests, all of what a connection carries.
    pub request_bytes: u64,
    /// To the client.
    pub response_bytes: u64,
    /// Connections of TCP (or that became tunnels) that have reached their destination.
    pub opened: u64,
    pub closed: u64,
    /// Those that were open at the end of the span.
    pub connections: u64,
    /// Exchanges under way: the most at once.
    pub in_flight: u64,
}

impl Signals {
    /// Adds what passed the same edge through another proxy (or worker), or passed other edges, in the same span of time.
    pub fn merge(&mut self, other: &Self) {
        self.add(other);
        self.connections = self.connections.saturating_add(other.connections);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
    }

    /// Adds what passed the same edge (or edges) in the span that follows: the open connections are those of the later one, and the
    /// exchanges under way the most of either.
    pub fn then(&mut self, later: &Self) {
        self.add(later);
        self.connections = later.connections;
        self.in_flight = self.in_flight.max(later.in_flight);
    }

    fn add(&mut self, other: &Self) {
        self.outcomes.merge(&other.outcomes);
        self.latency.merge(&other.latency);
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.request_bytes, other.request_bytes),
            (&mut self.response_bytes, other.response_bytes),
            (&mut self.opened, other.opened),
            (&mut self.closed, other.closed),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Exchanges by HTTP status.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = BTreeMap::new();
        for (outcome, count) in self.outcomes.iter().filter(|(outcome, _)| outcome.status > 0) {
            statuses.entry(outcome.status).or_insert(0_u64).add_assign(count);
        }
        statuses
    }

    /// Failures by reason: see [`Outcome::failure`].
    pub fn failures(&self) -> BTreeMap<&str, u64> {
        let mut failures = BTreeMap::new();
        for (outcome, count) in self.outcomes.iter() {
            if let Some(reason) = outcome.failure() {
                failures.entry(reason).or_insert(0_u64).add_assign(count);
            }
        }
        failures
    }

    /// Failures of the mesh and of the application: all but those of clients that left.
    pub fn errors(&self) -> u64 {
        let is_error = |outcome: &Outcome| outcome.failure().is_some_and(|reason| reason != CLIENT_LEFT);
        self.outcomes.iter().filter(|(outcome, _)| is_error(outcome)).map(|(_, count)| count).sum()
    }

    /// Errors per request, or per connection where there are no requests; 0 without any.
    pub fn error_rate(&self) -> f64 {
        let all = if self.requests > 0 { self.requests } else { self.closed.max(self.errors()) };
        if all == 0 { 0.0 } else { (self.errors() as f64 / all as f64).min(1.0) }
    }
}

/// The two values of [`Signals`] that are no sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub connections: u64,
    pub in_flight: u64,
}

/// What one proxy has seen in one second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `namespace/name` of the proxy's workload.
    pub proxy: String,
    /// Tells the lives of a proxy apart: drawn when it starts.
    pub epoch: u64,
    /// Counts the batches of an epoch from 1 on; one that was dropped unsent has taken its number with it.
    pub sequence: u64,
    /// The second that ended, by the proxy's clock.
    pub second: Second,
    pub entries: Vec<(Arc<Edge>, Signals)>,
    /// Batches just before this one that the proxy had to drop.
    pub lost: u64,
    /// No more will come in this epoch.
    pub last: bool,
}

impl fmt::Display for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        })
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MutualTls => "mutual_tls",
            Self::Plaintext => "plaintext",
            Self::Unknown => UNKNOWN,
        })
    }
}
