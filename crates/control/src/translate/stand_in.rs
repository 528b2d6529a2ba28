//! What is stored for an object that may not be stored itself: the stricter thing under the same names, marked as such.

use super::reader::Reader;
use super::{gateway_api, istio, settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::schema;

/// Marks a stand-in; the value says what is wrong with the object that it stands in for. An object with this mark is not
/// accepted, so that its status says so; what it then does is what `fail_closed` makes of it.
pub const STANDS_IN: &str = "tautline.dev/stands-in";

/// Notes that an object is a stand-in. A client that wants to store one is told the same.
pub(super) fn note(reader: &mut Reader<'_>) {
    if let Some(why) = reader.annotation(STANDS_IN) {
        let at = format!("metadata.annotations.{STANDS_IN}");
        reader.not_accepted(&at, format_args!("this stands in for an object that is not accepted; mend that one: {why}"));
    }
}

/// Stands in for an object that cannot be accepted: an AuthorizationPolicy that denies everything to the workloads that it
/// selects, a RequestAuthentication that lets no request in to them, a PeerAuthentication that is STRICT for them, a RateLimit that lets nothing in, MeshSettings that close what they would have closed, a DestinationRule of nothing but its demand for TLS. A selector
/// that cannot be read widens to the whole namespace. `None` where the mesh is no weaker without the object, and for a
/// DestinationRule whose host cannot be read. `because` says where the object is written and what is wrong with it.
pub fn stand_in(refused: &Object, because: &str) -> Option<Object> {
    let selecting = |selector: BTreeMap<String, String>, mut spec: Value| {
        if !selector.is_empty() {
            spec["selector"] = json!({"matchLabels": selector});
        }
        spec
    };
    let spec = match (refused.kind.group, refused.kind.kind) {
        ("security.istio.io", "AuthorizationPolicy") if istio::is_dry_run(refused) => return None,
        ("security.istio.io", "AuthorizationPolicy") => attached(refused, json!({"action": "DENY", "rules": [{}]}))?,
        // Without rules it lets every request in; marked as a stand-in, none.
        ("security.istio.io", "RequestAuthentication") => attached(refused, json!({}))?,
        ("security.istio.io", "PeerAuthentication") => selecting(istio::strict(refused).selector, json!({"mtls": {"mode": "STRICT"}})),
        ("tautline.dev", "RateLimit") => {
            let nothing = json!({"limits": [{"name": "not accepted", "requests": 0}]});
            selecting(istio::selector(refused), nothing)
        }
        ("gateway.networking.k8s.io", "BackendTLSPolicy") => gateway_api::guarded_backends_spec(refused),
        ("tautline.dev", "MeshSettings") if settings::closed(refused).is_some() => json!({"egress": {"mode": "RegistryOnly"}}),
        ("networking.istio.io", "DestinationRule") => istio::guarded_spec(refused)?,
        _ => return None,
    };
    let mut stand_in = Object { value: Value::Null, ..refused.clone() };
    stand_in.value = value(&stand_in, because, &spec);
    if !is_valid(&stand_in) {
        // Only its name can be wrong, and the namespace; in one that cannot be, no workload is.
        stand_in.name = name_of_place(refused);
        stand_in.value = value(&stand_in, because, &spec);
    }
    is_valid(&stand_in).then_some(stand_in)
}

/// A specification that is attached to what the refused one is; `None` where that is nobody here.
fn attached(refused: &Object, mut spec: Value) -> Option<Value> {
    let (labels, services) = istio::readable(refused)?;
    if !services.is_empty() {
        let named = |host: &String| json!({"kind": "Service", "name": host.split('.').next().unwrap_or_default()});
        spec["targetRefs"] = services.iter().map(named).collect();
    } else if !labels.is_empty() {
        spec["selector"] = json!({"matchLabels": labels});
    }
    Some(spec)
}

/// A name for an object that has none: where it is written.
fn name_of_place(object: &Object) -> String {
    let place = object.location("").map_or_else(String::new, |location| format!("{}-{}", location.file, location.line));
    let words = place.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    format!("without-a-name-{}", slug.get(slug.len().saturating_sub(200)..).unwrap_or_default())
}

fn is_valid(object: &Object) -> bool {
    schema::check(object.kind, &object.value).iter().all(|problem| problem.severity != Severity::Error)
}

fn value(object: &Object, because: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": object.name, "annotations": {STANDS_IN: because}});
    if object.kind.namespaced {
        metadata["namespace"] = object.namespace.as_str().into();
    }
    json!({"apiVersion": object.kind.api_version(), "kind": object.kind.kind, "metadata": metadata, "spec": spec})
}
