//! Fields and versions that their owners have replaced.

use super::findings::Findings;
use super::name;
use serde_json::Value;
use taut_model::object::Object;

/// Kind, field, and what has taken its place.
const FIELDS: &[(&str, &str, &str)] = &[
    ("VirtualService", "mirrorPercent", "mirrorPercentage"),
    ("VirtualService", "mirror_percent", "mirrorPercentage"),
    ("VirtualService", "percent", "percentage"),
    ("DestinationRule", "consecutiveErrors", "consecutive5xxErrors"),
    ("DestinationRule", "minimumRingSize", "ringHash.minimumRingSize"),
];

pub fn check(object: &Object, findings: &mut Findings) {
    let written = object.value["apiVersion"].as_str().unwrap_or_default();
    let version = written.rsplit('/').next().unwrap_or_default();
    if version.contains("alpha") && object.kind.versions.contains(&"v1") && object.kind.group == "gateway.networking.k8s.io" {
        findings.info(name::DEPRECATED, object, "apiVersion", format!("{version} has been replaced by v1"));
    }
    walk(object, &object.value["spec"], "spec", "", findings);
}

fn walk(object: &Object, node: &Value, at: &str, inside: &str, findings: &mut Findings) {
    match node {
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = taut_model::path::field(at, field);
                let known = FIELDS.iter().find(|(kind, name, _)| *kind == object.kind.kind && name == field);
                // `percent` was replaced in faults; ringHash keeps a field that is deprecated beside it.
                let elsewhere = (field == "percent" && !matches!(inside, "delay" | "abort")) || (field == "minimumRingSize" && inside == "ringHash");
                if let Some((_, _, instead)) = known.filter(|_| !elsewhere) {
                    findings.info(name::DEPRECATED, object, &path, format!("replaced by {instead}"));
                }
                walk(object, value, &path, field, findings);
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| walk(object, item, &format!("{at}[{index}]"), inside, findings)),
        _ => {}
    }
}
