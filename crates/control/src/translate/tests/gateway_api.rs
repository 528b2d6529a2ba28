//! HTTPRoute, GRPCRoute and ReferenceGrant.

use super::*;
use std::time::Duration;
use taut_model::route::*;

fn routed(kind: &str, rule: Value) -> HttpRule {
    let parent = json!([{"group": "", "kind": "Service", "name": "reviews", "port": 9080}]);
    let route = route_of(named(kind, "r", json!({"parentRefs": parent, "rules": [rule]})));
    assert_eq!(route.parents, [Parent { host: REVIEWS.to_owned(), port: Some(9080) }]);
    assert_eq!((route.dialect, route.consumer_namespaces.is_empty()), (Dialect::GatewayApi, true));
    route.http[0].clone()
}

fn text(name: &str, value: TextMatch) -> NamedMatch {
    NamedMatch { name: name.to_owned(), value }
}

#[test]
fn matches() {
    let rule = routed(
        "HTTPRoute",
        json!({"name": "n", "matches": [
            {"path": {"type": "Exact", "value": "/a/"}, "method": "GET",
             "headers": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}, {"name": "b", "type": "RegularExpression", "value": "c.*"}],
             "queryParams": [{"name": "Q", "value": "1"}, {"name": "q", "value": "2"}]},
            {"path": {"value": "/foo/"}}, {"path": {"type": "RegularExpression", "value": "/x.*"}}, {"method": "POST"},
        ]}),
    );
    assert_eq!((rule.name.as_str(), rule.origin.path.as_str()), ("n", "spec.rules[0]"));
    let first = HttpMatch {
        origin: rule.matches[0].origin.clone(),
        path: Some(PathMatch::Exact("/a/".to_owned())),
        method: Some(TextMatch::Exact("GET".to_owned())),
        headers: vec![text("x-a", TextMatch::Exact("1".to_owned())), text("b", TextMatch::Regex("c.*".to_owned()))],
        query: vec![text("Q", TextMatch::Exact("1".to_owned())), text("q", TextMatch::Exact("2".to_owned()))],
        ..HttpMatch::default()
    };
    assert_eq!(rule.matches[0], first);
    let paths: Vec<_> = rule.matches[1..].iter().map(|matching| matching.path.clone().unwrap()).collect();
    assert_eq!(paths, [PathMatch::Segments("/foo".to_owned()), PathMatch::Regex("/x.*".to_owned()), PathMatch::Segments("/".to_owned())]);
    assert_eq!(routed("HTTPRoute", json!({})).matches[0].path, Some(PathMatch::Segments("/".to_owned())), "the API's default");
}

#[test]
fn filters() {
    let rule = routed(
        "HTTPRoute",
        json!({"filters": [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-S", "value": "1"}], "add": [{"name": "x-a", "value": "2"}], "remove": ["X-R"]}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}},
        {"type": "URLRewrite", "urlRewrite": {"hostname": "a.b", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/n"}}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "reviews", "port": 9080}}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "reviews", "port": 9080}, "percent": 7}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "reviews", "port": 9080}, "fraction": {"numerator": 1, "denominator": 8}}},
    ], "backendRefs": [{"name": "reviews", "port": 9080, "weight": 0}, {"name": "reviews", "port": 9080, "filters": [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "x-b", "value": "3"}]}}]}]}),
    );
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(rule.request_headers, HeaderChange { set: pair("x-s", "1"), add: pair("x-a", "2"), remove: vec!["x-r".to_owned()], computed: vec![] });
    assert_eq!(rule.response_headers.remove, ["server"]);
    assert_eq!(rule.rewrite, Some(Rewrite { path: Some(PathRewrite::Prefix("/n".to_owned())), authority: Some("a.b".to_owned()) }));
    assert_eq!(rule.mirrors.iter().map(|mirror| mirror.percent).collect::<Vec<_>>(), [100.0, 7.0, 12.5]);
    let HttpAction::Forward(backends) = rule.action else { panic!() };
    assert_eq!(backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((&backends[1].request_headers.add, backends[1].unresolved.clone()), (&pair("x-b", "3"), None));
}

#[test]
fn redirects() {
    for (written, status, port) in [
        (json!({}), 302, RedirectPort::Keep),
        (json!({"scheme": "https", "statusCode": 301}), 301, RedirectPort::FromScheme),
        (json!({"scheme": "https", "port": 8443, "statusCode": 308}), 308, RedirectPort::Number(8443)),
        (json!({"hostname": "a.b"}), 302, RedirectPort::Keep),
    ] {
        let rule = routed("HTTPRoute", json!({"filters": [{"type": "RequestRedirect", "requestRedirect": written}]}));
        let HttpAction::Redirect(redirect) = rule.action else { panic!("{written}") };
        assert_eq!((redirect.status, redirect.port), (status, port), "{written}");
    }
}

#[test]
fn timeouts_and_retries() {
    let rule = routed(
        "HTTPRoute",
        json!({"timeouts": {"request": "10s", "backendRequest": "2s"}, "retry": {"codes": [500, 503], "attempts": 4, "backoff": "100ms"}}),
    );
    assert_eq!(rule.timeout, Some(Duration::from_secs(10)));
    use RetryOn::*;
    let want = Retry {
        attempts: 4,
        per_try_timeout: Some(Duration::from_secs(2)),
        on: vec![ConnectFailure, RefusedStream, Reset, Status(500), Status(503)],
        backoff: Duration::from_millis(100),
        endpoints: RetryEndpoints::Others,
    };
    assert_eq!(rule.retry, Some(want));
    let rule = routed("HTTPRoute", json!({"timeouts": {"request": "0s", "backendRequest": "2s"}}));
    assert_eq!((rule.timeout, rule.retry.unwrap().per_try_timeout), (None, Some(Duration::from_secs(2))));
    assert_eq!(routed("HTTPRoute", json!({})).retry, None);
}

#[test]
fn grpc_methods_keep_their_service_and_their_method() {
    let exact = |text: &str| Some(TextMatch::Exact(text.to_owned()));
    let regex = |text: &str| Some(TextMatch::Regex(text.to_owned()));
    for (method, service, name) in [
        (json!({"service": "a.B", "method": "C"}), exact("a.B"), exact("C")),
        (json!({"service": "a.B"}), exact("a.B"), None),
        (json!({"method": "C"}), None, exact("C")),
        (json!({"type": "RegularExpression", "service": "a|b", "method": "C.*"}), regex("a|b"), regex("C.*")),
        (json!({"type": "RegularExpression", "service": "", "method": "C.*"}), None, regex("C.*")),
    ] {
        let rule = routed("GRPCRoute", json!({"matches": [{"method": method}]}));
        assert_eq!(rule.matches[0].path, Some(PathMatch::Grpc { service, method: name }), "{method}");
    }
    assert_eq!(routed("GRPCRoute", json!({})).matches[0].path, Some(PathMatch::Grpc { service: None, method: None }));
}

#[test]
fn a_parent_may_name_its_port() {
    let service = || named("Service", "reviews", json!({"ports": [{"name": "http", "port": 9080}, {"name": "admin", "port": 9090}]}));
    let bound = |parent: Value| {
        let mut parents = vec![json!({"group": "", "kind": "Service", "name": "reviews", "port": 1})];
        parents.insert(0, parent);
        let route = named("HTTPRoute", "r", json!({"parentRefs": parents, "rules": []}));
        assert_eq!(errors(&admit(&route)), Vec::<&Problem>::new());
        let translation = translated(vec![service(), route]);
        let ports: Vec<_> = translation.routes["HTTPRoute/default/r"].parents.iter().map(|parent| parent.port).collect();
        (ports, findings(&translation, "HTTPRoute", "r").iter().map(|problem| problem.message.clone()).collect::<Vec<_>>())
    };
    let reviews = |name: &str, port: Value| json!({"group": "", "kind": "Service", "name": "reviews", "sectionName": name, "port": port});
    assert_eq!(bound(reviews("admin", json!(null))).0, [Some(9090), Some(1)]);
    assert_eq!(bound(reviews("admin", json!(9090))).0, [Some(9090), Some(1)]);
    for (name, port) in [("admin", json!(9080)), ("admn", json!(null))] {
        let (ports, told) = bound(reviews(name, port));
        assert_eq!(ports, [Some(1)], "never wider than it reads");
        assert!(told[0].starts_with("spec.parentRefs[0].sectionName: reviews.default.svc.cluster.local has no port"), "{told:?}");
    }
}

#[test]
fn of_two_kinds_of_routes_the_more_specific_counts_and_both_are_told() {
    let spec = || json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [{}]});
    let translation = translated(vec![service("reviews"), named("HTTPRoute", "web", spec()), named("GRPCRoute", "grpc", spec())]);
    let about = |kind, name| findings(&translation, kind, name).iter().map(|problem| (problem.code, problem.severity)).collect::<Vec<_>>();
    assert_eq!(about("HTTPRoute", "web"), [("Conflicted", Severity::Warning)]);
    assert_eq!(about("GRPCRoute", "grpc"), [("Conflicted", Severity::Info)]);
}

/// A route in namespace `default` whose one backend is in another namespace or unknown; what became of it.
fn resolved(reference: Value, others: Vec<Object>) -> (Option<String>, Vec<(&'static str, String)>) {
    let spec = json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [{"backendRefs": [reference]}]});
    let mut objects = vec![service("reviews"), with(service("ratings"), "namespace", json!("prod")), named("HTTPRoute", "r", spec)];
    objects.extend(others);
    let translation = translated(objects);
    let HttpAction::Forward(backends) = &translation.routes["HTTPRoute/default/r"].http[0].action else { panic!() };
    (backends[0].unresolved.clone(), found(&translation, "HTTPRoute", "r"))
}

/// The manifests of the mesh conformance tests: without a grant, a route of another namespace may send its own clients to the Service that it is attached
/// to, and to no other there.
#[test]
fn a_consumer_route_needs_no_grant_for_its_own_parent() {
    let found = |backend: &str| {
        let spec = json!({
            "parentRefs": [{"group": "", "kind": "Service", "name": "echo-v1", "namespace": "mesh"}],
            "rules": [{"backendRefs": [{"name": backend, "namespace": "mesh", "port": 9080}]}],
        });
        let of_mesh = |name: &str| with(service(name), "namespace", json!("mesh"));
        let route = with(named("HTTPRoute", "r", spec), "namespace", json!("consumer"));
        let translation = translated(vec![of_mesh("echo-v1"), of_mesh("echo-v2"), route.clone()]);
        let route_now = &translation.routes["HTTPRoute/consumer/r"];
        assert_eq!(route_now.consumer_namespaces, ["consumer"]);
        translation.findings.get(&route.reference()).into_iter().flatten().map(|problem| problem.code).collect::<Vec<_>>()
    };
    assert_eq!(found("echo-v1"), Vec::<&str>::new());
    assert_eq!(found("echo-v2"), ["RefNotPermitted"]);
}

#[test]
fn references_need_a_service_and_across_namespaces_a_grant() {
    let at = |code| vec![(code, "spec.rules[0].backendRefs[0]".to_owned())];
    let prod = || json!({"name": "ratings", "namespace": "prod", "port": 9080});
    let grant = |from: &str, to: Value| {
        let spec = json!({"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}], "to": [to]});
        with(named("ReferenceGrant", "g", spec), "namespace", json!("prod"))
    };
    assert_eq!(resolved(prod(), vec![]).1, at("RefNotPermitted"));
    assert!(resolved(prod(), vec![]).0.unwrap().contains("ReferenceGrant"));
    assert_eq!(resolved(prod(), vec![grant("default", json!({"group": "", "kind": "Service"}))]), (None, vec![]));
    assert_eq!(resolved(prod(), vec![grant("default", json!({"group": "", "kind": "Service", "name": "ratings"}))]), (None, vec![]));
    assert_eq!(resolved(prod(), vec![grant("default", json!({"group": "", "kind": "Service", "name": "other"}))]).1, at("RefNotPermitted"));
    assert_eq!(resolved(prod(), vec![grant("other", json!({"group": "", "kind": "Service"}))]).1, at("RefNotPermitted"));
    assert_eq!(resolved(json!({"name": "review", "port": 9080}), vec![]).1, at("BackendNotFound"));
    assert_eq!(resolved(json!({"name": "reviews", "port": 1}), vec![]).1, at("BackendNotFound"));
    assert_eq!(resolved(json!({"group": "x.io", "kind": "Thing", "name": "reviews", "port": 1}), vec![]).1, at("InvalidKind"));
}

#[test]
fn a_route_beside_the_client_is_for_that_client_s_namespace() {
    let spec = json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews", "namespace": "prod"}], "hostnames": ["A.b"], "rules": []});
    assert_eq!(admit(&named("HTTPRoute", "r", spec.clone()))[0].path, "spec.hostnames", "hostnames are for gateways");
    let route = route_of(named("HTTPRoute", "r", spec));
    assert_eq!(route.consumer_namespaces, ["default"]);
    assert_eq!((route.parents[0].host.as_str(), route.hostnames.len()), ("reviews.prod.svc.cluster.local", 0));
}

#[test]
fn a_route_beside_its_service_and_a_foreign_one_speaks_for_all_clients_of_the_one_and_its_own_of_the_other() {
    let parent = |name: &str, namespace: &str| json!({"group": "", "kind": "Service", "name": name, "namespace": namespace});
    let spec =
        json!({"parentRefs": [parent("ratings", "prod"), parent("reviews", "default")], "rules": [{"backendRefs": [{"name": "gone", "port": 1}]}]});
    let translation = translated(vec![service("reviews"), with(service("ratings"), "namespace", json!("prod")), named("HTTPRoute", "r", spec)]);
    let halves: Vec<_> =
        translation.routes.iter().map(|(name, route)| (name.as_str(), route.parents[0].host.as_str(), route.consumer_namespaces.join(" "))).collect();
    assert_eq!(
        halves,
        [("HTTPRoute/default/r", REVIEWS, String::new()), ("HTTPRoute/default/r~consumers", "ratings.prod.svc.cluster.local", "default".to_owned())]
    );
    assert_eq!(found(&translation, "HTTPRoute", "r"), [("BackendNotFound", "spec.rules[0].backendRefs[0]".to_owned())], "told once");
}

#[test]
fn gateways_and_what_else_is_not_served_is_idle() {
    for (kind, spec) in [
        ("HTTPRoute", json!({"parentRefs": [{"name": "edge"}], "rules": [{"filters": [{"type": "ExtensionRef", "extensionRef": {}}]}]})),
        ("TCPRoute", json!({"parentRefs": [{"name": "edge"}]})),
        ("Gateway", json!({"listeners": []})),
        ("GatewayClass", json!({})),
        ("Sidecar", json!({})),
    ] {
        let object = named(kind, "x", spec);
        assert_eq!(admit(&object), [], "{kind}");
        assert_eq!(translated(vec![object]).idle.len(), 1, "{kind}");
    }
}
