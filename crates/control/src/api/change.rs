//! Creating, replacing and patching objects.

use super::accept::View;
use super::answer::{Answer, at_version};
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use super::{Api, admission, body, defaults, look};
use crate::store::{StoreError, Write};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use taut_model::merge::apply::{ApplyError, apply};
use taut_model::merge::managed::Writer;
use taut_model::merge::{json as json_merge, strategic};
use taut_model::object::Object;
use taut_model::schema;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// An object as it was stored, and what to tell the client besides.
struct Done {
    object: Arc<Object>,
    warnings: Vec<String>,
    created: bool,
}

pub(super) fn create(api: &Api, asked: &Asked, address: &Address) -> Result<Answer, Refusal> {
    let mut value = body::object(asked)?;
    generate_name(api, &mut value);
    let object = admission::addressed(address, value, "")?;
    if object.value["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let done = store_new(api, asked, address, object, asked.manager())?;
    told(api, asked, address, &done)
}

pub(super) fn replace(api: &Api, asked: &Asked, address: &Address, name: &str) -> Result<Answer, Refusal> {
    let value = body::object(asked)?;
    let done = modify(api, asked, address, name, asked.manager(), &|_| Ok(value.clone()))?;
    told(api, asked, address, &done)
}

pub(super) fn patch(api: &Api, asked: &Asked, address: &Address, name: &str) -> Result<Answer, Refusal> {
    let schema = schema::of(address.kind);
    let wrong = |error| Refusal::patch(address.kind, name, &error);
    let done = match asked.content_type.as_str() {
        APPLY => server_side_apply(api, asked, address, name)?,
        MERGE_PATCH => {
            let patch = body::json(&asked.body)?;
            if !patch.is_object() {
                return Err(Refusal::bad_request("a merge patch must be a JSON object"));
            }
            modify(api, asked, address, name, asked.manager(), &|old| Ok(json_merge::merge_patch(old, &patch)))?
        }
        JSON_PATCH => {
            let patch = body::json(&asked.body)?;
            modify(api, asked, address, name, asked.manager(), &|old| json_merge::json_patch(old, &patch).map_err(wrong))?
        }
        STRATEGIC_PATCH => {
            let patch = body::json(&asked.body)?;
            modify(api, asked, address, name, asked.manager(), &|old| strategic::patch(old, &patch, schema).map_err(wrong))?
        }
        other => return Err(Refusal::unsupported_media_type(other, &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY])),
    };
    told(api, asked, address, &done)
}

/// The configuration says all that its writer wants; an object that is not there is created.
fn server_side_apply(api: &Api, asked: &Asked, address: &Address, name: &str) -> Result<Done, Refusal> {
    let Some(manager) = asked.options.field_manager.as_deref().filter(|manager| !manager.is_empty()) else {
        return Err(Refusal::bad_request("PatchOptions is invalid: fieldManager: Required value: is required for apply patch"));
    };
    let config = scoped(body::yaml(&asked.body)?, address);
    admission::addressed(address, config.clone(), name)?;
    let now = (api.clock)();
    let writer = Writer { manager, now: &now, subresource: if address.status { "status" } else { "" } };
    let applied = |live: Option<&Value>| {
        apply(live, &config, writer, asked.options.force, schema::of(address.kind)).map_err(|error| match error {
            ApplyError::Conflicts(conflicts) => Refusal::field_conflicts(&conflicts),
            ApplyError::Invalid(error) => Refusal::patch(address.kind, name, &error),
        })
    };
    let exists = || api.store.get(address.kind, address.store_namespace(), name).is_some();
    if !exists() && !address.status {
        let object = admission::addressed(address, applied(None)?, name)?;
        match store_new(api, asked, address, object, "") {
            // Somebody was faster: then there is an object to apply to.
            Err(refusal) if refusal.code == StatusCode::CONFLICT && exists() => {}
            done => return done,
        }
    }
    modify(api, asked, address, name, "", &|old| applied(Some(old)))
}

/// Of what is applied, the part that this address takes: `status` or everything else.
fn scoped(config: Value, address: &Address) -> Value {
    let Value::Object(fields) = config else { return config };
    let mine = |name: &str| match address.status {
        true => matches!(name, "apiVersion" | "kind" | "metadata" | "status"),
        false => name != "status" || !address.kind.has_status,
    };
    let mut fields: Map<String, Value> = fields.into_iter().filter(|(name, _)| mine(name)).collect();
    if address.status {
        let metadata = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        let names = metadata.into_iter().filter(|(name, _)| matches!(name.as_str(), "name" | "namespace" | "resourceVersion" | "uid")).collect();
        fields.insert("metadata".into(), Value::Object(names));
    }
    Value::Object(fields)
}

fn store_new(api: &Api, asked: &Asked, address: &Address, mut object: Object, manager: &str) -> Result<Done, Refusal> {
    admission::namespace_exists(api, &object.namespace)?;
    defaults::fill(&mut object);
    if address.kind.has_status {
        without_status(&mut object.value);
    }
    let warnings = admission::admit(api, asked, address, &object)?;
    let mut write = api.write(asked, manager, false);
    if object.kind.kind == "Namespace" {
        object.value["status"] = json!({"phase": "Active"});
        write.status_only = true;
    }
    let name = object.name.clone();
    let stored = match asked.options.dry_run {
        true => api.store.preview_create(object, &write),
        false => api.store.create(object, &write),
    };
    let object = stored.map_err(|error| Refusal::store(address.kind, &name, &error))?;
    Ok(Done { object, warnings, created: true })
}

/// Stores what `make` makes of the object at the version that the client speaks.
fn modify(
    api: &Api,
    asked: &Asked,
    address: &Address,
    name: &str,
    manager: &str,
    make: &dyn Fn(&Value) -> Result<Value, Refusal>,
) -> Result<Done, Refusal> {
    let mut outcome: Result<Vec<String>, Refusal> = Ok(Vec::new());
    let mut change = |old: &Object| {
        let next = make(&at_version(old, address.version)).and_then(|value| next(api, asked, address, old, value));
        let (value, warnings) = match next {
            Ok((value, warnings)) => (Ok(value), Ok(warnings)),
            Err(refusal) => (Err(StoreError::Declined), Err(refusal)),
        };
        outcome = warnings;
        value
    };
    let write: Write = api.write(asked, manager, address.status);
    let stored = match asked.options.dry_run {
        true => api.store.preview_update(address.kind, address.store_namespace(), name, &write, &mut change),
        false => api.store.update(address.kind, address.store_namespace(), name, &write, &mut change),
    };
    let warnings = outcome?;
    let object = stored.map_err(|error| Refusal::store(address.kind, name, &error))?;
    Ok(Done { object, warnings, created: false })
}

/// The value to store in place of `old`, admitted.
fn next(api: &Api, asked: &Asked, address: &Address, old: &Object, value: Value) -> Result<(Value, Vec<String>), Refusal> {
    let mut object = admission::addressed(address, value, &old.name)?;
    let before = &old.value["metadata"];
    if let Some(uid) = object.value["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty() && Some(*uid) != before["uid"].as_str()) {
        let because = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", before["uid"].as_str().unwrap_or_default());
        return Err(Refusal::conflict(address.kind, &old.name, &because));
    }
    if before["deletionTimestamp"].is_null()
        && let Some(metadata) = object.value["metadata"].as_object_mut()
    {
        metadata.remove("deletionTimestamp");
    }
    let mut checked = object.clone();
    match address.status {
        // Only the status is written, so only the status can make it wrong.
        true => checked.value = Value::Object(with_status(&old.value, &object.value)),
        false if old.kind.has_status => {
            defaults::fill(&mut object);
            object.value = Value::Object(with_status(&object.value, &old.value));
            checked.value = object.value.clone();
        }
        false => {
            defaults::fill(&mut object);
            checked.value = object.value.clone();
        }
    }
    let warnings = admission::admit(api, asked, address, &checked)?;
    Ok((object.value, warnings))
}

fn with_status(body: &Value, status: &Value) -> Map<String, Value> {
    let mut fields = body.as_object().cloned().unwrap_or_default();
    match status.get("status") {
        Some(status) => fields.insert("status".into(), status.clone()),
        None => fields.remove("status"),
    };
    fields
}

fn without_status(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
}

fn told(api: &Api, asked: &Asked, address: &Address, done: &Done) -> Result<Answer, Refusal> {
    let answer = match asked.accept.view().ok_or_else(Refusal::not_acceptable)? {
        View::Whole => Answer::json(&at_version(&done.object, address.version)),
        other => look::one(api, asked, address, &done.object, other),
    };
    let code = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer.with_code(code).with_warnings(done.warnings.clone()))
}

/// `metadata.generateName` and five random letters (as Kubernetes picks them: no vowels, nothing that reads alike).
fn generate_name(api: &Api, value: &mut Value) {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && !prefix.is_empty() {
        let dice = (api.dice)();
        let letters: String = dice.iter().take(5).map(|die| char::from(LETTERS[usize::from(*die) % LETTERS.len()])).collect();
        let prefix: String = prefix.chars().take(58).collect();
        metadata.insert("name".into(), json!(format!("{prefix}{letters}")));
    }
}
