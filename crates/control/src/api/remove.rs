//! Deleting objects. Finalizers hold an object back; a namespace takes everything in it along.

use super::answer::{Answer, at_version};
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use super::{Api, body, look};
use crate::store::StoreError;
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::object::Object;

/// Namespaces that clients and the mesh take for granted.
const KEPT: [&str; 2] = ["default", "kube-system"];

pub(super) fn one(api: &Api, asked: &Asked, address: &Address, name: &str) -> Result<Answer, Refusal> {
    let options = options(asked)?;
    let object = api.store.get(address.kind, address.store_namespace(), name).ok_or_else(|| Refusal::not_found(address.kind, name))?;
    check_preconditions(&object, &options["preconditions"])?;
    match remove(api, asked, &object, options.is_dry_run(asked))? {
        Removal::Gone(object) => Ok(Answer::json(&json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": object.name, "group": object.kind.group, "kind": object.kind.plural, "uid": object.value["metadata"]["uid"]},
        }))),
        Removal::Leaving(object) => Ok(Answer::json(&at_version(&object, address.version))),
    }
}

/// All objects of a kind in a namespace that the selectors select.
pub(super) fn many(api: &Api, asked: &Asked, address: &Address) -> Result<Answer, Refusal> {
    let options = options(asked)?;
    look::check_fields(asked, address)?;
    let (objects, version) = api.store.list(address.kind);
    let mut removed = Vec::new();
    for object in objects.iter().filter(|object| look::is_asked_for(asked, address, object)) {
        match remove(api, asked, object, options.is_dry_run(asked)) {
            Ok(Removal::Gone(object) | Removal::Leaving(object)) => removed.push(at_version(&object, address.version)),
            // Somebody else has deleted it meanwhile.
            Err(refusal) if refusal.code == http::StatusCode::NOT_FOUND => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(Answer::json(&json!({
        "kind": format!("{}List", address.kind.kind), "apiVersion": address.api_version(),
        "metadata": {"resourceVersion": version.to_string()}, "items": removed,
    })))
}

enum Removal {
    Gone(Arc<Object>),
    /// Somebody named in `finalizers` must agree first.
    Leaving(Arc<Object>),
}

/// `DeleteOptions` of the body. The propagation policy changes nothing: no object here makes others.
struct DeleteOptions(Value);

impl std::ops::Index<&str> for DeleteOptions {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.0[name]
    }
}

impl DeleteOptions {
    fn is_dry_run(&self, asked: &Asked) -> bool {
        asked.options.dry_run || self["dryRun"].as_array().is_some_and(|list| list.contains(&json!("All")))
    }
}

fn options(asked: &Asked) -> Result<DeleteOptions, Refusal> {
    match asked.body.is_empty() {
        true => Ok(DeleteOptions(Value::Null)),
        false => body::object(asked).map(DeleteOptions),
    }
}

fn check_preconditions(object: &Object, preconditions: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        let stored = &object.value["metadata"][field];
        if !preconditions[field].is_null() && preconditions[field] != *stored {
            let because = format!("the precondition asks for {field} {}, and the object has {stored}", preconditions[field]);
            return Err(Refusal::conflict(object.kind, &object.name, &because));
        }
    }
    Ok(())
}

fn remove(api: &Api, asked: &Asked, object: &Arc<Object>, dry_run: bool) -> Result<Removal, Refusal> {
    let is_namespace = object.kind.group.is_empty() && object.kind.kind == "Namespace";
    if is_namespace && KEPT.contains(&object.name.as_str()) {
        return Err(Refusal::forbidden(object.kind, &object.name, "this namespace may not be deleted"));
    }
    if dry_run {
        return Ok(Removal::Gone(object.clone()));
    }
    if object.value["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
        return mark(api, asked, object);
    }
    if is_namespace {
        empty(api, asked, &object.name)?;
    }
    // With the version that was looked at: a finalizer that came in between is not passed over.
    let version = object.value["metadata"]["resourceVersion"].as_str();
    match api.store.delete_by((object.kind, &object.namespace, &object.name), version, &api.write(asked, "", false)) {
        Ok(gone) => Ok(Removal::Gone(gone)),
        Err(StoreError::Conflict { .. }) => {
            let again = api.store.get(object.kind, &object.namespace, &object.name);
            again.map_or_else(|| Err(Refusal::not_found(object.kind, &object.name)), |newer| remove(api, asked, &newer, dry_run))
        }
        Err(error) => Err(Refusal::store(object.kind, &object.name, &error)),
    }
}

/// Asks those in `finalizers` to agree.
fn mark(api: &Api, asked: &Asked, object: &Object) -> Result<Removal, Refusal> {
    let now = (api.clock)();
    let marked = api.store.update(object.kind, &object.namespace, &object.name, &api.write(asked, "", false), &mut |old| {
        let mut value = old.value.clone();
        if value["metadata"]["deletionTimestamp"].is_null() {
            value["metadata"]["deletionTimestamp"] = json!(now);
            value["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        Ok(value)
    });
    marked.map(Removal::Leaving).map_err(|error| Refusal::store(object.kind, &object.name, &error))
}

fn empty(api: &Api, asked: &Asked, namespace: &str) -> Result<(), Refusal> {
    let (objects, _) = api.store.all();
    for object in objects.iter().filter(|object| object.namespace == namespace) {
        match api.store.delete_by((object.kind, namespace, &object.name), None, &api.write(asked, "", false)) {
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(Refusal::store(object.kind, &object.name, &error)),
        }
    }
    Ok(())
}
