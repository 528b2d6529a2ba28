//! Outbound decisions: which rule, which backend, what becomes of the request.

use super::*;
use crate::cluster::Transport;
use std::time::Duration;
use taut_model::destination::{Balancer, ClientTls, HashKey};
use taut_model::host;
use taut_model::route::{
    AbortWith, Fault, FaultAbort, FaultDelay, Hedging, PathRewrite, Redirect, RedirectPort, Retry, RetryEndpoints, RetryOn, Rewrite, RouteProtocol,
};
use taut_model::settings::{MeshSettings, Outside};

#[test]
fn without_routes_a_service_gets_its_own_traffic_with_istios_retries() {
    let plan = Plan::compile(&bookstore());
    let request = get("/reviews/1");
    let Verdict::Go(go) = plan.decide(&request.facts(), &Rolls::default()) else { panic!("refused") };
    assert_eq!(short(&Verdict::Go(go.clone())), "reviews");
    assert_eq!((go.rule.retry.attempts, go.rule.timeout, go.rule.origin.is_built_in()), (2, None, true));
    let Action::Forward(forward) = &go.action else { panic!("not forwarded") };
    assert_eq!(forward.cluster.endpoints.len(), 3);
    let Transport::Mesh { expect, server_name } = &forward.cluster.endpoints[0].transport else { panic!("not mTLS") };
    assert_eq!(expect.to_string(), "spiffe://mesh.local/ns/default/sa/bookinfo-reviews");
    assert_eq!(&**server_name, "9080.reviews.default.svc.cluster.local");
}

#[test]
fn names_and_addresses() {
    let mut snapshot = bookstore();
    for name in ["nowhere.default.svc.cluster.local", "nowhere", "www.example.com", "example.com", "x.default", "x.default.svc.cluster.local"] {
        snapshot.absent.insert(name.into());
    }
    snapshot.absent.insert("example.com.svc.cluster.local".into());
    let mut with_address = service("ratings", 9080, AppProtocol::Http);
    with_address.addresses = vec!["240.240.0.1".parse().unwrap()];
    snapshot.services.insert(fqdn("ratings"), Arc::new(with_address));
    let plan = Plan::compile(&snapshot);
    for (host, port, want) in [
        ("reviews", 9080, "reviews"),
        ("Reviews.default", 9080, "reviews"),
        ("reviews.default.svc.cluster.local.", 9080, "reviews"),
        ("reviews", 1, "503 unknown_port"),
        ("nowhere", 80, "503 unknown_service"),
        ("x.default", 80, "503 unknown_service"),
        ("www.example.com", 443, "passthrough www.example.com:443"),
        ("www.wikipedia.org", 443, "ask Services([\"www.wikipedia.org\"])"),
        ("localhost", 80, "ask Services([\"localhost.default.svc.cluster.local\", \"localhost\"])"),
        ("240.240.0.1", 9080, "ratings"),
        ("10.0.0.2", 8080, "reviews"),
        ("10.9.9.9", 80, "passthrough 10.9.9.9:80"),
        ("[::1]", 80, "passthrough [::1]:80"),
        ("", 80, "ask Services([\".default.svc.cluster.local\", \"\"])"),
    ] {
        let request = Request { host: host.into(), port, ..get("/") };
        assert_eq!(outcome(&plan, &request), want, "{host}:{port}");
    }
    let direct = Request { host: "10.0.0.2".into(), port: 8080, ..get("/") };
    let Verdict::Go(go) = plan.decide(&direct.facts(), &Rolls::default()) else { panic!("refused") };
    let Action::Forward(forward) = &go.action else { panic!("not forwarded") };
    assert_eq!(forward.cluster.endpoints.iter().map(|e| e.workload.uid.as_str()).collect::<Vec<_>>(), ["default/reviews-v1"]);
}

#[test]
fn a_question_that_nobody_answers_lets_only_outside_names_pass() {
    let mut snapshot = bookstore();
    snapshot.services.insert("*.partner.com".into(), Arc::new(Service { host: "*.partner.com".into(), ..service("partner", 443, AppProtocol::Tcp) }));
    let plan = Plan::compile(&snapshot);
    for (host, passes) in [
        ("www.example.com", true),
        ("example.com", true),
        ("api.partner.com", false),
        ("unheard", false),
        ("unheard.default", false),
        ("unheard.other.svc.cluster.local", false),
        // No question here.
        ("reviews", false),
    ] {
        let request = Request { host: host.into(), ..get("/") };
        assert_eq!(plan.unanswered(&request.facts()).is_some(), passes, "{host}");
    }
}

#[test]
fn istio_takes_the_first_match_and_404_when_none() {
    let jason = rule("jason", vec![on_header("end-user", TextMatch::Exact("jason".into()))], to("reviews", "v2"));
    let login = rule("login", vec![on_path(PathMatch::Prefix("/lo".into())), on_path(PathMatch::Exact("/in".into()))], to("reviews", "v3"));
    let snapshot = with_routes(vec![route(Dialect::Istio, "reviews", "2020", vec![jason, login])]);
    let plan = Plan::compile(&snapshot);
    for (request, want) in [
        (get("/login").header("end-user", "jason"), "reviews v2"),
        (get("/login").header("end-user", "bob"), "reviews v3"),
        (get("/in"), "reviews v3"),
        (get("/x"), "404 no_route_matched"),
    ] {
        assert_eq!(outcome(&plan, &request), want);
    }
    assert_eq!(plan.headers_used().iter().collect::<Vec<_>>(), ["end-user"]);
    let why = plan.explain(&get("/x").facts(), None).to_string();
    assert!(why.starts_with("GET /x from productpage-v1 (default) to reviews:9080\n"), "{why}");
    assert!(why.contains("✗ no match     header end-user is \"jason\": not sent"), "{why}");
    assert!(why.contains("VirtualService default/reviews@1"), "{why}");
    let secret = rule("s", vec![on_header("authorization", TextMatch::Exact("a".into()))], to("reviews", "v2"));
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "reviews", "2020", vec![secret])]));
    assert!(!plan.explain(&get("/").header("authorization", "hunter2").facts(), None).to_string().contains("hunter2"));
}

/// The text of `taut why`, whole.
#[test]
fn an_explanation_reads_like_this() {
    let jason = rule("spec.http[0]", vec![on_header("end-user", TextMatch::Exact("jason".into()))], to("reviews", "v2"));
    let rest = rule("spec.http[1]", vec![], HttpAction::Forward(vec![backend("reviews", Some("v1"), 90), backend("reviews", Some("v3"), 10)]));
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "reviews", "2020", vec![jason, rest])]));
    let why = plan.explain(&get("/reviews/1").facts(), Some(&Rolls::default())).to_string();
    let want = "\
GET /reviews/1 from productpage-v1 (default) to reviews:9080
✓ service      reviews.default.svc.cluster.local:9080 (http)  Service default/reviews@1
✗ no match     header end-user is \"jason\": not sent           VirtualService default/reviews@1 match
✓ match        no conditions                                  VirtualService default/reviews@1 spec.http[1]
→ chosen       reviews v1 (weight 90 of 100)                  VirtualService default/reviews@1 to reviews v1
· endpoints    1 ready, balanced by reported load (hot ones avoided)
· destination  TLS, limits and ejection as they are said here  DestinationRule default/reviews@1 spec.subsets[v1]
· endpoint     default/reviews-v1, mutual TLS, must prove spiffe://mesh.local/ns/default/sa/bookinfo-reviews  WorkloadEntry default/reviews-v1@1
· timeout      none                                           VirtualService default/reviews@1 spec.http[1]
· retries      up to 2 on connect failure, refused stream, reset, gRPC 14, gRPC 1, 503  built-in default: retries
= forwarded to reviews.default.svc.cluster.local:9080 subset v1";
    let squeezed = |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(squeezed(&why), squeezed(want), "{why}");
    // Origins stand under each other.
    let columns: Vec<_> = why.lines().filter_map(|line| Some(line.chars().count() - line[line.find("VirtualService")?..].chars().count())).collect();
    assert!(columns.len() == 4 && columns.iter().all(|column| *column == columns[0]), "{why}");
}

#[test]
fn gateway_api_takes_the_most_specific_match() {
    let header = |name: &str| HttpMatch { headers: on_header(name, TextMatch::Present).headers, ..on_path(PathMatch::Segments("/a".into())) };
    let rules = vec![
        rule("any", vec![], to("ratings", "")),
        rule("prefix", vec![on_path(PathMatch::Segments("/a".into()))], to("reviews", "v1")),
        rule("header", vec![header("x")], to("reviews", "v2")),
        rule("exact", vec![on_path(PathMatch::Exact("/a/b".into()))], to("reviews", "v3")),
        rule("regex", vec![on_path(PathMatch::Regex("/a/b|/a/r".into()))], HttpAction::Forward(vec![])),
    ];
    let plan = Plan::compile(&with_routes(vec![route(Dialect::GatewayApi, "r", "2020", rules)]));
    for (request, want) in [
        (get("/"), "ratings"),
        (get("/ab"), "ratings"),
        (get("/a/x"), "reviews v1"),
        (get("/a/x").header("x", "1"), "reviews v2"),
        (get("/a/b").header("x", "1"), "reviews v3"),
        (get("/a/r").header("x", "1"), "500 backend_unresolved"),
    ] {
        assert_eq!(outcome(&plan, &request), want, "{}", request.path);
    }
}

#[test]
fn who_wins_a_host() {
    let all = |dialect, name: &str, created: &str, subset: &str| route(dialect, name, created, vec![rule(name, vec![], to("reviews", subset))]);
    let young = all(Dialect::Istio, "young", "2022", "v1");
    let old = all(Dialect::Istio, "old", "2021", "v2");
    let producer = all(Dialect::GatewayApi, "producer", "2020", "v3");
    let consumer = Route { consumer_namespaces: vec!["default".into()], ..all(Dialect::GatewayApi, "consumer", "2023", "v1") };
    let foreign = Route { consumer_namespaces: vec!["other".into(), "more".into()], ..all(Dialect::GatewayApi, "foreign", "2019", "v2") };
    let own = Route { consumer_namespaces: vec!["default".into()], ..all(Dialect::Istio, "own", "2024", "v1") };
    let named = Route { consumer_namespaces: vec!["default".into(), "x".into()], ..all(Dialect::Istio, "named", "2023", "v3") };
    let wide = Route { parents: vec![Parent { host: "*".into(), port: None }], ..all(Dialect::Istio, "wide", "2001", "v3") };
    let elsewhere = Route { parents: vec![Parent { host: fqdn("reviews"), port: Some(1) }], ..all(Dialect::GatewayApi, "elsewhere", "2001", "v3") };
    for (routes, want, notes) in [
        (vec![young.clone(), old.clone()], "reviews v2", 1),
        (vec![wide, young.clone()], "reviews v1", 1),
        (vec![old.clone(), named.clone()], "reviews v3", 1),
        (vec![old.clone(), named, own], "reviews v1", 2),
        (vec![young.clone(), producer.clone()], "reviews v3", 1),
        (vec![young.clone(), elsewhere], "reviews v1", 0),
        (vec![young.clone(), old, producer.clone(), consumer], "reviews v1", 3),
        (vec![young, foreign], "reviews v1", 0),
    ] {
        let plan = Plan::compile(&with_routes(routes));
        assert_eq!(outcome(&plan, &get("/")), want);
        assert_eq!(plan.notes().len(), notes, "{:?}", plan.notes());
        assert!(plan.problems().is_empty());
    }
}

#[test]
fn of_the_kinds_of_routes_attached_to_a_port_the_most_specific_counts() {
    use RouteProtocol::{Grpc, Http, Tcp};
    let of_kind = |protocol, name: &str, subset: &str, port| {
        let mut route = route(Dialect::GatewayApi, name, "2020", vec![rule(name, vec![], to("reviews", subset))]);
        route.protocol = protocol;
        route.parents[0].port = port;
        route
    };
    let grpc = of_kind(Grpc, "grpc", "v1", None);
    let http = of_kind(Http, "http", "v2", None);
    let elsewhere = of_kind(Grpc, "elsewhere", "v1", Some(1));
    let consumer = Route { consumer_namespaces: vec!["default".into()], ..of_kind(Http, "consumer", "v3", None) };
    let istio = route(Dialect::Istio, "istio", "2001", vec![rule("istio", vec![], to("ratings", ""))]);
    for (routes, want, losers) in [
        (vec![http.clone(), grpc.clone()], "reviews v1", 1),
        (vec![http.clone(), grpc.clone(), of_kind(Tcp, "tcp", "v3", None)], "reviews v1", 2),
        (vec![http.clone(), elsewhere], "reviews v2", 0),
        (vec![http, grpc, consumer, istio], "reviews v3", 3),
    ] {
        let plan = Plan::compile(&with_routes(routes));
        assert_eq!(outcome(&plan, &get("/")), want);
        assert_eq!(plan.notes().len(), losers, "{:?}", plan.notes());
        assert!(plan.notes().iter().all(|(_, because)| because.starts_with("not used for reviews.default.svc.cluster.local:9080: ")));
    }
}

#[test]
fn of_grpc_methods_the_longer_service_wins_then_the_longer_method() {
    let exact = |text: &str| Some(TextMatch::Exact(text.to_owned()));
    let on = |service, method| on_path(PathMatch::Grpc { service, method });
    let with_header = |service| HttpMatch { headers: on_header("x", TextMatch::Present).headers, ..on(service, None) };
    let rules = vec![
        rule("any", vec![on(None, None)], to("ratings", "")),
        rule("method", vec![on(None, exact("GetAllOfThem"))], to("reviews", "v1")),
        rule("service", vec![on(exact("a.B"), None)], to("reviews", "v2")),
        rule("both", vec![on(exact("a.B"), exact("Get"))], to("reviews", "v3")),
        rule("header", vec![with_header(exact("a.B"))], to("productpage", "")),
    ];
    let plan = Plan::compile(&with_routes(vec![route(Dialect::GatewayApi, "r", "2020", rules)]));
    for (request, want) in [
        (get("/c.D/Other"), "ratings"),
        (get("/c.D/GetAllOfThem"), "reviews v1"),
        (get("/a.B/GetAllOfThem"), "reviews v2"),
        (get("/a.B/Get"), "reviews v3"),
        (get("/a.B/Get").header("x", "1"), "reviews v3"),
        (get("/a.B/Set").header("x", "1"), "productpage"),
        (get("/a.B"), "404 no_route_matched"),
    ] {
        assert_eq!(outcome(&plan, &request), want, "{}", request.path);
    }
    let why = plan.explain(&get("/a.B/Get").facts(), None).to_string();
    assert!(why.contains("✓ match        gRPC service is \"a.B\", gRPC method is \"Get\""), "{why}");
}

#[test]
fn an_explanation_names_the_headers_that_change_and_the_limits_of_tries() {
    let change = |name: &str| HeaderChange {
        set: vec![(name.to_owned(), "secret".to_owned())],
        add: vec![("x-more".to_owned(), "1".to_owned())],
        remove: vec!["server".to_owned()],
        computed: Vec::new(),
    };
    let retry = Retry {
        per_try_timeout: Some(Duration::from_millis(500)),
        on: vec![RetryOn::ServerError],
        endpoints: RetryEndpoints::Any,
        ..crate::default_retry()
    };
    let to_v1 = Backend { response_headers: change("x-backend"), ..backend("reviews", Some("v1"), 1) };
    let rule = HttpRule { request_headers: change("x-rule"), retry: Some(retry), ..rule("r", vec![], HttpAction::Forward(vec![to_v1])) };
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "r", "", vec![rule])]));
    let why = plan.explain(&get("/").facts(), None).to_string();
    for want in [
        "headers      of the request: server removed, x-rule set, x-more added",
        "headers      of the response: server removed, x-backend set, x-more added",
        "retries      up to 2 on 5xx, each try within 500ms, also at endpoints tried before",
    ] {
        assert!(why.contains(want), "{why}");
    }
    assert!(!why.contains("secret"), "{why}");
}

#[test]
fn hostnames_filter_on_the_authority() {
    let narrow =
        Route { hostnames: vec!["*.example.com".into()], ..route(Dialect::GatewayApi, "a", "2021", vec![rule("a", vec![], to("reviews", "v1"))]) };
    let exact =
        Route { hostnames: vec!["x.example.com".into()], ..route(Dialect::GatewayApi, "b", "2022", vec![rule("b", vec![], to("reviews", "v2"))]) };
    let plan = Plan::compile(&with_routes(vec![narrow, exact]));
    for (authority, want) in [("y.Example.com:80", "reviews v1"), ("x.example.com", "reviews v2"), ("reviews", "404 no_route_matched")] {
        assert_eq!(outcome(&plan, &Request { authority: authority.into(), ..get("/") }), want);
    }
}

#[test]
fn backends_that_cannot_be_used() {
    let gone = Backend { unresolved: Some("no ReferenceGrant".into()), ..backend("reviews", None, 1) };
    let other_port = Backend { port: Some(1), ..backend("ratings", None, 1) };
    for (backend, dialect, want) in [
        (backend("reviews", Some("v8"), 1), Dialect::Istio, "503 subset_undefined"),
        (backend("reviews", Some("v9"), 1), Dialect::Istio, "503 no_endpoint"),
        (backend("absent", None, 1), Dialect::Istio, "503 backend_unresolved"),
        (backend("absent", None, 1), Dialect::GatewayApi, "500 backend_unresolved"),
        (backend("new", None, 1), Dialect::Istio, "ask Services([\"new.default.svc.cluster.local\"])"),
        (backend("reviews", Some("v1"), 0), Dialect::Istio, "reviews v1"),
        (backend("reviews", None, 0), Dialect::GatewayApi, "500 backend_unresolved"),
        (gone, Dialect::GatewayApi, "500 backend_unresolved"),
        (other_port, Dialect::Istio, "503 unknown_port"),
    ] {
        let mut snapshot = with_routes(vec![route(dialect, "r", "", vec![rule("r", vec![], HttpAction::Forward(vec![backend.clone()]))])]);
        snapshot.absent.insert(fqdn("absent"));
        assert_eq!(outcome(&Plan::compile(&snapshot), &get("/")), want, "{backend:?}");
    }
}

#[test]
fn a_route_with_a_bad_pattern_is_not_accepted() {
    let bad = route(Dialect::Istio, "bad", "", vec![rule("r", vec![on_path(PathMatch::Regex("(".into()))], to("reviews", "v1"))]);
    let plan = Plan::compile(&with_routes(vec![bad]));
    assert_eq!(plan.problems().len(), 1);
    assert!(plan.problems()[0].1.contains("cannot be used"));
    assert_eq!(outcome(&plan, &get("/")), "reviews");
}

#[test]
fn rewrites_and_redirects() {
    let rewrite = |dialect, said: PathMatch, path: PathRewrite, asked: &str| {
        let rewritten = HttpRule {
            rewrite: Some(Rewrite { path: Some(path), authority: Some("b".into()) }),
            ..rule("r", vec![on_path(said)], to("reviews", "v1"))
        };
        let plan = Plan::compile(&with_routes(vec![route(dialect, "r", "", vec![rewritten])]));
        let request = Request { query: "q=1".into(), ..get(asked) };
        let Verdict::Go(go) = plan.decide(&request.facts(), &Rolls::default()) else { panic!("refused") };
        let Action::Forward(forward) = go.action else { panic!("not forwarded") };
        assert_eq!(forward.authority.as_deref(), Some("b"));
        forward.path_and_query.unwrap()
    };
    use PathMatch::{Exact, Prefix, Segments};
    let prefix = |text: &str| PathRewrite::Prefix(text.into());
    let regex = PathRewrite::Regex { pattern: "^/v[0-9]+/(.*)$".into(), substitution: "/\\1".into() };
    for (got, want) in [
        (rewrite(Dialect::Istio, Prefix("/foo".into()), prefix("/bar"), "/foobaz"), "/barbaz?q=1"),
        (rewrite(Dialect::Istio, Exact("/foo".into()), prefix("/bar"), "/foo"), "/bar?q=1"),
        (rewrite(Dialect::GatewayApi, Segments("/foo".into()), prefix("/"), "/foo"), "/?q=1"),
        (rewrite(Dialect::GatewayApi, Segments("/foo".into()), PathRewrite::Full("/x".into()), "/foo/y"), "/x?q=1"),
        (rewrite(Dialect::Istio, Prefix("/".into()), regex, "/v12/books/1"), "/books/1?q=1"),
    ] {
        assert_eq!(got, want);
    }
    for (dialect, scheme, authority, port, path, asked, want) in [
        (Dialect::Istio, None, Some("new"), RedirectPort::Keep, Some("/p"), "old:8080", "301 http://new/p"),
        (Dialect::Istio, None, None, RedirectPort::Keep, Some("/p"), "old:8080", "301 http://old:8080/p"),
        (Dialect::GatewayApi, None, Some("new"), RedirectPort::Keep, None, "old:8080", "301 http://new:8080/a"),
        (Dialect::GatewayApi, Some("https"), None, RedirectPort::FromScheme, None, "old:8080", "301 https://old/a"),
        (Dialect::GatewayApi, Some("https"), None, RedirectPort::Number(443), None, "old", "301 https://old/a"),
        (Dialect::GatewayApi, Some("https"), None, RedirectPort::Number(80), None, "old", "301 https://old:80/a"),
    ] {
        let redirect = Redirect {
            status: 301,
            scheme: scheme.map(Into::into),
            authority: authority.map(Into::into),
            port,
            path: path.map(|path| PathRewrite::Full(path.into())),
        };
        let plan = Plan::compile(&with_routes(vec![route(dialect, "r", "", vec![rule("r", vec![], HttpAction::Redirect(redirect))])]));
        assert_eq!(outcome(&plan, &Request { authority: asked.into(), ..get("/a") }), want);
    }
}

#[test]
fn dot_segments_are_removed_before_routing_and_other_paths_are_left_alone() {
    let plan = Plan::compile(&with_routes(vec![route(
        Dialect::Istio,
        "r",
        "",
        vec![rule("v1", vec![on_path(PathMatch::Prefix("/a".into()))], to("reviews", "v1")), rule("v2", vec![], to("reviews", "v2"))],
    )]));
    for (path, want, sent) in [
        ("/a/x", "reviews v1", None),
        ("/b/../a/x", "reviews v1", Some("/a/x?q=1")),
        ("/a/%2e%2e/b", "reviews v2", Some("/b?q=1")),
        ("/%61/x", "reviews v2", None),
    ] {
        let verdict = plan.decide(&Request { query: "q=1".into(), ..get(path) }.facts(), &Rolls::default());
        assert_eq!(short(&verdict), want, "{path}");
        let Verdict::Go(go) = verdict else { panic!("refused") };
        let Action::Forward(forward) = go.action else { panic!("not forwarded") };
        assert_eq!(forward.path_and_query.as_deref(), sent, "{path}");
    }
}

#[test]
fn faults_fall_by_percent_and_disarm_timeouts() {
    let fault = Fault {
        origin: origin("VirtualService", "reviews", "spec.http[0].fault"),
        delay: Some(FaultDelay { percent: 50.0, duration: Duration::from_secs(7) }),
        abort: Some(FaultAbort { percent: 10.0, with: AbortWith::Http(500) }),
    };
    let faulty = HttpRule { fault: Some(fault), timeout: Some(Duration::from_secs(1)), ..rule("r", vec![], to("reviews", "v1")) };
    let plan = Plan::compile(&with_routes(vec![route(Dialect::Istio, "r", "", vec![faulty])]));
    for (delay, abort, want, delayed) in [
        (0, 0, "abort Http(500)", true),
        (u64::MAX, 0, "abort Http(500)", false),
        (0, u64::MAX / 5, "reviews v1", true),
        (u64::MAX, u64::MAX, "reviews v1", false),
    ] {
        let verdict = plan.decide(&get("/").facts(), &Rolls { delay, abort, ..Rolls::default() });
        let Verdict::Go(go) = &verdict else { panic!("refused") };
        assert_eq!((short(&verdict).as_str(), go.delay.is_some()), (want, delayed));
        assert_eq!((go.rule.timeout, go.rule.retry.attempts), (None, 0));
    }
    let why = plan.explain(&get("/").facts(), None).to_string();
    assert!(why.contains("delay of 7s for 50 % of requests") && why.contains("abort with 500 for 10 %"), "{why}");
}

#[test]
fn transport_follows_the_destination_and_never_falls_to_plain_text() {
    let with_tls = |tls: Option<ClientTls>, peer: bool| {
        let mut snapshot = bookstore();
        let mut destination = (*snapshot.destinations["DestinationRule/default/reviews"]).clone();
        destination.policy.tls = tls;
        snapshot.destinations.insert("DestinationRule/default/reviews".into(), Arc::new(destination));
        if !peer {
            for workload in snapshot.workloads.values_mut() {
                Arc::make_mut(workload).peer = None;
            }
        }
        match Plan::compile(&snapshot).decide(&get("/").facts(), &Rolls::default()) {
            Verdict::Go(go) => match go.action {
                Action::Forward(forward) => format!("{:?}", forward.cluster.endpoints[0].transport).split([' ', '{']).next().unwrap().to_owned(),
                other => format!("{other:?}"),
            },
            refused => short(&refused),
        }
    };
    let simple = ClientTls::Simple(Default::default());
    for (tls, peer, want) in [
        (None, true, "Mesh"),
        (None, false, "Plain"),
        (Some(ClientTls::Mesh), true, "Mesh"),
        (Some(ClientTls::Mesh), false, "503 mutual_tls_required"),
        (Some(ClientTls::Disable), true, "Plain"),
        (Some(simple), true, "Tls"),
    ] {
        assert_eq!(with_tls(tls.clone(), peer), want, "{tls:?} {peer}");
    }
}

#[test]
fn a_hash_cookie_is_given_once_and_read_back() {
    let key = HashKey::Cookie { name: "user".into(), path: "/".into(), ttl: Some(Duration::from_secs(60)), attributes: vec![] };
    let mut snapshot = bookstore();
    let mut destination = (*snapshot.destinations["DestinationRule/default/reviews"]).clone();
    destination.policy.balancer = Some(Balancer::Maglev { key, table_size: 251 });
    snapshot.destinations.insert("DestinationRule/default/reviews".into(), Arc::new(destination));
    let plan = Plan::compile(&snapshot);
    let decide = |request: &Request| {
        let Verdict::Go(go) = plan.decide(&request.facts(), &Rolls { cookie: 0xabc, ..Rolls::default() }) else { panic!("refused") };
        let Action::Forward(forward) = go.action else { panic!("not forwarded") };
        (forward.hash, forward.set_cookie)
    };
    assert_eq!(decide(&get("/")), (Some(0xabc), Some("user=0000000000000abc; Max-Age=60; Path=/; HttpOnly".into())));
    assert_eq!(decide(&get("/").header("cookie", "a=b; user=0000000000000abc")), (Some(0xabc), None));
    assert_eq!(decide(&get("/").header("cookie", "user=me")), (Some(crate::stable_hash(b"me")), None));
}

#[test]
fn where_the_mesh_says_so_nothing_outside_it_is_reached() {
    let mut snapshot = bookstore();
    let outside = || Request { host: "example.com".into(), authority: "example.com".into(), port: 443, ..get("/") };
    snapshot.absent.extend(["example.com", "localhost"].into_iter().flat_map(|name| host::candidates(name, "default")));
    assert_eq!(outcome(&Plan::compile(&snapshot), &outside()), "passthrough example.com:443");
    let settings = MeshSettings { origin: origin("MeshSettings", "mesh", ""), outside: Outside::Refused, ..MeshSettings::default() };
    snapshot.settings.insert("mesh".into(), Arc::new(settings));
    let closed = Plan::compile(&snapshot);
    for (host, port) in [("example.com", 443), ("93.184.216.34", 80), ("localhost", 8080)] {
        let request = Request { host: host.into(), authority: host.into(), port, ..get("/") };
        assert_eq!(outcome(&closed, &request), "502 not_of_the_mesh", "{host}");
        let connection = Facts { http: None, ..request.facts() };
        assert_eq!(short(&closed.decide(&connection, &Rolls::default())), "502 not_of_the_mesh", "{host}");
    }
    let mut entry = service("example", 443, AppProtocol::Tls);
    (entry.host, entry.place, entry.resolution) = ("example.com".into(), Place::External, Resolution::Passthrough);
    let mut listed = snapshot.clone();
    listed.services.insert(entry.host.clone(), Arc::new(entry));
    assert_eq!(outcome(&Plan::compile(&listed), &outside()), "passthrough example.com:443");
    // Without a control plane, too.
    snapshot.absent.clear();
    let asking = Plan::compile(&snapshot);
    assert!(outcome(&asking, &outside()).starts_with("ask") && asking.unanswered(&outside().facts()).is_none());
    assert!(closed.explain(&outside().facts(), None).to_string().contains("MeshSettings"));
}

#[test]
fn a_rule_may_hedge_otherwise_than_the_mesh() {
    let told = |mesh: Option<f64>, percent: Option<f64>| {
        let hedging = percent.map(|percent| Hedging { origin: origin("HTTPRoute", "r", "annotation"), percent });
        let rule = HttpRule { hedging, ..rule("r", vec![], to("reviews", "")) };
        let mut snapshot = with_routes(vec![route(Dialect::GatewayApi, "r", "", vec![rule])]);
        let settings = MeshSettings { origin: origin("MeshSettings", "mesh", ""), hedging: mesh, ..MeshSettings::default() };
        snapshot.settings.insert("mesh".into(), Arc::new(settings));
        let steps = Plan::compile(&snapshot).explain(&get("/").facts(), None).steps;
        steps.into_iter().find(|step| step.text.starts_with("hedging")).map(|step| step.origin.unwrap().object.kind)
    };
    assert_eq!(told(None, None), None);
    assert_eq!(told(Some(5.0), None).as_deref(), Some("MeshSettings"));
    assert_eq!(told(Some(5.0), Some(0.0)), None);
    assert_eq!(told(None, Some(2.0)).as_deref(), Some("HTTPRoute"));
}
