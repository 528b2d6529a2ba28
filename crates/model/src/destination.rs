//! How to reach a destination: subsets, balancing, connection limits, outlier ejection, TLS (Istio's DestinationRule).

use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    pub origin: Origin,
    pub host: String,
    /// The namespace of the object: a client's own namespace wins over the service's.
    pub namespace: String,
    pub role: Role,
    pub clients: Clients,
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
}

impl Destination {
    /// What the object behind `origin` adds to the rules for a host of its own namespace, for all clients.
    pub fn addition(origin: Origin, host: String, policy: TrafficPolicy) -> Self {
        let namespace = origin.object.namespace.clone();
        Self { origin, host, namespace, role: Role::Addition, clients: Clients::default(), policy, subsets: Vec::new() }
    }
}

/// How an object stands to others about the same host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// One of them wins (DestinationRule).
    #[default]
    Rule,
    /// Fills in what the winning rule does not say (HealthCheck, XBackendTrafficPolicy).
    Addition,
}

/// The clients that an object speaks to; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// Of these namespaces (`exportTo`); empty: of all.
    pub namespaces: Vec<String>,
    /// With these labels (`workloadSelector`); empty: all.
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subset {
    pub origin: Origin,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// What it sets wins over the destination's policy, setting by setting.
    pub policy: TrafficPolicy,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficPolicy {
    pub balancer: Option<Balancer>,
    pub limits: Option<Limits>,
    pub outlier: Option<OutlierPolicy>,
    pub tls: Option<ClientTls>,
    pub retry_budget: Option<RetryBudget>,
    /// What endpoints are told about the client; nothing if not set.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which endpoints are near. Together with `balancer` and `warm_up` it is one setting: whoever says one of the three says all.
    pub locality: Option<LocalityPolicy>,
    pub warm_up: Option<WarmUp>,
    pub health_check: Option<HealthCheck>,
    pub persistence: Option<Persistence>,
    /// Port-level settings replace the destination-level ones as a whole (Istio: "fields omitted are not inherited").
    pub ports: Vec<(u16, TrafficPolicy)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Balancer {
    /// Power of two choices by requests in flight: the default.
    LeastRequest,
    /// Power of two choices by peak-EWMA latency x in flight (Linkerd's).
    PeakEwma,
    /// By the load and latency that the peers' proxies report, hot ones avoided (Prequal's); as `LeastRequest` without reports.
    LoadAware,
    RoundRobin,
    Random,
    /// Ketama-like ring of at least `min_size` points (Istio's default 1024).
    RingHash {
        key: HashKey,
        min_size: u64,
    },
    /// Maglev table of `table_size` entries, a prime (default 65537).
    Maglev {
        key: HashKey,
        table_size: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashKey {
    Header(String),
    Query(String),
    SourceIp,
    /// Set on the first response when absent, if a lifetime is given (`Some(0)`: a session cookie).
    Cookie {
        name: String,
        path: String,
        ttl: Option<Duration>,
        /// More attributes of the cookie that is set, such as `SameSite` and its value (which may be empty).
        attributes: Vec<(String, String)>,
    },
}

/// Istio's `localityLbSetting`. Localities are `region/zone/subzone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalityPolicy {
    /// No locality is nearer than another.
    pub disabled: bool,
    pub distribute: Vec<Distribute>,
    /// Region, and the region to fail over to.
    pub failover: Vec<(String, String)>,
    /// Labels, most important first: the more of them an endpoint shares with the client, the nearer it is.
    pub failover_priority: Vec<LabelMatch>,
}

/// How the traffic of one locality is shared out. Both sides may end in `*`, or be it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribute {
    pub from: String,
    /// Localities and their weights. What is not named gets nothing.
    pub to: Vec<(String, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelMatch {
    pub name: String,
    /// `None`: the client's own value.
    pub value: Option<String>,
}

/// New endpoints start with a part of their share, which grows over `duration` (Envoy's slow start).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    pub duration: Duration,
    /// Istio's default: 10.
    pub minimum_percent: f64,
    /// 1 (the default) grows evenly, more grows faster at first. Above 0.
    pub aggression: f64,
}

/// Endpoints are asked by their clients' proxies whether they are well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub origin: Origin,
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures in a row after which an endpoint gets nothing new; at least 1.
    pub unhealthy_after: u32,
    /// Successes in a row after which it gets traffic again; at least 1.
    pub healthy_after: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// The port takes a connection.
    Tcp,
    /// `GET path` is answered with one of these statuses, first to last.
    Http { path: String, statuses: Vec<(u16, u16)> },
    /// gRPC's health checking protocol: `service` (empty: the whole server) is SERVING.
    Grpc { service: String },
}

/// Clients that show the mark of an earlier response reach the endpoint of that response, as long as it is there and well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    pub origin: Origin,
    pub by: SessionMark,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMark {
    Cookie {
        name: String,
        path: String,
        /// `None`: the client drops it with its session.
        ttl: Option<Duration>,
    },
    Header(String),
}

/// Circuit limits. `None` is no limit (Istio's default is 2^32-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection.
    pub max_pending: Option<u32>,
    /// Requests in flight.
    pub max_requests: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    /// Istio's default: 10 s.
    pub connect_timeout: Option<Duration>,
    /// Of HTTP connections. Istio's default: 1 h.
    pub idle_timeout: Option<Duration>,
    /// Of TCP connections, where it differs.
    pub tcp_idle_timeout: Option<Duration>,
    /// Streams of one HTTP/2 connection at the same time.
    pub max_streams: Option<u32>,
    /// No request begins on a connection that is older, and a TCP connection ends.
    pub max_connection_age: Option<Duration>,
    pub keepalive: Option<Keepalive>,
}

/// TCP's own probes of idle connections; what is not set is the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keepalive {
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
    pub probes: Option<u32>,
}

/// Istio's names and defaults: 5 consecutive, every 10 s, ejected 30 s x times ejected, at most 10 %, panic at 0 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutlierPolicy {
    /// 0 switches it off.
    pub consecutive_5xx: u32,
    /// Counts 502, 503, 504 and connection failures; 0 (the default) switches it off.
    pub consecutive_gateway_errors: u32,
    pub interval: Duration,
    pub base_ejection: Duration,
    pub max_ejection_percent: u32,
    pub min_health_percent: u32,
    /// Failures to get an answer at all (no connection, reset, timeout) are counted apart, and this many in a row eject; 0 switches
    /// it off. `None`: they count as gateway errors (Istio's `splitExternalLocalOriginErrors: false`).
    pub local_origin_failures: Option<u32>,
    /// The statuses that count as 5xx; empty: 500 to 599.
    pub error_statuses: Vec<u16>,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
            local_origin_failures: None,
            error_statuses: Vec::new(),
        }
    }
}

/// How a client reaches endpoints. Without one: mutual TLS to every endpoint in the mesh, plain text to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientTls {
    /// No TLS from the mesh. Refused by a STRICT peer.
    Disable,
    /// TLS to a server that is not of the mesh.
    Simple(Origination),
    /// The mesh's own mutual TLS.
    Mesh,
}

/// TLS that the client's proxy begins: the server's name is checked, and its certificate against roots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origination {
    /// `None`: the host.
    pub sni: Option<String>,
    /// Names of which the server must prove one; empty: the server name.
    pub subject_alt_names: Vec<String>,
    /// A PEM file beside the proxy; `None`: the system's roots.
    pub roots: Option<String>,
    /// What the client proves itself with, if anything.
    pub certificate: Option<CertificateFiles>,
}

/// PEM files beside the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFiles {
    pub chain: String,
    pub key: String,
}

/// Version of the PROXY protocol that endpoints are told the client's address in, before anything else is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// Retries may be at most `percent` of the requests, but at least `min_concurrency` at a time are allowed (Istio: 20 %, 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryBudget {
    pub percent: f64,
    pub min_concurrency: u32,
    /// How long a request and a retry count. Zero: as long as they are in flight.
    pub interval: Duration,
    /// Retries that are allowed in any case.
    pub min_rate: Option<RetryRate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRate {
    pub count: u32,
    /// Longer than zero.
    pub interval: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3, interval: Duration::ZERO, min_rate: None }
    }
}
