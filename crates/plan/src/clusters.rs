//! Building clusters: which workloads serve a service port and subset, with which settings, reached how.

use crate::by_host::ByHost;
use crate::cluster::{Cluster, ClusterKey, Dial, Endpoint, Transport};
use crate::locality::{Places, places};
use crate::session::Sessions;
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{Balancer, ClientTls, Destination, HashKey, RetryBudget, Role, Subset, TrafficPolicy};
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::policy::ROOT_NAMESPACE;
use taut_model::service::{Affinity, Place, Resolution, Service, ServicePort};
use taut_model::settings::MeshSettings;
use taut_model::workload::{Health, Serves, Workload};

/// Istio's defaults.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const RING_SIZE: u64 = 1024;

pub(crate) type Clusters = BTreeMap<ClusterKey, Built>;

#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) cluster: Arc<Cluster>,
    /// Ready workloads left out because the settings demand mutual TLS and they have no proxy that speaks it.
    pub(crate) without_peer: usize,
    /// Whether requests go to whatever address the client named.
    pub(crate) passthrough: bool,
    /// Whether the settings demand TLS, of either kind.
    pub(crate) demands_tls: bool,
}

/// One cluster for every known service port, and one for every subset of it.
pub(crate) fn build(snapshot: &Snapshot) -> Clusters {
    let mut serving: BTreeMap<(&str, u16), Vec<&Arc<Workload>>> = BTreeMap::new();
    for workload in snapshot.workloads.values().filter(|workload| workload.health == Health::Ready) {
        for serves in &workload.serves {
            serving.entry((serves.host.as_str(), serves.port)).or_default().push(workload);
        }
    }
    let own_namespace = snapshot.own.as_ref().map_or("", |own| own.namespace.as_str());
    let mut built = Clusters::new();
    let settings = Settings::of(snapshot);
    let defaults = snapshot.settings.values().next().cloned().unwrap_or_default();
    for service in snapshot.services.values() {
        let (destinations, subsets) = settings_for(&settings, service, own_namespace);
        let additions = settings.additions(service);
        let host: Arc<str> = service.host.as_str().into();
        for port in &service.ports {
            let mut workloads = serving.get(&(service.host.as_str(), port.number)).cloned().unwrap_or_default();
            workloads.sort_by(|a, b| a.uid.cmp(&b.uid));
            workloads.dedup_by(|a, b| a.uid == b.uid);
            let mut base = destinations.first().map_or_else(TrafficPolicy::default, |d| overlay(&TrafficPolicy::default(), &d.policy, port.number));
            additions.iter().for_each(|addition| add(&mut base, &overlay(&TrafficPolicy::default(), &addition.policy, port.number)));
            let origin = destinations.first().map(|d| d.origin.clone());
            let budget = budget_origin(&destinations, &additions, &defaults, port.number);
            let whole = Wanted { mesh: &defaults, service, port, host: &host, workloads: &workloads, own: snapshot.own.as_deref() };
            let cluster = whole.cluster(None, &base, origin.clone(), budget.clone());
            built.insert(cluster.cluster.key.clone(), cluster);
            for subset in &subsets {
                let policy = overlay(&base, &subset.policy, port.number);
                let own = overlay(&TrafficPolicy::default(), &subset.policy, port.number).retry_budget.map(|_| subset.origin.clone());
                let cluster = whole.cluster(Some(subset), &policy, Some(subset.origin.clone()), own.or_else(|| budget.clone()));
                built.insert(cluster.cluster.key.clone(), cluster);
            }
        }
    }
    built
}

/// What the retry budget of a whole service comes from, in the order in which [`build`] asks.
fn budget_origin(destinations: &[&Destination], additions: &[&Destination], mesh: &MeshSettings, port: u16) -> Option<Origin> {
    let says = |one: &&&Destination| overlay(&TrafficPolicy::default(), &one.policy, port).retry_budget.is_some();
    let said = destinations.first().filter(says).or_else(|| additions.iter().find(says)).map(|one| one.origin.clone());
    said.or_else(|| (mesh.retry_budget != RetryBudget::default()).then(|| mesh.origin.clone()))
}

/// The destinations of each namespace.
struct Settings<'a>(BTreeMap<&'a str, ByHost<'a, &'a Destination>>);

impl<'a> Settings<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut namespaces: BTreeMap<&str, Vec<&Destination>> = BTreeMap::new();
        for destination in snapshot.destinations.values() {
            namespaces.entry(&destination.namespace).or_default().push(destination);
        }
        let by_host = |destinations: Vec<&'a Destination>| ByHost::new(destinations.into_iter().map(|one| (one.host.as_str(), one)));
        Self(namespaces.into_iter().map(|(namespace, destinations)| (namespace, by_host(destinations))).collect())
    }

    /// What is said beside the rules in the service's own namespace, by name.
    fn additions(&self, service: &Service) -> Vec<&'a Destination> {
        let Some(there) = self.0.get(service.namespace.as_str()) else { return Vec::new() };
        let mut found: Vec<&Destination> = there.covering(&service.host).filter(|one| one.role == Role::Addition).collect();
        found.sort_by(|a, b| a.origin.object.cmp(&b.origin.object));
        found
    }
}

/// Fills in what is not said yet. A demand for TLS also stands where a rule switches TLS off.
fn add(base: &mut TrafficPolicy, addition: &TrafficPolicy) {
    base.health_check = base.health_check.take().or_else(|| addition.health_check.clone());
    base.persistence = base.persistence.take().or_else(|| addition.persistence.clone());
    base.retry_budget = base.retry_budget.take().or_else(|| addition.retry_budget.clone());
    if addition.tls.is_some() && matches!(base.tls, None | Some(ClientTls::Disable)) {
        base.tls.clone_from(&addition.tls);
    }
}

/// The destinations that hold for a service as seen from `own_namespace`, and their subsets. Namespaces are asked in Istio's
/// order (the client's, the service's, the root); in the first that has any, the most specific host wins. Several
/// destinations for that host are merged as Istio does: the first (by name) gives the policy, the subsets are joined.
fn settings_for<'a>(settings: &Settings<'a>, service: &Service, own_namespace: &str) -> (Vec<&'a Destination>, Vec<&'a Subset>) {
    for namespace in [own_namespace, service.namespace.as_str(), ROOT_NAMESPACE] {
        let Some(there) = settings.0.get(namespace) else { continue };
        let mut found: Vec<&Destination> = there.covering(&service.host).filter(|one| one.role == Role::Rule).collect();
        // A rule for chosen workloads (all that are here have been chosen) wins over one for everybody.
        if found.iter().any(|one| !one.clients.labels.is_empty()) {
            found.retain(|one| !one.clients.labels.is_empty());
        }
        let Some(best) = found.iter().map(|d| specificity(&d.host)).max() else { continue };
        found.retain(|d| specificity(&d.host) == best);
        found.sort_by(|a, b| a.origin.object.cmp(&b.origin.object));
        let mut subsets: Vec<&Subset> = Vec::new();
        for subset in found.iter().flat_map(|d| &d.subsets) {
            if !subsets.iter().any(|known| known.name == subset.name) {
                subsets.push(subset);
            }
        }
        return (found, subsets);
    }
    (Vec::new(), Vec::new())
}

/// Orders host patterns: exact names above wildcards, longer wildcards above shorter ones.
pub(crate) fn specificity(pattern: &str) -> (bool, usize) {
    (!pattern.starts_with('*'), pattern.len())
}

/// What `above` sets wins over `below`, setting by setting; then its settings for the port replace all of them, set or not
/// (Istio: "fields omitted are not inherited"). What has no port level stays.
fn overlay(below: &TrafficPolicy, above: &TrafficPolicy, port: u16) -> TrafficPolicy {
    let retry_budget = above.retry_budget.clone().or_else(|| below.retry_budget.clone());
    let proxy_protocol = above.proxy_protocol.or(below.proxy_protocol);
    let health_check = above.health_check.clone().or_else(|| below.health_check.clone());
    let persistence = above.persistence.clone().or_else(|| below.persistence.clone());
    if let Some((_, at_port)) = above.ports.iter().find(|(number, _)| *number == port) {
        let retry_budget = at_port.retry_budget.clone().or(retry_budget);
        return TrafficPolicy { retry_budget, proxy_protocol, health_check, persistence, ports: Vec::new(), ..at_port.clone() };
    }
    let says_load_balancer = above.balancer.is_some() || above.locality.is_some() || above.warm_up.is_some();
    let balancing = if says_load_balancer { above } else { below };
    TrafficPolicy {
        balancer: balancing.balancer.clone(),
        locality: balancing.locality.clone(),
        warm_up: balancing.warm_up.clone(),
        health_check,
        persistence,
        limits: above.limits.clone().or_else(|| below.limits.clone()),
        outlier: above.outlier.clone().or_else(|| below.outlier.clone()),
        tls: above.tls.clone().or_else(|| below.tls.clone()),
        retry_budget,
        proxy_protocol,
        ports: Vec::new(),
    }
}

struct Wanted<'a> {
    /// What holds where nobody says more.
    mesh: &'a MeshSettings,
    service: &'a Service,
    port: &'a ServicePort,
    host: &'a Arc<str>,
    /// Ready, by uid.
    workloads: &'a [&'a Arc<Workload>],
    /// The client.
    own: Option<&'a Workload>,
}

impl Wanted<'_> {
    fn cluster(&self, subset: Option<&Subset>, policy: &TrafficPolicy, origin: Option<Origin>, budget_origin: Option<Origin>) -> Built {
        let mut without_peer = 0;
        let mut endpoints = Vec::new();
        let outside = self.outside_name();
        let candidates = self.workloads.iter().copied().chain(outside.as_ref());
        for workload in candidates.filter(|workload| subset.is_none_or(|subset| workload.has_labels(&subset.labels))) {
            match self.endpoint(workload, policy.tls.as_ref()) {
                Some(endpoint) => endpoints.push(Arc::new(endpoint)),
                None => without_peer += 1,
            }
        }
        let limits = policy.limits.clone().unwrap_or_default();
        let there: Vec<&Workload> = endpoints.iter().map(|endpoint: &Arc<Endpoint>| &*endpoint.workload).collect();
        let judged = policy.outlier.is_some() || policy.health_check.is_some();
        let places = places(self.own, &there, policy.locality.as_ref(), self.service.distribution, judged);
        let uids = there.iter().map(|workload| workload.uid.as_str());
        let sessions = policy.persistence.as_ref().map(|said| Arc::new(Sessions::new(said, self.host, self.port.number, uids)));
        let (balancer, balancer_origin) = match &policy.balancer {
            Some(balancer) => (balancer.clone(), origin.clone()),
            None => self.usual_balancer(),
        };
        let idle_timeout = limits.idle_timeout.unwrap_or(IDLE_TIMEOUT);
        let cluster = Cluster {
            key: ClusterKey { host: self.host.clone(), port: self.port.number, subset: subset.map(|subset| subset.name.as_str().into()) },
            protocol: self.port.protocol,
            service_namespace: self.service.namespace.clone(),
            service_name: self.service.name.clone(),
            endpoints,
            balancer,
            balancer_origin,
            outlier: policy.outlier.clone(),
            retry_budget: policy.retry_budget.clone().unwrap_or_else(|| self.mesh.retry_budget.clone()),
            budget_origin,
            connect_timeout: limits.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            idle_timeout,
            tcp_idle_timeout: limits.tcp_idle_timeout.unwrap_or(idle_timeout),
            limits,
            proxy_protocol: policy.proxy_protocol,
            places,
            warm_up: policy.warm_up.clone(),
            health_check: policy.health_check.clone().map(Arc::new),
            sessions,
            origin,
            table: Default::default(),
        };
        let passthrough = self.service.resolution == Resolution::Passthrough
            || (self.service.resolution == Resolution::Dns && self.workloads.is_empty() && self.service.host.starts_with('*'));
        let demands_tls = matches!(policy.tls, Some(ClientTls::Simple(_) | ClientTls::Mesh));
        Built { cluster: Arc::new(cluster), without_peer, passthrough, demands_tls }
    }

    /// Where no rule names one: a balancer, and what chose it.
    fn usual_balancer(&self) -> (Balancer, Option<Origin>) {
        match (self.service.affinity, self.service.place) {
            (Affinity::None, Place::Mesh) => {
                // Settings that say nothing of it have not chosen.
                let chose = self.mesh.balancer != MeshSettings::default().balancer;
                (self.mesh.balancer.clone(), chose.then(|| self.mesh.origin.clone()))
            }
            (Affinity::None, Place::External) => (Balancer::LeastRequest, None),
            (Affinity::ClientAddress, _) => (Balancer::RingHash { key: HashKey::SourceIp, min_size: RING_SIZE }, Some(self.service.origin.clone())),
        }
    }

    /// A service resolved by DNS that lists no endpoints stands for its own name.
    fn outside_name(&self) -> Option<Arc<Workload>> {
        let service = self.service;
        let stands_for_itself = service.resolution == Resolution::Dns && self.workloads.is_empty() && !service.host.contains('*');
        stands_for_itself.then(|| {
            Arc::new(Workload {
                origin: service.origin.clone(),
                uid: format!("{}/{}", service.namespace, service.host),
                name: service.host.clone(),
                namespace: service.namespace.clone(),
                identity: Identity::new("", "", ""),
                labels: BTreeMap::new(),
                address: service.host.clone(),
                serves: vec![Serves { host: service.host.clone(), port: self.port.number, target: self.port.number }],
                peer: None,
                health: Health::Ready,
                weight: 1,
                locality: String::new(),
            })
        })
    }

    /// `None` when mutual TLS is demanded and the workload cannot speak it: never plain text instead.
    fn endpoint(&self, workload: &Arc<Workload>, tls: Option<&ClientTls>) -> Option<Endpoint> {
        let target = workload.target(&self.service.host, self.port.number).unwrap_or(self.port.number);
        let direct = |transport| (dial(&workload.address, target), transport);
        // A workload outside the mesh has no proxy, whatever it says.
        let peer = workload.peer.filter(|_| self.service.place == Place::Mesh);
        let (address, transport) = match (tls, peer) {
            (Some(ClientTls::Disable), _) | (None, None) => direct(Transport::Plain),
            (Some(ClientTls::Simple(origination)), _) => direct(Transport::Tls {
                server_name: origination.sni.as_deref().unwrap_or(&self.service.host).into(),
                origination: Arc::new(origination.clone()),
            }),
            (Some(ClientTls::Mesh), None) => return None,
            (Some(ClientTls::Mesh) | None, Some(peer)) => {
                let server_name = format!("{}.{}", self.port.number, self.service.host).into();
                (Dial::Address(peer), Transport::Mesh { expect: Arc::new(workload.identity.clone()), server_name })
            }
        };
        Some(Endpoint { workload: workload.clone(), address, transport, weight: workload.weight.max(1) })
    }
}

fn dial(address: &str, port: u16) -> Dial {
    match address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => Dial::Address(SocketAddr::new(address, port)),
        Err(_) => Dial::Name(address.into(), port),
    }
}

/// The one endpoint that a client dials by its own address and port: the same cluster, with only that endpoint.
pub(crate) fn only(cluster: &Cluster, endpoint: &Arc<Endpoint>) -> Cluster {
    Cluster {
        key: cluster.key.clone(),
        protocol: cluster.protocol,
        service_namespace: cluster.service_namespace.clone(),
        service_name: cluster.service_name.clone(),
        endpoints: vec![endpoint.clone()],
        balancer: cluster.balancer.clone(),
        balancer_origin: cluster.balancer_origin.clone(),
        limits: cluster.limits.clone(),
        outlier: cluster.outlier.clone(),
        retry_budget: cluster.retry_budget.clone(),
        budget_origin: cluster.budget_origin.clone(),
        connect_timeout: cluster.connect_timeout,
        idle_timeout: cluster.idle_timeout,
        tcp_idle_timeout: cluster.tcp_idle_timeout,
        proxy_protocol: cluster.proxy_protocol,
        // A client that dials one endpoint has chosen.
        places: Places::Alike,
        warm_up: None,
        health_check: None,
        sessions: None,
        origin: cluster.origin.clone(),
        table: Default::default(),
    }
}
