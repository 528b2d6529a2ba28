//! What one object means by itself, before objects are put together.

use super::federation::Federation;
use super::tautline::Promised;
use std::collections::BTreeMap;
use taut_model::destination::Destination;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use taut_model::rate_limit::RateLimit;
use taut_model::route::{HttpRule, Route};
use taut_model::service::{Service, ServicePort};
use taut_model::settings::MeshSettings;
use taut_model::telemetry::Telemetry;
use taut_model::workload::Workload;

pub enum Meaning {
    /// Services, and workloads that are spelled out with them.
    Offers {
        offers: Vec<Offer>,
        endpoints: Vec<Workload>,
        /// What a Service's labels add to its destination.
        additions: Vec<Destination>,
    },
    Candidate(Candidate),
    Slice(Slice),
    Route(Route),
    /// Some of whose rules are in other objects.
    Root(Root),
    Delegate(Delegate),
    /// Bound to ports of Services by their names.
    Bound(Bound),
    Destination(Destination),
    /// What is said beside DestinationRules, about one or more hosts.
    Additions(Vec<Destination>),
    PeerAuthentication(PeerAuthentication),
    AuthorizationPolicy(AuthorizationPolicy),
    RequestAuthentication(RequestAuthentication),
    RateLimit(RateLimit),
    Node(Node),
    MeshSettings(MeshSettings, Federation),
    Telemetry(Telemetry),
    Promised(Promised),
    Grant(Grant),
    /// Without meaning for mesh traffic, and why.
    Idle(String),
    /// Of a kind that is known and does nothing yet: kept, and said so.
    Unserved(String),
    /// Read by others only (Namespaces, Secrets, Deployments).
    Nothing,
}

/// A VirtualService with hosts, some of whose rules delegate.
pub struct Root {
    /// Without its HTTP rules.
    pub route: Route,
    pub rules: Vec<(Draft, Option<Delegation>)>,
}

pub struct Delegation {
    pub to: ObjectRef,
    /// Path of the field that says so.
    pub at: String,
}

/// A VirtualService without hosts.
pub struct Delegate {
    pub rules: Vec<Draft>,
    /// Namespaces whose roots may use it; empty: all.
    pub visible: Vec<String>,
}

/// A VirtualService's rule before what follows from it is filled in: a root's rule and its delegate's are merged as they are written.
#[derive(Clone)]
pub struct Draft {
    pub rule: HttpRule,
    /// The authority that a header change sets.
    pub set_authority: Option<String>,
}

/// A route, some of whose parents name a port of their Service.
pub struct Bound {
    pub route: Route,
    pub ports: Vec<NamedPort>,
}

pub struct NamedPort {
    /// Position among the route's parents.
    pub parent: usize,
    pub name: String,
    /// Path of the field that says so.
    pub at: String,
}

/// A service that may look for its workloads by label.
pub struct Offer {
    pub service: Service,
    /// Empty: it selects none.
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<OfferedPort>,
    pub created: String,
}

#[derive(Clone)]
pub struct OfferedPort {
    pub port: ServicePort,
    pub target: Target,
}

#[derive(Clone)]
pub enum Target {
    /// The workload listens on the service's own port.
    Same,
    Number(u16),
    /// A port of the workload, by its name.
    Name(String),
}

impl OfferedPort {
    /// The port of a workload whose named ports are `ports`: its own port of the service port's name wins.
    pub fn target_on(&self, ports: &BTreeMap<String, u16>) -> u16 {
        let named = ports.get(&self.port.name).copied().filter(|_| !self.port.name.is_empty());
        named.unwrap_or_else(|| match &self.target {
            Target::Same => self.port.number,
            Target::Number(number) => *number,
            Target::Name(name) => ports.get(name).copied().unwrap_or(self.port.number),
        })
    }
}

/// A workload that services may select; it serves nothing yet.
pub struct Candidate {
    pub workload: Workload,
    pub ports: BTreeMap<String, u16>,
}

/// Endpoints that someone else keeps for a service without a selector.
pub struct Slice {
    pub namespace: String,
    pub service: String,
    pub endpoints: Vec<Workload>,
    /// Port name -> number; a single port may have the empty name.
    pub ports: BTreeMap<String, u16>,
}

/// A machine, by the name that endpoints give it, and where it stands.
pub struct Node {
    pub name: String,
    /// `region/zone`, empty if not known.
    pub locality: String,
}

/// A namespace that lets others refer to its Services.
pub struct Grant {
    pub namespace: String,
    /// Kind and namespace that may refer.
    pub from: Vec<(String, String)>,
    /// Services that may be referred to; `None`: all.
    pub to: Vec<Option<String>>,
}
