//! TLSRoute and TCPRoute, and a VirtualService's rules for connections.

use super::*;
use taut_model::route::{Dialect, RouteProtocol};

fn backend(name: &str, weight: u32) -> Value {
    json!({"name": name, "port": 9080, "weight": weight})
}

fn bound(kind: &str, hostnames: Value, backends: Value) -> Object {
    let parents = json!([{"group": "", "kind": "Service", "name": "reviews", "port": 9080}]);
    named(kind, "r", json!({"parentRefs": parents, "hostnames": hostnames, "rules": [{"name": "all", "backendRefs": backends}]}))
}

#[test]
fn server_names_and_weights_are_carried() {
    let route = route_of(bound("TLSRoute", json!(["A.example.com", "*.b.com"]), json!([backend("reviews", 9), backend("reviews", 0)])));
    assert_eq!((route.dialect, route.protocol, route.hostnames.len()), (Dialect::GatewayApi, RouteProtocol::Tls, 0));
    assert_eq!(route.tcp[0].sni, ["a.example.com", "*.b.com"]);
    assert_eq!(route.tcp[0].backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [9, 0]);
    assert_eq!(route.tcp[0].origin.path, "spec.rules[0]");
    let route = route_of(bound("TCPRoute", json!(null), json!([{"name": "reviews", "port": 9080}])));
    assert_eq!((route.protocol, route.tcp[0].sni.len(), route.tcp[0].backends[0].weight), (RouteProtocol::Tcp, 0, 1));
    assert_eq!(route.parents[0].port, Some(9080));
}

#[test]
fn references_are_checked_as_those_of_http_are() {
    let database = || named("Service", "reviews", json!({"ports": [{"name": "tcp", "port": 9080}]}));
    let foreign = json!([{"name": "ratings", "namespace": "prod", "port": 9080}, {"name": "gone", "port": 1}]);
    let objects = |more: Vec<Object>| {
        let mut objects = vec![database(), with(service("ratings"), "namespace", json!("prod")), bound("TCPRoute", json!(null), foreign.clone())];
        objects.extend(more);
        translated(objects)
    };
    let at = |code, index: usize| (code, format!("spec.rules[0].backendRefs[{index}]"));
    let refused = objects(vec![]);
    assert_eq!(found(&refused, "TCPRoute", "r"), [at("RefNotPermitted", 0), at("BackendNotFound", 1)]);
    assert!(refused.routes["TCPRoute/default/r"].tcp[0].backends.iter().all(|backend| backend.unresolved.is_some()));
    let from = json!([{"group": "gateway.networking.k8s.io", "kind": "TCPRoute", "namespace": "default"}]);
    let grant = with(named("ReferenceGrant", "g", json!({"from": from, "to": [{"group": "", "kind": "Service"}]})), "namespace", json!("prod"));
    assert_eq!(found(&objects(vec![grant]), "TCPRoute", "r"), [at("BackendNotFound", 1)]);
}

#[test]
fn rules_for_connections_to_a_port_of_http_are_told_to_do_nothing() {
    let translation = translated(vec![service("reviews"), bound("TCPRoute", json!(null), json!([backend("reviews", 1)]))]);
    assert_eq!(found(&translation, "TCPRoute", "r"), [("NoEffect", "spec".to_owned())]);
    let none = translated(vec![
        named("Service", "reviews", json!({"ports": [{"name": "tcp", "port": 9080}]})),
        bound("TCPRoute", json!(null), json!([backend("reviews", 0)])),
    ]);
    assert_eq!(found(&none, "TCPRoute", "r"), [("NoEffect", "spec.rules[0]".to_owned())], "weights of zero");
}

#[test]
fn a_virtual_service_may_ask_for_the_address_that_was_dialled() {
    let matching = json!([{"destinationSubnets": ["10.1.0.0/16", "fd00::1"], "port": 1}]);
    let route = route_of(named(
        "VirtualService",
        "v",
        json!({"hosts": ["reviews"], "tcp": [{"match": matching, "route": [{"destination": {"host": "reviews"}}]}]}),
    ));
    assert_eq!(route.tcp[0].destination_subnets, ["10.1.0.0/16", "fd00::1"]);
}
