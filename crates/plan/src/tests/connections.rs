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

/// One rule for connections to reviews.
fn connections(name: &str, created: &str, sni: &[&str], backends: Vec<Backend>) -> Route {
    let rule = TcpRule {
        origin: origin("TLSRoute", name, "spec.rules[0]"),
        port: None,
        source_labels: BTreeMap::new(),
        source_namespace: None,
        destination_subnets: vec![],
        sni: sni.iter().map(|name| (*name).to_owned()).collect(),
        backends,
    };
    let mut route = route(Dialect::GatewayApi, name, created, vec![]);
    route.protocol = if sni.is_empty() { RouteProtocol::Tcp } else { RouteProtocol::Tls };
    route.tcp = vec![rule];
    route
}

fn with_connections(routes: Vec<Route>) -> Plan {
    let mut snapshot = with_routes(routes);
    snapshot.services.insert(fqdn("reviews"), Arc::new(service("reviews", 9080, AppProtocol::Tls)));
    Plan::compile(&snapshot)
}

fn to_reviews<'a>(host: &'a str, sni: Option<&'a str>) -> Facts<'a> {
    Facts { port: 9080, ..connection(host, sni) }
}

#[test]
fn of_server_names_the_most_specific_wins_whatever_the_age() {
    let ratings = Backend { port: Some(9080), ..backend("ratings", None, 1) };
    let plan = with_connections(vec![
        connections("wide", "2001", &["*.example.com"], vec![backend("reviews", Some("v1"), 1)]),
        connections("narrow", "2002", &["*.eu.example.com", "one.example.com"], vec![backend("reviews", Some("v2"), 1)]),
        connections("late", "2003", &["one.example.com"], vec![ratings]),
    ]);
    for (sni, want) in [
        (Some("two.example.com"), "reviews v1"),
        (Some("a.EU.example.com"), "reviews v2"),
        (Some("one.example.com"), "reviews v2"),
        (Some("elsewhere.com"), "reviews"),
        (None, "reviews"),
    ] {
        assert_eq!(short(&plan.decide(&to_reviews("reviews", sni), &Rolls::default())), want, "{sni:?}");
    }
}

#[test]
fn connections_are_split_by_weight_and_shares_of_nobody_are_refused() {
    let gone = Backend { unresolved: Some("no such Service".into()), ..backend("gone", None, 1) };
    let older = connections("older", "2001", &[], vec![backend("reviews", Some("v1"), 3), gone]);
    let newer = connections("newer", "2002", &[], vec![backend("reviews", Some("v2"), 1)]);
    let plan = with_connections(vec![older, newer]);
    for (roll, want) in [(0, "reviews v1"), (u64::MAX / 2, "reviews v1"), (u64::MAX, "500 backend_unresolved")] {
        let rolls = Rolls { backend: roll, ..Rolls::default() };
        assert_eq!(short(&plan.decide(&to_reviews("reviews", None), &rolls)), want, "{roll}");
    }
    assert_eq!(plan.notes().len(), 1);
    assert_eq!(plan.notes()[0].0.object.name, "newer");
    assert!(plan.notes()[0].1.contains("takes every connection and is older"), "{:?}", plan.notes());
    for nobody in [vec![], vec![backend("reviews", Some("v1"), 0)], vec![backend("reviews", Some("v9"), 1)]] {
        let plan = with_connections(vec![connections("r", "", &[], nobody.clone())]);
        let verdict = plan.decide(&to_reviews("reviews", None), &Rolls::default());
        assert!(matches!(verdict, Verdict::Refuse(_)), "{nobody:?} {verdict:?}");
    }
}

#[test]
fn a_tcp_route_declares_an_undeclared_port() {
    for (declared, sni, want) in [
        (AppProtocol::Unknown, &[][..], AppProtocol::Tcp),
        (AppProtocol::Unknown, &["a.example.com"][..], AppProtocol::Unknown),
        (AppProtocol::Http, &[][..], AppProtocol::Http),
    ] {
        let mut snapshot = with_routes(vec![connections("r", "", sni, vec![backend("reviews", Some("v1"), 1)])]);
        snapshot.services.insert(fqdn("reviews"), Arc::new(service("reviews", 9080, declared)));
        assert_eq!(Plan::compile(&snapshot).protocol("reviews", 9080), Some(want), "{declared:?} {sni:?}");
    }
}

#[test]
fn a_rule_may_be_about_the_address_that_the_client_dialled() {
    let mut route = connections("r", "", &[], vec![backend("reviews", Some("v1"), 1)]);
    route.tcp[0].destination_subnets = vec!["240.240.0.0/16".into(), "fd00::1".into()];
    let addressed = |addresses: [&str; 2]| {
        let mut snapshot = with_routes(vec![route.clone()]);
        let mut reviews = service("reviews", 9080, AppProtocol::Tcp);
        reviews.addresses = addresses.map(|address| address.parse().unwrap()).into();
        snapshot.services.insert(fqdn("reviews"), Arc::new(reviews));
        Plan::compile(&snapshot)
    };
    for (addresses, host, want) in [
        (["240.240.0.1", "10.9.9.9"], "240.240.0.1", "reviews v1"),
        (["240.240.0.1", "10.9.9.9"], "10.9.9.9", "reviews"),
        (["240.240.0.1", "10.9.9.9"], "reviews", "reviews v1"),
        (["fd00::1", "fd00::2"], "[fd00::1]", "reviews v1"),
        (["fd00::1", "fd00::2"], "[fd00::2]", "reviews"),
        (["10.9.9.8", "10.9.9.9"], "reviews", "reviews"),
    ] {
        assert_eq!(short(&addressed(addresses).decide(&to_reviews(host, None), &Rolls::default())), want, "{addresses:?} {host}");
    }
    let why = addressed(["10.9.9.8", "10.9.9.9"]).explain(&to_reviews("reviews", None), None).to_string();
    assert!(why.contains("the address dialled is in 240.240.0.0/16, fd00::1/128: it is reviews"), "{why}");
    route.tcp[0].destination_subnets = vec!["everywhere".into()];
    let bad = with_connections(vec![route]);
    assert!(bad.problems()[0].1.starts_with("spec.rules[0]: the destination subnet \"everywhere\""), "{:?}", bad.problems());
}
