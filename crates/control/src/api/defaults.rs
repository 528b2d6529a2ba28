//! Values that Kubernetes fills in when a client leaves them out, for the kinds where clients rely on it.

use serde_json::{Value, json};
use taut_model::object::Object;

/// No address is given to a Service: the mesh finds services by name.
pub(crate) fn fill(object: &mut Object) {
    match object.kind.kind {
        "Service" => fill_service(&mut object.value),
        "Namespace" => fill_namespace(&object.name, &mut object.value),
        _ => {}
    }
}

fn fill_service(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.entry("type").or_insert_with(|| json!("ClusterIP"));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
        if let Some(number) = port.get("port").cloned() {
            port.entry("targetPort").or_insert(number);
        }
    }
}

/// Selectors of namespaces go by this label.
fn fill_namespace(name: &str, namespace: &mut Value) {
    let labels = namespace.get_mut("metadata").and_then(Value::as_object_mut).map(|metadata| metadata.entry("labels").or_insert_with(|| json!({})));
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.insert("kubernetes.io/metadata.name".into(), json!(name));
    }
}
