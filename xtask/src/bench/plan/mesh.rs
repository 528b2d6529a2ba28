//! Meshes of any size to compile, and the requests to decide in them.

use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::host::service_host;
use taut_model::identity::Identity;
use taut_model::origin::{ObjectRef, Origin};
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, OperationMatch, SourceMatch};
use taut_model::route::{Backend, Dialect, HeaderChange, HttpAction, HttpMatch, HttpRule, NamedMatch, Parent, PathMatch, Route, TextMatch};
use taut_model::service::{AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};
use taut_plan::{Direction, Facts, HttpFacts, Peer, Snapshot};

/// How what users said is spread over the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Ten HTTPRoutes for each service.
    Spread,
    /// All HTTPRoutes for one service, told apart by their path.
    OneHost,
    /// All HTTPRoutes for one path of one service, told apart by a header.
    OnePath,
    /// AuthorizationPolicies for the proxy's own workload: each lets one identity call one path.
    Policies,
}

pub const SHAPES: [Shape; 4] = [Shape::Spread, Shape::OneHost, Shape::OnePath, Shape::Policies];

const PORT: u16 = 9080;
const ROUTES_OF_A_SERVICE: usize = 10;
const OWN: &str = "own";
const USER: &str = "x-user";

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Spread => "routes, 10 of each service",
            Shape::OneHost => "routes, all of one service",
            Shape::OnePath => "routes, all of one path",
            Shape::Policies => "policies of one workload",
        }
    }

    pub fn snapshot(self, count: usize) -> Snapshot {
        let own = Arc::new(workload(OWN, 0));
        let mut snapshot =
            Snapshot { version: 1, trust_domain: "mesh.local".into(), policies_complete: true, own: Some(own.clone()), ..Snapshot::default() };
        add(&mut snapshot, OWN, own);
        for number in 0..count {
            match self {
                Shape::Policies => {
                    let policy = policy(number);
                    snapshot.authorizations.insert(policy.origin.object.to_string(), Arc::new(policy));
                }
                Shape::Spread | Shape::OneHost | Shape::OnePath => {
                    let name = self.service(number);
                    if !snapshot.services.contains_key(&fqdn(&name)) {
                        add(&mut snapshot, &name, Arc::new(workload(&name, number + 1)));
                    }
                    let route = route(&name, number, self.matching(number));
                    snapshot.routes.insert(route.origin.object.to_string(), Arc::new(route));
                }
            }
        }
        snapshot
    }

    /// The request that this route or policy, and no other, is for.
    pub fn request(self, number: usize) -> Request {
        match self {
            Shape::Policies => Request { host: fqdn(OWN), path: path(number), caller: Some(caller(number)), headers: headers(None) },
            Shape::Spread | Shape::OneHost => Request { host: self.service(number), path: path(number), caller: None, headers: headers(None) },
            Shape::OnePath => Request { host: self.service(number), path: path(0), caller: None, headers: headers(Some(number)) },
        }
    }

    fn matching(self, number: usize) -> HttpMatch {
        match self {
            Shape::OnePath => HttpMatch {
                path: Some(PathMatch::Segments(path(0))),
                headers: vec![NamedMatch { name: USER.to_owned(), value: TextMatch::Exact(user(number)) }],
                ..HttpMatch::default()
            },
            Shape::Spread | Shape::OneHost | Shape::Policies => HttpMatch { path: Some(PathMatch::Segments(path(number))), ..HttpMatch::default() },
        }
    }

    fn service(self, number: usize) -> String {
        match self {
            Shape::OneHost | Shape::OnePath => "store".to_owned(),
            Shape::Spread | Shape::Policies => format!("store-{}", number / ROUTES_OF_A_SERVICE),
        }
    }
}

pub struct Request {
    host: String,
    path: String,
    caller: Option<Identity>,
    headers: HeaderMap,
}

impl Request {
    pub fn facts(&self) -> Facts<'_> {
        let http = HttpFacts {
            method: "GET",
            scheme: "http",
            authority: &self.host,
            path: &self.path,
            query: "page=1",
            headers: &self.headers,
            token: None,
            permitted_by: None,
        };
        let direction = if self.caller.is_some() { Direction::Inbound } else { Direction::Outbound };
        Facts {
            direction,
            host: &self.host,
            port: PORT,
            http: Some(http),
            peer: Peer { identity: self.caller.as_ref(), address: None, client: None },
            sni: None,
        }
    }
}

/// What a browser's request or a trace brings along, and perhaps who the user is.
fn headers(number: Option<usize>) -> HeaderMap {
    let pairs = [
        ("accept", "*/*"),
        ("user-agent", "bench"),
        ("x-request-id", "5f2c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let fixed = pairs.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
    let user = number.and_then(|number| Some((http::HeaderName::from_static(USER), user(number).parse().ok()?)));
    fixed.chain(user).collect()
}

fn add(snapshot: &mut Snapshot, name: &str, workload: Arc<Workload>) {
    let service = Service {
        origin: origin("Service", name),
        host: fqdn(name),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        ports: vec![ServicePort { number: PORT, name: "http".to_owned(), protocol: AppProtocol::Http }],
        place: Place::Mesh,
        resolution: Resolution::Static,
        addresses: Vec::new(),
        distribution: Default::default(),
        affinity: Default::default(),
    };
    snapshot.services.insert(service.host.clone(), Arc::new(service));
    snapshot.workloads.insert(workload.uid.clone(), workload);
}

fn workload(name: &str, number: usize) -> Workload {
    let address = std::net::Ipv4Addr::from(0x0a00_0001 + u32::try_from(number).unwrap_or(0));
    Workload {
        origin: origin("WorkloadEntry", name),
        uid: format!("default/{name}"),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        identity: Identity::new("mesh.local", "default", name),
        labels: [("app".to_owned(), name.to_owned())].into(),
        address: address.to_string(),
        serves: vec![Serves { host: fqdn(name), port: PORT, target: 8080 }],
        peer: Some((address, 15008).into()),
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    }
}

fn route(service: &str, number: usize, matching: HttpMatch) -> Route {
    let name = format!("route-{number:06}");
    let origin = origin("HTTPRoute", &name);
    let backend = Backend {
        origin: origin.clone(),
        host: fqdn(service),
        port: None,
        subset: None,
        weight: 1,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    };
    let rule = HttpRule {
        origin: origin.clone(),
        name: String::new(),
        matches: vec![HttpMatch { origin: origin.clone(), ..matching }],
        action: HttpAction::Forward(vec![backend]),
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
    };
    Route {
        origin,
        dialect: Dialect::GatewayApi,
        protocol: taut_model::route::RouteProtocol::Http,
        parents: vec![Parent { host: fqdn(service), port: Some(PORT) }],
        consumer_namespaces: vec![],
        hostnames: Vec::new(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        http: vec![rule],
        tcp: Vec::new(),
        sampling: None,
    }
}

fn policy(number: usize) -> AuthorizationPolicy {
    let origin = origin("AuthorizationPolicy", &format!("policy-{number:06}"));
    let who = caller(number);
    let from =
        SourceMatch { principals: vec![format!("{}/ns/{}/sa/{}", who.trust_domain, who.namespace, who.service_account)], ..SourceMatch::default() };
    let to = OperationMatch { methods: vec!["GET".to_owned()], paths: vec![path(number)], ..OperationMatch::default() };
    AuthorizationPolicy {
        origin: origin.clone(),
        namespace: "default".to_owned(),
        selector: BTreeMap::new(),
        action: AuthorizationAction::Allow,
        services: vec![],
        provider: String::new(),
        dry_run: false,
        rules: vec![AuthorizationRule { origin, from: vec![from], to: vec![to], when: Vec::new() }],
    }
}

fn caller(number: usize) -> Identity {
    Identity::new("mesh.local", "default", format!("caller-{number:06}"))
}

fn user(number: usize) -> String {
    format!("user-{number:06}")
}

fn path(number: usize) -> String {
    format!("/shelf/{number:06}")
}

fn fqdn(name: &str) -> String {
    service_host(name, "default")
}

fn origin(kind: &str, name: &str) -> Origin {
    Origin { object: ObjectRef::new(kind, "default", name), generation: 1, path: String::new(), location: None }
}
