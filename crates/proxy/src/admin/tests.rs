//! Paths in, documents out.

use super::*;
use crate::current::Current;
use crate::options::OwnWorkload;
use crate::status::Readiness;
use http_body_util::BodyExt;
use taut_observe::metrics::Registry;
use taut_plan::{Plan, Snapshot};

fn admin() -> Admin {
    let own = OwnWorkload {
        namespace: "default".into(),
        name: "reviews-1".into(),
        service_account: "reviews".into(),
        labels: [("version".to_owned(), "v1".to_owned())].into(),
        address: [127, 0, 0, 1].into(),
        ports: Vec::new(),
        locality: String::new(),
    };
    let world = World::os();
    let (current, _wanted) = Current::new(own);
    let status = Status::new(world.clone(), current, "127.0.0.1:15012".into());
    Admin { world, status, sink: Sink::new(Arc::new(Registry::default()), None, 10) }
}

async fn get(admin: &Admin, path: &str) -> (u16, String) {
    let response = admin.respond(&Method::GET, &path.parse().unwrap(), Format::Text);
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let admin = admin();
    assert_eq!(get(&admin, "/ready").await, (503, "not ready: starting\n".to_owned()));
    admin.status.say(Readiness::Ready);
    assert_eq!(get(&admin, "/ready").await, (503, "not ready: no certificate yet\n".to_owned()));
    admin.status.current().hold(Arc::new(crate::tests::Authority::new("mesh.local").issue("reviews")));
    assert_eq!(get(&admin, "/ready").await.1, "not ready: no plan yet: the control plane has not said what to run\n");
    let snapshot = Snapshot { version: 1, ..Snapshot::default() };
    let plan = Plan::compile(&snapshot);
    admin.status.current().pin(Arc::new(snapshot), Arc::new(plan));
    assert_eq!(get(&admin, "/ready").await, (200, "ready\n".to_owned()));
    admin.status.say(Readiness::Draining);
    admin.status.say(Readiness::Ready);
    assert_eq!(get(&admin, "/ready").await, (503, "not ready: draining\n".to_owned()));
}

#[tokio::test]
async fn config_says_who_runs_what() {
    let admin = admin();
    let (status, body) = get(&admin, "/config").await;
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(value["workload"]["uid"], "default/reviews-1");
    assert_eq!(value["control"]["connected"], false);
    assert_eq!(value["certificate"], Value::Null);
    assert_eq!(value["plan"]["version"], 0);
}

#[tokio::test]
async fn metrics_hold_what_only_the_process_knows() {
    let (status, body) = get(&admin(), "/metrics").await;
    assert_eq!(status, 200);
    for name in [names::CONNECTED, names::PLAN_VERSION, names::PROCESS_MEMORY, names::PROCESS_CPU, names::CONNECTIONS_OPEN] {
        assert!(body.lines().any(|line| line.starts_with(name)), "{name} in {body}");
    }
}

#[tokio::test]
async fn anything_else_is_told_what_there_is() {
    let admin = admin();
    let (status, body) = get(&admin, "/nothing").await;
    assert!(status == 404 && body.contains("/metrics"), "{body}");
    assert_eq!(get(&admin, "/records").await, (200, "[]\n".to_owned()));
    assert_eq!(admin.respond(&Method::POST, &"/ready".parse().unwrap(), Format::Text).status(), 405);
}
