//! VirtualServices that leave rules to others.

use super::*;
use std::time::Duration;
use taut_model::route::*;

fn root(http: Value) -> Object {
    named("VirtualService", "root", json!({"hosts": ["reviews"], "http": http}))
}

fn delegate(name: &str, http: Value) -> Object {
    named("VirtualService", name, json!({"http": http}))
}

fn to_reviews(mut rule: Value) -> Value {
    rule["route"] = json!([{"destination": {"host": "reviews"}}]);
    rule
}

/// The root's rules, and what was found about the root and the delegate.
fn merged(root_rule: Value, delegate_rules: Value) -> (Vec<HttpRule>, Vec<Problem>, Vec<Problem>) {
    let mut root_rule = root_rule;
    root_rule["delegate"] = json!({"name": "part"});
    let translation = translated(vec![service("reviews"), root(json!([root_rule])), delegate("part", delegate_rules)]);
    let rules = translation.routes["VirtualService/default/root"].http.clone();
    (rules, findings(&translation, "VirtualService", "root").to_vec(), findings(&translation, "VirtualService", "part").to_vec())
}

#[test]
fn what_a_delegate_leaves_open_is_its_root_s() {
    let (rules, root, part) = merged(
        json!({"name": "api", "match": [{"uri": {"prefix": "/api"}, "headers": {"a": {"exact": "1"}}}], "timeout": "3s",
               "retries": {"attempts": 5}, "headers": {"request": {"set": {"x": "root"}}}, "corsPolicy": {"allowOrigins": [{"exact": "*"}]},
               "mirror": {"host": "reviews"}, "rewrite": {"uri": "/"}}),
        json!([
            to_reviews(json!({"name": "books", "match": [{"uri": {"exact": "/api/books"}, "queryParams": {"b": {"exact": "2"}}}], "timeout": "1s"})),
            to_reviews(json!({"timeout": "0s", "headers": {"response": {"remove": ["y"]}}, "rewrite": {"uri": "/v1"}}))
        ]),
    );
    assert_eq!((root, part), (vec![], vec![]));
    let names: Vec<_> = rules.iter().map(|rule| (rule.name.as_str(), rule.origin.object.name.as_str(), rule.origin.path.as_str())).collect();
    assert_eq!(names, [("api-books", "part", "spec.http[0]"), ("api", "part", "spec.http[1]")]);
    let books = &rules[0].matches[0];
    assert_eq!((books.path.clone(), books.headers.len(), books.query.len()), (Some(PathMatch::Exact("/api/books".to_owned())), 1, 1));
    assert_eq!(rules[1].matches[0].path, Some(PathMatch::Prefix("/api".to_owned())), "without matches of its own it has the root's");
    assert_eq!(rules.iter().map(|rule| rule.timeout).collect::<Vec<_>>(), [Some(Duration::from_secs(1)), None]);
    assert!(rules.iter().all(|rule| rule.retry.as_ref().is_some_and(|retry| retry.attempts == 5) && rule.cors.is_some() && rule.mirrors.len() == 1));
    assert_eq!((rules[0].request_headers.set.len(), rules[1].request_headers.set.len()), (1, 0), "headers as a whole");
    let rewrites: Vec<_> = rules.iter().map(|rule| rule.rewrite.clone().and_then(|rewrite| rewrite.path).unwrap()).collect();
    assert_eq!(rewrites, [PathRewrite::Prefix("/".to_owned()), PathRewrite::Prefix("/v1".to_owned())]);
}

#[test]
fn every_match_of_a_delegate_must_be_narrower_than_one_of_its_root_s() {
    let uri = |kind: &str, text: &str| json!([{"uri": {kind: text}}]);
    for (outer, inner, want) in [
        (uri("prefix", "/a"), uri("prefix", "/a/b"), 1),
        (uri("prefix", "/a"), uri("exact", "/a"), 1),
        (uri("prefix", "/a/b"), uri("prefix", "/a"), 0),
        (uri("exact", "/a"), uri("prefix", "/a"), 0),
        (uri("exact", "/a"), uri("exact", "/a"), 1),
        (uri("regex", "/a.*"), uri("exact", "/ab"), 0),
        (uri("prefix", "/"), uri("regex", "/.*"), 0),
        (json!([{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}]), json!([{"uri": {"exact": "/b/c"}}, {"method": {"exact": "GET"}}]), 3),
        (json!([{"uri": {"prefix": "/a"}}]), json!([{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}]), 0),
        (json!([{"headers": {"a": {"exact": "1"}}}]), json!([{"headers": {"a": {}}}]), 0),
        (json!([{"headers": {"a": {}}}]), json!([{"headers": {"a": {"regex": "1"}, "b": {}}}]), 1),
        (json!([{"withoutHeaders": {"a": {"prefix": "1"}}}]), json!([{"withoutHeaders": {"a": {"exact": "12"}}}]), 1),
        (json!([{"port": 1}]), json!([{"port": 2}]), 0),
        (json!([{"port": 1}]), json!([{"sourceLabels": {"app": "a"}}]), 1),
        (json!([{"sourceLabels": {"app": "a"}}]), json!([{"sourceLabels": {"app": "b"}}]), 0),
        (json!([{"sourceNamespace": "a"}]), json!([{"sourceNamespace": "b"}]), 0),
        (json!([{"uri": {"prefix": "/a"}, "ignoreUriCase": true}]), json!([{"uri": {"prefix": "/a"}}]), 0),
        (json!([]), uri("exact", "/x"), 1),
    ] {
        let (rules, _, part) = merged(json!({"match": outer}), json!([to_reviews(json!({"match": inner}))]));
        assert_eq!(rules.iter().map(|rule| rule.matches.len()).sum::<usize>(), want, "{outer} {inner}");
        let told: Vec<_> = part.iter().map(|problem| (problem.code, problem.path.as_str())).collect();
        assert_eq!(told, if want == 0 { vec![("Conflicted", "spec.http[0]")] } else { vec![] }, "{outer} {inner}");
    }
    // Both exclusions hold.
    let (rules, ..) = merged(
        json!({"match": [{"withoutHeaders": {"a": {"prefix": "1"}}}]}),
        json!([to_reviews(json!({"match": [{"withoutHeaders": {"a": {"exact": "2"}}}]}))]),
    );
    assert_eq!(rules[0].matches[0].without_headers.len(), 2);
}

#[test]
fn a_delegate_that_cannot_be_used_leaves_its_rule_without_effect_and_says_so() {
    let reviews = || json!([to_reviews(json!({}))]);
    let mut hidden = delegate("part", reviews());
    hidden.value["spec"]["exportTo"] = json!(["elsewhere"]);
    let hosts = named("VirtualService", "part", json!({"hosts": ["ratings"], "http": reviews()}));
    for (part, because) in [
        (delegate("other", reviews()), "VirtualService default/part does not exist, so this rule has no effect"),
        (delegate("part", json!([{"delegate": {"name": "root"}}])), "is not accepted"),
        (hosts, "is not for others to delegate to: it has hosts"),
        (hidden, "is not exported to this namespace"),
        (with(delegate("part", reviews()), "namespace", json!("elsewhere")), "does not exist"),
    ] {
        let rules = json!([{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "part"}}, to_reviews(json!({}))]);
        let translation = translated(vec![service("reviews"), root(rules), part]);
        assert_eq!(translation.routes["VirtualService/default/root"].http.len(), 1, "the other rule stays");
        let told = findings(&translation, "VirtualService", "root");
        assert_eq!((told[0].code, told[0].path.as_str(), told[0].severity), ("UnknownReference", "spec.http[0].delegate", Severity::Warning));
        assert!(told[0].message.starts_with("spec.http[0].delegate: ") && told[0].message.contains(because), "{}", told[0].message);
    }
}

#[test]
fn nobody_can_delegate_in_a_circle() {
    // To itself: it has hosts.
    let own = translated(vec![service("reviews"), root(json!([{"delegate": {"name": "root"}}, to_reviews(json!({}))]))]);
    assert_eq!(found(&own, "VirtualService", "root")[0], ("UnknownReference", "spec.http[0].delegate".to_owned()));
    // One delegate to the other, and back.
    let objects = vec![
        service("reviews"),
        root(json!([{"delegate": {"name": "a"}}])),
        delegate("a", json!([{"delegate": {"name": "b"}}])),
        delegate("b", json!([{"delegate": {"name": "a"}}])),
    ];
    let circle = translated(objects);
    for name in ["a", "b"] {
        let told = findings(&circle, "VirtualService", name);
        assert_eq!((told[0].code, told[0].path.as_str(), told[0].severity), ("InvalidValue", "spec.http[0].delegate", Severity::Error));
        assert!(told[0].message.contains("only one level of delegates"), "{}", told[0].message);
    }
    assert!(circle.routes["VirtualService/default/root"].http.is_empty());
}

#[test]
fn a_delegate_serves_roots_of_other_namespaces_and_is_told_when_it_serves_none() {
    let rules = json!([{"delegate": {"name": "part", "namespace": "team"}}]);
    let part = || with(delegate("part", json!([to_reviews(json!({}))])), "namespace", json!("team"));
    let translation = translated(vec![service("reviews"), with(service("reviews"), "namespace", json!("team")), root(rules), part()]);
    let rule = &translation.routes["VirtualService/default/root"].http[0];
    let HttpAction::Forward(backends) = &rule.action else { panic!("{:?}", rule.action) };
    assert_eq!(backends[0].host, "reviews.team.svc.cluster.local", "a delegate's hosts are of its own namespace");
    assert_eq!(rule.origin.object.namespace, "team");
    let alone = translated(vec![part()]);
    assert_eq!(alone.idle[&ObjectRef::new("VirtualService", "team", "part")], "no VirtualService delegates to it");
    assert!(alone.routes.is_empty());
}

#[test]
fn a_wrong_destination_of_a_delegate_is_told_to_the_delegate() {
    let wrong = json!([{"route": [{"destination": {"host": "reviws"}}]}]);
    let translation = translated(vec![service("reviews"), root(json!([{"delegate": {"name": "part"}}])), delegate("part", wrong)]);
    assert_eq!(found(&translation, "VirtualService", "part"), [("UnknownReference", "spec.http[0].route[0]".to_owned())]);
    assert_eq!(found(&translation, "VirtualService", "root"), []);
}
