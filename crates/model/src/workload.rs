//! A workload: one running instance, where it listens, who it is, and which service ports it serves.

use crate::{identity::Identity, origin::Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub origin: Origin,
    /// Unique in the mesh: `<namespace>/<name>`.
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub identity: Identity,
    pub labels: BTreeMap<String, String>,
    /// An IP address, or a host name when the service's resolution is DNS.
    pub address: String,
    /// The service ports this workload serves, and its own port for each.
    pub serves: Vec<Serves>,
    /// Where its proxy takes mutual TLS from peers; `None` for a workload outside the mesh.
    pub peer: Option<SocketAddr>,
    pub health: Health,
    /// Relative weight inside its service (WorkloadEntry `weight`), at least 1.
    pub weight: u32,
    /// `region/zone/subzone`, empty if not known.
    pub locality: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serves {
    pub host: String,
    /// The port of the service.
    pub port: u16,
    /// The port of this workload.
    pub target: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    Ready,
    /// Leaving: finishes what it has, gets nothing new.
    Draining,
    NotReady,
}

impl Workload {
    /// The workload's own port for a service port.
    pub fn target(&self, host: &str, port: u16) -> Option<u16> {
        self.serves.iter().find(|s| s.host == host && s.port == port).map(|s| s.target)
    }

    /// The value of label `version`, as Istio's metrics have it.
    pub fn version(&self) -> &str {
        self.labels.get("version").map_or("", String::as_str)
    }

    /// The value of `app` for metrics: label `app.kubernetes.io/name` or `app`, else the workload's name.
    pub fn app(&self) -> &str {
        ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"].iter().find_map(|l| self.labels.get(*l)).map_or(&self.name, |s| s)
    }

    /// Whether every label of `selector` is on this workload. An empty selector selects all.
    pub fn has_labels(&self, selector: &BTreeMap<String, String>) -> bool {
        selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
