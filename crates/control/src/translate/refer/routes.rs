//! Routes: destinations, ports and subsets that are not there, shares of nothing, rules that no request reaches.

use super::super::reader::code;
use super::super::values::nearest;
use super::notes::Notes;
use super::world::World;
use taut_model::origin::Origin;
use taut_model::route::{Backend, Dialect, HttpAction, HttpMatch, HttpRule, PathMatch, Route};
use taut_model::service::Service;

pub fn check(world: &World<'_>, route: &Route, notes: &mut Notes<'_>) {
    parents(world, route, notes);
    for rule in &route.http {
        if let HttpAction::Forward(backends) = &rule.action {
            for backend in backends {
                self::backend(world, backend, notes);
            }
            weights(&rule.origin, backends, notes);
        }
        for mirror in &rule.mirrors {
            backend(world, &mirror.backend, notes);
        }
    }
    for rule in &route.tcp {
        for backend in &rule.backends {
            self::backend(world, backend, notes);
        }
        weights(&rule.origin, &rule.backends, notes);
    }
    if route.dialect == Dialect::Istio {
        unreachable(&route.http, notes);
    }
}

fn parents(world: &World<'_>, route: &Route, notes: &mut Notes<'_>) {
    let about = &route.origin.object;
    let field = match route.dialect {
        Dialect::Istio => "spec.hosts",
        Dialect::GatewayApi => "spec.parentRefs",
    };
    if route.parents.is_empty() {
        notes.warn(code::NO_EFFECT, about, field, format!("{field}: covers no service that the mesh knows"), None);
    }
    for parent in &route.parents {
        match (world.service(&parent.host), parent.port) {
            (None, _) => {
                let message = format!("{field}: there is no service {}, so this has no effect yet", parent.host);
                notes.warn(code::UNKNOWN_REFERENCE, about, field, message, world.near_host(&parent.host));
            }
            (Some(service), Some(port)) if service.port(port).is_none() => {
                let message = format!("{field}: {} has no port {port}, so this has no effect", parent.host);
                notes.warn(code::UNKNOWN_REFERENCE, about, field, message, Some(ports(service)));
            }
            (Some(service), port) => connections_only(route, service, port, notes),
        }
    }
}

/// Rules for connections mean nothing to a port that speaks HTTP.
fn connections_only(route: &Route, service: &Service, port: Option<u16>, notes: &mut Notes<'_>) {
    if !route.http.is_empty() || route.tcp.is_empty() {
        return;
    }
    let mut ports = service.ports.iter().filter(|known| port.is_none_or(|port| known.number == port)).peekable();
    if ports.peek().is_some() && ports.all(|port| port.protocol.is_http()) {
        let message = format!("{} speaks HTTP, so rules for connections have no effect", service.host);
        let help = Some("give the port the appProtocol tcp or tls, or write a route for HTTP".to_owned());
        notes.warn(code::NO_EFFECT, &route.origin.object, "spec", message, help);
    }
}

fn ports(service: &Service) -> String {
    let numbers: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
    format!("its ports are {}", numbers.join(", "))
}

/// A backend may be of another object than its route: of a delegate.
fn backend(world: &World<'_>, backend: &Backend, notes: &mut Notes<'_>) {
    let about = &backend.origin.object;
    // Said already, with Gateway API's own reason.
    if backend.unresolved.is_some() {
        return;
    }
    let path = &backend.origin.path;
    let Some(service) = world.service(&backend.host) else {
        let message = format!("{path}: there is no service {}", backend.host);
        return notes.warn(code::UNKNOWN_REFERENCE, about, path, message, world.near_host(&backend.host));
    };
    if let Some(port) = backend.port.filter(|port| service.port(*port).is_none()) {
        notes.warn(code::UNKNOWN_REFERENCE, about, path, format!("{path}: {} has no port {port}", backend.host), Some(ports(service)));
    }
    let Some(subset) = &backend.subset else { return };
    let defined = || world.destinations(&backend.host).flat_map(|destination| &destination.subsets).map(|subset| subset.name.as_str());
    if !defined().any(|name| name == subset) {
        let message = format!("{path}: no DestinationRule for {} defines the subset {subset:?}", backend.host);
        notes.warn(code::UNKNOWN_REFERENCE, about, path, message, nearest(subset, defined()).map(|near| format!("did you mean {near:?}?")));
    }
}

/// Many rules share one list of backends (a TCP rule per match), so this may be said of each.
fn weights(origin: &Origin, backends: &[Backend], notes: &mut Notes<'_>) {
    let (about, path) = (&origin.object, &origin.path);
    if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        let message = format!("{path}: the weights add up to 0, so nothing gets this traffic and it is answered with an error");
        notes.warn(code::NO_EFFECT, about, path, message, Some("give at least one destination a weight".to_owned()));
    }
}

/// In a VirtualService the first match wins, so nothing behind a rule that matches everything is ever reached.
fn unreachable(rules: &[HttpRule], notes: &mut Notes<'_>) {
    let catch_all = |rule: &HttpRule| rule.matches.is_empty() || rule.matches.iter().any(matches_everything);
    let Some(first) = rules.iter().position(catch_all) else { return };
    for rule in &rules[first + 1..] {
        let (path, before) = (&rule.origin.path, &rules[first].origin);
        let whose = if before.object == rule.origin.object { String::new() } else { format!(" of {}", before.object) };
        let message = format!("{path}: never reached, since {}{whose} matches every request before it", before.path);
        notes.warn(code::UNREACHABLE, &rule.origin.object, path, message, Some("move the rule that matches everything to the end".to_owned()));
    }
}

fn matches_everything(matching: &HttpMatch) -> bool {
    let any_path = match &matching.path {
        None => true,
        Some(PathMatch::Prefix(prefix)) => prefix == "/" || prefix.is_empty(),
        Some(PathMatch::Regex(pattern)) => pattern == ".*" || pattern == "/.*",
        Some(PathMatch::Exact(_) | PathMatch::Segments(_) | PathMatch::Grpc { .. }) => false,
    };
    let unrestricted = HttpMatch { origin: matching.origin.clone(), path: None, ignore_path_case: false, ..HttpMatch::default() };
    any_path && HttpMatch { path: None, ignore_path_case: false, ..matching.clone() } == unrestricted
}
