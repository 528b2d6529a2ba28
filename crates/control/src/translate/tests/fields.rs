//! Every field that the schemas of routes have, tried one by one: what is not carried out is refused by name, and this is all of it.

use super::*;
use std::collections::BTreeSet;

/// Leaves of a schema: the path without indices, and a value that holds nothing but it.
fn leaves(schema: &Value, path: &str, wrap: &dyn Fn(Value) -> Value, found: &mut Vec<(String, Value)>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            leaves(field, &format!("{path}.{name}"), &|value| wrap(json!({name: value})), found);
        }
    } else if schema["items"].is_object() {
        leaves(&schema["items"], &format!("{path}[]"), &|value| wrap(json!([value])), found);
    } else if schema["additionalProperties"]["properties"].is_object() {
        leaves(&schema["additionalProperties"], &format!("{path}.x"), &|value| wrap(json!({"x": value})), found);
    // These say what a parent is, which is no feature.
    } else if !matches!(path, "spec.parentRefs[].group" | "spec.parentRefs[].kind") {
        found.push((path.to_owned(), wrap(if path.ends_with(".retryOn") { json!("5xx") } else { sample(schema) })));
    }
}

fn sample(schema: &Value) -> Value {
    match (schema["enum"].get(0), schema["type"].as_str()) {
        (Some(first), _) => first.clone(),
        (_, Some("boolean")) => json!(true),
        (_, Some("integer" | "number")) => json!(1),
        (_, Some("object")) => json!({"x": "1"}),
        _ => json!("x"),
    }
}

/// `spec.http[0].name` -> `spec.http[].name`
fn without_indices(path: &str) -> String {
    path.replace("[0]", "[]")
}

/// Lays one value over the other, lists item by item.
fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => over.iter().for_each(|(name, value)| overlay(base.entry(name).or_insert(Value::Null), value)),
        (Value::Array(base), Value::Array(over)) if !base.is_empty() => base.iter_mut().zip(over).for_each(|(base, over)| overlay(base, over)),
        (base, over) => *base = over.clone(),
    }
}

/// The fields of a kind that are refused as not supported when they alone are added to `base`.
fn refused(kind: &str, base: Value) -> Vec<String> {
    let known = taut_model::kinds::KINDS.iter().find(|known| known.kind == kind).unwrap();
    let mut all = Vec::new();
    leaves(&taut_model::schema::of(known)["properties"]["spec"], "spec", &|value| value, &mut all);
    assert!(all.len() > 5, "{kind}: {all:?}");
    let mut refused = BTreeSet::new();
    for (leaf, spec) in all {
        let mut whole = base.clone();
        overlay(&mut whole, &spec);
        let problems = admit(&named(kind, "x", whole));
        let unsupported = problems.iter().filter(|problem| problem.code == "UnsupportedValue").map(|problem| without_indices(&problem.path));
        // The field itself, or one that it is part of.
        refused.extend(unsupported.filter(|path| leaf == *path || leaf.starts_with(&format!("{path}.")) || leaf.starts_with(&format!("{path}[]"))));
    }
    refused.into_iter().collect()
}

#[test]
fn of_virtual_services() {
    let base = json!({"hosts": ["a"], "http": [{"match": [{}]}], "tls": [{"match": [{"sniHosts": ["a"]}]}], "tcp": [{"match": [{}]}]});
    assert_eq!(
        refused("VirtualService", base),
        ["spec.http[].fault.abort.http2Error", "spec.http[].fault.delay.exponentialDelay", "spec.tcp[].match[].sourceSubnet"]
    );
}

#[test]
fn of_gateway_api_s_routes() {
    let bound = || json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [{}]});
    let extension = ["spec.rules[].backendRefs[].filters[].extensionRef", "spec.rules[].filters[].extensionRef"];
    let idle = "spec.rules[].sessionPersistence.idleTimeout";
    for (kind, want) in [
        ("HTTPRoute", vec![extension[0], extension[1], idle]),
        ("GRPCRoute", vec![extension[0], extension[1], idle]),
        ("TLSRoute", vec![]),
        ("TCPRoute", vec![]),
    ] {
        assert_eq!(refused(kind, bound()), want, "{kind}");
    }
}

#[test]
fn of_the_experimental_channel_are_known() {
    let rule = json!({"retry": {"codes": [503], "attempts": 2, "backoff": "10ms"}, "sessionPersistence": {"type": "Cookie"}});
    let route = named("HTTPRoute", "r", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [rule]}));
    let known = taut_model::kinds::by_kind("gateway.networking.k8s.io/v1", "HTTPRoute").unwrap();
    assert_eq!(taut_model::schema::check(known, &route.value), []);
}
