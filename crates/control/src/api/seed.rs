//! The namespaces that are there from the start.

use super::Api;
use crate::store::StoreError;
use serde_json::json;
use taut_model::kinds;
use taut_model::object::Object;

/// `istio-system` is where Istio's users put what holds for the whole mesh.
const NAMESPACES: [&str; 3] = ["default", "istio-system", "kube-system"];

/// Creates the namespaces that clients take for granted; those that are there already are left as they are.
///
/// # Errors
/// When the store cannot write.
pub fn seed(api: &Api) -> Result<(), StoreError> {
    let Some(kind) = kinds::by_plural("", "namespaces") else { return Ok(()) };
    for name in NAMESPACES {
        let value = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}, "status": {"phase": "Active"},
        });
        let object = Object { kind, namespace: String::new(), name: name.to_owned(), value, places: None };
        match api.store.create(object, &api.own_write("tautline", true)) {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
