//! Gateway API's routes for the mesh (a Service as parent) and its grants; `api` is their shape.

mod api;
mod backend;
mod connections;
mod cors;
mod filters;
mod matches;
mod persistence;
mod policies;
mod resolve;
mod rules;

pub use policies::{backend_tls_policy, backend_traffic_policy, guarded_backends, guarded_backends_spec};
pub use resolve::{Known, bind, resolve};

use super::hedging;
use super::meaning::{Bound, Grant, Meaning, NamedPort};
use super::reader::{Reader, code};
use super::telemetry::sampling;
use taut_model::host::{CLUSTER_DOMAIN, service_host};
use taut_model::object::Object;
use taut_model::route::{Dialect, Parent, Route, RouteProtocol};

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
        reader.unsupported_value(
            "spec.parentRefs",
            format_args!("a {kind} with a Service as parent"),
            "remove the parent: UDP passes beside the sidecar as it is",
        );
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

fn route(reader: &mut Reader<'_>, parent_refs: &[api::ParentRef], mut said: Said) -> Meaning {
    let hedging = hedging::annotated(reader);
    said.http.iter_mut().for_each(|rule| rule.hedging.clone_from(&hedging));
    let (mut parents, mut ports) = (Vec::new(), Vec::new());
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
        let namespace = parent.namespace.as_deref().unwrap_or(reader.namespace());
        parents.push(Parent { host: service_host(&parent.name, namespace), port: reader.port(&format!("{at}.port"), parent.port) });
    }
    if !said.hostnames.is_empty() && !parents.is_empty() {
        // Hosts are the gateways' of a route that is bound to both.
        reader.warn(code::NO_EFFECT, "spec.hostnames", "with a Service as parent, hostnames are ignored (GEP-1426): match the header Host instead");
    }
    let route = Route {
        origin: reader.origin(""),
        dialect: Dialect::GatewayApi,
        protocol: said.protocol,
        parents,
        // Until `halves` knows better.
        consumer_namespaces: Vec::new(),
        hostnames: Vec::new(),
        created: reader.created(),
        http: said.http,
        tcp: said.tcp,
        sampling: sampling(reader),
    };
    if ports.is_empty() { Meaning::Route(route) } else { Meaning::Bound(Bound { route, ports }) }
}

/// A route of a Service's own namespace speaks for all its clients (GEP-1426, producer route); attached to a Service of another
/// namespace it speaks for the clients of its own namespace only (consumer route). One that is attached to both is one of each.
pub fn halves(object: &Object, route: Route) -> Vec<Route> {
    let own = format!(".{}.svc.{CLUSTER_DOMAIN}", object.namespace);
    let (producer, consumer): (Vec<Parent>, Vec<Parent>) = route.parents.iter().cloned().partition(|parent| parent.host.ends_with(&own));
    let of_consumers = |parents| Route { parents, consumer_namespaces: vec![object.namespace.clone()], ..route.clone() };
    match (producer.is_empty(), consumer.is_empty()) {
        (_, true) => vec![route],
        (true, false) => vec![of_consumers(consumer)],
        (false, false) => vec![Route { parents: producer, ..route.clone() }, of_consumers(consumer)],
    }
}

pub fn reference_grant(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::ReferenceGrant = reader.spec(&[]);
    let from = spec.from.into_iter().filter(|from| from.group == "gateway.networking.k8s.io").map(|from| (from.kind, from.namespace));
    let to = spec.to.into_iter().filter(|to| to.group.is_empty() && to.kind == "Service").map(|to| to.name.filter(|name| !name.is_empty()));
    Meaning::Grant(Grant { namespace: reader.namespace().to_owned(), from: from.collect(), to: to.collect() })
}
