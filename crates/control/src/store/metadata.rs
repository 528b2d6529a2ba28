//! The fields of an object that belong to the store: `uid`, `generation`, `resourceVersion`, times, and who manages what.

use super::{StoreError, Write};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use taut_model::kinds::Kind;
use taut_model::merge::managed::{self, Writer};
use taut_model::object::Object;
use taut_model::schema;

/// The value of a new object.
pub(super) fn created(object: &Object, write: &Write, version: u64) -> Value {
    let mut value = object.value.clone();
    if object.kind.has_status && !write.status_only {
        remove(&mut value, "status");
    }
    let metadata = metadata(&mut value);
    metadata.insert("name".into(), json!(object.name));
    if object.kind.namespaced {
        metadata.insert("namespace".into(), json!(object.namespace));
    }
    metadata.insert("uid".into(), json!(uid(write.uid_seed)));
    metadata.insert("creationTimestamp".into(), json!(write.now));
    for gone in ["deletionTimestamp", "selfLink"] {
        metadata.remove(gone);
    }
    stamp(&mut value, version, 1);
    track(object.kind, &Value::Null, &mut value, write);
    value
}

/// What `wanted` makes of `old`: identity and times stay, `status` changes only through its own door.
pub(super) fn updated(old: &Object, wanted: Value, write: &Write) -> Value {
    let managed = wanted["metadata"].get("managedFields").cloned();
    let mut value = match write.status_only {
        true => with("status", &wanted, &old.value),
        false if old.kind.has_status => with("status", &old.value, &wanted),
        false => wanted,
    };
    let before = &old.value["metadata"];
    let metadata = metadata(&mut value);
    for kept in ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"] {
        keep(metadata, before, kept);
    }
    if !before["deletionTimestamp"].is_null() {
        keep(metadata, before, "deletionTimestamp");
    }
    match managed {
        Some(given) => metadata.insert("managedFields".into(), given),
        None => {
            keep(metadata, before, "managedFields");
            None
        }
    };
    metadata.remove("selfLink");
    track(old.kind, &old.value, &mut value, write);
    value
}

/// # Errors
/// `Conflict` when a version is given and it is not the stored one.
pub(super) fn same_version(old: &Object, given: Option<&str>) -> Result<(), StoreError> {
    let stored = old.value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    match given {
        Some(given) if !given.is_empty() && given != stored => {
            Err(StoreError::Conflict { object: old.reference(), stored: stored.to_owned(), given: given.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether anything outside `metadata` and `status` is the same.
pub(super) fn same_specification(left: &Value, right: &Value) -> bool {
    let rest = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(name, _)| name != "metadata" && name != "status").collect()
    };
    rest(left) == rest(right)
}

/// A write that would only touch the times of `managedFields` is no change (Kubernetes does the same).
pub(super) fn same_but_for_times(left: &Value, right: &Value) -> bool {
    let timeless = |value: &Value| {
        let mut value = value.clone();
        for entry in value.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(entry, "time");
        }
        value
    };
    timeless(left) == timeless(right)
}

pub(super) fn stamp(value: &mut Value, version: u64, generation: i64) {
    let metadata = metadata(value);
    metadata.insert("resourceVersion".into(), json!(version.to_string()));
    metadata.insert("generation".into(), json!(generation));
}

/// What was never stored has no version of its own: it shows that of the object as it is, or none.
pub(super) fn as_preview(object: &Object, stored: Option<&Object>) -> Arc<Object> {
    let mut shown = Object::clone(object);
    let none = Value::Null;
    keep(metadata(&mut shown.value), stored.map_or(&none, |stored| &stored.value["metadata"]), "resourceVersion");
    Arc::new(shown)
}

/// Being deleted, and nobody holds it back any more.
pub(super) fn is_finished(value: &Value) -> bool {
    let metadata = &value["metadata"];
    !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// A random UUID (RFC 9562 version 4).
fn uid(mut seed: [u8; 16]) -> String {
    seed[6] = (seed[6] & 0x0f) | 0x40;
    seed[8] = (seed[8] & 0x3f) | 0x80;
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
}

fn track(kind: &'static Kind, old: &Value, value: &mut Value, write: &Write) {
    if !write.manager.is_empty() {
        let subresource = if write.status_only { "status" } else { "" };
        let writer = Writer { manager: &write.manager, now: &write.now, subresource };
        managed::track_update(old, value, writer, schema::of(kind));
    }
}

/// `body` with the `part` of `source`.
fn with(part: &str, source: &Value, body: &Value) -> Value {
    let mut fields = body.as_object().cloned().unwrap_or_default();
    match source.get(part) {
        Some(value) => fields.insert(part.into(), value.clone()),
        None => fields.remove(part),
    };
    Value::Object(fields)
}

fn keep(metadata: &mut Map<String, Value>, before: &Value, name: &str) {
    match before.get(name) {
        Some(value) => metadata.insert(name.into(), value.clone()),
        None => metadata.remove(name),
    };
}

fn remove(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}

/// The `metadata` of an object; made if it is missing or is not a map.
fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let metadata = &mut value["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    #[expect(clippy::expect_used, reason = "it was made a map in the line above")]
    metadata.as_object_mut().expect("metadata is a map")
}
