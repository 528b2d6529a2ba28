//! Proposals held against a small mesh.

use super::*;
use crate::fixture;
use crate::publish::Publisher;
use serde_json::json;

const ROUTE: &str = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v1}}]
";

const HOST: &str = "reviews.default.svc.cluster.local";
const NOW: &str = "2026-01-02T12:00:00Z";

fn route(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews, namespace: default}}\nspec:\n  hosts: [reviews]\n  http:\n{http}"
    )
}

fn policy(rules: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: some, namespace: default}}\nspec:\n  selector: {{matchLabels: {{app: reviews}}}}\n{rules}"
    )
}

fn propose(text: &str) -> Proposal {
    let store = fixture::stored(&[&fixture::reviews_and_page(), &fixture::outsider("old", "v1", 4), ROUTE].concat());
    let settings = fixture::settings();
    let published = Publisher::new(store.clone(), settings.clone()).subscribe().borrow().clone();
    let pair = |from, requests| Pair { from, host: HOST.into(), requests };
    let workload = |uid: &str| Caller::Workload(uid.to_owned());
    let stranger = |at: &str| Caller::Stranger { at: at.to_owned() };
    let pairs = [
        pair(workload("default/page-v1"), Some(40)),
        pair(workload("default/old-v1"), None),
        pair(stranger("default/reviews-v1"), Some(3)),
        pair(stranger("default/reviews-v2"), Some(4)),
    ];
    let version = store.version();
    let proposal =
        judge(text, "new.yaml", &Terms { store: &store, published: &published, settings: &settings, manager: "taut", now: NOW, pairs: &pairs });
    assert_eq!(store.version(), version, "nothing is stored");
    proposal
}

fn row(proposal: &Proposal, from: &str, request: &str) -> FlowChange {
    let found = proposal.flows.changes.iter().find(|flow| flow.from == from && flow.request == request);
    found.unwrap_or_else(|| panic!("{from} {request:?} in {:#?}", proposal.flows)).clone()
}

#[test]
fn a_shift_of_weights_is_told_with_exact_shares() {
    let proposal = propose(&route(
        "  - route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]\n",
    ));
    assert!(proposal.problems.is_empty(), "{:?}", proposal.problems);
    let changed = &proposal.changes[0];
    assert_eq!((changed.verb, changed.object.name.as_str()), ("update", "reviews"));
    assert!(changed.diff.contains("+") && changed.diff.contains("subset: v2"), "{}", changed.diff);
    let page = row(&proposal, "default/page-v1", "");
    assert_eq!((page.before.as_str(), page.after.as_str()), ("reviews v1", "90 % reviews v1, 10 % reviews v2"));
    assert_eq!((page.refused, page.requests, proposal.flows.seen), (false, Some(40), 4));
}

#[test]
fn what_changes_nothing_says_so() {
    let proposal = propose(&route("  - route: [{destination: {host: reviews, subset: v1}}]\n"));
    assert_eq!((proposal.changes[0].verb, proposal.changes[0].diff.as_str()), ("unchanged", ""));
    assert!(proposal.flows.changes.is_empty());
}

#[test]
fn a_policy_that_shuts_somebody_out_names_itself() {
    let proposal = propose(&policy("  action: ALLOW\n  rules: [{from: [{source: {principals: [mesh.local/ns/default/sa/page]}}]}]\n"));
    let old = row(&proposal, "default/old-v1", "");
    assert!(old.refused && old.after.contains("403 authorization_denied"), "{old:?}");
    assert!(old.after.contains("AuthorizationPolicy default/some (spec.rules[0]: source.principal is mesh.local/ns/default/sa/old)"), "{old:?}");
    assert_eq!(old.by.unwrap().object.name, "some");
    let stranger = row(&proposal, "(plain text)", "");
    assert!(stranger.refused && stranger.before == "let in" && stranger.requests == Some(7), "{stranger:?}");
    assert!(stranger.after.contains("there is no source.principal"), "{stranger:?}");
    assert!(!proposal.flows.changes.iter().any(|flow| flow.from == "default/page-v1"), "{:?}", proposal.flows);
}

#[test]
fn a_caller_that_a_rule_does_not_name_is_told_what_the_rule_wants() {
    let proposal = propose(&policy(
        "  rules: [{from: [{source: {namespaces: [default]}}], to: [{operation: {methods: [PUT]}}]}, {from: [{source: {principals: [mesh.local/ns/default/sa/other]}}]}]\n",
    ));
    let page = row(&proposal, "default/page-v1", "");
    let why =
        "AuthorizationPolicy default/some (spec.rules[0]: request.method is GET; spec.rules[1]: source.principal is mesh.local/ns/default/sa/page)";
    assert!(page.refused && page.after.contains(why), "{page:?}");
}

#[test]
fn requests_that_only_a_rule_names_are_looked_at_too() {
    let proposal = propose(&policy("  action: DENY\n  rules: [{to: [{operation: {paths: [/admin*], methods: [POST]}}]}]\n"));
    assert_eq!(proposal.flows.changes.len(), 3, "{:?}", proposal.flows);
    let admin = row(&proposal, "default/page-v1", "POST /admin");
    assert!(admin.refused && admin.before == "reviews v1", "{admin:?}");
    let split = propose(&route(
        "  - match: [{headers: {end-user: {exact: jason}}}]\n    route: [{destination: {host: reviews, subset: v2}}]\n  - route: [{destination: {host: reviews, subset: v1}}]\n",
    ));
    assert_eq!(row(&split, "default/page-v1", "GET / with end-user: jason").after, "reviews v2");
}

#[test]
fn a_demand_for_mutual_tls_refuses_who_has_none() {
    let strict =
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: default}\nspec: {mtls: {mode: STRICT}}\n";
    let disable = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews, namespace: default}\nspec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n";
    assert!(propose(strict).flows.changes.iter().all(|flow| flow.from != "default/page-v1"), "who has a proxy goes on");
    let stranger = row(&propose(strict), "(plain text)", "");
    assert!(stranger.refused && stranger.after.contains("403 mutual_tls_required"), "{stranger:?}");
    let plain = row(&propose(disable), "default/page-v1", "");
    assert!(plain.after.contains("in plain text") || plain.refused, "{plain:?}");
}

#[test]
fn mistakes_have_their_place_and_stop_the_rest() {
    let proposal = propose(&route("  - rout: [{destination: {host: reviews}}]\n"));
    let problem = &proposal.problems[0];
    let at = problem.location.as_ref().unwrap();
    assert_eq!((problem.code, at.line, at.column), ("UnknownField", 7, 5));
    assert!(problem.help.as_deref().unwrap().contains("route") && problem.excerpt.is_some(), "{problem:?}");
    assert!(proposal.changes.is_empty() && proposal.flows.changes.is_empty());
    // What is refused by name is refused here too; what leads nowhere is a warning with its place.
    let unsupported = propose("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x, namespace: default}\nspec: {}\n");
    assert!(unsupported.problems.iter().any(|problem| problem.severity == Severity::Error), "{:?}", unsupported.problems);
    let nowhere = propose(&route("  - route: [{destination: {host: nosuch}}]\n"));
    let warning = nowhere.problems.iter().find(|problem| problem.message.contains("nosuch")).unwrap();
    assert!(warning.location.is_some(), "{warning:?}");
    for garbage in ["", "kind: [", "a: 1", "\u{0}", "- - -", &"[".repeat(2000)] {
        let proposal = propose(garbage);
        assert!(proposal.changes.is_empty(), "{garbage:?}");
    }
}

#[test]
fn a_secret_s_content_is_not_told() {
    let proposal = propose("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {password: hunter2}\n");
    let diff = &proposal.changes[0].diff;
    assert!(diff.contains("hidden") && !diff.contains("hunter2"), "{diff}");
}

#[test]
fn a_new_service_is_no_change_for_those_who_do_not_call_it() {
    let proposal = propose("apiVersion: v1\nkind: Service\nmetadata: {name: fresh, namespace: default}\nspec: {ports: [{port: 80}]}\n");
    assert_eq!((proposal.changes[0].verb, proposal.flows.changes.len()), ("create", 0));
    assert_eq!(proposal.changes[0].object.value["spec"]["type"], json!("ClusterIP"));
}
