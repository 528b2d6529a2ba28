//! References that lead nowhere, and objects in each other's way.

use super::*;

fn vs(name: &str, http: Value) -> Object {
    named("VirtualService", name, json!({"hosts": ["reviews"], "http": http}))
}

fn to(host: &str) -> Value {
    json!([{"route": [{"destination": {"host": host}}]}])
}

fn workload(name: &str, labels: Value) -> Object {
    named("WorkloadEntry", name, json!({"address": "127.0.0.1", "labels": labels, "serviceAccount": "web"}))
}

#[test]
fn destinations_ports_and_subsets_must_exist() {
    let rules = json!([{"match": [{"uri": {"exact": "/a"}}], "route": [{"destination": {"host": "reviws"}}]},
                       {"route": [{"destination": {"host": "reviews", "port": {"number": 81}, "subset": "v2"}}], "mirror": {"host": "nowhere"}}]);
    let rule = named("DestinationRule", "reviews", json!({"host": "reviews", "subsets": [{"name": "v1", "labels": {}}]}));
    let translation = translated(vec![service("reviews"), vs("v", rules), rule]);
    let at = |path: &str| ("UnknownReference", path.to_owned());
    assert_eq!(
        found(&translation, "VirtualService", "v"),
        [at("spec.http[0].route[0]"), at("spec.http[1].route[0]"), at("spec.http[1].route[0]"), at("spec.http[1].mirror")]
    );
    let problems = findings(&translation, "VirtualService", "v");
    assert_eq!(problems[0].help.as_deref(), Some("did you mean \"reviews\"?"));
    assert_eq!(problems[1].help.as_deref(), Some("its ports are 9080"));
    assert_eq!(problems[2].help.as_deref(), Some("did you mean \"v1\"?"));
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
    assert!(translation.routes.contains_key("VirtualService/default/v"), "accepted all the same");
}

#[test]
fn hosts_of_routes_and_rules_must_exist() {
    let translation = translated(vec![vs("v", to("reviews")), named("DestinationRule", "d", json!({"host": "rating"})), service("ratings")]);
    assert_eq!(found(&translation, "VirtualService", "v")[0], ("UnknownReference", "spec.hosts".to_owned()));
    assert_eq!(findings(&translation, "DestinationRule", "d")[0].help.as_deref(), Some("did you mean \"ratings\"?"));
}

#[test]
fn a_subset_must_select_somebody_if_anybody_is_there() {
    let rule = || {
        named(
            "DestinationRule",
            "d",
            json!({"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v9", "labels": {"version": "v9"}}]}),
        )
    };
    let empty = translated(vec![service("reviews"), rule()]);
    assert_eq!(found(&empty, "DestinationRule", "d"), []);
    assert_eq!(found(&empty, "Service", "reviews"), [("SelectsNothing", "spec.selector".to_owned())]);
    let nine = ("SelectsNothing", "spec.subsets[1]".to_owned());
    let running = translated(vec![service("reviews"), rule(), workload("w", json!({"app": "reviews", "version": "v1"}))]);
    assert_eq!(found(&running, "DestinationRule", "d"), std::slice::from_ref(&nine));
    let deployment = named("Deployment", "r", json!({"template": {"metadata": {"labels": {"app": "reviews", "version": "v1"}}}}));
    let announced = translated(vec![service("reviews"), rule(), deployment]);
    assert_eq!(found(&announced, "DestinationRule", "d"), [nine]);
    assert_eq!(found(&announced, "Service", "reviews"), []);
}

#[test]
fn principals_should_be_somebody() {
    let source = json!({"principals": ["mesh.local/ns/default/sa/wep", "mesh.local/ns/default/sa/web", "*/ns/x/sa/y"]});
    let accounts = json!({"serviceAccounts": ["nobody", "default/batch"]});
    let policy = named("AuthorizationPolicy", "p", json!({"rules": [{"from": [{"source": source}, {"source": accounts}]}]}));
    let translation = translated(vec![policy, workload("w", json!({})), named("ServiceAccount", "batch", json!({}))]);
    let at = |index: usize| ("UnknownReference", format!("spec.rules[0].from[{index}].source"));
    assert_eq!(found(&translation, "AuthorizationPolicy", "p"), [at(0), at(1)]);
    let problem = &findings(&translation, "AuthorizationPolicy", "p")[0];
    assert_eq!((problem.severity, problem.help.as_deref()), (Severity::Info, Some("did you mean \"default/web\"?")));
}

#[test]
fn of_two_virtual_services_for_one_host_the_oldest_wins_and_both_are_told() {
    let aged = |name: &str, created: &str| with(vs(name, to("reviews")), "creationTimestamp", json!(created));
    let translation = translated(vec![service("reviews"), aged("a", "2026-02-02T00:00:00Z"), aged("b", "2026-01-01T00:00:00Z")]);
    let (loser, winner) = (&findings(&translation, "VirtualService", "a")[0], &findings(&translation, "VirtualService", "b")[0]);
    assert_eq!((loser.code, loser.severity, winner.code, winner.severity), ("Conflicted", Severity::Warning, "Conflicted", Severity::Info));
    assert!(loser.message.contains("VirtualService default/b decides"), "{}", loser.message);
    assert!(winner.message.contains("VirtualService default/a"), "{}", winner.message);
}

#[test]
fn an_http_route_wins_over_a_virtual_service_and_both_are_told() {
    let route = named(
        "HTTPRoute",
        "h",
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews", "port": 9080}], "rules": [{"backendRefs": [{"name": "reviews", "port": 9080}]}]}),
    );
    let translation = translated(vec![service("reviews"), vs("v", to("reviews")), route]);
    assert!(
        findings(&translation, "VirtualService", "v")[0]
            .message
            .contains("HTTPRoute default/h decides for reviews.default.svc.cluster.local port 9080")
    );
    assert_eq!(found(&translation, "HTTPRoute", "h"), [("Conflicted", String::new())]);
}

#[test]
fn shares_of_nothing_and_rules_out_of_reach() {
    let rules = json!([{"match": [{"uri": {"prefix": "/"}}], "route": [{"destination": {"host": "reviews"}}, {"destination": {"host": "reviews"}}]},
                       {"match": [{"uri": {"exact": "/a"}}], "route": [{"destination": {"host": "reviews"}}]}]);
    let translation = translated(vec![service("reviews"), vs("v", rules)]);
    assert_eq!(found(&translation, "VirtualService", "v"), [("NoEffect", "spec.http[0]".to_owned()), ("UnreachableRule", "spec.http[1]".to_owned())]);
    let specific = json!([{"match": [{"uri": {"prefix": "/"}, "port": 80}], "route": [{"destination": {"host": "reviews"}}]}, {"route": [{"destination": {"host": "reviews"}}]}]);
    assert_eq!(found(&translated(vec![service("reviews"), vs("v", specific)]), "VirtualService", "v"), []);
}
