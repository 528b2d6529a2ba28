//! A cluster: one (host, port, subset) that requests can be sent to, with its endpoints and its settings, immutable.

use crate::balance::table::HashTable;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{Balancer, Limits, OutlierPolicy, ProxyProtocol, RetryBudget};
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::service::AppProtocol;
use taut_model::workload::Workload;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    pub host: Arc<str>,
    pub port: u16,
    pub subset: Option<Arc<str>>,
}

#[derive(Debug)]
pub struct Cluster {
    pub key: ClusterKey,
    pub protocol: AppProtocol,
    /// Namespace and short name of the service, for metrics.
    pub service_namespace: String,
    pub service_name: String,
    /// Only ready endpoints; in a fixed order (by uid).
    pub endpoints: Vec<Arc<Endpoint>>,
    pub balancer: Balancer,
    pub limits: Limits,
    /// `None`: off (Istio's default).
    pub outlier: Option<OutlierPolicy>,
    pub retry_budget: RetryBudget,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    /// How endpoints are told the client's address, before anything else is sent.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The settings above came from here (DestinationRule), if from anywhere.
    pub origin: Option<Origin>,
    /// For consistent hashing: built on first use, shared by all threads.
    pub table: HashTable,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub workload: Arc<Workload>,
    /// Where to dial: the peer's proxy for `Transport::Mesh`, else the workload itself.
    pub address: Dial,
    pub transport: Transport,
    pub weight: u32,
}

/// What to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dial {
    Address(SocketAddr),
    /// Resolve, then dial.
    Name(Arc<str>, u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Mutual TLS to the peer's proxy, which must prove this identity. `server_name` tells it the service and port:
    /// `<port>.<service host>`.
    Mesh {
        expect: Arc<Identity>,
        server_name: Arc<str>,
    },
    /// TLS to a server outside the mesh, verified against the system's roots.
    Tls {
        server_name: Arc<str>,
        subject_alt_names: Vec<String>,
    },
    Plain,
}
