//! Reading objects: one, or a list of them, in the view that the client asks for.

use super::accept::View;
use super::answer::{Answer, at_version};
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use super::{Api, table};
use crate::store::Expired;
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::object::Object;

pub(super) fn get(api: &Api, asked: &Asked, address: &Address, name: &str) -> Result<Answer, Refusal> {
    let view = asked.accept.view().ok_or_else(Refusal::not_acceptable)?;
    let object = api.store.get(address.kind, address.store_namespace(), name).ok_or_else(|| Refusal::not_found(address.kind, name))?;
    Ok(one(api, asked, address, &object, view))
}

pub(super) fn list(api: &Api, asked: &Asked, address: &Address) -> Result<Answer, Refusal> {
    let view = asked.accept.view().ok_or_else(Refusal::not_acceptable)?;
    check_fields(asked, address)?;
    let (objects, version) = api.store.list(address.kind);
    check_version(asked, version)?;
    let objects: Vec<Arc<Object>> = objects.into_iter().filter(|object| is_asked_for(asked, address, object)).collect();
    let metadata = json!({"resourceVersion": version.to_string()});
    let items = |item: &dyn Fn(&Object) -> Value| -> Vec<Value> { objects.iter().map(|object| item(object)).collect() };
    Ok(Answer::json(&match view {
        View::Table => table::of(api, address, &objects, asked.options.rows, &version.to_string(), true),
        View::Metadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items(&metadata_only),
        }),
        View::Whole => json!({
            "kind": format!("{}List", address.kind.kind), "apiVersion": address.api_version(), "metadata": metadata,
            "items": items(&|object| at_version(object, address.version)),
        }),
    }))
}

pub(super) fn one(api: &Api, asked: &Asked, address: &Address, object: &Arc<Object>, view: View) -> Answer {
    let version = object.value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    Answer::json(&match view {
        View::Whole => at_version(object, address.version),
        View::Table => table::of(api, address, std::slice::from_ref(object), asked.options.rows, version, true),
        View::Metadata => metadata_only(object),
    })
}

pub(super) fn metadata_only(object: &Object) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.value["metadata"]})
}

/// Whether the address and the selectors cover an object of the address's kind.
pub(super) fn is_asked_for(asked: &Asked, address: &Address, object: &Object) -> bool {
    let here = address.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace);
    here && asked.options.labels.accepts_labels_of(object) && asked.options.fields.accepts_fields_of(object)
}

pub(super) fn check_fields(asked: &Asked, address: &Address) -> Result<(), Refusal> {
    match asked.options.fields.unselectable(address.kind.kind) {
        Some(field) => Err(Refusal::bad_request(format!("field label not supported: {field}"))),
        None => Ok(()),
    }
}

/// Only the newest version can be listed.
fn check_version(asked: &Asked, newest: u64) -> Result<(), Refusal> {
    let Some(given) = &asked.options.resource_version else { return Ok(()) };
    let from: u64 = given.parse().map_err(|_| Refusal::bad_request(format!("resourceVersion: {given:?} is not one of this server's")))?;
    match from > newest || (asked.options.exact_version && from != newest) {
        true => Err(Refusal::expired(&Expired { from, oldest: newest, newest })),
        false => Ok(()),
    }
}
