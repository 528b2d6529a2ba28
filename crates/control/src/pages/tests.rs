//! The pages of a small mesh with known traffic.

use super::routes::{Pages, router};
use super::traffic::Traffic;
use super::{graph, security, services};
use crate::access::{Role, Visitor};
use crate::authority::{Authority, AuthoritySettings};
use crate::fixture;
use crate::proxies::Proxies;
use crate::publish::{Published, Publisher};
use crate::signals::{Limits, Store as Signals};
use crate::status::Board;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use taut_model::signal::{self, Batch, Edge, Party, Protocol, Reporter, Second, Security, ServiceName};
use tower::ServiceExt;

/// Beside what everybody has: a service without members, one outside, a thief, routes and a policy.
const MORE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: other}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: default}
spec: {hosts: [api.bank.example], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: page-only, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  action: ALLOW
  rules: [{from: [{source: {principals: [mesh.local/ns/default/sa/page]}}]}]
";

fn mesh() -> String {
    [fixture::reviews_and_page(), fixture::member("thief", "v1", 4, ""), MORE.to_owned()].concat()
}

const NOW: Second = 1_767_225_600;

fn party(name: &str, version: &str) -> Arc<Party> {
    Arc::new(Party {
        workload: format!("{name}-{version}"),
        namespace: "default".into(),
        app: name.into(),
        version: version.into(),
        principal: format!("spiffe://mesh.local/ns/default/sa/{name}"),
    })
}

/// `count` requests, each with this status and this many milliseconds.
fn heard(from: &str, version: &str, security: Security, status: u16, reason: Option<&str>, count: u64) -> (Arc<Edge>, signal::Signals) {
    let service = ServiceName { host: "reviews.default.svc.cluster.local".into(), namespace: "default".into(), name: "reviews".into() };
    let edge = Edge {
        source: party(from, "v1"),
        service: Arc::new(service),
        destination: party("reviews", version),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security,
    };
    let mut signals = signal::Signals { requests: count, ..signal::Signals::default() };
    signals.outcomes.count(status, None, reason, count);
    signals.latency.record_many(20_000, count);
    (Arc::new(edge), signals)
}

fn signals() -> Signals {
    let store = Signals::in_memory(Limits::default());
    let entries = vec![
        heard("page", "v1", Security::MutualTls, 200, None, 270),
        heard("page", "v2", Security::MutualTls, 200, None, 24),
        heard("page", "v2", Security::MutualTls, 503, None, 6),
        heard("thief", "v1", Security::MutualTls, 403, Some("authorization_denied"), 3),
        heard("ghost", "v1", Security::Plaintext, 200, None, 1),
    ];
    store.add(Batch { proxy: "default/page-v1".into(), epoch: 1, sequence: 1, second: NOW, entries, lost: 0, last: false }, NOW);
    store.tick(NOW + 4);
    store
}

fn published() -> Published {
    let published = fixture::published(&mesh());
    assert_eq!(published.translation.workloads.len(), 4);
    published
}

fn traffic() -> Traffic {
    Traffic::read(&signals(), 30, Some(NOW), NOW)
}

fn authority() -> Authority {
    let settings = AuthoritySettings { trust_domain: "mesh.local".into(), leaf_lifetime: Duration::from_secs(3600), limits: Default::default() };
    Authority::open(None, None, settings, "2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
}

fn find<'a>(list: &'a Value, wanted: &[(&str, &str)]) -> &'a Value {
    let fits = |one: &&Value| wanted.iter().all(|(field, value)| one[*field] == *value);
    list.as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("{wanted:?} in {list:#}"))
}

#[test]
fn the_map_has_every_service_and_what_went_between_them() {
    let map = graph::graph(&published(), &traffic(), &[]);
    let node = |id: &str| find(&map["nodes"], &[("id", id)]).clone();
    assert_eq!((&node("other/lonely")["health"], &node("other/lonely")["kind"]), (&json!("idle"), &json!("service")));
    assert_eq!(node("default/page")["health"], "ok", "who only calls is at work");
    assert_eq!(find(&map["nodes"], &[("kind", "external")])["name"], "api.bank.example");
    let reviews = node("default/reviews");
    assert_eq!(reviews["health"], "degraded", "9 of 304 failed");
    let versions = &reviews["versions"];
    assert_eq!(
        (&versions[1]["version"], &versions[1]["endpoints"], &versions[1]["rate"], &versions[1]["errorRate"]),
        (&json!("v2"), &json!(1), &json!(1.0), &json!(0.2))
    );

    let edge = find(&map["edges"], &[("from", "default/page")]);
    assert_eq!(
        (&edge["to"], &edge["rate"], &edge["errorRate"], &edge["security"]),
        (&json!("default/reviews"), &json!(10.0), &json!(0.02), &json!("mutual_tls"))
    );
    assert!((edge["p99"].as_f64().unwrap() - 20.0).abs() < 0.5, "{edge}");
    assert_eq!(edge["split"], json!([{"version": "v1", "share": 0.9}, {"version": "v2", "share": 0.1}]));
    assert_eq!(find(&map["edges"], &[("from", "default/thief")])["errorRate"], 1.0);
    assert_eq!(find(&map["edges"], &[("security", "plaintext")])["from"], "default/ghost");
    assert_eq!(map["windowSeconds"], 30);
}

#[test]
fn a_window_without_traffic_shows_the_services_all_the_same() {
    let map = graph::graph(&published(), &Traffic::read(&Signals::in_memory(Limits::default()), 30, None, NOW), &[]);
    assert_eq!((map["nodes"].as_array().unwrap().len(), map["edges"].as_array().unwrap().len(), &map["complete"]), (4, 0, &json!(false)));
    assert_eq!(map["at"], NOW);
}

#[test]
fn services_say_how_they_are() {
    let list = services::services(&published(), &traffic());
    let reviews = find(&list["services"], &[("name", "reviews")]);
    assert_eq!((&reviews["versions"], &reviews["ready"], &reviews["endpoints"]), (&json!(["v1", "v2"]), &json!(2), &json!(2)));
    assert!((reviews["rate"].as_f64().unwrap() - 304.0 / 30.0).abs() < 1e-9);
    assert_eq!(find(&list["services"], &[("name", "lonely")])["health"], "idle");
}

#[test]
fn security_holds_policies_against_what_was_seen() {
    let (published, traffic, authority) = (published(), traffic(), authority());
    let told =
        [("default/page-v1".to_owned(), json!({"certificate": {"identity": "spiffe://x", "notAfter": "2026-01-02T00:00:00Z", "serial": "07"}}))];
    let decisions = security::Decisions::default();
    let scene = security::Scene { published: &published, traffic: &traffic, authority: &authority, decisions: &decisions, told: &told };
    let page = security::security(&scene);
    let flow = |from: &str| find(&page["flows"], &[("from", from), ("to", "default/reviews")]).clone();
    let policy = json!({"kind": "AuthorizationPolicy", "namespace": "default", "name": "page-only"});
    let allowed = flow("default/page");
    assert_eq!(
        (&allowed["allowedBy"]["object"], &allowed["deniedBy"], &allowed["observed"]),
        (&policy, &Value::Null, &json!({"requests": 300, "refused": 0}))
    );
    let denied = flow("default/thief");
    assert_eq!((&denied["deniedBy"]["object"], &denied["allowedBy"], &denied["observed"]["refused"]), (&policy, &Value::Null, &json!(3)));
    assert_eq!(page["plaintext"], json!([{"from": "default/ghost", "to": "default/reviews", "requests": 1}]));
    assert_eq!(page["certificates"][0]["serial"], "07");
    assert_eq!(page["authority"]["trustDomain"], "mesh.local");
    assert!(page["authority"]["rootNotAfter"].as_str().is_some_and(|end| end.starts_with("20")), "{}", page["authority"]);
    assert!(page["policies"][0]["summary"].as_str().unwrap().contains("ALLOW mesh.local/ns/default/sa/page"), "{}", page["policies"]);
    assert_eq!(security::security(&scene)["flows"], page["flows"], "the second time from memory");
}

/// The routes over a store that holds the mesh.
fn pages() -> Pages {
    let store = fixture::stored(&mesh());
    let published = Publisher::new(store.clone(), fixture::settings()).subscribe();
    let proxies = Proxies::default();
    let board = Board::new(store, proxies.clone(), published.clone());
    Pages {
        published,
        proxies,
        board,
        authority: Arc::new(authority()),
        signals: signals(),
        decisions: Arc::default(),
        world: crate::world::World::os(),
    }
}

async fn get(path: &str) -> (u16, Value) {
    let mut request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(Visitor { user: "anna".into(), role: Role::Viewer, pass: None });
    let response = router(pages()).oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn one_service_tells_its_endpoints_its_rules_and_its_callers() {
    let (code, page) = get(&format!("/taut/v1/services/default/reviews?at={NOW}")).await;
    assert_eq!(code, 200, "{page}");
    let endpoint = find(&page["endpoints"], &[("version", "v2")]);
    assert_eq!(
        (&endpoint["workload"], &endpoint["address"], &endpoint["health"]),
        (&json!("default/reviews-v2"), &json!("127.0.0.2:40000"), &json!("ready"))
    );
    assert!((endpoint["load"].as_f64().unwrap() - 30.0 / 304.0).abs() < 1e-9 && endpoint["ejected"] == false, "{endpoint}");
    let summaries: Vec<&str> = page["routes"].as_array().unwrap().iter().map(|rule| rule["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries, ["end-user: jason → reviews v2", "every request → 90 % reviews v1, 10 % reviews v2", "subsets v1, v2"]);
    assert_eq!(page["routes"][1]["origin"]["location"]["file"], "mesh.yaml");
    assert_eq!(page["policies"][0]["origin"]["object"]["name"], "page-only");
    assert_eq!(find(&page["callers"], &[("workload", "page-v1")])["rate"], 10.0);
    let denied = find(&page["failures"], &[("reason", "authorization_denied")]);
    assert_eq!((&denied["count"], &denied["from"], &denied["side"]), (&json!(3), &json!("default/thief-v1"), &json!("client")));
    assert_eq!(find(&page["failures"], &[("reason", "http_5xx")])["count"], 6);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_said() {
    for (path, code, word) in [
        ("/taut/v1/services/default/nothing", 404, "no such service"),
        ("/taut/v1/graph?window=soon", 400, "window"),
        ("/taut/v1/graph?window=0s", 400, "window"),
        ("/taut/v1/graph?at=yesterday", 400, "at: \"yesterday\""),
        ("/taut/v1/graph?at=18446744073709551615", 400, "at:"),
    ] {
        let (got, body) = get(path).await;
        assert_eq!(got, code, "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains(word), "{body}");
    }
    assert_eq!(get("/taut/v1/graph?at=2026-01-01T00:00:00Z&window=5m").await.1["windowSeconds"], 300);
    // Whoever the guard does not know gets nothing.
    let stranger = http::Request::get("/taut/v1/security").body(axum::body::Body::empty()).unwrap();
    assert_eq!(router(pages()).oneshot(stranger).await.unwrap().status(), 401);
}
