//! Which role a request needs, by its method and path: a viewer reads, an operator changes where traffic goes, an admin may all.

use super::role::Role;
use crate::api;
use http::Method;
use taut_model::kinds::Kind;

/// What our own routes need. All that is not named needs an admin.
const OWN: &[(&str, &str, Role)] = &[
    ("GET", "/taut/v1/tokens", Role::Admin),
    ("GET", "/taut/v1/access", Role::Admin),
    ("GET", "/taut/v1/audit", Role::Admin),
    ("GET", "/taut/v1/tap", Role::Operator),
    ("GET", "/taut/v1/profile", Role::Operator),
    ("GET", "/", Role::Viewer),
    ("POST", "/taut/v1/why", Role::Viewer),
    ("POST", "/taut/v1/plan", Role::Viewer),
    ("POST", "/taut/v1/changes", Role::Operator),
    // Prometheus' queries come as forms too.
    ("POST", "/prometheus", Role::Viewer),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Role::Viewer),
];

/// The least role that may make a request.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    // HEAD is GET without the body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    if let Some(kind) = api::reached(path) {
        return of_kind(method, kind);
    }
    let under = |prefix: &str| prefix == "/" || path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    OWN.iter().find(|(verb, prefix, _)| method.as_str() == *verb && under(prefix)).map_or(Role::Admin, |(_, _, role)| *role)
}

/// Whether a role may do this to objects of a kind.
pub fn may(role: Role, method: &Method, kind: &Kind) -> bool {
    role >= of_kind(method, kind)
}

fn of_kind(method: &Method, kind: &Kind) -> Role {
    match (*method == Method::GET, kind.group.is_empty() && kind.kind == "Secret") {
        (_, true) => Role::Admin,
        (true, false) => Role::Viewer,
        (false, false) if changes_traffic(kind) => Role::Operator,
        (false, false) => Role::Admin,
    }
}

/// The kinds that say where requests go and how, and not who may send them, who somebody is, or what is a workload.
pub fn changes_traffic(kind: &Kind) -> bool {
    match kind.group {
        "networking.istio.io" => matches!(kind.kind, "VirtualService" | "DestinationRule"),
        "gateway.networking.k8s.io" => matches!(kind.kind, "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute"),
        "gateway.networking.x-k8s.io" => kind.kind == "XBackendTrafficPolicy",
        "tautline.dev" => matches!(kind.kind, "RateLimit" | "HealthCheck"),
        _ => false,
    }
}
