//! Tallies, messages and conditions.

use super::*;
use crate::publish::Publisher;
use crate::translate::Settings;
use taut_model::kinds;
use taut_wire::desk::{Acknowledge, Hello, ResourceAck};
use taut_wire::net::OsNetwork;

const ROUTES: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews, port: 9080}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
";

struct Mesh {
    board: Board,
    world: World,
}

/// A mesh of the objects, with proxies `a`, `b`, `c` that asked for `reviews`.
fn mesh(proxies: &[&str]) -> Mesh {
    let world = World::simulated(Arc::new(OsNetwork), 1, "2026-06-01T12:00:00Z".parse().unwrap());
    let store = Store::open(None).unwrap();
    for object in taut_model::read::yaml(ROUTES, "-").objects {
        let write =
            Write { manager: "test".into(), now: world.wall_text(), uid_seed: world.unique(), places: None, status_only: false, author: None };
        store.create(object, &write).unwrap();
    }
    let published = Publisher::new(store.clone(), Settings { trust_domain: "mesh.local".into(), ..Settings::default() }).subscribe();
    let table = Proxies::default();
    for name in proxies {
        let hello = Hello { namespace: "default".into(), name: (*name).into(), ..Hello::default() };
        let uid = format!("default/{name}");
        table.arrive(&uid, hello, world.wall_text(), tokio::sync::mpsc::channel(1).0);
        table.subscribed(&uid, table.number(), &[("reviews.default.svc.cluster.local".to_owned(), 0)].into());
    }
    Mesh { board: Board::new(store, table, published), world }
}

impl Mesh {
    fn acknowledge(&self, name: &str, resource: &str, accepted: bool) {
        let uid = format!("default/{name}");
        let number = self.board.proxies.get(&uid).unwrap().line.number;
        let published = self.board.published.borrow().clone();
        let version = published.version_of(ResourceType::Route, resource).unwrap().to_owned();
        let type_url = ResourceType::Route.type_url().to_owned();
        let why = if accepted { String::new() } else { "bad regex".to_owned() };
        let ack = ResourceAck { type_url, name: resource.to_owned(), version, accepted, why, removed: false };
        self.board.proxies.acknowledge(&uid, number, Acknowledge { plan: 1, resources: vec![ack] }, &published);
    }

    fn live(&self, kind: &str) -> Liveness {
        self.board.liveness(kinds::named(kind).unwrap(), "default", "reviews").unwrap()
    }

    fn stored(&self, kind: &str) -> Value {
        self.board.store.get(kinds::named(kind).unwrap(), "default", "reviews").unwrap().value.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn live_counts_proxies_that_run_the_very_version() {
    let mesh = mesh(&["a", "b", "c"]);
    assert_eq!(mesh.live("VirtualService").message, "0/3, 3 lagging: default/a, default/b, default/c");
    mesh.acknowledge("b", "VirtualService/default/reviews", true);
    assert_eq!(mesh.live("VirtualService").message, "1/3, 2 lagging: default/a, default/c");
    mesh.acknowledge("a", "VirtualService/default/reviews", false);
    let live = mesh.live("VirtualService");
    assert_eq!((live.live, live.message.as_str()), (false, "1/3, 1 lagging: default/c, 1 refused: default/a: bad regex"));
    mesh.acknowledge("a", "VirtualService/default/reviews", true);
    mesh.acknowledge("c", "VirtualService/default/reviews", true);
    let live = mesh.live("VirtualService");
    assert_eq!((live.live, live.have, live.need, live.message.as_str()), (true, 3, 3, "3/3"));
}

#[tokio::test(start_paused = true)]
async fn what_no_proxy_needs_is_live() {
    let live = mesh(&[]).live("VirtualService");
    assert_eq!((live.live, live.message.as_str()), (true, "no proxy needs it"));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_not_delivered_is_not_live() {
    let mesh = mesh(&[]);
    let kind = kinds::named("VirtualService").unwrap();
    let write = Write { manager: "t".into(), now: mesh.world.wall_text(), uid_seed: [0; 16], places: None, status_only: false, author: None };
    let changed = mesh.board.store.update(kind, "default", "reviews", &write, &mut |object| {
        let mut value = object.value.clone();
        value["spec"]["hosts"] = json!(["ratings"]);
        Ok(value)
    });
    assert_eq!(changed.unwrap().generation(), 2);
    let live = mesh.live("VirtualService");
    assert_eq!((live.live, live.message.as_str()), (false, "not delivered yet"));
}

#[tokio::test(start_paused = true)]
async fn conditions_are_written_where_each_api_has_them_and_only_when_they_change() {
    let mesh = mesh(&["a"]);
    mesh.board.write_once(&mesh.world).unwrap();
    let of = |conditions: &Value, kind: &str| conditions.as_array().unwrap().iter().find(|one| one["type"] == kind).cloned().unwrap();
    let istio = mesh.stored("VirtualService")["status"]["conditions"].clone();
    assert_eq!(
        (&of(&istio, "Accepted")["status"], &of(&istio, "Live")["status"], &of(&istio, "Live")["reason"]),
        (&json!("True"), &json!("False"), &json!("Lagging"))
    );
    assert_eq!(of(&istio, "Live")["observedGeneration"], 1);
    let parents = mesh.stored("HTTPRoute")["status"]["parents"].clone();
    assert_eq!((parents.as_array().unwrap().len(), &parents[0]["controllerName"]), (1, &json!(CONTROLLER)));
    assert_eq!(parents[0]["parentRef"]["name"], "reviews");
    assert_eq!(of(&parents[0]["conditions"], "ResolvedRefs")["status"], "True");
    // Services get no conditions: their endpoints come and go.
    assert!(mesh.stored("Service")["status"]["conditions"].is_null());
    let version = mesh.board.store.version();
    mesh.board.write_once(&mesh.world).unwrap();
    assert_eq!(mesh.board.store.version(), version, "nothing changed, so nothing is written");
    mesh.acknowledge("a", "VirtualService/default/reviews", true);
    tokio::time::advance(Duration::from_secs(5)).await;
    mesh.board.write_once(&mesh.world).unwrap();
    let live = of(&mesh.stored("VirtualService")["status"]["conditions"], "Live");
    assert_eq!((&live["status"], &live["message"], &live["lastTransitionTime"]), (&json!("True"), &json!("1/1"), &json!("2026-06-01T12:00:05Z")));
    let accepted = of(&mesh.stored("VirtualService")["status"]["conditions"], "Accepted");
    assert_eq!(accepted["lastTransitionTime"], "2026-06-01T12:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_remembered_for_what_is_published_only() {
    let mesh = mesh(&["a"]);
    let ack = |type_url: &str, name: &str, version: &str| ResourceAck {
        type_url: type_url.into(),
        name: name.into(),
        version: version.into(),
        why: "é".repeat(1000),
        ..ResourceAck::default()
    };
    let route = ResourceType::Route.type_url();
    let resources = vec![
        ack(route, "VirtualService/default/reviews", "1"),
        ack(route, "VirtualService/default/made-up", "1"),
        ack("type.googleapis.com/made.up", "VirtualService/default/reviews", "1"),
        ack(route, "HTTPRoute/default/reviews", &"1".repeat(1000)),
    ];
    let (published, number) = (mesh.board.published.borrow().clone(), mesh.board.proxies.get("default/a").unwrap().line.number);
    mesh.board.proxies.acknowledge("default/a", number, Acknowledge { plan: 7, resources }, &published);
    let proxy = mesh.board.proxies.get("default/a").unwrap();
    let kept: Vec<_> = proxy.acknowledged.iter().map(|((_, name), said)| (name.as_str(), said.why.len())).collect();
    assert_eq!((proxy.plan, kept), (7, vec![("VirtualService/default/reviews", 512)]));
}
