//! Connections that are not HTTP: by name, by address, by the server name they ask for; and what their endpoints are told.

use super::*;
use taut_model::destination::ProxyProtocol;
use taut_model::route::TcpRule;
use taut_model::service::{Place, Resolution};

fn connection<'a>(host: &'a str, sni: Option<&'a str>) -> Facts<'a> {
    Facts { direction: Direction::Outbound, host, port: 443, http: None, peer: Peer::default(), sni }
}

/// The bookstore beside `api.example.com:443`, a TLS service outside the mesh whose `v2.example.com` is answered by ratings.
fn with_an_outside_service(protocol: AppProtocol) -> Plan {
    let mut snapshot = bookstore();
    let outside =
        Service { host: "api.example.com".into(), place: Place::External, resolution: Resolution::Passthrough, ..service("api", 443, protocol) };
    snapshot.services.insert(outside.host.clone(), Arc::new(outside));
    let backend = Backend { port: Some(9080), ..backend("ratings", None, 1) };
    let rule = TcpRule {
        origin: origin("VirtualService", "api", "spec.tls[0]"),
        port: None,
        source_labels: BTreeMap::new(),
        source_namespace: None,
        destination_subnets: vec![],
        sni: vec!["v2.example.com".into()],
        backends: vec![backend],
    };
    let mut route = route(Dialect::Istio, "api", "", vec![]);
    route.parents = vec![Parent { host: "api.example.com".into(), port: None }];
    route.tcp = vec![rule];
    snapshot.routes.insert("VirtualService/default/api".into(), Arc::new(route));
    snapshot.absent.insert("stranger.example.com".into());
    Plan::compile(&snapshot)
}

#[test]
fn a_server_name_says_what_an_address_of_the_world_outside_stands_for() {
    let plan = with_an_outside_service(AppProtocol::Tls);
    for (host, sni, want, of) in [
        ("api.example.com", None, "passthrough api.example.com:443", "api.example.com"),
        ("api.example.com", Some("v2.example.com"), "ratings", "api.example.com"),
        ("192.0.2.1", Some("api.example.com"), "passthrough 192.0.2.1:443", "api.example.com"),
        ("[2001:db8::1]", Some("API.example.com"), "passthrough [2001:db8::1]:443", "api.example.com"),
        ("192.0.2.1", Some("stranger.example.com"), "passthrough 192.0.2.1:443", "192.0.2.1"),
        ("192.0.2.1", None, "passthrough 192.0.2.1:443", "192.0.2.1"),
    ] {
        let verdict = plan.decide(&connection(host, sni), &Rolls::default());
        assert_eq!((short(&verdict).as_str(), verdict.service_host()), (want, Some(of)), "{host} {sni:?}");
    }
    let asked = plan.decide(&connection("192.0.2.1", Some("new.example.com")), &Rolls::default());
    assert_eq!(short(&asked), r#"ask Services(["new.example.com"])"#);
    // With nobody to ask, the address is dialled as the client named it.
    let go = plan.unanswered(&connection("192.0.2.1", Some("new.example.com")));
    assert!(go.is_some_and(|go| matches!(go.action, Action::Passthrough { host, .. } if host == "192.0.2.1")));
}

#[test]
fn a_server_name_does_not_turn_tls_into_a_service_of_http() {
    let plan = with_an_outside_service(AppProtocol::Http);
    let verdict = plan.decide(&connection("192.0.2.1", Some("api.example.com")), &Rolls::default());
    assert_eq!(verdict.service_host(), Some("192.0.2.1"));
}

#[test]
fn an_ipv4_address_is_the_same_in_ipv6_s_clothes() {
    let plan = Plan::compile(&bookstore());
    let ratings = &bookstore().workloads["default/ratings-v1"];
    let (own, target) = (ratings.address.clone(), ratings.serves[0].target);
    for host in [own.clone(), format!("::ffff:{own}"), format!("[::ffff:{own}]")] {
        let verdict = plan.decide(&Facts { port: target, ..connection(&host, None) }, &Rolls::default());
        assert_eq!(short(&verdict), "ratings", "{host}");
    }
}

#[test]
fn the_proxy_protocol_is_set_for_a_host_and_for_a_subset_and_stays_on_every_port() {
    let mut snapshot = bookstore();
    let mut destination = (*snapshot.destinations["DestinationRule/default/reviews"]).clone();
    destination.policy.proxy_protocol = Some(ProxyProtocol::V1);
    destination.policy.ports = vec![(9080, TrafficPolicy::default())];
    destination.subsets[1].policy.proxy_protocol = Some(ProxyProtocol::V2);
    snapshot.destinations.insert("DestinationRule/default/reviews".into(), Arc::new(destination));
    let plan = Plan::compile(&snapshot);
    let said = |subset: Option<&str>| {
        let mut of_reviews = plan.clusters().filter(|cluster| *cluster.key.host == fqdn("reviews"));
        of_reviews.find(|cluster| cluster.key.subset.as_deref() == subset).unwrap().proxy_protocol
    };
    assert_eq!([None, Some("v1"), Some("v2")].map(said), [Some(ProxyProtocol::V1), Some(ProxyProtocol::V1), Some(ProxyProtocol::V2)]);
}
