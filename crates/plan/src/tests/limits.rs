//! Rate limits as inbound decisions: which requests fall under which, and how that is told.

use super::*;
use crate::rate::Buckets;
use std::time::Duration;
use taut_model::policy::{AuthorizationRule, Condition, ConditionKey, OperationMatch, SourceMatch};
use taut_model::rate_limit::{Per, RateLimit, RequestLimit, SizeLimit};

fn matching() -> AuthorizationRule {
    AuthorizationRule { origin: origin("RateLimit", "r", "spec.limits[0]"), from: vec![], to: vec![], when: vec![] }
}

fn limit(requests: u32, per: Per, matching: AuthorizationRule) -> RequestLimit {
    let (origin, interval) = (origin("RateLimit", "r", "spec.limits[0]"), Duration::from_secs(60));
    RequestLimit { origin, name: "one".into(), requests, interval, burst: requests.max(1), per, matching }
}

/// Of requests to /big, and a narrower one for all.
fn sizes() -> Vec<SizeLimit> {
    let to = |path: &str| AuthorizationRule { to: vec![OperationMatch { paths: vec![path.into()], ..OperationMatch::default() }], ..matching() };
    let size = |name: &str, max_request, max_response, matching| SizeLimit {
        origin: origin("RateLimit", "r", name),
        name: name.into(),
        max_request,
        max_response,
        matching,
    };
    vec![size("big", Some(100), Some(7), to("/big")), size("all", Some(10), None, matching()), size("small", Some(1), Some(1), to("/small"))]
}

fn limited(selector: &[(&str, &str)], limits: Vec<RequestLimit>) -> Plan {
    let mut snapshot = bookstore();
    let limit = RateLimit { origin: origin("RateLimit", "r", ""), namespace: "default".into(), selector: labels(selector), limits, sizes: sizes() };
    snapshot.limits.insert("RateLimit/default/r".into(), Arc::new(limit));
    Plan::compile(&snapshot)
}

/// How many of ten requests each get in.
fn let_in(plan: &Plan, visits: &[(Option<&str>, Request)]) -> Vec<usize> {
    let mut buckets = Buckets::default();
    let mut count = |who: Option<&str>, request: &Request| {
        let identity = who.map(|account| Identity::new("mesh.local", "default", account));
        let host = if who.is_some() { fqdn("productpage") } else { String::new() };
        let facts = Facts {
            direction: Direction::Inbound,
            host: &host,
            port: if who.is_some() { 9080 } else { 8080 },
            http: Some(request.http()),
            peer: Peer { identity: identity.as_ref(), address: Some("192.168.0.9".parse().unwrap()), client: None },
            sni: None,
        };
        match plan.decide(&facts, &Rolls::default()) {
            Verdict::Go(go) => buckets.take(&go.limits, Duration::from_secs(1)).is_ok(),
            Verdict::Refuse(refusal) => {
                assert_eq!((refusal.status, refusal.reason.name()), (429, "rate_limited"));
                assert!(plan.explain(&facts, None).outcome.contains("allows no request"));
                false
            }
            Verdict::Ask(_) => panic!("asks"),
        }
    };
    visits.iter().map(|(who, request)| (0..10).filter(|_| count(*who, request)).count()).collect()
}

fn visits() -> Vec<(Option<&'static str>, Request)> {
    vec![(Some("a"), get("/x")), (Some("b"), get("/x")), (None, get("/x"))]
}

#[test]
fn buckets_are_those_of_the_workload_of_each_client_or_of_each_value() {
    assert_eq!(let_in(&limited(&[], vec![limit(7, Per::Workload, matching())]), &visits()), [7, 0, 0]);
    assert_eq!(let_in(&limited(&[], vec![limit(7, Per::Client, matching())]), &visits()), [7, 7, 7]);
    let valued = |value: &str| (Some("a"), get("/").header("x-user", value));
    let by_value = limited(&[], vec![limit(7, Per::Header("X-User".into()), matching())]);
    let (long, longer) = ("v".repeat(1 << 20), "v".repeat((1 << 20) + 1));
    let values = [valued("1"), valued("2"), valued("1"), (Some("b"), get("/")), (Some("c"), get("/")), valued(&long), valued(&longer)];
    assert_eq!(let_in(&by_value, &values), [7, 7, 0, 7, 0, 7, 7]);
    assert!(by_value.headers_used().contains("x-user"));
}

#[test]
fn a_limit_is_about_the_workloads_and_the_requests_that_it_names() {
    let to = |path: &str| AuthorizationRule { to: vec![OperationMatch { paths: vec![path.into()], ..OperationMatch::default() }], ..matching() };
    let from = |who: &str| {
        let source = SourceMatch { principals: vec![format!("mesh.local/ns/default/sa/{who}")], ..SourceMatch::default() };
        AuthorizationRule { from: vec![source], ..matching() }
    };
    let key = ConditionKey::RequestHeader("x-plan".into());
    let when = AuthorizationRule { when: vec![Condition { key, values: vec!["free".into()], not_values: vec![] }], ..matching() };
    let plain = || vec![(Some("a"), get("/x")), (Some("b"), get("/y")), (Some("c"), get("/x").header("x-plan", "free"))];
    for (selector, limits, want) in [
        (&[("app", "reviews")][..], vec![limit(1, Per::Workload, matching())], [10, 10, 10]),
        (&[("app", "productpage")], vec![limit(1, Per::Workload, matching())], [1, 0, 0]),
        (&[], vec![limit(3, Per::Workload, to("/x"))], [3, 10, 0]),
        (&[], vec![limit(3, Per::Workload, from("b"))], [10, 3, 10]),
        (&[], vec![limit(3, Per::Workload, when)], [10, 10, 3]),
        (&[], vec![limit(0, Per::Client, to("/x"))], [0, 10, 0]),
    ] {
        assert_eq!(let_in(&limited(selector, limits), &plain()), want, "{selector:?}");
    }
}

#[test]
fn why_names_every_limit_that_a_request_falls_under() {
    let plan = limited(&[], vec![limit(5, Per::Client, matching())]);
    let (host, identity) = (fqdn("productpage"), Identity::new("mesh.local", "default", "a"));
    let (request, peer) = (get("/x"), Peer { identity: Some(&identity), address: None, client: None });
    let facts = Facts { direction: Direction::Inbound, host: &host, port: 9080, http: Some(request.http()), peer, sni: None };
    let told = plan.explain(&facts, None).to_string();
    assert!(
        told.contains("✓ limit        5 requests per 60s for each client: counts, if there is room  RateLimit default/r@1 spec.limits[0]"),
        "{told}"
    );
}

#[test]
fn the_smallest_size_of_all_that_match_holds() {
    let plan = limited(&[], vec![]);
    let identity = Identity::new("mesh.local", "default", "a");
    let host = fqdn("productpage");
    let peer = Peer { identity: Some(&identity), address: None, client: None };
    let sizes = |http: Option<HttpFacts<'_>>| {
        let facts = Facts { direction: Direction::Inbound, host: &host, port: 9080, http, peer, sni: None };
        let Verdict::Go(go) = plan.decide(&facts, &Rolls::default()) else { panic!("not let in") };
        (go.sizes.request.map(|(most, _)| most), go.sizes.response.map(|(most, _)| most))
    };
    for (path, want) in [("/big", (Some(10), Some(7))), ("/x", (Some(10), None)), ("/small", (Some(1), Some(1)))] {
        let request = get(path);
        assert_eq!(sizes(Some(request.http())), want, "{path}");
    }
    assert_eq!(sizes(None), (None, None));
}
