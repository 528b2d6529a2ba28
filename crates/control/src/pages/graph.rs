//! The map: every service with its versions, whoever else was seen, and what went between them.

use super::traffic::{Node, Places, Sum, Traffic, health, milliseconds};
use crate::proxies::Proxy;
use crate::publish::Published;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::signal::{Protocol, Signals};
use taut_model::workload::{Health, Workload};

/// From, to and how.
type Between = (Node, Node, Protocol);

/// What a map is drawn from.
struct Drawing<'a> {
    places: Places<'a>,
    traffic: &'a Traffic,
    between: BTreeMap<Between, Sum>,
    /// What each version took of what went between two nodes.
    splits: BTreeMap<Between, BTreeMap<String, u64>>,
    /// Requests to each node by the version that answered.
    versions: BTreeMap<Node, BTreeMap<String, Signals>>,
    into: BTreeMap<Node, Signals>,
    callers: BTreeSet<Node>,
}

/// `connected`: whose wishes are shown as edges without traffic; none when a moment of the past is looked at.
pub fn graph(published: &Published, traffic: &Traffic, connected: &[Proxy]) -> Value {
    let mut drawing = Drawing {
        places: Places::new(published),
        traffic,
        between: BTreeMap::new(),
        splits: BTreeMap::new(),
        versions: BTreeMap::new(),
        into: BTreeMap::new(),
        callers: BTreeSet::new(),
    };
    drawing.add_traffic();
    drawing.add_wishes(published, connected);
    let mut nodes: BTreeSet<Node> = published.translation.services.keys().map(|host| drawing.places.service(host)).collect();
    nodes.extend(drawing.between.keys().flat_map(|(from, to, _)| [from.clone(), to.clone()]));
    let hosts: BTreeMap<Node, &str> = published.translation.services.keys().map(|host| (drawing.places.service(host), host.as_str())).collect();
    let nodes: Vec<Value> = nodes.iter().map(|node| drawing.node(node, hosts.get(node).copied())).collect();
    let edges: Vec<Value> = drawing.between.iter().map(|(between, sum)| drawing.edge(between, sum)).collect();
    json!({
        "at": traffic.at, "windowSeconds": traffic.seconds, "complete": traffic.complete, "gaps": traffic.gaps, "nodes": nodes, "edges": edges,
    })
}

impl Drawing<'_> {
    fn add_traffic(&mut self) {
        for (edge, signals) in &self.traffic.edges {
            let (from, to) = (self.places.party(&edge.source), self.places.service(&edge.service.host));
            let between = (from.clone(), to.clone(), edge.protocol);
            let split = self.splits.entry(between.clone()).or_default();
            *split.entry(edge.destination.version.clone()).or_default() += signals.requests.max(signals.opened);
            self.between.entry(between).or_default().add(edge, signals);
            self.into.entry(to.clone()).or_default().merge(signals);
            self.versions.entry(to).or_default().entry(edge.destination.version.clone()).or_default().merge(signals);
            self.callers.insert(from);
        }
    }

    /// What proxies have asked for and not used in this window.
    fn add_wishes(&mut self, published: &Published, connected: &[Proxy]) {
        let mut used: BTreeSet<(Node, Node)> = self.between.keys().map(|(from, to, _)| (from.clone(), to.clone())).collect();
        for proxy in connected {
            let Some(workload) = published.translation.workloads.get(&proxy.uid) else { continue };
            let from = self.places.workload(workload);
            for host in &proxy.viewer.hosts {
                let Some(service) = published.translation.services.get(host) else { continue };
                let to = self.places.service(host);
                if from == to || !used.insert((from.clone(), to.clone())) {
                    continue;
                }
                let http = service.ports.iter().any(|port| port.protocol.is_http());
                self.between.entry((from.clone(), to, if http { Protocol::Http } else { Protocol::Tcp })).or_default();
            }
        }
    }

    fn node(&self, node: &Node, host: Option<&str>) -> Value {
        let serving = host.map_or(&[][..], |host| self.places.serving(host));
        let ready = serving.iter().filter(|workload| workload.health == Health::Ready).count();
        let nothing = Signals::default();
        let into = self.into.get(node).unwrap_or(&nothing);
        let own = health(into, Some((ready, serving.len())));
        // Who only calls is at work too.
        let health = if own == "idle" && self.callers.contains(node) { "ok" } else { own };
        json!({
            "id": node.id(), "kind": node.kind, "namespace": node.namespace, "name": node.name, "versions": self.versions(node, serving), "health": health,
        })
    }

    fn versions(&self, node: &Node, serving: &[&std::sync::Arc<Workload>]) -> Vec<Value> {
        let mut by_version: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
        for workload in serving {
            by_version.entry(workload.version()).or_default().push(workload);
        }
        let nothing = Signals::default();
        let seen = |version: &str| {
            let version = if version.is_empty() { taut_model::signal::UNKNOWN } else { version };
            let all = self.versions.get(node);
            all.and_then(|all| all.get(version).or_else(|| all.get(taut_observe::names::LATEST))).unwrap_or(&nothing)
        };
        let told = |(version, workloads): (&str, Vec<&Workload>)| {
            let signals = seen(version);
            let ready = workloads.iter().filter(|workload| workload.health == Health::Ready).count();
            json!({
                "version": version, "workload": workloads.first().map(|workload| workload.uid.as_str()), "endpoints": workloads.len(), "ready": ready,
                "rate": self.traffic.rate(signals), "errorRate": signals.error_rate(),
            })
        };
        by_version.into_iter().map(told).collect()
    }

    fn edge(&self, between: &Between, sum: &Sum) -> Value {
        let (from, to, protocol) = between;
        let signals = &sum.signals;
        json!({
            "from": from.id(), "to": to.id(), "protocol": protocol.to_string(), "rate": self.traffic.rate(signals), "errorRate": signals.error_rate(),
            "p50": milliseconds(signals, 0.5), "p99": milliseconds(signals, 0.99), "security": sum.security(), "split": self.split(between),
            "connections": signals.connections, "failures": signals.failures(), "requests": signals.requests,
        })
    }

    /// Which version took how much, where there are several.
    fn split(&self, between: &Between) -> Vec<Value> {
        let Some(shares) = self.splits.get(between).filter(|shares| shares.len() > 1) else { return Vec::new() };
        let total: u64 = shares.values().sum::<u64>().max(1);
        shares.iter().map(|(version, count)| json!({"version": version, "share": *count as f64 / total as f64})).collect()
    }
}
