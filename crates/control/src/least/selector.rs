//! Workloads that a policy has to cover together, because they serve the same services, and the labels that select them and nobody else.

use crate::publish::Published;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::workload::Workload;

/// Labels that are tried by themselves first.
const NAMES: [&str; 3] = ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"];

/// Workloads of one namespace that share services, and all the hosts that any of them serves. An ALLOW policy for one of the hosts would
/// refuse callers of the others.
pub struct Group<'a> {
    pub name: String,
    pub hosts: BTreeSet<&'a str>,
    pub workloads: Vec<&'a Arc<Workload>>,
}

/// All groups of a namespace, by name. Workloads without a proxy are left out: nothing enforces policies there.
pub fn groups<'a>(published: &'a Published, namespace: &str) -> Vec<Group<'a>> {
    let all = published.translation.workloads.values();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for workload in all.filter(|workload| workload.namespace == namespace && workload.peer.is_some() && !workload.serves.is_empty()) {
        let mut new = Group { name: String::new(), hosts: BTreeSet::new(), workloads: vec![workload] };
        new.hosts.extend(workload.serves.iter().map(|serves| serves.host.as_str()));
        let (same, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| !group.hosts.is_disjoint(&new.hosts));
        groups = others;
        for group in same {
            new.hosts.extend(group.hosts);
            new.workloads.extend(group.workloads);
        }
        groups.push(new);
    }
    for group in &mut groups {
        group.workloads.sort_by(|one, other| one.uid.cmp(&other.uid));
        group.name = name(published, group);
    }
    groups.sort_by(|one, other| (&one.name, &one.hosts).cmp(&(&other.name, &other.hosts)));
    groups
}

/// The service with the application's own name, else the one with the shortest.
fn name(published: &Published, group: &Group<'_>) -> String {
    let services = group.hosts.iter().filter_map(|host| published.translation.services.get(*host));
    let mut names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
    names.sort_by_key(|name| (name.len(), *name));
    let own = group.workloads.first().map(|workload| workload.app());
    let chosen = names.iter().find(|name| Some(**name) == own).or(names.first()).copied();
    chosen.or(own).unwrap_or_default().to_owned()
}

/// The fewest labels that every workload of the group has, and no other of the namespace; `None` if there are none.
pub fn selector(published: &Published, group: &Group<'_>) -> Option<BTreeMap<String, String>> {
    let first = group.workloads.first()?;
    let mut common = first.labels.clone();
    common.retain(|label, value| group.workloads.iter().all(|workload| workload.labels.get(label) == Some(value)));
    let is_member = |uid: &str| group.workloads.iter().any(|workload| workload.uid == uid);
    let others = published.translation.workloads.values().filter(|workload| workload.namespace == first.namespace && !is_member(&workload.uid));
    let others: Vec<_> = others.collect();
    let is_apart = |labels: &BTreeMap<String, String>| !labels.is_empty() && !others.iter().any(|workload| workload.has_labels(labels));
    let alone = NAMES.iter().filter_map(|name| common.get_key_value(*name)).map(|(name, value)| BTreeMap::from([(name.clone(), value.clone())]));
    alone.chain([common.clone()]).find(is_apart)
}
