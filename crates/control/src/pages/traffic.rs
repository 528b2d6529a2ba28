//! What went over the edges in a window of time, by the nodes of the map: services, workloads that serve none, names outside.

use crate::publish::Published;
use crate::signals;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::service::Place;
use taut_model::signal::{Edge, Party, Second, Security, Signals, UNKNOWN};
use taut_model::workload::Workload;

/// What was seen in a window. Each request counts once.
pub struct Traffic {
    /// The window's last second.
    pub at: Second,
    pub seconds: Second,
    /// Whether all of the window is over, and nothing of it is missing.
    pub complete: bool,
    pub gaps: Vec<signals::Gap>,
    pub edges: Vec<(Arc<Edge>, Signals)>,
}

impl Traffic {
    /// `at`: the newest second that is known, if not given; `now` where nothing is known yet.
    pub fn read(store: &signals::Store, seconds: Second, at: Option<Second>, now: Second) -> Self {
        let latest = store.latest();
        let at = at.unwrap_or(if latest > 0 { latest } else { now });
        let window = at.saturating_sub(seconds.saturating_sub(1))..at + 1;
        let gaps = store.gaps(window.clone());
        let mut edges = store.edges(window, &signals::Filter::default());
        edges.retain(|(edge, _)| !edge.is_other());
        Self { at, seconds, complete: gaps.is_empty() && at <= latest && latest > 0, gaps, edges }
    }

    pub fn rate(&self, signals: &Signals) -> f64 {
        // What is a connection has no requests.
        let count = if signals.requests > 0 { signals.requests } else { signals.opened };
        count as f64 / self.seconds.max(1) as f64
    }
}

/// Milliseconds; `None` where nothing was measured.
pub fn milliseconds(signals: &Signals, quantile: f64) -> Option<f64> {
    signals.latency.quantile(quantile).map(|microseconds| microseconds / 1000.0)
}

/// Sums of signals, with all ways in which they were protected.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    pub signals: Signals,
    mutual_tls: bool,
    plaintext: bool,
}

impl Sum {
    pub fn add(&mut self, edge: &Edge, signals: &Signals) {
        self.signals.merge(signals);
        self.mutual_tls |= edge.security == Security::MutualTls;
        self.plaintext |= edge.security == Security::Plaintext;
    }

    pub fn security(&self) -> &'static str {
        match (self.mutual_tls, self.plaintext) {
            (true, true) => "mixed",
            (true, false) => "mutual_tls",
            (false, true) => "plaintext",
            (false, false) => UNKNOWN,
        }
    }
}

/// How a node is.
pub fn health(signals: &Signals, ready: Option<(usize, usize)>) -> &'static str {
    let errors = signals.error_rate();
    let busy = signals.requests + signals.opened + signals.connections + signals.errors() > 0;
    match ready {
        Some((ready, endpoints)) if ready == 0 && endpoints > 0 => "failing",
        _ if errors >= 0.1 => "failing",
        Some((ready, endpoints)) if ready < endpoints => "degraded",
        _ if errors >= 0.01 => "degraded",
        _ if busy => "ok",
        _ => "idle",
    }
}

/// A node of the map, by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    pub kind: &'static str,
    /// Empty for names outside.
    pub namespace: String,
    pub name: String,
}

impl Node {
    pub fn id(&self) -> String {
        match self.namespace.is_empty() {
            true => self.name.clone(),
            false => format!("{}/{}", self.namespace, self.name),
        }
    }

    fn workload(namespace: &str, name: &str) -> Self {
        let namespace = if namespace == UNKNOWN { "" } else { namespace };
        Self { kind: "workload", namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Who is which node, in one state of the mesh.
pub struct Places<'a> {
    published: &'a Published,
    /// Workloads by the host that they serve.
    serving: BTreeMap<&'a str, Vec<&'a Arc<Workload>>>,
}

impl<'a> Places<'a> {
    pub fn new(published: &'a Published) -> Self {
        let mut serving: BTreeMap<&str, Vec<&Arc<Workload>>> = BTreeMap::new();
        for workload in published.translation.workloads.values() {
            for serves in &workload.serves {
                let all = serving.entry(&serves.host).or_default();
                // Several ports of one service.
                if all.last().is_none_or(|last| last.uid != workload.uid) {
                    all.push(workload);
                }
            }
        }
        Self { published, serving }
    }

    pub fn serving(&self, host: &str) -> &[&'a Arc<Workload>] {
        self.serving.get(host).map_or(&[], Vec::as_slice)
    }

    /// The node of a service by its host, or of a name that is none of the mesh's.
    pub fn service(&self, host: &str) -> Node {
        match self.published.translation.services.get(host) {
            Some(service) => {
                let kind = if service.place == Place::External { "external" } else { "service" };
                Node { kind, namespace: service.namespace.clone(), name: service.name.clone() }
            }
            None => Node { kind: "external", namespace: String::new(), name: host.to_owned() },
        }
    }

    /// The node of a workload: of the services that it serves the one with its application's name, else the first.
    pub fn workload(&self, workload: &Workload) -> Node {
        let served = || workload.serves.iter().filter_map(|serves| self.published.translation.services.get(&serves.host));
        let own = served().find(|service| service.name == workload.app()).or_else(|| served().next());
        own.map_or_else(|| Node::workload(&workload.namespace, workload.app()), |service| self.service(&service.host))
    }

    /// The node of whom a record names.
    pub fn party(&self, party: &Party) -> Node {
        let uid = format!("{}/{}", party.namespace, party.workload);
        match self.published.translation.workloads.get(&uid) {
            Some(workload) => self.workload(workload),
            // It has left since.
            None => {
                let host = taut_model::host::service_host(&party.app, &party.namespace);
                match self.published.translation.services.contains_key(&host) {
                    true => self.service(&host),
                    false => Node::workload(&party.namespace, if party.app == UNKNOWN { &party.workload } else { &party.app }),
                }
            }
        }
    }
}
