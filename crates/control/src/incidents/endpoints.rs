//! Endpoints that come and go, as the engine hears of them: how many of each service take requests, against what was published before.

use crate::publish::Published;
use crate::translate::Translation;
use std::collections::{BTreeMap, BTreeSet};
use taut_insight::change::{Change, What};
use taut_insight::tick::Node;
use taut_model::signal::Second;
use taut_model::workload::Health;

#[derive(Debug, Default)]
pub struct Endpoints {
    /// Of the mesh that was looked at last.
    version: Option<u64>,
    ready: BTreeMap<Node, usize>,
}

impl Endpoints {
    /// What has changed since the look before, dated `at`. A service that is new has no past to differ from.
    pub fn look(&mut self, at: Second, mesh: &Published) -> Vec<Change> {
        if self.version == Some(mesh.version) {
            return Vec::new();
        }
        self.version = Some(mesh.version);
        let before = std::mem::replace(&mut self.ready, ready(&mesh.translation));
        let changed = self.ready.iter().filter_map(|(node, after)| {
            let before = *before.get(node).filter(|before| *before != after)?;
            Some(Change { at, nodes: vec![node.clone()], what: What::Endpoints { before, after: *after } })
        });
        changed.collect()
    }
}

/// Endpoints of each service that take requests.
fn ready(mesh: &Translation) -> BTreeMap<Node, usize> {
    let mut by_host: BTreeMap<&str, usize> = BTreeMap::new();
    for workload in mesh.workloads.values().filter(|workload| workload.health == Health::Ready) {
        let hosts: BTreeSet<&str> = workload.serves.iter().map(|serves| serves.host.as_str()).collect();
        hosts.into_iter().for_each(|host| *by_host.entry(host).or_default() += 1);
    }
    let counted = mesh.services.values().map(|service| {
        let count = by_host.get(service.host.as_str()).copied().unwrap_or_default();
        (Node::new(&service.namespace, &service.name), count)
    });
    counted.collect()
}
