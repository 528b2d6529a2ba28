//! The store through its public face, in memory and on disk.

use super::*;
use serde_json::json;
use std::time::Duration;
use taut_model::kinds::by_kind;

const NOW: &str = "2026-01-02T03:04:05Z";
const LATER: &str = "2026-01-02T03:05:00Z";

fn service_kind() -> &'static Kind {
    by_kind("v1", "Service").expect("Service is a kind")
}

fn service(name: &str, port: u16) -> Object {
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"name": "http", "port": port}]},
    });
    Object { kind: service_kind(), namespace: "default".into(), name: name.into(), value, places: None }
}

fn write() -> Write {
    Write { manager: "test".into(), now: NOW.into(), uid_seed: [7; 16], places: None, status_only: false, author: None }
}

fn set(pointer: &'static str, to: Value) -> impl FnMut(&Object) -> Result<Value, StoreError> {
    move |old| {
        let mut value = old.value.clone();
        match value.pointer_mut(pointer) {
            Some(place) => *place = to.clone(),
            None => value[pointer.trim_start_matches('/')] = to.clone(),
        }
        Ok(value)
    }
}

fn update(store: &Store, write: &Write, change: &mut dyn FnMut(&Object) -> Result<Value, StoreError>) -> Result<Arc<Object>, StoreError> {
    store.update(service_kind(), "default", "reviews", write, change)
}

fn metadata_of(object: &Object, field: &str) -> Value {
    object.value["metadata"][field].clone()
}

#[test]
fn a_new_object_gets_its_identity_from_the_store() {
    let store = Store::open(None).expect("memory");
    let made = store.create(service("reviews", 9080), &write()).expect("created");
    assert_eq!(metadata_of(&made, "uid"), "07070707-0707-4707-8707-070707070707");
    assert_eq!(metadata_of(&made, "creationTimestamp"), NOW);
    assert_eq!(metadata_of(&made, "generation"), 1);
    assert_eq!(metadata_of(&made, "resourceVersion"), "2");
    assert_eq!(metadata_of(&made, "managedFields")[0]["manager"], "test");
    let again = store.create(service("reviews", 9080), &write());
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    assert_eq!(store.version(), 2);
}

#[test]
fn generation_grows_with_the_specification_only() {
    let store = Store::open(None).expect("memory");
    store.create(service("reviews", 9080), &write()).expect("created");
    let labelled = update(&store, &write(), &mut |old| {
        let mut value = old.value.clone();
        value["metadata"]["labels"] = json!({"app": "reviews"});
        Ok(value)
    });
    assert_eq!(metadata_of(&labelled.expect("labelled"), "generation"), 1);
    let changed = update(&store, &write(), &mut set("/spec/ports/0/port", json!(80))).expect("changed");
    assert_eq!(metadata_of(&changed, "generation"), 2);
    let status = Write { status_only: true, ..write() };
    let seen = update(&store, &status, &mut |_| Ok(json!({"spec": {}, "status": {"loadBalancer": {}}}))).expect("status written");
    assert_eq!((metadata_of(&seen, "generation"), &seen.value["spec"]["ports"][0]["port"]), (json!(2), &json!(80)));
    let kept = update(&store, &write(), &mut set("/status", json!({"loadBalancer": {"ingress": []}}))).expect("nothing");
    assert_eq!(kept.value["status"], json!({"loadBalancer": {}}), "status changes only through its own door");
    assert_eq!(metadata_of(&kept, "resourceVersion"), metadata_of(&seen, "resourceVersion"));
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let store = Store::open(None).expect("memory");
    let made = store.create(service("reviews", 9080), &write()).expect("created");
    let same = update(&store, &Write { now: LATER.into(), ..write() }, &mut |old| Ok(old.value.clone())).expect("no change");
    assert!(Arc::ptr_eq(&made, &same));
    assert_eq!(store.version(), 2);
}

#[test]
fn a_stale_version_is_a_conflict_and_none_is_not() {
    let store = Store::open(None).expect("memory");
    store.create(service("reviews", 9080), &write()).expect("created");
    let stale = update(&store, &write(), &mut set("/metadata/resourceVersion", json!("1")));
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    let blind = update(&store, &write(), &mut |old| {
        let mut value = set("/spec/ports/0/port", json!(1))(old)?;
        value["metadata"] = json!({});
        Ok(value)
    });
    assert_eq!(metadata_of(&blind.expect("replaced"), "uid"), "07070707-0707-4707-8707-070707070707");
    assert!(matches!(store.delete(service_kind(), "default", "reviews", Some("2")), Err(StoreError::Conflict { .. })));
    assert!(store.delete(service_kind(), "default", "reviews", Some("3")).is_ok());
    assert!(matches!(store.delete(service_kind(), "default", "reviews", None), Err(StoreError::NotFound { .. })));
}

#[test]
fn an_object_goes_with_its_last_finalizer() {
    let store = Store::open(None).expect("memory");
    let mut object = service("reviews", 9080);
    object.value["metadata"]["finalizers"] = json!(["example.com/wait"]);
    store.create(object, &write()).expect("created");
    let leaving = update(&store, &write(), &mut |old| {
        let mut value = old.value.clone();
        value["metadata"]["deletionTimestamp"] = json!(LATER);
        Ok(value)
    });
    assert_eq!(metadata_of(&leaving.expect("marked"), "deletionTimestamp"), LATER);
    update(&store, &write(), &mut set("/metadata/finalizers", json!([]))).expect("last one");
    assert!(store.get(service_kind(), "default", "reviews").is_none());
}

#[tokio::test]
async fn watches_see_every_change_in_order() {
    let store = Store::open(None).expect("memory");
    store.create(service("ratings", 9080), &write()).expect("created");
    let mut watch = store.watch(store.version()).expect("at the newest");
    assert!(watch.try_next().expect("held").is_none());
    let writer = store.clone();
    let writing = tokio::task::spawn_blocking(move || {
        writer.create(service("reviews", 9080), &write()).expect("created");
        update(&writer, &write(), &mut set("/spec/ports/0/port", json!(80))).expect("changed");
        writer.delete(service_kind(), "default", "reviews", None).expect("deleted");
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("in time").expect("held");
        assert_eq!(metadata_of(&event.object, "resourceVersion"), event.version.to_string());
        seen.push((event.version, event.kind));
    }
    writing.await.expect("written");
    assert_eq!(seen, [(3, Change::Added), (4, Change::Modified), (5, Change::Deleted)]);
}

#[test]
fn a_watcher_that_fell_behind_is_told_so() {
    let store = Store::open(None).expect("memory");
    let mut watch = store.watch(store.version()).expect("at the newest");
    store.create(service("reviews", 0), &write()).expect("created");
    for port in 0..memory::EVENTS_KEPT {
        update(&store, &write(), &mut set("/spec/ports/0/port", json!(port + 1))).expect("changed");
    }
    assert!(watch.try_next().is_err());
    assert!(store.watch(1).is_err());
    assert!(store.watch(2).is_ok());
    assert!(store.watch(store.version() + 1).is_err(), "the future of another store");
}

#[test]
fn a_file_keeps_everything_across_a_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mesh.db");
    let places = Some(Arc::new(Places::from([("spec".into(), taut_model::origin::Location { file: "a.yaml".into(), line: 3, column: 1 })])));
    let store = Store::open(Some(&path)).expect("a new file");
    store.create(service("reviews", 9080), &Write { places: places.clone(), ..write() }).expect("created");
    store.create(service("ratings", 9080), &write()).expect("created");
    update(&store, &Write { places: places.clone(), ..write() }, &mut set("/spec/ports/0/port", json!(80))).expect("changed");
    store.delete(service_kind(), "default", "ratings", None).expect("deleted");
    let (before, version) = store.all();
    assert!(matches!(Store::open(Some(&path)), Err(StoreError::InUse { .. })), "a second control plane is refused");
    drop(store);

    let store = Store::open(Some(&path)).expect("the same file");
    let (after, same_version) = store.all();
    assert_eq!(version, same_version);
    assert_eq!(before.iter().map(|object| &object.value).collect::<Vec<_>>(), after.iter().map(|object| &object.value).collect::<Vec<_>>());
    assert_eq!(after[0].places, places);
    assert!(store.watch(version).is_ok() && store.watch(version - 1).is_err(), "events do not survive, so watchers list again");
}

#[test]
fn a_crash_between_writes_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mesh.db");
    let store = Store::open(Some(&path)).expect("a new file");
    for port in 1..=20u16 {
        store.create(service(&format!("service-{port}"), port), &write()).expect("created");
        // What a kill -9 leaves behind: the file as it is now, without the shutdown that marks it clean.
        let copy = directory.path().join(format!("copy-{port}.db"));
        std::fs::copy(&path, &copy).expect("copied");
        let found = Store::open(Some(&copy)).expect("a file that was not closed").list(service_kind());
        assert_eq!((found.0.len(), found.1), (usize::from(port), u64::from(port) + 1));
    }
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "kind: Service, but not a database, and long enough to look like one".repeat(100)).expect("written");
    let before = std::fs::read(&path).expect("read");
    assert!(matches!(Store::open(Some(&path)), Err(StoreError::Unusable { .. })));
    assert_eq!(before, std::fs::read(&path).expect("read"));
    assert!(matches!(Store::open(Some(&directory.path().join("no/such/directory"))), Err(StoreError::Unusable { .. })));
}

#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mesh.redb");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(Store::open(Some(&path)).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(Some(&path)).unwrap());
    assert_eq!(mode(), 0o600, "as written by an earlier version");
}
