//! Gateway API's routes for the mesh (a Service as parent) and its grants; `api` is their shape.

mod api;
mod backend;
mod connections;
mod cors;
mod filters;
mod matches;
mod resolve;
mod rules;

pub use resolve::{Known, bind, resolve};

use super::meaning::{Grant, Meaning};
use super::reader::Reader;
use taut_model::host::service_host;
use taut_model::route::{Dialect, Parent, Route, RouteProtocol};

/// A route, some of whose parents name a port of the Service.
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

/// What a route says beside where it is attached.
struct Said {
    protocol: RouteProtocol,
    hostnames: Vec<String>,
    http: Vec<taut_model::route::HttpRule>,
    tcp: Vec<taut_model::route::TcpRule>,
}

pub fn http_route(reader: &mut Reader<'_>) -> Meaning {
    if let Some(idle) = for_gateways(reader) {
        return idle;
    }
    let spec: api::Route<api::HttpMatch> = reader.spec(&[]);
    // The API's default: one rule that matches everything and has no backend.
    let rules = spec.rules.unwrap_or_else(|| vec![api::Rule::default()]);
    let rules = rules.into_iter().enumerate().map(|(index, rule)| rules::rule(reader, index, rule, matches::http)).collect();
    route(reader, &spec.parent_refs, Said { protocol: RouteProtocol::Http, hostnames: spec.hostnames, http: rules, tcp: Vec::new() })
}

/// Carried as HTTP rules: a gRPC method is the path `/package.Service/Method`.
pub fn grpc_route(reader: &mut Reader<'_>) -> Meaning {
    if let Some(idle) = for_gateways(reader) {
        return idle;
    }
    let spec: api::Route<api::GrpcMatch> = reader.spec(&[]);
    let rules = spec.rules.unwrap_or_else(|| vec![api::Rule::default()]);
    let rules = rules.into_iter().enumerate().map(|(index, rule)| rules::rule(reader, index, rule, matches::grpc)).collect();
    route(reader, &spec.parent_refs, Said { protocol: RouteProtocol::Grpc, hostnames: spec.hostnames, http: rules, tcp: Vec::new() })
}

pub fn tls_route(reader: &mut Reader<'_>) -> Meaning {
    connection_route(reader, RouteProtocol::Tls)
}

pub fn tcp_route(reader: &mut Reader<'_>) -> Meaning {
    connection_route(reader, RouteProtocol::Tcp)
}

fn connection_route(reader: &mut Reader<'_>, protocol: RouteProtocol) -> Meaning {
    if let Some(idle) = for_gateways(reader) {
        return idle;
    }
    let spec: api::ConnectionRoute = reader.spec(&[]);
    let tcp = connections::rules(reader, &spec.hostnames, spec.rules, protocol == RouteProtocol::Tls);
    // The names are server names, which the rules hold.
    route(reader, &spec.parent_refs, Said { protocol, hostnames: Vec::new(), http: Vec::new(), tcp })
}

/// A route of a kind that the mesh does not carry: idle with gateways, refused with Services.
pub fn unserved_route(reader: &mut Reader<'_>) -> Meaning {
    for_gateways(reader).unwrap_or_else(|| {
        let kind = reader.object().kind.kind;
        reader.unsupported_value("spec.parentRefs", format_args!("a {kind} with a Service as parent"), "use a VirtualService with tcp or tls rules");
        Meaning::Nothing
    })
}

/// Idle when no parent is a Service. Read first and alone, so that a gateway's own features are nobody's problem.
fn for_gateways(reader: &mut Reader<'_>) -> Option<Meaning> {
    let parents: api::Parents = reader.part("spec");
    if parents.parent_refs.is_empty() {
        return Some(Meaning::Idle("no parentRefs, so it is attached to nothing".to_owned()));
    }
    let gateways: Vec<String> = parents.parent_refs.iter().filter(|parent| is_gateway(parent)).map(|parent| parent.name.clone()).collect();
    (gateways.len() == parents.parent_refs.len())
        .then(|| Meaning::Idle(format!("bound to gateways only ({}), which this version does not serve", gateways.join(", "))))
}

fn is_gateway(parent: &api::ParentRef) -> bool {
    matches!(parent.kind.as_deref(), None | Some("Gateway" | "ListenerSet" | "XListenerSet"))
}

fn route(reader: &mut Reader<'_>, parent_refs: &[api::ParentRef], said: Said) -> Meaning {
    let (mut parents, mut ports, mut namespaces) = (Vec::new(), Vec::new(), Vec::new());
    for (index, parent) in parent_refs.iter().enumerate().filter(|(_, parent)| !is_gateway(parent)) {
        let at = format!("spec.parentRefs[{index}]");
        match (parent.group.as_deref(), parent.kind.as_deref()) {
            (Some("" | "core"), Some("Service")) => {}
            (group, kind) => {
                let written = format!("the parent {}/{}", group.unwrap_or("gateway.networking.k8s.io"), kind.unwrap_or("Gateway"));
                reader.unsupported_value(&at, written, "use group \"\" and kind Service");
                continue;
            }
        }
        if let Some(name) = parent.section_name.clone() {
            ports.push(NamedPort { parent: parents.len(), name, at: format!("{at}.sectionName") });
        }
        let namespace = parent.namespace.as_deref().unwrap_or(reader.namespace()).to_owned();
        parents.push(Parent { host: service_host(&parent.name, &namespace), port: reader.port(&format!("{at}.port"), parent.port) });
        namespaces.push(namespace);
    }
    let own = reader.namespace().to_owned();
    let foreign = namespaces.iter().filter(|namespace| **namespace != own).count();
    if foreign > 0 && foreign < namespaces.len() {
        reader.unsupported_value("spec.parentRefs", "Services of this and of another namespace in one route", "write a route for each");
    }
    let route = Route {
        origin: reader.origin(""),
        dialect: Dialect::GatewayApi,
        protocol: said.protocol,
        parents,
        // A route in a client's namespace speaks for that namespace's clients only (GEP-1426, consumer routes).
        consumer_namespaces: if foreign > 0 { vec![own] } else { Vec::new() },
        hostnames: said.hostnames.iter().map(|hostname| hostname.to_ascii_lowercase()).collect(),
        created: reader.created(),
        http: said.http,
        tcp: said.tcp,
    };
    if ports.is_empty() { Meaning::Route(route) } else { Meaning::Bound(Bound { route, ports }) }
}

pub fn reference_grant(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::ReferenceGrant = reader.spec(&[]);
    let from = spec.from.into_iter().filter(|from| from.group == "gateway.networking.k8s.io").map(|from| (from.kind, from.namespace));
    let to = spec.to.into_iter().filter(|to| to.group.is_empty() && to.kind == "Service").map(|to| to.name.filter(|name| !name.is_empty()));
    Meaning::Grant(Grant { namespace: reader.namespace().to_owned(), from: from.collect(), to: to.collect() })
}
