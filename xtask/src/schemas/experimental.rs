//! Fields of Gateway API's experimental channel that routes in the mesh may have; the definitions that are read are the standard channel's.

use serde_json::{Value, json};

/// Where the rules of a route are.
const RULE: &str = "/properties/spec/properties/rules/items/properties";
/// GEP-2257.
const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Adds the fields that a schema lacks.
pub fn add(name: &str, schema: &mut Value) {
    let fields = match name {
        "httproutes.gateway.networking.k8s.io" => vec![("retry", retry()), ("sessionPersistence", session_persistence())],
        "grpcroutes.gateway.networking.k8s.io" => vec![("sessionPersistence", session_persistence())],
        _ => return,
    };
    let Some(rule) = schema.pointer_mut(RULE).and_then(Value::as_object_mut) else { return };
    for (field, schema) in fields {
        rule.entry(field).or_insert(schema);
    }
}

/// GEP-1731.
fn retry() -> Value {
    json!({
        "description": "When a request is tried again, and how often. Connections that fail are always a reason. Experimental (GEP-1731).",
        "properties": {
            "attempts": {"description": "How often a request is tried again at most.", "type": "integer"},
            "backoff": {"description": "Least time to wait before the first retry; later ones wait longer.", "pattern": DURATION, "type": "string"},
            "codes": {
                "description": "Statuses of responses after which the request is tried again.",
                "items": {"maximum": 599, "minimum": 400, "type": "integer"}, "type": "array", "x-kubernetes-list-type": "atomic",
            },
        },
        "type": "object",
    })
}

/// GEP-1619.
fn session_persistence() -> Value {
    json!({
        "description": "Requests of one session go to one backend. Experimental (GEP-1619).",
        "properties": {
            "absoluteTimeout": {"description": "How long a session lasts at most.", "pattern": DURATION, "type": "string"},
            "cookie": {
                "description": "The cookie of type Cookie.",
                "properties": {
                    "lifetimeType": {"description": "Whether the cookie ends with the browser.", "enum": ["Permanent", "Session"], "type": "string"},
                    "name": {"description": "Name of the cookie.", "maxLength": 256, "minLength": 1, "type": "string"},
                    "path": {"description": "Path of the cookie.", "maxLength": 1024, "type": "string"},
                },
                "type": "object",
            },
            "cookieConfig": {
                "description": "Details of the cookie.",
                "properties": {"lifetimeType": {"description": "Whether the cookie ends with the browser.", "enum": ["Permanent", "Session"], "type": "string"}},
                "type": "object",
            },
            "header": {
                "description": "The header of type Header.",
                "properties": {"name": {"description": "Name of the header.", "maxLength": 256, "minLength": 1, "type": "string"}},
                "required": ["name"],
                "type": "object",
            },
            "idleTimeout": {"description": "How long a session lasts without requests.", "pattern": DURATION, "type": "string"},
            "sessionName": {"description": "Name of the cookie or header.", "maxLength": 128, "type": "string"},
            "type": {"description": "What holds the session.", "enum": ["Cookie", "Header"], "type": "string"},
        },
        "type": "object",
    })
}
