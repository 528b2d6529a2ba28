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
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
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
    },
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
    /// Istio's default: 1 h.
    pub idle_timeout: Option<Duration>,
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
        }
    }
}

/// How a client reaches endpoints. Without one: mutual TLS to every endpoint in the mesh, plain text to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientTls {
    /// No TLS from the mesh. Refused by a STRICT peer.
    Disable,
    /// TLS with the server's name checked against the system's roots; `sni` defaults to the host.
    Simple { sni: Option<String>, subject_alt_names: Vec<String> },
    /// The mesh's own mutual TLS.
    Mesh,
}

/// Version of the PROXY protocol that endpoints are told the client's address in, before anything else is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// Retries may be at most `percent` of the active requests, but at least `min_concurrency` are allowed (Istio: 20 %, 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryBudget {
    pub percent: f64,
    pub min_concurrency: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3 }
    }
}
