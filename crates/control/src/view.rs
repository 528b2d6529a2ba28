//! What a given proxy must know: a pure function of the translated mesh, the proxy's own workload and the hosts it asked for.
//!
//! A view holds names only. Cost for a proxy grows with what it uses: the lookup tables are built once per translation, and
//! a view follows references from the proxy's own hosts without looking at the rest of the mesh.

use crate::translate::Translation;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::destination::Destination;
use taut_model::host;
use taut_model::policy::ROOT_NAMESPACE;
use taut_model::route::{Backend, HttpAction, Route};

/// Who looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    /// `namespace/name` of the workload beside the proxy.
    pub uid: String,
    pub namespace: String,
    /// Hosts that the proxy subscribed to, as it named them.
    pub hosts: BTreeSet<String>,
}

/// The names of the resources that a proxy should have, by type; keys of the maps of [`Translation`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub services: BTreeSet<String>,
    pub workloads: BTreeSet<String>,
    pub routes: BTreeSet<String>,
    pub destinations: BTreeSet<String>,
    pub authentications: BTreeSet<String>,
    pub authorizations: BTreeSet<String>,
    pub tokens: BTreeSet<String>,
    pub limits: BTreeSet<String>,
    pub settings: BTreeSet<String>,
    pub telemetry: BTreeSet<String>,
    pub trust: BTreeSet<String>,
}

/// Lookup tables over one translation.
#[derive(Debug, Default)]
pub struct Index {
    workloads: BTreeMap<String, BTreeSet<String>>,
    routes: Hosted,
    destinations: Hosted,
    authentications: BTreeMap<String, BTreeSet<String>>,
    authorizations: BTreeMap<String, BTreeSet<String>>,
    tokens: BTreeMap<String, BTreeSet<String>>,
    limits: BTreeMap<String, BTreeSet<String>>,
    telemetry: BTreeMap<String, BTreeSet<String>>,
}

/// Resource names by the host they are about; wildcards apart.
#[derive(Debug, Default)]
struct Hosted {
    exact: BTreeMap<String, BTreeSet<String>>,
    wildcards: BTreeSet<(String, String)>,
}

impl Hosted {
    fn add(&mut self, host: &str, name: &str) {
        match host.starts_with('*') {
            true => drop(self.wildcards.insert((host.to_owned(), name.to_owned()))),
            false => drop(self.exact.entry(host.to_owned()).or_default().insert(name.to_owned())),
        }
    }

    fn about<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a String> {
        let wild = self.wildcards.iter().filter(move |(pattern, _)| host::matches(pattern, host)).map(|(_, name)| name);
        self.exact.get(host).into_iter().flatten().chain(wild)
    }
}

impl Index {
    /// The workloads that serve a host.
    pub fn serving(&self, host: &str) -> impl Iterator<Item = &String> {
        self.workloads.get(host).into_iter().flatten()
    }

    pub fn new(mesh: &Translation) -> Self {
        let mut index = Self::default();
        for (uid, workload) in &mesh.workloads {
            for serves in &workload.serves {
                index.workloads.entry(serves.host.clone()).or_default().insert(uid.clone());
            }
        }
        for (name, route) in &mesh.routes {
            route.parents.iter().for_each(|parent| index.routes.add(&parent.host, name));
        }
        for (name, destination) in &mesh.destinations {
            index.destinations.add(&destination.host, name);
        }
        for (name, policy) in &mesh.authentications {
            index.authentications.entry(policy.namespace.clone()).or_default().insert(name.clone());
        }
        for (name, policy) in &mesh.authorizations {
            index.authorizations.entry(policy.namespace.clone()).or_default().insert(name.clone());
        }
        for (name, policy) in &mesh.tokens {
            index.tokens.entry(policy.namespace.clone()).or_default().insert(name.clone());
        }
        for (name, limit) in &mesh.limits {
            index.limits.entry(limit.namespace.clone()).or_default().insert(name.clone());
        }
        for (name, telemetry) in &mesh.telemetry {
            index.telemetry.entry(telemetry.namespace.clone()).or_default().insert(name.clone());
        }
        index
    }
}

/// What `viewer` must know of the mesh:
/// its own workload; the services it serves and those it asked for; every workload of those; the routes attached to them
/// (a consumer route only in its own namespace) and all that the backends and mirrors of those routes lead to, transitively;
/// the destination rules that can apply; and the policies of its own namespace and of the root namespace.
pub fn view(mesh: &Translation, index: &Index, viewer: &Viewer) -> View {
    let mut view = View::default();
    let mut pending: Vec<&str> = viewer.hosts.iter().map(String::as_str).collect();
    if let Some(own) = mesh.workloads.get(&viewer.uid) {
        view.workloads.insert(viewer.uid.clone());
        pending.extend(own.serves.iter().map(|serves| serves.host.as_str()));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(host) = pending.pop() {
        if !seen.insert(host) {
            continue;
        }
        if mesh.services.contains_key(host) {
            view.services.insert(host.to_owned());
        }
        view.workloads.extend(index.workloads.get(host).into_iter().flatten().cloned());
        for name in index.destinations.about(host) {
            if mesh.destinations.get(name).is_some_and(|rule| applies(rule, mesh, host, viewer)) {
                view.destinations.insert(name.clone());
            }
        }
        for name in index.routes.about(host) {
            let Some(route) = mesh.routes.get(name).filter(|route| is_for(route, &viewer.namespace)) else { continue };
            if view.routes.insert(name.clone()) {
                pending.extend(leads_to(route));
            }
        }
    }
    for namespace in [viewer.namespace.as_str(), ROOT_NAMESPACE] {
        view.authentications.extend(index.authentications.get(namespace).into_iter().flatten().cloned());
        view.authorizations.extend(index.authorizations.get(namespace).into_iter().flatten().cloned());
        view.tokens.extend(index.tokens.get(namespace).into_iter().flatten().cloned());
        view.limits.extend(index.limits.get(namespace).into_iter().flatten().cloned());
        view.telemetry.extend(index.telemetry.get(namespace).into_iter().flatten().cloned());
    }
    view.settings.extend(mesh.settings.keys().cloned());
    view.trust.extend(mesh.trust.keys().cloned());
    view
}

fn is_for(route: &Route, namespace: &str) -> bool {
    route.consumer_namespaces.is_empty() || route.consumer_namespaces.iter().any(|consumer| consumer == namespace)
}

/// Istio looks a DestinationRule up in the client's namespace, then the service's, then the root namespace. A rule may choose its
/// clients: by namespace, and by label among those of its own namespace.
fn applies(rule: &Destination, mesh: &Translation, host: &str, viewer: &Viewer) -> bool {
    let near = rule.namespace == viewer.namespace
        || rule.namespace == ROOT_NAMESPACE
        || mesh.services.get(host).is_some_and(|service| service.namespace == rule.namespace);
    let clients = &rule.clients;
    let chosen = || rule.namespace == viewer.namespace && mesh.workloads.get(&viewer.uid).is_some_and(|own| own.has_labels(&clients.labels));
    near && (clients.namespaces.is_empty() || clients.namespaces.contains(&viewer.namespace)) && (clients.labels.is_empty() || chosen())
}

/// The hosts that traffic under this route can go to.
pub fn leads_to(route: &Route) -> impl Iterator<Item = &str> {
    let http = route.http.iter().flat_map(|rule| {
        let backends: &[Backend] = match &rule.action {
            HttpAction::Forward(backends) => backends,
            HttpAction::Redirect(_) | HttpAction::Respond(_) => &[],
        };
        backends.iter().chain(rule.mirrors.iter().map(|mirror| &mirror.backend))
    });
    http.chain(route.tcp.iter().flat_map(|rule| &rule.backends)).map(|backend| backend.host.as_str())
}

#[cfg(test)]
mod tests;
