//! A cluster: one (host, port, subset) that requests can be sent to, with its endpoints and its settings, immutable.

use crate::balance::table::HashTable;
use crate::locality::Places;
use crate::session::Sessions;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{Balancer, HealthCheck, Limits, Origination, OutlierPolicy, ProxyProtocol, RetryBudget, WarmUp};
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
    /// What chose the balancer; `None`: the built-in default.
    pub balancer_origin: Option<Origin>,
    pub limits: Limits,
    /// `None`: off (Istio's default).
    pub outlier: Option<OutlierPolicy>,
    pub retry_budget: RetryBudget,
    /// What says so; `None`: the built-in default.
    pub budget_origin: Option<Origin>,
    pub connect_timeout: Duration,
    /// Of HTTP connections.
    pub idle_timeout: Duration,
    pub tcp_idle_timeout: Duration,
    /// How endpoints are told the client's address, before anything else is sent.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which endpoints are near.
    pub places: Places,
    pub warm_up: Option<WarmUp>,
    /// How clients' proxies find out whether endpoints are well.
    pub health_check: Option<Arc<HealthCheck>>,
    /// Clients that come back reach the endpoint they had.
    pub sessions: Option<Arc<Sessions>>,
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
    /// TLS to a server outside the mesh.
    Tls {
        server_name: Arc<str>,
        origination: Arc<Origination>,
    },
    Plain,
}
