//! The patches against the cases that their specifications name, and what must hold for any of them.

use super::apply::{ApplyError, apply};
use super::managed::{Operation, Writer, managers, track_update};
use super::shape::Shape;
use super::{fields::FieldSet, json as json_patches, strategic, typed};
use proptest::prelude::*;
use serde_json::{Value, json};

fn schema() -> Value {
    let port = json!({"type": "object", "properties": {
        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
    }});
    json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": {"type": "object", "properties": {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"},
        }},
        "spec": {"type": "object", "properties": {
            "hosts": {"type": "array", "items": {"type": "string"}},
            "replicas": {"type": "integer"},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "ports": {
                "type": "array", "items": port, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "x-kubernetes-patch-merge-key": "port", "x-kubernetes-patch-strategy": "merge",
            },
            "strategy": {"type": "object", "properties": {"type": {"type": "string"}, "rolling": {"type": "object"}}},
        }},
    }})
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec})
}

fn by<'a>(manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer { manager, now, subresource: "" }
}

fn applied(live: Option<&Value>, config: &Value, manager: &str) -> Value {
    apply(live, config, by(manager, "2026-01-01T00:00:00Z"), false, &schema()).expect("no conflict")
}

fn owned(object: &Value, manager: &str) -> Vec<String> {
    managers(object).iter().filter(|entry| entry.name == manager).flat_map(|entry| entry.fields.paths()).collect()
}

#[test]
fn merge_patches_do_what_rfc_7386_lists() {
    for (target, patch, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c"]), json!(["c"])),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(json_patches::merge_patch(&target, &patch), want, "{target} + {patch}");
    }
}

#[test]
fn json_patches_happen_as_a_whole_or_not_at_all() {
    let target = json!({"spec": {"hosts": ["a", "b"]}});
    let patch = json!([
        {"op": "test", "path": "/spec/hosts/0", "value": "a"},
        {"op": "remove", "path": "/spec/hosts/0"},
        {"op": "add", "path": "/spec/hosts/-", "value": "c"},
        {"op": "copy", "from": "/spec/hosts/0", "path": "/first"},
        {"op": "move", "from": "/spec/hosts", "path": "/hosts"},
    ]);
    assert_eq!(json_patches::json_patch(&target, &patch), Ok(json!({"spec": {}, "first": "b", "hosts": ["b", "c"]})));
    for bad in [
        json!({"op": "remove", "path": "/spec"}),
        json!([{"op": "rename", "path": "/spec"}]),
        json!([{"op": "test", "path": "/spec/hosts/0", "value": "z"}]),
        json!([{"op": "remove", "path": "/nothing/here"}]),
        json!([{"op": "copy", "from": "/nothing", "path": "/x"}]),
    ] {
        assert!(json_patches::json_patch(&target, &bad).is_err(), "{bad}");
    }
}

#[test]
fn a_small_json_patch_cannot_grow_a_huge_object() {
    let double = |at: usize| {
        [json!({"op": "copy", "from": "/a", "path": format!("/b{at}")}), json!({"op": "move", "from": format!("/b{at}"), "path": "/a/c"})]
    };
    let bomb: Vec<Value> = (0..200).flat_map(double).collect();
    assert!(json_patches::json_patch(&json!({"a": {"x": "0123456789"}}), &json!(bomb)).is_err());
    let wide: Vec<Value> = (0..40).flat_map(|at| [json!({"op": "copy", "from": "", "path": format!("/k{at}")})]).collect();
    assert!(json_patches::json_patch(&json!({"a": "0123456789"}), &json!(wide)).is_err());
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "add", "path": "/a", "value": 1})).collect();
    assert!(json_patches::json_patch(&json!({}), &json!(many)).is_err());
}

#[test]
fn strategic_patches_merge_lists_by_key_and_follow_directives() {
    let ports = json!([{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]);
    for (what, spec, patch, want) in [
        ("a list without a key is replaced", json!({"hosts": ["a", "b"]}), json!({"hosts": ["c"]}), json!({"hosts": ["c"]})),
        ("null removes", json!({"replicas": 1}), json!({"replicas": null}), json!({})),
        (
            "an element is found by its key, and a new one comes last",
            json!({"ports": ports}),
            json!({"ports": [{"port": 443, "name": "tls"}, {"port": 9, "name": "new"}]}),
            json!({"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "tls"}, {"port": 9, "name": "new"}]}),
        ),
        (
            "$patch: delete removes an element",
            json!({"ports": ports}),
            json!({"ports": [{"$patch": "delete", "port": 80}]}),
            json!({"ports": [{"port": 443, "name": "https"}]}),
        ),
        (
            "$patch: replace in a list replaces it",
            json!({"ports": ports}),
            json!({"ports": [{"$patch": "replace"}, {"port": 1}]}),
            json!({"ports": [{"port": 1}]}),
        ),
        (
            "$patch: replace in a map replaces it",
            json!({"strategy": {"type": "a", "rolling": {"x": 1}}}),
            json!({"strategy": {"$patch": "replace", "type": "b"}}),
            json!({"strategy": {"type": "b"}}),
        ),
        (
            "$retainKeys drops the rest",
            json!({"strategy": {"type": "a", "rolling": {"x": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "b"}}),
            json!({"strategy": {"type": "b"}}),
        ),
        (
            "$setElementOrder orders",
            json!({"ports": [{"port": 1}, {"port": 2}, {"port": 3}]}),
            json!({"$setElementOrder/ports": [{"port": 3}, {"port": 1}], "ports": [{"port": 3, "name": "c"}]}),
            json!({"ports": [{"port": 2}, {"port": 3, "name": "c"}, {"port": 1}]}),
        ),
        ("an atomic map is replaced", json!({"selector": {"a": "1"}}), json!({"selector": {"b": "2"}}), json!({"selector": {"b": "2"}})),
        (
            "directives do not stay in what is new",
            json!({}),
            json!({"strategy": {"$patch": "merge", "type": "a"}}),
            json!({"strategy": {"type": "a"}}),
        ),
    ] {
        let got = strategic::patch(&object(spec), &json!({"spec": patch}), &schema());
        assert_eq!(got.map(|got| got["spec"].clone()), Ok(want), "{what}");
    }
}

#[test]
fn strategic_patches_merge_sets_and_delete_from_them() {
    let target = json!({"metadata": {"finalizers": ["a", "b"]}});
    let add = strategic::patch(&target, &json!({"metadata": {"finalizers": ["c", "a"]}}), &schema());
    assert_eq!(add, Ok(json!({"metadata": {"finalizers": ["a", "b", "c"]}})));
    let delete = strategic::patch(&target, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}), &schema());
    assert_eq!(delete, Ok(json!({"metadata": {"finalizers": ["b"]}})));
}

#[test]
fn strategic_patches_that_mean_nothing_are_refused() {
    for bad in [
        json!([]),
        json!({"spec": {"$patch": "merge-ish"}}),
        json!({"spec": {"$unknown": 1}}),
        json!({"spec": {"ports": [{"name": "no key"}]}}),
        json!({"spec": {"ports": [80]}}),
        json!({"spec": {"$setElementOrder/ports": 1}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "rolling": {}}}}),
    ] {
        assert!(strategic::patch(&object(json!({"ports": []})), &bad, &schema()).is_err(), "{bad}");
    }
}

#[test]
fn field_sets_are_written_as_kubernetes_writes_them() {
    let value = object(json!({"hosts": ["a"], "ports": [{"port": 80, "name": "http"}], "selector": {"a": "b"}}));
    let set = typed::field_set(&value, Shape::root(&schema()));
    assert_eq!(
        set.to_json()["f:spec"],
        json!({
            "f:hosts": {}, "f:selector": {},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
        })
    );
    assert_eq!(FieldSet::from_json(&set.to_json()), set);
    let other_order = json!({"f:spec": {"f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {".": {}}}}});
    assert_eq!(FieldSet::from_json(&other_order).paths(), [r#".spec.ports[port=80,protocol="TCP"]"#]);
    for junk in [json!(1), json!({"x": {}}), json!({"k:{": {}}), json!({"f:a": 1})] {
        assert!(FieldSet::from_json(&junk).paths().is_empty(), "{junk}");
    }
}

#[test]
fn what_is_not_applied_any_more_goes() {
    let first = applied(None, &object(json!({"hosts": ["a"], "replicas": 2, "ports": [{"port": 80}, {"port": 443}]})), "me");
    let second = applied(Some(&first), &object(json!({"hosts": ["a"], "ports": [{"port": 443}]})), "me");
    assert_eq!(second["spec"], json!({"hosts": ["a"], "ports": [{"port": 443}]}));
    assert_eq!(managers(&second).len(), 1);
}

#[test]
fn what_others_own_too_stays() {
    let first = applied(None, &object(json!({"replicas": 2, "ports": [{"port": 80, "name": "http"}]})), "me");
    let both = applied(Some(&first), &object(json!({"replicas": 2, "ports": [{"port": 80, "protocol": "TCP"}]})), "you");
    let left = applied(Some(&both), &object(json!({"hosts": ["a"]})), "me");
    assert_eq!(left["spec"], json!({"hosts": ["a"], "replicas": 2, "ports": [{"port": 80, "protocol": "TCP"}]}));
    assert_eq!(owned(&left, "me"), [".spec.hosts"]);
}

#[test]
fn a_field_of_another_manager_is_a_conflict_unless_forced() {
    let live = applied(None, &object(json!({"replicas": 2, "hosts": ["a"]})), "me");
    let config = object(json!({"replicas": 3}));
    let Err(ApplyError::Conflicts(conflicts)) = apply(Some(&live), &config, by("you", "t"), false, &schema()) else { panic!("no conflict") };
    assert_eq!(
        conflicts.iter().map(|conflict| format!("{conflict}: {}", conflict.field)).collect::<Vec<_>>(),
        [r#"conflict with "me": .spec.replicas"#]
    );
    let forced = apply(Some(&live), &config, by("you", "t"), true, &schema()).expect("forced");
    assert_eq!(forced["spec"], json!({"replicas": 3, "hosts": ["a"]}));
    assert_eq!((owned(&forced, "me"), owned(&forced, "you")), (vec![".spec.hosts".to_owned()], vec![".spec.replicas".to_owned()]));
}

#[test]
fn an_update_owns_what_it_changed_and_conflicts_with_a_later_apply() {
    let live = applied(None, &object(json!({"replicas": 2, "hosts": ["a"]})), "me");
    let mut updated = live.clone();
    updated["spec"]["replicas"] = json!(5);
    track_update(&live, &mut updated, by("kubectl-edit", "t"), &schema());
    assert_eq!((owned(&updated, "me"), owned(&updated, "kubectl-edit")), (vec![".spec.hosts".to_owned()], vec![".spec.replicas".to_owned()]));
    let again = apply(Some(&updated), &object(json!({"replicas": 2, "hosts": ["a"]})), by("me", "t"), false, &schema());
    let Err(ApplyError::Conflicts(conflicts)) = again else { panic!("no conflict") };
    assert_eq!(conflicts[0].to_string(), r#"conflict with "kubectl-edit" using example.com/v1"#);
}

#[test]
fn update_managers_do_not_pile_up() {
    let mut live = object(json!({"replicas": 0}));
    for round in 0..30 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("label-{round}")] = json!("x");
        track_update(&live, &mut next, by(&format!("writer-{round}"), &format!("2026-01-01T00:00:{round:02}Z")), &schema());
        live = next;
    }
    let managers = managers(&live);
    assert_eq!(managers.len(), 10);
    assert_eq!((managers[0].name.as_str(), managers[0].operation), ("ancient-changes", Operation::Update));
    assert_eq!(managers.iter().flat_map(|manager| manager.fields.paths()).filter(|path| path.contains("label-")).count(), 30);
}

#[test]
fn configurations_that_cannot_be_applied_are_refused() {
    let twice = object(json!({"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}));
    assert!(matches!(apply(None, &twice, by("me", "t"), false, &schema()), Err(ApplyError::Invalid(_))));
    let mut managed = object(json!({}));
    managed["metadata"]["managedFields"] = json!([{}]);
    assert!(matches!(apply(None, &managed, by("me", "t"), false, &schema()), Err(ApplyError::Invalid(_))));
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..5i64).prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d$]{1,2}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Any map of maps and scalars.
fn any_map() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), (0..5i64).prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
    let map =
        |inner: BoxedStrategy<Value>| prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()));
    let inner = leaf.prop_recursive(3, 24, 4, move |inner| map(inner.boxed()).boxed());
    prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn any_spec() -> impl Strategy<Value = Value> {
    let ports = prop::collection::btree_map(1..5u16, prop::option::of("[a-c]"), 0..4).prop_map(|ports| {
        let port = |(port, name): (u16, Option<String>)| name.map_or_else(|| json!({"port": port}), |name| json!({"port": port, "name": name}));
        ports.into_iter().map(port).collect::<Value>()
    });
    let hosts = prop::collection::vec("[a-c]", 0..3);
    (prop::option::of(hosts), prop::option::of(0..4i64), prop::option::of(ports)).prop_map(|(hosts, replicas, ports)| {
        let mut spec = json!({});
        hosts.into_iter().for_each(|hosts| spec["hosts"] = json!(hosts));
        replicas.into_iter().for_each(|replicas| spec["replicas"] = json!(replicas));
        ports.into_iter().for_each(|ports| spec["ports"] = ports);
        spec
    })
}

/// The merge patch that makes `new` of `old`, neither of which holds a null (RFC 7386 cannot say null).
fn difference(old: &Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Object(left), Value::Object(right)) => {
            let gone = left.keys().filter(|name| !right.contains_key(*name)).map(|name| (name.clone(), Value::Null));
            let nothing = Value::Null;
            let set = right.iter().map(|(name, value)| (name.clone(), difference(left.get(name).unwrap_or(&nothing), value)));
            Value::Object(gone.chain(set).collect())
        }
        _ => new.clone(),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_difference_patches_one_value_into_another(old in any_json(), new in any_json()) {
        prop_assume!(!has_null(&old) && !has_null(&new));
        prop_assert_eq!(json_patches::merge_patch(&old, &difference(&old, &new)), new);
    }

    #[test]
    fn merge_and_strategic_patches_agree_where_there_are_no_lists(old in any_map(), patch in any_map()) {
        prop_assert_eq!(strategic::patch(&old, &patch, &Value::Null), Ok(json_patches::merge_patch(&old, &patch)));
    }

    #[test]
    fn no_patch_panics(old in any_json(), patch in any_json()) {
        let _ = json_patches::json_patch(&old, &patch);
        let _ = strategic::patch(&old, &patch, &schema());
        let _ = apply(Some(&old), &patch, by("me", "t"), true, &schema());
        let mut new = patch.clone();
        track_update(&old, &mut new, by("me", "t"), &schema());
        let _ = FieldSet::from_json(&patch);
    }

    #[test]
    fn applying_the_same_again_changes_nothing(before in any_spec(), mine in any_spec()) {
        let live = applied(None, &object(before), "other");
        let config = object(mine);
        let once = apply(Some(&live), &config, by("me", "2026-01-01T00:00:00Z"), true, &schema()).expect("forced");
        let twice = apply(Some(&once), &config, by("me", "2027-01-01T00:00:00Z"), false, &schema()).expect("no conflict with itself");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn one_manager_alone_gets_exactly_what_it_applies(first in any_spec(), second in any_spec()) {
        let live = applied(None, &object(first), "me");
        let then = applied(Some(&live), &object(second.clone()), "me");
        let fresh = applied(None, &object(second), "me");
        prop_assert_eq!(then.get("spec").cloned().unwrap_or(json!({})), fresh["spec"].clone());
    }
}
