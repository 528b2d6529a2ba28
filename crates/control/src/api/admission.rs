//! Whether an object may be stored: its names, its schema, and what the mesh can carry out.

use super::Api;
use super::answer::sentence;
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use serde_json::Value;
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use taut_model::schema;

/// Every field of an object is looked at before it is stored. Gives the warnings to tell the client.
///
/// # Errors
/// All that is wrong with it, at once.
pub(super) fn admit(api: &Api, asked: &Asked, address: &Address, object: &Object) -> Result<Vec<String>, Refusal> {
    let mut problems = check_names(object);
    problems.extend(schema::check(object.kind, &object.value));
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

/// Names of objects and namespaces (RFC 1123), and the types of what stands in `metadata`.
fn check_names(object: &Object) -> Vec<Problem> {
    let metadata = &object.value["metadata"];
    let mut problems = Vec::new();
    let mut wrong = |path: String, message: &str| problems.push(problem(object, path, message));
    if let Err(message) = check_name(object.kind, &object.name) {
        wrong("metadata.name".into(), message);
    }
    for field in ["labels", "annotations"] {
        match &metadata[field] {
            Value::Null => {}
            Value::Object(entries) => {
                for (name, value) in entries.iter().filter(|(_, value)| !value.is_string()) {
                    wrong(format!("metadata.{field}[{name:?}]"), &format!("must be a string, and is {value}: put it in quotes"));
                }
                for (name, value) in entries.iter().filter(|_| field == "labels") {
                    if !is_label_key(name) || !value.as_str().is_none_or(is_label_value) {
                        let rule = "a label's name and value are at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit; \
                                    the name may have a DNS prefix before a '/'";
                        wrong(format!("metadata.labels[{name:?}]"), rule);
                    }
                }
            }
            _ => wrong(format!("metadata.{field}"), "must be a map of strings"),
        }
    }
    match &metadata["finalizers"] {
        Value::Null => {}
        Value::Array(items) if items.iter().all(Value::is_string) => {}
        _ => wrong("metadata.finalizers".into(), "must be a list of strings"),
    }
    problems
}

fn check_name(kind: &Kind, name: &str) -> Result<(), &'static str> {
    let is_label = |part: &str| {
        let bytes = part.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
    };
    match kind.kind {
        "Namespace" | "Service" if !is_label(name) || name.len() > 63 => {
            Err("must be at most 63 lower case letters, digits and '-', and start and end with a letter or digit (RFC 1123 label)")
        }
        _ if name.is_empty() => Err("is required (or metadata.generateName)"),
        _ if name.len() > 253 || !name.split('.').all(is_label) => {
            Err("must be at most 253 lower case letters, digits, '-' and '.', and start and end with a letter or digit (RFC 1123 subdomain)")
        }
        _ => Ok(()),
    }
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    !name.is_empty() && is_label_value(name) && prefix.len() <= 253 && !prefix.contains('/')
}

fn is_label_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let all = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    all && value.len() <= 63 && ends(value.chars().next()) && ends(value.chars().last())
}

fn problem(object: &Object, path: String, message: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        code: "InvalidValue",
        object: Some(object.reference()),
        location: object.location(&path),
        path,
        message: message.to_owned(),
        help: None,
        excerpt: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_those_of_kubernetes() {
        let service = kinds::by_kind("v1", "Service").expect("a kind");
        let route = kinds::by_kind("networking.istio.io/v1", "VirtualService").expect("a kind");
        assert!(check_name(service, "reviews-1").is_ok());
        assert!(check_name(service, "reviews.v1").is_err());
        assert!(check_name(route, "reviews.v1").is_ok());
        for bad in ["", "Reviews", "-a", "a-", "a..b", "a/b", "ä", &"a".repeat(254)] {
            assert!(check_name(route, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_is_checked() {
        let kind = kinds::by_kind("v1", "ConfigMap").expect("a kind");
        let object = |metadata: Value| Object { kind, namespace: "default".into(), name: "a".into(), value: json!({"metadata": metadata}), places: None };
        assert_eq!(check_names(&object(json!({"labels": {"app.kubernetes.io/name": "a", "x": ""}, "finalizers": ["a/b"]}))), []);
        for bad in [json!({"labels": {"a": 1}}), json!({"labels": []}), json!({"labels": {"a": "b c"}}), json!({"labels": {"/": "b"}}), json!({"finalizers": "a"})] {
            assert_eq!(check_names(&object(bad.clone())).len(), 1, "{bad}");
        }
    }
}
