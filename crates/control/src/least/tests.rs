//! Suggestions and the report of plain text, made from a small mesh and what was seen in it.

use super::strict::{Wanted as Strict, lately, report};
use super::suggest::{Suggestion, Wanted, suggest};
use super::*;
use crate::calls::tests::{Heard, NOW, denied, edge, party, requests, store};
use crate::calls::{FINE, HOUR};
use crate::fixture;
use crate::proposal::Proposals;
use crate::proxies::Proxies;
use crate::publish::{Published, Publisher};
use crate::world::World;
use std::sync::Arc;
use taut_model::read;
use taut_model::signal::{Party, Protocol, Reporter, Second, Security, Signals};

/// `reviews` has a port for TCP, too, and a service of its own for its first version; there are a thief and one without a sidecar.
fn mesh() -> String {
    let (ports, both) = ("{name: http, port: 9080}", "http: 40000, tcp-admin: 41000");
    [
        fixture::service("reviews", &format!("{ports}, {{name: tcp-admin, port: 7000}}")),
        fixture::service("reviews-v1", ports).replace("app: reviews-v1", "app: reviews, version: v1"),
        fixture::service("page", ports),
        fixture::member("reviews", "v1", 1, both),
        fixture::member("reviews", "v2", 2, both),
        fixture::member("page", "v1", 3, "http: 40001"),
        fixture::member("thief", "v1", 4, ""),
        fixture::outsider("old", "v1", 5),
    ]
    .concat()
}

/// As both proxies tell it.
fn called(from: &str, service: &str, to: &str, signals: Signals) -> [Heard; 2] {
    [Reporter::Source, Reporter::Destination].map(|reporter| told(from, service, to, reporter, signals.clone()))
}

fn told(from: &str, service: &str, to: &str, reporter: Reporter, signals: Signals) -> Heard {
    (edge(party(from), service, to, Protocol::Http, reporter, Security::MutualTls), signals)
}

fn in_plain_text(service: &str, to: &str, count: u64) -> Heard {
    (edge(Party::nobody(), service, to, Protocol::Http, Reporter::Destination, Security::Plaintext), requests(count))
}

/// A mesh with more objects, in which this was heard now.
fn proposals(more: &str, heard: Vec<Heard>) -> Proposals {
    let objects = fixture::stored(&format!("{}---\n{more}", mesh()));
    let settings = fixture::settings();
    let published = Publisher::new(objects.clone(), settings.clone()).subscribe();
    let signals = store(&[(NOW, heard)]);
    let world = World::os();
    Proposals { store: objects, published, proxies: Proxies::default(), signals, settings, world }
}

fn with_suggestions(proposals: &Proposals, look: impl FnOnce(&[Suggestion<'_>])) {
    let published: Arc<Published> = proposals.published.borrow().clone();
    let calls = Calls::read(&proposals.signals, HOUR, FINE, Some("default"), NOW);
    look(&suggest(&Wanted { published: &published, calls: &calls, namespace: "default", service: None }));
}

fn usual() -> Vec<Heard> {
    let calls = [
        called("page-v1", "reviews", "reviews-v1", requests(30)),
        called("page-v1", "reviews-v1", "reviews-v1", requests(4)),
        called("thief-v1", "reviews", "reviews-v2", denied(9, 403)),
    ];
    calls.concat().into_iter().chain([in_plain_text("page", "page-v1", 5)]).collect()
}

#[test]
fn callers_that_were_seen_are_let_in_at_their_ports_and_others_are_told() {
    with_suggestions(&proposals("", usual()), |found| {
        // Services that share workloads are one; who serves nothing needs nothing.
        assert_eq!(found.iter().map(|one| one.group.name.as_str()).collect::<Vec<_>>(), ["page", "reviews"]);
        let reviews = &found[1];
        assert!(reviews.withheld.is_empty(), "{:?}", reviews.withheld);
        let policy = reviews.policy.as_ref().unwrap();
        assert_eq!(policy["metadata"]["name"], "seen-callers-of-reviews");
        assert_eq!(policy["spec"]["selector"], json!({"matchLabels": {"app": "reviews"}}));
        let rule = json!([{"from": [{"source": {"principals": ["mesh.local/ns/default/sa/page"]}}], "to": [{"operation": {"ports": ["40000"]}}]}]);
        assert_eq!(policy["spec"]["rules"], rule, "no port of TCP, no method, no path: {policy:#}");
        let told = reviews.told();
        assert_eq!((&told["callers"][0]["carried"], &told["callers"][0]["workloads"]), (&json!(34), &json!(["default/page-v1"])), "{told:#}");
        assert_eq!(
            told["refused"],
            json!([{"principal": "mesh.local/ns/default/sa/thief", "refused": 9, "carried": 0, "last": "2026-01-01T00:00:00Z"}])
        );
        assert_eq!(told["confidence"]["level"], "low", "a second is not a week");
        let read = read::json(policy.clone()).unwrap();
        assert!(crate::translate::admit(&read).is_empty());
    });
}

#[test]
fn plain_text_makes_no_policy_and_says_why() {
    with_suggestions(&proposals("", usual()), |found| {
        let page = &found[0];
        assert!(page.policy.is_none() && page.withheld.len() == 1, "{:?}", page.withheld);
        let why = &page.withheld[0];
        assert!(why.starts_with("5 requests or connections came to default/page-v1 in plain text from somebody without a proxy"), "{why}");
    });
}

#[test]
fn the_destination_is_believed_and_who_says_of_itself_that_it_calls_is_not() {
    let by = |from: &str, reporter, count| told(from, "reviews", "reviews-v1", reporter, requests(count));
    let heard = vec![
        by("page-v1", Reporter::Source, 30),
        by("page-v1", Reporter::Destination, 29),
        by("cron-v1", Reporter::Destination, 2),
        by("liar-v1", Reporter::Source, 7),
    ];
    with_suggestions(&proposals("", heard), |found| {
        let counts: Vec<(&str, u64)> = found[1].callers.iter().map(|(principal, caller)| (principal.as_str(), caller.seen.carried)).collect();
        assert_eq!(counts, [("mesh.local/ns/default/sa/cron", 2), ("mesh.local/ns/default/sa/page", 30)]);
        assert_eq!(found[1].told()["claimed"][0]["principal"], "mesh.local/ns/default/sa/liar");
        assert!(!found[1].policy.as_ref().unwrap().to_string().contains("liar"));
    });
}

#[test]
fn what_else_counts_is_noted() {
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: wide, namespace: default}\nspec: {selector: {matchLabels: {app: reviews}}, rules: [{}]}\n";
    let by_tcp = edge(party("page-v1"), "reviews", "reviews-v1", Protocol::Tcp, Reporter::Destination, Security::MutualTls);
    let mut heard = called("page-v1", "reviews", "reviews-v1", requests(1)).to_vec();
    heard.push((by_tcp, Signals { opened: 1, ..Signals::default() }));
    with_suggestions(&proposals(policy, heard), |found| {
        assert!(found[0].notes[0].starts_with("nobody was seen calling it"), "{:?}", found[0].notes);
        let notes = found[1].notes.join("\n");
        assert!(
            notes.contains("the signals do not tell ports apart") && notes.contains("AuthorizationPolicy default/wide lets callers in, too"),
            "{notes}"
        );
        assert_eq!(found[1].policy.as_ref().unwrap()["spec"]["rules"][0]["to"][0]["operation"]["ports"], json!(["40000", "41000"]));
    });
    let same = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: twin-v1, namespace: default}\nspec: {address: 127.0.0.9, labels: {app: reviews, version: v1}}\n";
    with_suggestions(&proposals(same, called("page-v1", "reviews", "reviews-v1", requests(1)).to_vec()), |found| {
        let why = found[1].withheld.join("\n");
        assert!(found[1].policy.is_none() && why.contains("have no labels in common that no other workload"), "{why}");
    });
}

#[test]
fn applying_what_is_suggested_refuses_nothing_that_was_carried() {
    let proposals = proposals("", usual());
    with_suggestions(&proposals, |found| {
        let check = super::routes::checked(&proposals, found, HOUR);
        assert_eq!((check.refused.len(), check.errors.len(), check.seen), (0, 0, 2), "{:?}", check.refused);
    });
}

fn strict(proposals: &Proposals, except: &[&str], since: Second) -> Result<serde_json::Value, String> {
    let except: Vec<String> = except.iter().map(|name| (*name).to_owned()).collect();
    report(proposals, &Strict { namespace: Some("default"), except: &except, since })
}

#[test]
fn strict_names_who_would_break_and_an_exception_mends_it() {
    let proposals = proposals("", usual());
    let broken = strict(&proposals, &[], HOUR).unwrap();
    assert_eq!((&broken["breaks"], &broken["safe"]), (&json!(1), &json!(false)), "{broken:#}");
    let row = &broken["plaintext"][0];
    assert_eq!((&row["from"], &row["to"], &row["carried"], &row["breaks"]), (&json!(null), &json!("default/page-v1"), &json!(5), &json!(true)));
    assert!(row["after"].as_str().unwrap().contains("403 mutual_tls_required"), "{row:#}");
    assert_eq!(broken["withoutProxy"], json!(["default/old-v1"]));
    let mended = strict(&proposals, &["page"], HOUR).unwrap();
    assert_eq!((&mended["breaks"], &mended["safe"], &mended["changes"]), (&json!(0), &json!(true), &json!(true)), "{mended:#}");
    let names: Vec<&str> = mended["objects"].as_array().unwrap().iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["plain-text-to-page", "default"], "in the order in which they have to come");
    assert!(strict(&proposals, &["nosuch"], HOUR).unwrap_err().contains("there are page, reviews"));
    assert_eq!(lately(&proposals, None, None)["plaintext"][0]["to"], "default/page-v1");
}

#[test]
fn strict_says_what_holds_already_and_what_is_not_known() {
    let authentication = |name: &str, spec: &str| {
        format!("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n---\n")
    };
    let held =
        authentication("all", "{mtls: {mode: STRICT}}") + &authentication("page", "{selector: {matchLabels: {app: page}}, mtls: {mode: PERMISSIVE}}");
    let report = strict(&proposals(&held, usual()), &[], HOUR).unwrap();
    assert_eq!(report["objects"][0]["metadata"]["name"], "all", "the one that holds there: of two the older would win");
    assert_eq!((&report["safe"], &report["changes"]), (&json!(true), &json!(false)), "{report:#}");
    assert_eq!(report["narrower"], json!(["PeerAuthentication default/page"]));
    let nothing = strict(&proposals("", vec![]), &[], HOUR).unwrap();
    assert_eq!((&nothing["breaks"], &nothing["plaintext"]), (&json!(0), &json!([])));
}

#[test]
fn a_proxy_that_sends_plain_text_is_named() {
    let told_by_source = (edge(party("thief-v1"), "page", "page-v1", Protocol::Http, Reporter::Source, Security::Plaintext), requests(5));
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: page, namespace: default}\nspec: {host: page, trafficPolicy: {tls: {mode: DISABLE}}}\n";
    let report = strict(&proposals(rule, vec![told_by_source, in_plain_text("page", "page-v1", 5)]), &[], HOUR).unwrap();
    let rows = report["plaintext"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["from"], &rows[0]["breaks"]), (1, &json!("default/thief-v1"), &json!(true)), "{report:#}");
}
