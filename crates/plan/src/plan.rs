//! The plan: what one proxy decides by, immutable. Owns its contents and what can be read off without a decision.

use crate::cluster::{Cluster, ClusterKey};
use crate::facts::Facts;
use crate::inbound::InboundPlan;
use crate::rate::Limit;
use crate::table::{Direct, HostPlan, Table};
use crate::telemetry::Telemetry;
use crate::token::Issuers;
use crate::verdict::RulePlan;
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::sync::Arc;
use taut_model::authorizer::Authorizer;
use taut_model::host;
use taut_model::origin::Origin;
use taut_model::service::{AppProtocol, Place, Service};
use taut_model::settings::{Compression, MeshSettings};
use taut_model::telemetry::ProviderKind;
use taut_model::workload::Workload;

#[derive(Debug)]
pub struct Plan {
    pub(crate) version: u64,
    pub(crate) own: Option<Arc<Workload>>,
    pub(crate) hosts: BTreeMap<String, Arc<HostPlan>>,
    /// The names under which clients here ask for a service that is known. What is not here is looked for in `hosts`.
    pub(crate) names: HashMap<Box<str>, Arc<HostPlan>, FixedState>,
    pub(crate) absent: BTreeSet<String>,
    /// Namespaces that are known to exist.
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) virtual_addresses: BTreeMap<(IpAddr, u16), String>,
    pub(crate) endpoint_addresses: BTreeMap<SocketAddr, Direct>,
    pub(crate) clusters: BTreeMap<ClusterKey, Arc<Cluster>>,
    pub(crate) settings: Arc<MeshSettings>,
    pub(crate) telemetry: Telemetry,
    pub(crate) inbound: InboundPlan,
    pub(crate) passthrough: Arc<RulePlan>,
    pub(crate) problems: Vec<(Origin, String)>,
    pub(crate) notes: Vec<(Origin, String)>,
    pub(crate) headers_used: BTreeSet<String>,
}

/// What a client's (host, port) is.
pub(crate) enum Found<'a> {
    Service(&'a HostPlan, &'a Table),
    Endpoint(&'a Direct),
    /// The service is known and has no such port.
    NoPort(&'a HostPlan),
    /// Not of the mesh, and why that is so.
    Outside(&'static str),
    Ask(Vec<String>),
    Nowhere(Vec<String>),
}

impl Plan {
    /// The version of the snapshot this was compiled from.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn own(&self) -> Option<&Arc<Workload>> {
        self.own.as_ref()
    }

    /// What holds for the whole mesh.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// What observers are told.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// At most how many percent of second copies the requests of a rule may have; `None`: none.
    pub fn most_hedging(&self, rule: &RulePlan) -> Option<f64> {
        self.hedging(rule).map(|(percent, _)| percent)
    }

    /// Which responses of the workload beside this proxy are compressed; `None`: none.
    pub fn compression(&self) -> Option<&Compression> {
        let compression = self.settings.compression.as_ref()?;
        self.own.as_ref().is_some_and(|own| own.has_labels(&compression.selector)).then_some(compression)
    }

    /// Per object: why it is not accepted; the shell reports it to the control plane. A route told here has no effect; a policy
    /// told here does, read so that it never allows more.
    pub fn problems(&self) -> &[(Origin, String)] {
        &self.problems
    }

    /// Per object: where it is accepted, but another wins over it.
    pub fn notes(&self) -> &[(Origin, String)] {
        &self.notes
    }

    /// Whose tokens requests to the workload beside this proxy may carry.
    pub fn issuers(&self) -> &Issuers {
        &self.inbound.issuers
    }

    /// The service of the workload beside this proxy that an inbound exchange is for: the one that the peer named, else the only one
    /// on its port. `None` if that cannot be told.
    pub fn service_served(&self, facts: &Facts<'_>) -> Option<&str> {
        let own = self.own.as_deref()?;
        if !facts.host.is_empty() {
            return own.serves.iter().find(|serves| serves.host == facts.host).map(|serves| serves.host.as_str());
        }
        let mut on_port = own.serves.iter().filter(|serves| serves.target == facts.port).map(|serves| serves.host.as_str());
        let first = on_port.next()?;
        on_port.all(|host| host == first).then_some(first)
    }

    /// An authorizer by its name among the mesh's providers.
    pub(crate) fn authorizer(&self, name: &str) -> Option<&Authorizer> {
        self.settings.providers.iter().find(|provider| provider.name == name).and_then(|provider| match &provider.kind {
            ProviderKind::Authorizer(authorizer) => Some(authorizer),
            ProviderKind::Prometheus | ProviderKind::File | ProviderKind::Otlp(_) => None,
        })
    }

    /// The limits of the workload beside this proxy.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> + Clone {
        self.inbound.limits.counted.iter().map(|counted| &counted.limit)
    }

    pub fn cluster(&self, key: &ClusterKey) -> Option<&Arc<Cluster>> {
        self.clusters.get(key)
    }

    /// Every cluster that a request could be sent to, by key.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    /// Lower-case names of the headers that any rule, policy or balancer looks at.
    pub fn headers_used(&self) -> &BTreeSet<String> {
        &self.headers_used
    }

    /// What an outbound (host as the client names it, port) speaks. `None` if it is not known or not of the mesh.
    pub fn protocol(&self, host: &str, port: u16) -> Option<AppProtocol> {
        match self.find(host, port) {
            Found::Service(_, table) => Some(table.protocol),
            Found::Endpoint(direct) => self.clusters.get(&direct.key).map(|cluster| cluster.protocol),
            Found::NoPort(_) | Found::Outside(_) | Found::Ask(_) | Found::Nowhere(_) => None,
        }
    }

    /// What the workload beside this proxy speaks: on a service port when `host` names a service (as in SNI), else on its
    /// own port. `Unknown` if not declared, or if the service was not received.
    pub fn inbound_protocol(&self, host: &str, port: u16) -> AppProtocol {
        let serves = self.own.iter().flat_map(|own| &own.serves);
        let mut ports = serves.filter(|serves| if host.is_empty() { serves.target == port } else { serves.host == host && serves.port == port });
        ports.find_map(|serves| Some(self.hosts.get(&serves.host)?.ports.get(&serves.port)?.protocol)).unwrap_or(AppProtocol::Unknown)
    }

    /// The service that an outbound (host as the client names it, port) is for, whether or not it has such a port. `None` if it is not
    /// known or not of the mesh.
    pub fn service(&self, host: &str, port: u16) -> Option<&Arc<Service>> {
        // What a verdict names is a key already.
        if let Some(service) = self.hosts.get(host).and_then(|found| found.service.as_ref()) {
            return Some(service);
        }
        match self.find(host, port) {
            Found::Service(found, _) | Found::NoPort(found) => found.service.as_ref(),
            Found::Endpoint(direct) => self.hosts.get(&*direct.key.host)?.service.as_ref(),
            Found::Outside(_) | Found::Ask(_) | Found::Nowhere(_) => None,
        }
    }

    pub(crate) fn own_namespace(&self) -> &str {
        self.own.as_ref().map_or("", |own| &own.namespace)
    }

    /// An address is a service's virtual address, else an endpoint's, else outside. A name is looked up as the client's
    /// resolver would: its candidates in order, then wildcard services.
    pub(crate) fn find(&self, named: &str, port: u16) -> Found<'_> {
        if let Some(found) = self.names.get(named) {
            return found.at(port);
        }
        if let Some(address) = address(named) {
            if let Some(found) = self.virtual_addresses.get(&(address, port)).and_then(|host| self.hosts.get(host)) {
                return found.at(port);
            }
            let endpoint = self.endpoint_addresses.get(&SocketAddr::new(address, port));
            return endpoint.map_or(Found::Outside("an address that no service or workload has"), Found::Endpoint);
        }
        let candidates = host::candidates(named, self.own_namespace());
        for candidate in &candidates {
            match self.hosts.get(candidate) {
                Some(found) if found.service.is_some() || self.absent.contains(candidate) => return found.at(port),
                _ if !self.absent.contains(candidate) => return Found::Ask(candidates),
                _ => {}
            }
        }
        if let Some(found) = self.wildcard(&candidates) {
            return found.at(port);
        }
        if self.looks_outside(named) { Found::Outside("not a name of this mesh") } else { Found::Nowhere(candidates) }
    }

    /// The narrowest wildcard service that covers one of these names.
    pub(crate) fn wildcard(&self, candidates: &[String]) -> Option<&HostPlan> {
        // They stand side by side: the hosts are sorted.
        let from_the_first = self.hosts.range::<str, _>((Bound::Included("*"), Bound::Unbounded)).map(|(_, found)| &**found);
        let wildcards = from_the_first.take_while(|found| found.host.starts_with('*'));
        wildcards.filter(|found| candidates.iter().any(|c| host::matches(&found.host, c))).max_by_key(|found| found.host.len())
    }

    /// Whether a name that is no service is taken for one of the world outside: it has a dot, is not under the cluster's
    /// domain, and is not `name.namespace` for a namespace that is known. `localhost` is outside too.
    pub(crate) fn looks_outside(&self, named: &str) -> bool {
        let named = named.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = named.split('.').collect();
        match labels[..] {
            ["localhost"] => true,
            [] | [_] | [_, _, "svc"] => false,
            [_, namespace] => !self.namespaces.contains(namespace),
            _ => !named.ends_with(&format!(".svc.{}", host::CLUSTER_DOMAIN)),
        }
    }
}

/// An address, with or without the brackets of an IPv6 literal; an IPv4 address in IPv6's clothes is the IPv4 address.
pub(crate) fn address(named: &str) -> Option<IpAddr> {
    let bare = named.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(named);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

impl HostPlan {
    fn at(&self, port: u16) -> Found<'_> {
        let external = self.service.as_ref().is_some_and(|service| service.place == Place::External);
        match self.ports.get(&port).or(self.any_port.as_ref()) {
            Some(table) => Found::Service(self, table),
            None if external => Found::Outside("a port that the service outside the mesh does not list"),
            None => Found::NoPort(self),
        }
    }
}
