//! What is published when, and what is encoded again.

use super::*;
use crate::store::Write;
use serde_json::{Value, json};
use taut_model::kinds;

const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a, namespace: shop}\nspec: {address: 127.0.0.1}\n";

fn objects(yaml: &str) -> Vec<Object> {
    taut_model::read::yaml(yaml, "-").objects
}

fn write(status_only: bool) -> Write {
    Write { manager: "test".into(), now: "2026-06-01T12:00:00Z".into(), uid_seed: [1; 16], places: None, status_only, author: None }
}

fn event(change: impl FnOnce(&mut Value)) -> Event {
    let before = objects(ENTRY).remove(0);
    let mut after = before.clone();
    change(&mut after.value);
    Arc::new(StoreEvent { version: 2, kind: Change::Modified, object: Arc::new(after), before: Some(Arc::new(before)) })
}

#[test]
fn a_deletion_matters_though_the_object_is_as_it_was() {
    let same = event(|_| {});
    assert!(!matters(&same));
    assert!(matters(&Arc::new(StoreEvent { kind: Change::Deleted, ..(*same).clone() })));
}

#[test]
fn a_status_matters_only_where_it_is_a_workloads_health() {
    assert!(!matters(&event(|value| value["status"] = json!({"conditions": [{"type": "Live", "status": "True"}]}))));
    assert!(!matters(&event(|value| value["metadata"]["resourceVersion"] = "7".into())));
    assert!(matters(&event(|value| value["status"] = json!({"conditions": [{"type": "Healthy", "status": "False", "reason": "NotReady"}]}))));
    assert!(matters(&event(|value| value["metadata"]["annotations"] = json!({"tautline.dev/peer": "127.0.0.1:1"}))));
    assert!(matters(&event(|value| value["metadata"]["labels"] = json!({"version": "v2"}))));
    assert!(matters(&event(|value| value["spec"]["address"] = "127.0.0.2".into())));
}

#[test]
fn bytes_of_what_did_not_change_are_taken_over() {
    let settings = Settings { trust_domain: "mesh.local".into(), ..Settings::default() };
    let all: Vec<_> = objects(&format!("{ENTRY}---\n{}", ENTRY.replace("name: a", "name: b"))).into_iter().map(Arc::new).collect();
    let first = Published::new(&all, 1, &settings, &Published::default());
    let mut changed = Object::clone(&all[1]);
    changed.value["spec"]["address"] = "127.0.0.9".into();
    let second = Published::new(&[all[0].clone(), Arc::new(changed)], 2, &settings, &first);
    let bytes = |published: &Published, name: &str| published.encoded[&ResourceType::Workload][name].1.clone();
    assert!(Arc::ptr_eq(&bytes(&first, "shop/a"), &bytes(&second, "shop/a")));
    assert_ne!(bytes(&first, "shop/b"), bytes(&second, "shop/b"));
    assert_eq!(second.made[&ObjectRef::new("WorkloadEntry", "shop", "b")], [(ResourceType::Workload, "shop/b".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_published_at_once_and_the_rest_together() {
    let store = Store::open(None).unwrap();
    let publisher = Publisher::new(store.clone(), Settings { trust_domain: "mesh.local".into(), ..Settings::default() });
    let mut published = publisher.subscribe();
    let running = tokio::spawn(publisher.run());
    let start = Instant::now();
    store.create(objects(ENTRY).remove(0), &write(false)).unwrap();
    published.changed().await.unwrap();
    assert_eq!((published.borrow_and_update().translation.workloads.len(), start.elapsed()), (1, Duration::ZERO));
    for name in ["b", "c", "d"] {
        store.create(objects(&ENTRY.replace("name: a", &format!("name: {name}"))).remove(0), &write(false)).unwrap();
        tokio::time::advance(Duration::from_millis(2)).await;
    }
    published.changed().await.unwrap();
    assert_eq!((published.borrow_and_update().translation.workloads.len(), start.elapsed()), (4, COALESCE));
    // A status that says nothing about health is not published at all.
    let kind = kinds::named("WorkloadEntry").unwrap();
    let live = json!({"conditions": [{"type": "Live", "status": "True"}]});
    let done = store.update(kind, "shop", "a", &write(true), &mut |object| {
        let mut value = object.value.clone();
        value["status"] = live.clone();
        Ok(value)
    });
    assert_eq!(done.unwrap().value["status"], live);
    let more = tokio::time::timeout(Duration::from_secs(1), published.changed()).await;
    assert!(more.is_err(), "nothing more is published");
    running.abort();
}

#[test]
fn a_virtual_service_that_others_delegate_to_is_delivered_with_theirs() {
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n";
    let root = format!("{route}metadata: {{name: root, namespace: shop}}\nspec: {{hosts: [a], http: [{{delegate: {{name: part}}}}]}}\n");
    let part =
        |name: &str| format!("{route}metadata: {{name: {name}, namespace: shop}}\nspec: {{http: [{{route: [{{destination: {{host: a}}}}]}}]}}\n");
    let yaml = [root, part("part"), part("unused")].join("---\n");
    let all: Vec<_> = objects(&yaml).into_iter().map(Arc::new).collect();
    let published = Published::new(&all, 1, &Settings::default(), &Published::default());
    let made = |name: &str| published.made.get(&ObjectRef::new("VirtualService", "shop", name)).cloned().unwrap_or_default();
    let of_root = vec![(ResourceType::Route, "VirtualService/shop/root".to_owned())];
    assert_eq!((made("root"), made("part"), made("unused")), (of_root.clone(), of_root, vec![]));
}
