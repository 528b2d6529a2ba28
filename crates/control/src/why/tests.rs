//! Explanations of requests that might be made.

use super::*;
use crate::fixture;

/// Beside what everybody has: a route by user, and a policy.
const MORE: &str = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-reading, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  action: ALLOW
  rules: [{from: [{source: {principals: [mesh.local/ns/default/sa/page]}}], to: [{operation: {methods: [GET]}}]}]
";

fn published(more: &str) -> Published {
    fixture::published(&[&fixture::reviews_and_page(), MORE, more].concat())
}

fn ask(from: &str, method: &str, user: Option<&str>) -> Result<Answer, NoAnswer> {
    let headers = user.map(|user| ("end-user".to_owned(), user.to_owned())).into_iter().collect();
    let question = Question { from: from.into(), to: "reviews".into(), method: Some(method.into()), path: Some("/reviews/1".into()), headers };
    hypothetical(&published(""), "mesh.local", &question)
}

#[test]
fn a_port_that_speaks_tcp_is_asked_for_a_connection_unless_a_request_is_named() {
    let store = "---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: tcp-store, port: 7000, targetPort: http}]}
";
    let published = published(store);
    for (to, method, first) in [
        ("store:7000", None, "connection from page-v1 (default) to store:7000"),
        ("store:7000", Some("HEAD"), "HEAD / from page-v1 (default) to store:7000"),
        ("reviews", None, "GET / from page-v1 (default) to reviews:9080"),
        ("nosuch", None, "GET / from page-v1 (default) to nosuch:80"),
    ] {
        let question = Question { from: "page-v1".into(), to: to.into(), method: method.map(str::to_owned), path: None, headers: BTreeMap::new() };
        let answer = hypothetical(&published, "mesh.local", &question).unwrap();
        assert!(answer.text.starts_with(first), "{}", answer.text);
    }
}

#[test]
fn halves_come_in_the_order_of_the_request() {
    let half = |started: &str, reporter: &str| json!({"answer": {"record": {"started": started, "edge": {"reporter": reporter}}}});
    let ordered = [half("10:00.1", "source"), half("10:00.2", "source"), half("10:00.2", "destination"), half("10:00.3", "source")];
    let mut shuffled = [ordered[3].clone(), ordered[2].clone(), ordered[0].clone(), ordered[1].clone()];
    sort_halves(&mut shuffled);
    assert_eq!(shuffled, ordered);
}

#[test]
fn both_halves_are_explained_and_the_header_decides() {
    for (user, workload) in [(None, "default/reviews-v1"), (Some("jason"), "default/reviews-v2")] {
        let answer = ask("page", "GET", user).unwrap();
        assert_eq!(answer.from, "default/page-v1");
        let inbound = answer.inbound.unwrap();
        assert_eq!(inbound.workload, workload);
        assert!(answer.text.contains("VirtualService default/reviews"), "{}", answer.text);
        assert!(inbound.explanation.to_string().contains("only-reading"), "{}", inbound.explanation);
    }
}

#[test]
fn what_the_destination_refuses_is_told() {
    let refused = ask("page-v1", "DELETE", None).unwrap().inbound.unwrap().explanation;
    let carried = ask("page-v1", "GET", None).unwrap().inbound.unwrap().explanation;
    assert_ne!(refused.outcome, carried.outcome);
    assert!(
        refused.to_string().contains("authorization_denied") || refused.outcome.contains("denied") || refused.outcome.contains("403"),
        "{refused}"
    );
}

#[test]
fn who_asks_may_be_named_in_several_ways_and_strangers_are_told_who_is_there() {
    for from in ["default/page-v1", "page-v1", "page", "page.default", "default/page"] {
        assert_eq!(ask(from, "GET", None).unwrap().from, "default/page-v1", "{from}");
    }
    let unknown = ask("nobody", "GET", None).unwrap_err().to_string();
    assert!(unknown.contains("default/page-v1"), "{unknown}");
}

const OUTSIDE: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: default}
spec: {hosts: [pay.example], location: MESH_EXTERNAL, resolution: RESOLUTION, ports: [{number: 443, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: default}
spec: {host: pay.example, trafficPolicy: {tls: {mode: MODE}, outlierDetection: {consecutiveErrors: 1}}}
";

#[test]
fn a_refused_rule_never_turns_tls_into_plain_text() {
    for (resolution, mode, says) in [("DNS", "SIMPLE", "TLS"), ("DNS", "MUTUAL", "mutual_tls_required"), ("NONE", "SIMPLE", "mutual_tls_required")] {
        let published = published(&OUTSIDE.replace("MODE", mode).replace("RESOLUTION", resolution));
        let (method, path, headers) = (Some("GET".to_owned()), Some("/".to_owned()), BTreeMap::new());
        let question = Question { from: "page-v1".into(), to: "pay.example:443".into(), method, path, headers };
        let text = hypothetical(&published, "mesh.local", &question).unwrap().text;
        assert!(text.contains(says) && text.contains("DestinationRule default/pay (not accepted"), "{mode}: {text}");
        assert!(!text.to_lowercase().contains("plain text"), "{mode}: {text}");
    }
}
