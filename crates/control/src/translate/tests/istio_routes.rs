//! VirtualService, field by field.

use super::*;
use std::collections::BTreeMap;
use std::time::Duration;
use taut_model::route::*;

fn named_match(name: &str, value: TextMatch) -> NamedMatch {
    NamedMatch { name: name.to_owned(), value }
}

#[test]
fn every_match_kind_is_carried() {
    let rule = http_rule(json!({"name": "all", "match": [{
        "name": "first", "statPrefix": "x",
        "uri": {"prefix": "/api"}, "ignoreUriCase": true,
        "scheme": {"exact": "http"}, "method": {"regex": "GET|HEAD"}, "authority": {"prefix": "shop."},
        "headers": {"End-User": {"exact": "jason"}, "x-any": {}, "x-re": {"regex": "^a.*"}, ":method": {"exact": "GET"}},
        "withoutHeaders": {"x-old": {"prefix": "1"}},
        "queryParams": {"Page": {"exact": "1"}},
        "port": 9080, "sourceLabels": {"app": "productpage"}, "sourceNamespace": "shop",
    }]}));
    let want = HttpMatch {
        origin: rule.matches[0].origin.clone(),
        path: Some(PathMatch::Prefix("/api".to_owned())),
        ignore_path_case: true,
        method: Some(TextMatch::Regex("GET|HEAD".to_owned())),
        scheme: Some(TextMatch::Exact("http".to_owned())),
        authority: Some(TextMatch::Prefix("shop.".to_owned())),
        headers: vec![
            named_match(":method", TextMatch::Exact("GET".to_owned())),
            named_match("end-user", TextMatch::Exact("jason".to_owned())),
            named_match("x-any", TextMatch::Present),
            named_match("x-re", TextMatch::Regex("^a.*".to_owned())),
        ],
        without_headers: vec![named_match("x-old", TextMatch::Prefix("1".to_owned()))],
        query: vec![named_match("Page", TextMatch::Exact("1".to_owned()))],
        port: Some(9080),
        source_labels: BTreeMap::from([("app".to_owned(), "productpage".to_owned())]),
        source_namespace: Some("shop".to_owned()),
    };
    assert_eq!(rule.matches, [want]);
    assert_eq!(
        (rule.name.as_str(), rule.origin.path.as_str(), rule.matches[0].origin.path.as_str()),
        ("all", "spec.http[0]", "spec.http[0].match[0]")
    );
    for (uri, want) in [
        (json!({"exact": "/a"}), PathMatch::Exact("/a".to_owned())),
        (json!({"prefix": "/a"}), PathMatch::Prefix("/a".to_owned())),
        (json!({"regex": "/a.*"}), PathMatch::Regex("/a.*".to_owned())),
    ] {
        assert_eq!(http_rule(json!({"match": [{"uri": uri}]})).matches[0].path, Some(want));
    }
}

#[test]
fn weights_subsets_ports_and_headers_reach_the_backends() {
    let rule = http_rule(json!({
        "headers": {"request": {"set": {"X-A": "1", "Host": "other"}, "add": {"x-b": "100%%"}, "remove": ["X-C"]}},
        "route": [
            {"destination": {"host": "reviews", "subset": "v1", "port": {"number": 9080}}, "weight": 80, "headers": {"response": {"set": {"x-d": "2"}}, "request": {"set": {":authority": "v1.reviews"}}}},
            {"destination": {"host": "reviews.prod.svc.cluster.local"}, "weight": 20},
            {"destination": {"host": "reviews.prod.svc"}},
        ],
    }));
    let HttpAction::Forward(backends) = &rule.action else { panic!("{:?}", rule.action) };
    let shares: Vec<_> = backends.iter().map(|b| (b.host.as_str(), b.subset.as_deref(), b.port, b.weight)).collect();
    let prod = "reviews.prod.svc.cluster.local";
    assert_eq!(shares, [(REVIEWS, Some("v1"), Some(9080), 80), (prod, None, None, 20), (prod, None, None, 0)]);
    assert_eq!(backends[0].response_headers.set, [("x-d".to_owned(), "2".to_owned())]);
    assert_eq!(backends[0].request_headers.set, [("host".to_owned(), "v1.reviews".to_owned())], "the plan makes it the authority");
    assert_eq!(backends[1].origin.path, "spec.http[0].route[1]");
    let change = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(
        rule.request_headers,
        HeaderChange { set: change("x-a", "1"), add: change("x-b", "100%"), remove: vec!["x-c".to_owned()], computed: vec![] }
    );
    assert_eq!(rule.rewrite, Some(Rewrite { path: None, authority: Some("other".to_owned()) }));
}

#[test]
fn a_single_destination_takes_everything_whatever_its_weight() {
    for weight in [json!(null), json!(0)] {
        let rule = http_rule(json!({"route": [{"destination": {"host": "reviews"}, "weight": weight}]}));
        let HttpAction::Forward(backends) = &rule.action else { panic!("{:?}", rule.action) };
        assert_eq!(backends[0].weight, 100);
    }
}

#[test]
fn rewrites_say_what_they_replace() {
    let rule = http_rule(json!({"rewrite": {"uri": "/v1", "authority": "a.b"}}));
    assert_eq!(rule.rewrite, Some(Rewrite { path: Some(PathRewrite::Prefix("/v1".to_owned())), authority: Some("a.b".to_owned()) }));
    assert_eq!(rule.matches[0].path, Some(PathMatch::Prefix("/".to_owned())), "without a match the root prefix is replaced");
    let rule = http_rule(json!({"rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": "/\\1"}}}));
    let regex = PathRewrite::Regex { pattern: "^/a/(.*)".to_owned(), substitution: "/\\1".to_owned() };
    assert_eq!(rule.rewrite.and_then(|rewrite| rewrite.path), Some(regex));
    assert!(rule.matches.is_empty());
}

#[test]
fn redirects_keep_or_choose_their_port() {
    for (written, status, authority, port) in [
        (json!({"uri": "/x"}), 301, None, RedirectPort::Keep),
        (json!({"authority": "a.b"}), 301, Some("a.b"), RedirectPort::FromScheme),
        (json!({"authority": "a.b:81", "redirectCode": 302}), 302, Some("a.b"), RedirectPort::Number(81)),
        (json!({"authority": "[::1]"}), 301, Some("[::1]"), RedirectPort::FromScheme),
        (json!({"authority": "a.b", "port": 82}), 301, Some("a.b"), RedirectPort::Number(82)),
        (json!({"derivePort": "FROM_REQUEST_PORT", "authority": "a.b"}), 301, Some("a.b"), RedirectPort::Keep),
        (json!({"derivePort": "FROM_PROTOCOL_DEFAULT", "scheme": "https"}), 301, None, RedirectPort::FromScheme),
    ] {
        let HttpAction::Redirect(redirect) = http_rule(json!({"redirect": written})).action else { panic!("{written}") };
        assert_eq!((redirect.status, redirect.authority.as_deref(), redirect.port), (status, authority, port), "{written}");
    }
    let HttpAction::Redirect(redirect) = http_rule(json!({"redirect": {"prefixRewrite": "/n"}})).action else { panic!() };
    assert_eq!(redirect.path, Some(PathRewrite::Prefix("/n".to_owned())));
}

#[test]
fn direct_responses_and_timeouts() {
    let rule = http_rule(json!({"directResponse": {"status": 503, "body": {"string": "closed"}}, "timeout": "1.5s"}));
    assert_eq!(rule.action, HttpAction::Respond(DirectResponse { status: 503, body: b"closed".to_vec() }));
    assert_eq!(rule.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(http_rule(json!({"timeout": "0s"})).timeout, None);
    let rule = http_rule(json!({"directResponse": {"status": 200, "body": {"bytes": "AP8="}}}));
    assert_eq!(rule.action, HttpAction::Respond(DirectResponse { status: 200, body: vec![0, 255] }));
}

#[test]
fn retries_name_their_conditions() {
    assert_eq!(http_rule(json!({})).retry, None, "the built-in default is the plan's");
    assert_eq!(http_rule(json!({"retries": {"attempts": 0}})).retry.map(|retry| retry.attempts), Some(0));
    let written = "5xx,gateway-error,reset,reset-before-request,connect-failure,refused-stream,retriable-4xx,retriable-status-codes,\
                   cancelled,deadline-exceeded,internal,resource-exhausted,unavailable, 429,envoy-ratelimited,retriable-headers";
    let retry =
        http_rule(json!({"retries": {"attempts": 3, "perTryTimeout": "2s", "backoff": "10ms", "retryOn": written, "retryRemoteLocalities": true}}));
    use RetryOn::*;
    let want = Retry {
        attempts: 3,
        per_try_timeout: Some(Duration::from_secs(2)),
        on: vec![
            ServerError,
            GatewayError,
            Reset,
            ResetBeforeRequest,
            ConnectFailure,
            RefusedStream,
            Conflict,
            Grpc(1),
            Grpc(4),
            Grpc(13),
            Grpc(8),
            Grpc(14),
            Status(429),
            RateLimited,
            NamedHeader,
        ],
        backoff: Duration::from_millis(10),
        endpoints: RetryEndpoints::Others,
    };
    assert_eq!(retry.retry, Some(want));
    for (written, want) in [(json!(false), RetryEndpoints::Any), (json!(true), RetryEndpoints::Others), (json!(null), RetryEndpoints::Others)] {
        let retry = http_rule(json!({"retries": {"attempts": 1, "retryIgnorePreviousHosts": written}})).retry.unwrap();
        assert_eq!(retry.endpoints, want, "{written}");
    }
    let short = http_rule(json!({"retries": {"attempts": 1}})).retry.unwrap();
    assert_eq!((short.on, short.backoff), (vec![ConnectFailure, RefusedStream, Grpc(14), Grpc(1)], Duration::from_millis(25)));
}

#[test]
fn faults_delay_and_abort() {
    let rule = http_rule(json!({"fault": {
        "delay": {"fixedDelay": "7s", "percentage": {"value": 12.5}},
        "abort": {"httpStatus": 555, "percentage": {"value": 100}},
    }}));
    let fault = rule.fault.unwrap();
    assert_eq!(fault.origin.path, "spec.http[0].fault");
    assert_eq!(fault.delay, Some(FaultDelay { percent: 12.5, duration: Duration::from_secs(7) }));
    assert_eq!(fault.abort, Some(FaultAbort { percent: 100.0, with: AbortWith::Http(555) }));
    let delay = http_rule(json!({"fault": {"delay": {"fixedDelay": "1s", "percent": 40}}})).fault.unwrap().delay.unwrap();
    assert_eq!(delay.percent, 40.0);
    for (written, code) in [("UNAVAILABLE", 14), ("14", 14), ("deadline_exceeded", 4), ("0", 0)] {
        let fault = http_rule(json!({"fault": {"abort": {"grpcStatus": written, "percentage": {"value": 1}}}})).fault.unwrap();
        assert_eq!(fault.abort.unwrap().with, AbortWith::Grpc(code), "{written}");
    }
}

#[test]
fn mirrors_of_both_spellings() {
    let shares = |rule: HttpRule| -> Vec<(String, Option<String>, f64)> {
        rule.mirrors.into_iter().map(|mirror| (mirror.backend.host, mirror.backend.subset, mirror.percent)).collect()
    };
    let v2 = || Some("v2".to_owned());
    assert_eq!(shares(http_rule(json!({"mirror": {"host": "reviews", "subset": "v2"}}))), [(REVIEWS.to_owned(), v2(), 100.0)]);
    assert_eq!(
        shares(http_rule(json!({"mirror": {"host": "reviews", "subset": "v2"}, "mirrorPercentage": {"value": 0.5}}))),
        [(REVIEWS.to_owned(), v2(), 0.5)]
    );
    assert_eq!(shares(http_rule(json!({"mirror": {"host": "reviews"}, "mirror_percent": 7}))), [(REVIEWS.to_owned(), None, 7.0)]);
    let list =
        json!({"mirrors": [{"destination": {"host": "reviews"}}, {"destination": {"host": "reviews", "subset": "v2"}, "percentage": {"value": 3}}]});
    assert_eq!(shares(http_rule(list)), [(REVIEWS.to_owned(), None, 100.0), (REVIEWS.to_owned(), v2(), 3.0)]);
}

#[test]
fn tcp_and_tls_rules_become_one_rule_per_match() {
    let route = route_of(named(
        "VirtualService",
        "store",
        json!({
            "hosts": ["reviews"],
            "tcp": [{"match": [{"port": 27017, "sourceLabels": {"app": "a"}, "sourceNamespace": "n"}, {"gateways": ["edge"], "port": 1}],
                     "route": [{"destination": {"host": "reviews", "subset": "v1"}, "weight": 1}, {"destination": {"host": "reviews"}, "weight": 3}]},
                    {"route": [{"destination": {"host": "reviews"}}]}],
            "tls": [{"match": [{"sniHosts": ["A.example.com", "*.b.com"], "port": 443}], "route": [{"destination": {"host": "reviews"}}]}],
        }),
    ));
    let rules: Vec<_> = route
        .tcp
        .iter()
        .map(|r| (r.origin.path.as_str(), r.port, r.sni.join(" "), r.backends.iter().map(|b| b.weight).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        rules,
        [
            ("spec.tls[0].match[0]", Some(443), "a.example.com *.b.com".to_owned(), vec![100]),
            ("spec.tcp[0].match[0]", Some(27017), String::new(), vec![1, 3]),
            ("spec.tcp[1]", None, String::new(), vec![100]),
        ]
    );
    assert_eq!(route.tcp[1].source_namespace.as_deref(), Some("n"));
}

#[test]
fn rules_for_gateways_never_turn_into_rules_for_everybody() {
    let route = route_of(named(
        "VirtualService",
        "both",
        json!({
            "hosts": ["reviews"], "gateways": ["edge", "mesh"],
            "http": [{"match": [{"gateways": ["edge"]}], "route": [{"destination": {"host": "reviews"}}]},
                     {"match": [{"gateways": ["edge"], "uri": {"exact": "/a"}}, {"gateways": ["mesh"], "uri": {"exact": "/b"}}], "route": [{"destination": {"host": "reviews"}}]}],
        }),
    ));
    let paths: Vec<_> = route.http.iter().map(|rule| (rule.origin.path.as_str(), rule.matches.len(), rule.matches[0].path.clone())).collect();
    assert_eq!(paths, [("spec.http[1]", 1, Some(PathMatch::Exact("/b".to_owned())))]);
    let translation = translated(vec![named("VirtualService", "edge", json!({"hosts": ["*"], "gateways": ["edge"], "http": [{"corsPolicy": {}}]}))]);
    assert!(translation.routes.is_empty() && translation.findings.is_empty());
    assert!(translation.idle[&ObjectRef::new("VirtualService", "default", "edge")].contains("gateways only (edge)"));
}

#[test]
fn visibility_and_age_are_kept() {
    let spec = |export: Value| json!({"hosts": ["reviews"], "exportTo": export, "http": [{"route": [{"destination": {"host": "reviews"}}]}]});
    let none: &[&str] = &[];
    for (export, want) in [
        (json!(["*"]), none),
        (json!(["."]), &["default"]),
        (json!(["default"]), &["default"]),
        (json!(["shop", ".", "shop"]), &["default", "shop"]),
        (json!(["shop", "~"]), &["shop"]),
        (json!(["shop", "*"]), none),
        (json!([]), none),
    ] {
        let object = with(named("VirtualService", "reviews", spec(export.clone())), "creationTimestamp", json!("2026-01-02T03:04:05Z"));
        let route = route_of(object);
        assert_eq!(
            (route.consumer_namespaces.as_slice(), route.created.as_str()),
            (&want.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..], "2026-01-02T03:04:05Z"),
            "{export}"
        );
    }
    let nobody = translated(vec![named("VirtualService", "reviews", spec(json!(["~"])))]);
    assert!(nobody.routes.is_empty() && nobody.idle[&ObjectRef::new("VirtualService", "default", "reviews")].contains("nobody sees it"));
}

#[test]
fn a_host_pattern_covers_what_nobody_names_better() {
    let vs = |name: &str, hosts: Value| {
        named("VirtualService", name, json!({"hosts": hosts, "http": [{"route": [{"destination": {"host": "reviews"}}]}]}))
    };
    let translation = translated(vec![
        service("reviews"),
        service("ratings"),
        with(service("details"), "namespace", json!("prod")),
        vs("all", json!(["*"])),
        vs("prod", json!(["*.prod.svc.cluster.local"])),
        vs("reviews", json!(["reviews"])),
    ]);
    let hosts = |name: &str| -> Vec<String> {
        translation.routes[&format!("VirtualService/default/{name}")].parents.iter().map(|parent| parent.host.clone()).collect()
    };
    assert_eq!(hosts("all"), ["ratings.default.svc.cluster.local"]);
    assert_eq!(hosts("prod"), ["details.prod.svc.cluster.local"]);
    assert_eq!(hosts("reviews"), [REVIEWS]);
}

#[test]
fn a_pattern_for_few_clients_gives_way_to_a_name_for_all_and_not_the_other_way_round() {
    let vs = |name: &str, host: &str, export: Value| {
        let rules = json!([{"route": [{"destination": {"host": "reviews"}}]}]);
        named("VirtualService", name, json!({"hosts": [host], "exportTo": export, "http": rules}))
    };
    for (of_pattern, of_name, attached) in [
        (json!(["."]), json!(["*"]), false),
        (json!(["."]), json!([".", "shop"]), false),
        (json!(["*"]), json!(["."]), true),
        (json!([".", "shop"]), json!(["."]), true),
        (json!(["shop"]), json!(["."]), true),
    ] {
        let translation = translated(vec![service("reviews"), vs("pattern", "*", of_pattern.clone()), vs("name", "reviews", of_name.clone())]);
        let of = |name: &str| translation.routes[&format!("VirtualService/default/{name}")].parents.len();
        assert_eq!((of("pattern") == 1, of("name")), (attached, 1), "{of_pattern} {of_name}");
    }
}

#[test]
fn values_of_headers_may_come_from_the_exchange() {
    let headers = json!({
        "request": {"set": {"x-a": "%REQ(x-b?:authority):9%!", "x-fixed": "50%%"}, "add": {"x-ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
        "response": {"set": {"x-was": "%RESP(server)%"}},
    });
    let rule = http_rule(json!({"headers": headers}));
    let named = |name: &str, otherwise: Option<&str>, most| HeaderPiece { name: name.to_owned(), otherwise: otherwise.map(str::to_owned), most };
    let computed = |name: &str, how, value| ComputedHeader { name: name.to_owned(), how, value };
    let said = vec![Piece::RequestHeader(named("x-b", Some(":authority"), Some(9))), Piece::Text("!".to_owned())];
    let want = [computed("x-a", HowChanged::Set, said), computed("x-ip", HowChanged::Add, vec![Piece::ClientIp])];
    assert_eq!(rule.request_headers.computed, want);
    assert_eq!((&rule.request_headers.set[..], &rule.request_headers.add[..]), (&[("x-fixed".to_owned(), "50%".to_owned())][..], &[][..]));
    let want = [computed("x-was", HowChanged::Set, vec![Piece::ResponseHeader(named("server", None, None))])];
    assert_eq!(rule.response_headers.computed, want);
}

#[test]
fn a_route_may_say_how_its_requests_are_hedged() {
    let with_annotation = |annotation: Option<&str>| {
        let object = named("VirtualService", "reviews", json!({"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}));
        let annotated = |text: &str| with(object.clone(), "annotations", json!({"tautline.dev/hedging": text}));
        annotation.map_or(object.clone(), annotated)
    };
    for (annotation, want) in [(None, None), (Some("Disabled"), Some(0.0)), (Some("2.5"), Some(2.5)), (Some("20%"), Some(20.0))] {
        assert_eq!(route_of(with_annotation(annotation)).http[0].hedging.as_ref().map(|hedging| hedging.percent), want, "{annotation:?}");
    }
    for wrong in ["", "0", "21", "-1", "NaN", "inf", "yes"] {
        let problems = admit(&with_annotation(Some(wrong)));
        assert_eq!(
            problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
            ["metadata.annotations.tautline.dev/hedging"],
            "{wrong}"
        );
    }
}
