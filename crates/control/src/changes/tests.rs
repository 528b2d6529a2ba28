//! The ledger over the life of some objects, and generations taken back.

use super::*;
use crate::store::ledger::{Author, MOST_GENERATIONS, Occasion, Verb};
use crate::store::{Store, Write};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;

const NOON: &str = "2026-01-02T12:00:00Z";

fn kind(name: &str) -> &'static Kind {
    kinds::named(name).unwrap()
}

fn write(user: &str, now: &str) -> Write {
    let author = Author { user: user.into(), manager: "kubectl".into(), ..Author::default() };
    Write { manager: "kubectl".into(), now: now.into(), uid_seed: [1; 16], places: None, status_only: false, author: Some(Arc::new(author)) }
}

fn object(kind_name: &str, name: &str, body: &Value) -> Object {
    let kind = kind(kind_name);
    let mut value = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name, "namespace": "default"}});
    for (field, content) in body.as_object().unwrap() {
        value[field] = content.clone();
    }
    Object { kind, namespace: "default".into(), name: name.into(), value, places: None }
}

fn split(weight: u32) -> Value {
    json!({"spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}, "weight": weight}]}]}})
}

fn store(path: Option<&Path>) -> Store {
    let store = Store::open(path).unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    let namespace = Object { kind: kind("Namespace"), namespace: String::new(), name: "default".into(), value: namespace, places: None };
    // As the mesh itself does it: the ledger does not hear of it.
    let _ = store.create(namespace, &Write { author: None, ..write("", NOON) });
    store
}

fn put(store: &Store, name: &str, body: &Value, write: &Write) {
    let wanted = object("VirtualService", name, body);
    match store.get(wanted.kind, "default", name) {
        None => drop(store.create(wanted, write).unwrap()),
        Some(_) => drop(store.update(wanted.kind, "default", name, write, &mut |_| Ok(wanted.value.clone())).unwrap()),
    }
}

/// `1 anna create a, update b`
fn story(store: &Store) -> Vec<String> {
    let told = |generation: &Arc<crate::store::ledger::Generation>| {
        let entries: Vec<String> = generation.entries.iter().map(|entry| format!("{:?} {}", entry.verb, entry.name).to_lowercase()).collect();
        format!("{} {} {}", generation.number, generation.author.user, entries.join(", "))
    };
    store.generations().iter().map(told).collect()
}

fn take_back(store: &Store, number: u64, force: bool) -> Result<Restored, Refused> {
    rollback(store, &Request { number, force, dry_run: false, user: "omar", now: "2026-01-02T15:00:00Z", dice: &|| [5; 16] })
}

fn weight(store: &Store, name: &str) -> Option<Value> {
    Some(store.get(kind("VirtualService"), "default", name)?.value["spec"]["http"][0]["route"][0]["weight"].clone())
}

/// A request that its client calls part of a change.
fn part(of: u64) -> Write {
    let author = Author { user: "anna".into(), manager: "taut".into(), occasion: Occasion::Named(of), ..Author::default() };
    Write { author: Some(Arc::new(author)), ..write("anna", "2026-01-02T12:00:01Z") }
}

#[test]
fn what_is_written_together_is_one_generation() {
    let store = store(None);
    put(&store, "a", &split(1), &part(7));
    put(&store, "b", &split(1), &part(7));
    // The same object again, another change, and requests that nobody puts together.
    put(&store, "a", &split(2), &part(7));
    put(&store, "c", &split(1), &part(8));
    put(&store, "d", &split(1), &write("omar", NOON));
    put(&store, "e", &split(1), &write("omar", NOON));
    assert_eq!(story(&store), ["1 anna create a, create b", "2 anna update a", "3 anna create c", "4 omar create d", "5 omar create e"]);
}

#[test]
fn only_what_users_say_is_a_change() {
    let store = store(None);
    put(&store, "a", &split(1), &write("anna", NOON));
    let late = write("anna", "2026-01-02T13:00:00Z");
    let virtual_service = kind("VirtualService");
    let status = Write { status_only: true, ..late.clone() };
    let with = |field: &'static str, value: Value| {
        move |old: &Object| {
            let mut wanted = old.value.clone();
            *wanted.pointer_mut("/metadata").unwrap().as_object_mut().unwrap().entry(field).or_insert(Value::Null) = value.clone();
            Ok(wanted)
        }
    };
    store
        .update(virtual_service, "default", "a", &status, &mut |old| {
            Ok({
                let mut v = old.value.clone();
                v["status"] = json!({"x": 1});
                v
            })
        })
        .unwrap();
    store.update(virtual_service, "default", "a", &late, &mut with("finalizers", json!(["x"]))).unwrap();
    store.update(virtual_service, "default", "a", &late, &mut with("annotations", json!({crate::store::ledger::LAST_APPLIED: "{}"}))).unwrap();
    put(&store, "b", &split(1), &Write { author: None, ..late.clone() });
    assert_eq!(story(&store), ["1 anna create a"]);
    store.update(virtual_service, "default", "a", &late, &mut with("labels", json!({"x": "y"}))).unwrap();
    store.delete_by((virtual_service, "default", "a"), None, &write("anna", "2026-01-02T14:00:00Z")).unwrap();
    assert_eq!(story(&store)[1..], ["2 anna update a", "3 anna delete a"]);
    let gone = store.generations()[2].entries[0].clone();
    assert!(gone.verb == Verb::Delete && gone.after.is_none() && gone.before.as_deref().unwrap().contains("\"x\":\"y\""));
}

#[test]
fn a_generation_is_taken_back_as_a_new_one() {
    let store = store(None);
    put(&store, "a", &split(90), &write("anna", NOON));
    put(&store, "a", &split(10), &part(1));
    put(&store, "b", &split(50), &part(1));
    let uid = store.get(kind("VirtualService"), "default", "a").unwrap().value["metadata"]["uid"].clone();
    let restored = take_back(&store, 2, false).unwrap();
    assert_eq!((restored.generation, weight(&store, "a"), weight(&store, "b")), (Some(3), Some(json!(90)), None));
    assert!(restored.objects[0].diff.contains("-  - weight: 10") || restored.objects[0].diff.contains("weight: 90"), "{}", restored.objects[0].diff);
    assert_eq!(store.get(kind("VirtualService"), "default", "a").unwrap().value["metadata"]["uid"], uid, "it is the same object");
    assert_eq!(story(&store)[2], "3 omar update a, delete b");
    assert_eq!(store.generations()[2].author.note, "rolls back generation 2");
    // And the rollback too.
    take_back(&store, 3, false).unwrap();
    assert_eq!((weight(&store, "a"), weight(&store, "b")), (Some(json!(10)), Some(json!(50))));
    assert!(matches!(take_back(&store, 9, false), Err(Refused::Unknown(9))));
}

#[test]
fn later_changes_are_not_lost_by_accident() {
    let store = store(None);
    for (weight, hour) in [(90, "12"), (50, "13"), (10, "14")] {
        put(&store, "a", &split(weight), &write("anna", &format!("2026-01-02T{hour}:00:00Z")));
    }
    match take_back(&store, 2, false) {
        Err(refused @ Refused::Overtaken(_)) => assert!(refused.to_string().contains("objects: 3;"), "{refused}"),
        other => panic!("{other:?}"),
    }
    let dry = Request { number: 2, force: true, dry_run: true, user: "omar", now: NOON, dice: &|| [5; 16] };
    assert!(rollback(&store, &dry).unwrap().generation.is_none() && weight(&store, "a") == Some(json!(10)), "a dry run changes nothing");
    take_back(&store, 2, true).unwrap();
    assert_eq!(weight(&store, "a"), Some(json!(90)));
    assert!(matches!(take_back(&store, 2, true), Err(Refused::Nothing)));
}

#[test]
fn what_was_deleted_comes_back_unless_its_namespace_is_gone() {
    let store = store(None);
    put(&store, "a", &split(90), &write("anna", NOON));
    store.delete_by((kind("VirtualService"), "default", "a"), None, &write("anna", "2026-01-02T13:00:00Z")).unwrap();
    take_back(&store, 2, false).unwrap();
    assert_eq!(weight(&store, "a"), Some(json!(90)));
    take_back(&store, 3, false).unwrap();
    store.delete(kind("Namespace"), "", "default", None).unwrap();
    assert!(matches!(take_back(&store, 4, true), Err(Refused::NoNamespace(_))));
}

#[test]
fn a_secret_s_content_is_in_no_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mesh.redb");
    let body = |value: &str| json!({"data": {"password": value, "user": "YW5uYQ=="}, "type": "Opaque"});
    {
        let store = store(Some(&path));
        let mut first = object("Secret", "s", &body("aHVudGVyMg=="));
        first.value["metadata"]["annotations"] = json!({crate::store::ledger::LAST_APPLIED: "{\"data\":{\"password\":\"aHVudGVyMg==\"}}"});
        store.create(first, &write("anna", NOON)).unwrap();
        store
            .update(kind("Secret"), "default", "s", &write("anna", "2026-01-02T13:00:00Z"), &mut |_| Ok(object("Secret", "s", &body("bmV3")).value))
            .unwrap();
    }
    let store = store(Some(&path));
    let generations = store.generations();
    let entry = &generations[1].entries[0];
    for text in generations.iter().flat_map(|one| &one.entries).flat_map(|entry| [&entry.before, &entry.after]).flatten() {
        assert!(!text.contains("aHVudGVyMg") && !text.contains("bmV3") && !text.contains("YW5uYQ"), "{text}");
    }
    let after: Value = serde_json::from_str(entry.after.as_deref().unwrap()).unwrap();
    assert_eq!(after["data"], json!({"password": "(hidden, changed)", "user": "(hidden)"}));
    assert!(matches!(take_back(&store, 2, false), Err(Refused::NotKept(_))));
    assert_eq!(store.get(kind("Secret"), "default", "s").unwrap().value["data"]["password"], "bmV3");
}

#[test]
fn the_ledger_survives_a_restart_and_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mesh.redb");
    {
        let store = store(Some(&path));
        put(&store, "a", &split(1), &write("anna", NOON));
        put(&store, "a", &split(2), &write("omar", NOON));
    }
    {
        let store = store(Some(&path));
        assert_eq!(story(&store), ["1 anna create a", "2 omar update a"]);
        put(&store, "a", &split(3), &write("anna", NOON));
        assert_eq!(story(&store)[2], "3 anna update a");
    }
    // Counts in memory, where writes are quick.
    let store = store(None);
    for turn in 0..=MOST_GENERATIONS as u32 {
        put(&store, "a", &split(turn), &write("anna", NOON));
    }
    let kept = store.generations();
    assert_eq!((kept.len(), kept[0].number, kept[MOST_GENERATIONS - 1].number), (MOST_GENERATIONS, 2, MOST_GENERATIONS as u64 + 1));
}

#[test]
fn bytes_are_bounded_and_what_is_too_large_is_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mesh.redb");
    let large = |letter: &str| json!({"spec": {"hosts": [letter.repeat(3 << 20)]}});
    {
        let store = store(Some(&path));
        for turn in 0..5 {
            put(&store, "a", &large(if turn % 2 == 0 { "a" } else { "b" }), &write("anna", NOON));
        }
        let bytes: usize =
            store.generations().iter().flat_map(|one| one.entries.clone()).map(|entry| entry.after.as_deref().map_or(0, str::len) * 2).sum();
        assert!(bytes <= 17 << 20, "{bytes}");
        put(&store, "a", &json!({"spec": {"hosts": ["c".repeat(9 << 20)]}}), &write("anna", NOON));
        let newest = store.generations().last().unwrap().entries[0].clone();
        assert!(!newest.whole && newest.after.is_none() && newest.name == "a");
    }
    let store = store(Some(&path));
    assert_eq!(store.generations().last().unwrap().number, 6, "and so after a restart");
    assert!(store.generations()[0].number > 1);
}

#[test]
fn a_status_that_is_written_meanwhile_is_no_conflict_and_a_change_is() {
    for (status_only, goes) in [(true, true), (false, false)] {
        let store = store(None);
        put(&store, "a", &split(10), &write("anna", NOON));
        put(&store, "a", &split(20), &write("ben", "2026-01-02T13:00:00Z"));
        let meanwhile = std::cell::Cell::new(false);
        // Comes between the look and the write.
        let dice = || {
            if !meanwhile.replace(true) {
                let by = Write { status_only, ..write("carol", "2026-01-02T14:00:00Z") };
                let change = |old: &Object| {
                    let mut value = old.value.clone();
                    value["status"] = json!({"observedGeneration": 2});
                    value["spec"]["hosts"] = json!(["ratings"]);
                    Ok(value)
                };
                store.update(kind("VirtualService"), "default", "a", &by, &mut |old| change(old)).unwrap();
            }
            [5; 16]
        };
        let request = Request { number: 2, force: false, dry_run: false, user: "omar", now: "2026-01-02T15:00:00Z", dice: &dice };
        assert_eq!(rollback(&store, &request).is_ok(), goes, "status only: {status_only}");
        assert_eq!(weight(&store, "a") == Some(json!(10)), goes, "status only: {status_only}");
    }
}
