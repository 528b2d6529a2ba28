//! What the mesh tells observers, and whom: providers (MeshSettings), and who uses which of them and how much (kind Telemetry).

use crate::authorizer::Authorizer;
use crate::expression::Expression;
use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where spans, metrics or log lines go, by the name that Telemetry uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub name: String,
    pub kind: ProviderKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderKind {
    /// `/metrics` of each proxy.
    Prometheus,
    /// The access log of each proxy.
    File,
    Otlp(Collector),
    /// Not for observers: CUSTOM policies ask it.
    Authorizer(Authorizer),
}

/// A receiver of OTLP: a collector, or a store that takes OTLP itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// A name that each proxy resolves, or an address.
    pub host: String,
    pub port: u16,
    pub protocol: OtlpProtocol,
    /// Of one export.
    pub timeout: Duration,
    /// Between two exports of metrics; longer than zero.
    pub metrics_every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    Grpc {
        headers: Vec<(String, String)>,
    },
    /// Protobuf in HTTP/1.1. What stands before `/v1/traces` in the path, empty for nothing.
    Http {
        base: String,
        headers: Vec<(String, String)>,
    },
}

/// The names of the providers that are used where no Telemetry names others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultProviders {
    pub tracing: Option<String>,
    pub logging: Vec<String>,
    pub metrics: Vec<String>,
}

/// How much is traced where no Telemetry says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracingDefaults {
    /// Percent of the traces that begin here.
    pub sampling: f64,
    /// Exchanges of traces that were not sampled: those that failed are reported.
    pub failures: bool,
    /// The same, for those that took longer.
    pub slower_than: Option<Duration>,
}

impl Default for TracingDefaults {
    fn default() -> Self {
        Self { sampling: 1.0, failures: true, slower_than: None }
    }
}

/// What one user object says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    pub origin: Origin,
    pub namespace: String,
    /// Empty: the whole namespace (or mesh, in the root namespace).
    pub selector: BTreeMap<String, String>,
    /// RFC 3339 creation time: of several for the same workloads the oldest counts.
    pub created: String,
    pub tracing: Vec<Tracing>,
    pub logging: Vec<Logging>,
    pub metrics: Vec<Metrics>,
}

/// Which exchanges of a workload: those it makes, those it serves, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Both,
    Client,
    Server,
}

impl Mode {
    pub fn includes_client(self) -> bool {
        self != Self::Server
    }

    pub fn includes_server(self) -> bool {
        self != Self::Client
    }
}

/// What is left out stays as the wider object has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracing {
    pub origin: Origin,
    pub mode: Mode,
    pub provider: Option<String>,
    /// Percent, 0 to 100.
    pub sampling: Option<f64>,
    /// No spans are made; what others decided about a trace is passed on.
    pub disabled: Option<bool>,
    /// Empty: as before. Else instead of what was before.
    pub tags: BTreeMap<String, Tag>,
}

/// Where the value of a span's attribute comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tag {
    Literal(String),
    /// Of the proxy's process.
    Environment {
        name: String,
        default: String,
    },
    /// Of the request.
    Header {
        name: String,
        default: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logging {
    pub origin: Origin,
    pub mode: Mode,
    /// Empty: those of the wider object.
    pub providers: Vec<String>,
    pub disabled: bool,
    /// Only what it holds for is logged.
    pub filter: Option<Expression>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    pub origin: Origin,
    /// Empty: those of the wider object.
    pub providers: Vec<String>,
    pub overrides: Vec<MetricOverride>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricOverride {
    pub mode: Mode,
    /// As it is exported (`istio_requests_total`); `None`: all of Istio's standard metrics.
    pub metric: Option<String>,
    pub disabled: Option<bool>,
    /// By label.
    pub tags: BTreeMap<String, TagChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagChange {
    Remove,
    /// One value for all series.
    Set(String),
}
