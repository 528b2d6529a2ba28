//! Names, labels and annotations: the rules that Kubernetes keeps beside the schema of `metadata`.

use super::nearest::nearest;
use super::text;
use crate::kinds::Kind;
use crate::path;
use crate::problem::{Problem, Severity};
use serde_json::Value;

pub fn check(kind: &Kind, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let metadata = &value["metadata"];
    name(kind, metadata, &mut problems);
    match metadata["namespace"].as_str() {
        Some(namespace) if !kind.namespaced && !namespace.is_empty() => problems.push(problem(
            "InvalidValue",
            "metadata.namespace".to_owned(),
            format!("a {} belongs to no namespace", kind.kind),
            "remove metadata.namespace",
        )),
        Some(namespace) if kind.namespaced && !namespace.is_empty() && !text::is_dns_label(namespace) => problems.push(problem(
            "InvalidValue",
            "metadata.namespace".to_owned(),
            format!("{namespace:?} is not a name for a namespace"),
            "use at most 63 of a-z, 0-9 and -, with a letter or digit at both ends",
        )),
        _ => {}
    }
    labels(&metadata["labels"], "metadata.labels", &mut problems);
    keys(&metadata["annotations"], "metadata.annotations", &mut problems);
    problems
}

fn name(kind: &Kind, metadata: &Value, problems: &mut Vec<Problem>) {
    let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) else {
        let generated = metadata["generateName"].as_str().is_some_and(|prefix| !prefix.is_empty());
        let misspelt = metadata.as_object().is_some_and(|fields| fields.keys().any(|key| key != "namespace" && nearest(key, ["name"]).is_some()));
        // A name that is misspelt or of the wrong type is the schema check's to say.
        if !generated && !misspelt && matches!(metadata["name"], Value::Null | Value::String(_)) && matches!(metadata, Value::Null | Value::Object(_))
        {
            let message = format!("this {} has no name", kind.kind);
            problems.push(problem("MissingField", "metadata.name".to_owned(), message, "set metadata.name"));
        }
        return;
    };
    let (fits, rule) = match (kind.group, kind.kind) {
        // RFC 1035 label: a service's name becomes a DNS label.
        ("", "Service") => (
            text::is_dns_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase()),
            "use at most 63 of a-z, 0-9 and -, with a letter first and a letter or digit last",
        ),
        ("", "Namespace") => (text::is_dns_label(name), "use at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"),
        _ => (text::is_dns_subdomain(name), "use at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends"),
    };
    if !fits {
        problems.push(problem("InvalidValue", "metadata.name".to_owned(), format!("{name:?} is not a name for a {}", kind.kind), rule));
    }
}

fn labels(labels: &Value, at: &str, problems: &mut Vec<Problem>) {
    keys(labels, at, problems);
    for (key, value) in labels.as_object().into_iter().flatten() {
        let Some(value) = value.as_str() else { continue };
        if !value.is_empty() && !text::is_label_word(value) {
            problems.push(problem(
                "InvalidValue",
                path::field(at, key),
                format!("{value:?} is not a label value"),
                "use at most 63 letters, digits, -, _ and ., with a letter or digit at both ends; an annotation may hold any text",
            ));
        }
    }
}

fn keys(map: &Value, at: &str, problems: &mut Vec<Problem>) {
    for key in map.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| !text::is_qualified_name(key)) {
        problems.push(problem(
            "InvalidValue",
            path::field(at, key),
            format!("{key:?} is not a key for a label or an annotation"),
            "use name or example.com/name, the name of at most 63 letters, digits, -, _ and .",
        ));
    }
}

fn problem(code: &'static str, path: String, message: String, help: &str) -> Problem {
    Problem { severity: Severity::Error, code, object: None, path, location: None, message, help: Some(help.to_owned()), excerpt: None }
}
