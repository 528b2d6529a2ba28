//! Gateway API's routes for the mesh (a Service as parent) and its grants; `api` is their shape.

mod api;
mod backend;
mod filters;
mod matches;
mod policies;
mod resolve;
mod rules;

pub use policies::{backend_tls_policy, backend_traffic_policy, guarded_backends, guarded_backends_spec};
pub use resolve::{Known, resolve};

use super::meaning::{Grant, Meaning};
use super::reader::Reader;
use taut_model::host::service_host;
use taut_model::route::{Dialect, HttpRule, Parent, Route};

pub fn http_route(reader: &mut Reader<'_>) -> Meaning {
    if let Some(idle) = for_gateways(reader) {
        return idle;
    }
    let spec: api::Route<api::HttpMatch> = reader.spec(&[]);
    // The API's default: one rule that matches everything and has no backend.
    let rules = spec.rules.unwrap_or_else(|| vec![api::Rule::default()]);
    let rules = rules.into_iter().enumerate().map(|(index, rule)| rules::rule(reader, index, rule, matches::http)).collect();
    route(reader, &spec.parent_refs, &spec.hostnames, rules)
}

/// Carried as HTTP rules: a gRPC method is the path `/package.Service/Method`.
pub fn grpc_route(reader: &mut Reader<'_>) -> Meaning {
    if let Some(idle) = for_gateways(reader) {
        return idle;
    }
    let spec: api::Route<api::GrpcMatch> = reader.spec(&[]);
    let rules = spec.rules.unwrap_or_else(|| vec![api::Rule::default()]);
    let rules = rules.into_iter().enumerate().map(|(index, rule)| rules::rule(reader, index, rule, matches::grpc)).collect();
    route(reader, &spec.parent_refs, &spec.hostnames, rules)
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

fn route(reader: &mut Reader<'_>, parent_refs: &[api::ParentRef], hostnames: &[String], http: Vec<HttpRule>) -> Meaning {
    let mut parents = Vec::new();
    let mut namespaces = Vec::new();
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
        if parent.section_name.is_some() {
            reader.unsupported_value(&format!("{at}.sectionName"), "the name of a port", "use port with its number");
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
    Meaning::Route(Route {
        origin: reader.origin(""),
        dialect: Dialect::GatewayApi,
        parents,
        // A route in a client's namespace speaks for that namespace's clients only (GEP-1426, consumer routes).
        consumer_namespace: (foreign > 0).then_some(own),
        hostnames: hostnames.iter().map(|hostname| hostname.to_ascii_lowercase()).collect(),
        created: reader.created(),
        http,
        tcp: Vec::new(),
    })
}

pub fn reference_grant(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::ReferenceGrant = reader.spec(&[]);
    let from = spec.from.into_iter().filter(|from| from.group == "gateway.networking.k8s.io").map(|from| (from.kind, from.namespace));
    let to = spec.to.into_iter().filter(|to| to.group.is_empty() && to.kind == "Service").map(|to| to.name.filter(|name| !name.is_empty()));
    Meaning::Grant(Grant { namespace: reader.namespace().to_owned(), from: from.collect(), to: to.collect() })
}
