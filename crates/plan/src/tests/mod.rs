//! Whole plans, told as stories: a small bookstore, what users say about it, what a request meets. Builders live here.

mod allocations;
mod connections;
mod cors;
mod destinations;
mod inbound;
mod limits;
mod live;
mod mismatch;
mod possibilities;
mod properties;
mod routing;
mod shortcuts;
mod telemetry;
mod tokens;

use crate::verdict::Action;
use crate::{Direction, Facts, HttpFacts, Peer, Plan, Rolls, Snapshot, Verdict};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::destination::{Destination, Subset, TrafficPolicy};
use taut_model::host::service_host;
use taut_model::identity::Identity;
use taut_model::origin::{ObjectRef, Origin};
use taut_model::route::{
    Backend, Dialect, HeaderChange, HttpAction, HttpMatch, HttpRule, NamedMatch, Parent, PathMatch, Route, RouteProtocol, TextMatch,
};
use taut_model::service::{AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};

pub(super) fn origin(kind: &str, name: &str, path: &str) -> Origin {
    Origin { object: ObjectRef::new(kind, "default", name), generation: 1, path: path.into(), location: None }
}

pub(super) fn fqdn(name: &str) -> String {
    service_host(name, "default")
}

pub(super) fn service(name: &str, port: u16, protocol: AppProtocol) -> Service {
    Service {
        origin: origin("Service", name, ""),
        host: fqdn(name),
        name: name.into(),
        namespace: "default".into(),
        ports: vec![ServicePort { number: port, name: "p".into(), protocol }],
        place: Place::Mesh,
        resolution: Resolution::Static,
        addresses: Vec::new(),
        distribution: Default::default(),
        affinity: Default::default(),
    }
}

pub(super) fn workload(name: &str, version: &str, number: u8) -> Workload {
    let app = name.to_owned();
    Workload {
        origin: origin("WorkloadEntry", &format!("{name}-{version}"), ""),
        uid: format!("default/{name}-{version}"),
        name: format!("{name}-{version}"),
        namespace: "default".into(),
        identity: Identity::new("mesh.local", "default", format!("bookinfo-{name}")),
        labels: [("app", app.as_str()), ("version", version)].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        address: format!("10.0.0.{number}"),
        serves: vec![Serves { host: fqdn(name), port: 9080, target: 8080 }],
        peer: Some(([10, 0, 0, number], 15008).into()),
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    }
}

/// productpage calls reviews v1, v2, v3 (with subsets) and ratings v1.
pub(super) fn bookstore() -> Snapshot {
    let mut snapshot = Snapshot { version: 7, trust_domain: "mesh.local".into(), policies_complete: true, ..Snapshot::default() };
    for name in ["productpage", "reviews", "ratings"] {
        snapshot.services.insert(fqdn(name), Arc::new(service(name, 9080, AppProtocol::Http)));
    }
    for (number, (name, version)) in
        [("productpage", "v1"), ("reviews", "v1"), ("reviews", "v2"), ("reviews", "v3"), ("ratings", "v1")].into_iter().enumerate()
    {
        let workload = Arc::new(workload(name, version, number as u8 + 1));
        snapshot.workloads.insert(workload.uid.clone(), workload);
    }
    snapshot.own = snapshot.workloads.get("default/productpage-v1").cloned();
    let subset = |name: &str| Subset {
        origin: origin("DestinationRule", "reviews", &format!("spec.subsets[{name}]")),
        name: name.into(),
        labels: [("version".to_owned(), name.to_owned())].into(),
        policy: TrafficPolicy::default(),
    };
    let destination = Destination {
        origin: origin("DestinationRule", "reviews", ""),
        host: fqdn("reviews"),
        namespace: "default".into(),
        role: Default::default(),
        clients: Default::default(),
        policy: TrafficPolicy::default(),
        subsets: ["v1", "v2", "v3", "v9"].map(subset).into(),
    };
    snapshot.destinations.insert("DestinationRule/default/reviews".into(), Arc::new(destination));
    snapshot
}

pub(super) fn backend(name: &str, subset: Option<&str>, weight: u32) -> Backend {
    Backend {
        origin: origin("VirtualService", "reviews", &format!("to {name} {}", subset.unwrap_or_default())),
        host: fqdn(name),
        port: None,
        subset: subset.map(Into::into),
        weight,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    }
}

pub(super) fn rule(name: &str, matches: Vec<HttpMatch>, action: HttpAction) -> HttpRule {
    HttpRule {
        origin: origin("VirtualService", "reviews", name),
        name: name.into(),
        matches,
        action,
        rewrite: None,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        timeout: None,
        retry: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        persistence: None,
        hedging: None,
    }
}

pub(super) fn route(dialect: Dialect, name: &str, created: &str, http: Vec<HttpRule>) -> Route {
    let kind = if dialect == Dialect::Istio { "VirtualService" } else { "HTTPRoute" };
    Route {
        origin: origin(kind, name, ""),
        dialect,
        protocol: RouteProtocol::Http,
        parents: vec![Parent { host: fqdn("reviews"), port: None }],
        consumer_namespaces: Vec::new(),
        hostnames: Vec::new(),
        created: created.into(),
        http,
        tcp: Vec::new(),
        sampling: None,
    }
}

pub(super) fn to(name: &str, subset: &str) -> HttpAction {
    HttpAction::Forward(vec![backend(name, Some(subset).filter(|subset| !subset.is_empty()), 1)])
}

pub(super) fn on_path(path: PathMatch) -> HttpMatch {
    HttpMatch { path: Some(path), origin: origin("VirtualService", "reviews", "match"), ..HttpMatch::default() }
}

pub(super) fn on_header(name: &str, value: TextMatch) -> HttpMatch {
    let headers = vec![NamedMatch { name: name.into(), value }];
    HttpMatch { headers, origin: origin("VirtualService", "reviews", "match"), ..HttpMatch::default() }
}

pub(super) fn with_routes(routes: Vec<Route>) -> Snapshot {
    let mut snapshot = bookstore();
    for route in routes {
        snapshot.routes.insert(route.origin.object.to_string(), Arc::new(route));
    }
    snapshot
}

/// A request, with its headers owned.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: String,
    pub host: String,
    pub port: u16,
    pub authority: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

pub(super) fn get(path: &str) -> Request {
    Request {
        method: "GET".into(),
        host: "reviews".into(),
        port: 9080,
        authority: "reviews:9080".into(),
        path: path.into(),
        query: String::new(),
        headers: HeaderMap::new(),
    }
}

impl Request {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts { direction: Direction::Outbound, host: &self.host, port: self.port, http: Some(self.http()), peer: Peer::default(), sni: None }
    }

    pub fn http(&self) -> HttpFacts<'_> {
        HttpFacts {
            method: &self.method,
            scheme: "http",
            authority: &self.authority,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            token: None,
            permitted_by: None,
        }
    }
}

/// The outcome in short: `reviews v2`, `404 no_route_matched`, …
pub(super) fn outcome(plan: &Plan, request: &Request) -> String {
    short(&plan.decide(&request.facts(), &Rolls::default()))
}

pub(super) fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Go(go) => match &go.action {
            Action::Forward(forward) => {
                let key = &forward.cluster.key;
                let name = key.host.split('.').next().unwrap().to_owned();
                key.subset.as_ref().map_or(name.clone(), |subset| format!("{name} {subset}"))
            }
            Action::Local { port, path: None } => format!("local {port}"),
            Action::Local { port, path: Some(path) } => format!("local {port} {path}"),
            Action::Redirect { status, location } => format!("{status} {location}"),
            Action::Respond { status, .. } => format!("respond {status}"),
            Action::Abort { with, .. } => format!("abort {with:?}"),
            Action::Passthrough { host, port } => format!("passthrough {host}:{port}"),
        },
        Verdict::Ask(question) => format!("ask {question:?}"),
        Verdict::Refuse(refusal) => format!("{} {}", refusal.status, refusal.reason.name()),
    }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
