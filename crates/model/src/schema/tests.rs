//! Every kind has a sound schema, and objects that miss theirs are told all that is wrong.

use super::*;
use crate::kinds::{by_kind, named};

fn each(schema: &Value, visit: &mut dyn FnMut(&Value)) {
    visit(schema);
    match schema {
        Value::Object(fields) => fields.values().for_each(|child| each(child, visit)),
        Value::Array(items) => items.iter().for_each(|child| each(child, visit)),
        _ => {}
    }
}

#[test]
fn every_kind_has_a_schema_with_descriptions_and_every_pattern_compiles() {
    for kind in KINDS {
        let schema = of(kind);
        assert!(schema["properties"].as_object().is_some_and(|fields| fields.len() > 3), "{}", kind.full_name());
        assert!(schema["properties"]["metadata"]["properties"]["labels"]["description"].is_string(), "{}", kind.full_name());
        each(schema, &mut |node| {
            if let Some(pattern) = node["pattern"].as_str() {
                assert!(text::compiled(pattern).is_some(), "{}: {pattern}", kind.full_name());
            }
            assert!(node["$ref"].is_null(), "{}: unresolved {}", kind.full_name(), node["$ref"]);
        });
    }
}

#[test]
fn the_schemas_cost_the_program_little() {
    let size: usize = SCHEMAS.iter().map(|(_, packed)| packed.len()).sum();
    assert!(size < 400_000, "{size} bytes");
    assert_eq!(SCHEMAS.len(), KINDS.len() + 1, "one file per kind, and metadata");
}

#[test]
fn lists_carry_the_keys_that_merging_needs() {
    let field = |kind: &str, path: &str| of(named(kind).unwrap()).pointer(path).unwrap_or_else(|| panic!("{path}")).clone();
    let ports = field("service", "/properties/spec/properties/ports");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    let containers = field("deployment", "/properties/spec/properties/template/properties/spec/properties/containers");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let parents = field("httproute", "/properties/status/properties/parents/items/properties/conditions");
    assert_eq!(parents["x-kubernetes-list-map-keys"], json!(["type"]));
    let target = field("service", "/properties/spec/properties/ports/items/properties/targetPort");
    assert_eq!(target["x-kubernetes-int-or-string"], true);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let kind = by_kind("networking.istio.io/v1", "VirtualService").unwrap();
    let value = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a", "labels": {"v": 1}},
        "spec": {"hosts": "reviews", "http": [{"route": [{"wieght": 1}], "timeout": 5}]},
    });
    let found: Vec<_> = check(kind, &value).into_iter().map(|problem| (problem.code, problem.path)).collect();
    let want = [
        ("WrongType", "metadata.labels.v"),
        ("WrongType", "spec.hosts"),
        ("UnknownField", "spec.http[0].route[0].wieght"),
        ("MissingField", "spec.http[0].route[0]"),
        ("WrongType", "spec.http[0].timeout"),
    ];
    assert_eq!(found, want.map(|(code, path)| (code, path.to_owned())));
}

#[test]
fn a_secret_is_never_repeated() {
    let kind = by_kind("v1", "Secret").unwrap();
    let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"key": "hunter2!"}, "stringData": {"n": 31337}});
    let found = check(kind, &value);
    assert_eq!(found.len(), 2);
    for problem in found {
        let said = problem.to_string();
        assert!(!said.contains("hunter2") && !said.contains("31337"), "{said}");
    }
}
