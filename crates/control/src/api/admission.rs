//! Whether an object may be stored: its names, its schema, and what the mesh can carry out.

use super::Api;
use super::answer::sentence;
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use serde_json::Value;
use taut_model::kinds;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use taut_model::schema;

/// Every field of an object is looked at before it is stored. Gives the warnings to tell the client.
///
/// # Errors
/// All that is wrong with it, at once.
pub(super) fn admit(api: &Api, asked: &Asked, address: &Address, object: &Object) -> Result<Vec<String>, Refusal> {
    let mut problems = schema::check(object.kind, &object.value);
    if !problems.iter().any(is_error) {
        problems.extend((api.admit)(object));
    }
    if problems.iter().any(is_error) {
        return Err(Refusal::invalid(object.kind, address.version, &object.name, &explained(problems, asked.options.lenient)));
    }
    Ok(problems.iter().map(sentence).collect())
}

/// The namespace of a new object must be there first.
pub(super) fn namespace_exists(api: &Api, namespace: &str) -> Result<(), Refusal> {
    match kinds::by_plural("", "namespaces") {
        Some(kind) if !namespace.is_empty() && api.store.get(kind, "", namespace).is_none() => Err(Refusal::not_found(kind, namespace)),
        _ => Ok(()),
    }
}

/// The object that a client sent to `address`, with the names that the address has, in the version that is stored.
///
/// # Errors
/// When it says that it is another object than the one at this address.
pub(super) fn addressed(address: &Address, mut value: Value, name: &str) -> Result<Object, Refusal> {
    let kind = address.kind;
    let Some(fields) = value.as_object_mut() else {
        return Err(Refusal::bad_request(format!("the body of the request must be a {}, written as a JSON or YAML map", kind.kind)));
    };
    let given = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if given("kind") != kind.kind || given("apiVersion") != address.api_version() {
        let message = format!(
            "{:?} of {:?} was sent to the address of {:?} of {:?}: send it to its own address",
            given("kind"),
            given("apiVersion"),
            kind.kind,
            address.api_version()
        );
        return Err(Refusal::bad_request(message));
    }
    fields.insert("apiVersion".into(), kind.api_version().into());
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(Refusal::invalid_field(kind, name, "metadata", "must be a map"));
    };
    let named = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
    let namespace = address.store_namespace();
    if !matches!(named("namespace"), given if given.is_empty() || given == namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(message));
    }
    if !name.is_empty() && !matches!(named("name"), given if given.is_empty() || given == name) {
        let message = format!("the name of the object ({}) does not match the name on the URL ({name})", named("name"));
        return Err(Refusal::bad_request(message));
    }
    let name = if name.is_empty() { named("name").to_owned() } else { name.to_owned() };
    metadata.insert("name".into(), name.clone().into());
    if kind.namespaced {
        metadata.insert("namespace".into(), namespace.into());
    }
    Ok(Object { kind, namespace: namespace.to_owned(), name, value, places: None })
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
}

/// A client that asked to have unknown fields dropped is told why they are not.
fn explained(mut problems: Vec<Problem>, lenient: bool) -> Vec<Problem> {
    for problem in problems.iter_mut().filter(|problem| lenient && problem.code == "UnknownField") {
        let refused = "unknown fields are never dropped here, so that nothing is weaker than it reads";
        problem.help = Some(problem.help.take().map_or_else(|| refused.to_owned(), |help| format!("{help}; {refused}")));
    }
    problems
}
