//! One backend reference of a route, in a rule or in a mirror.

use super::api;
use crate::translate::reader::Reader;
use taut_model::host::{resolve, service_host};
use taut_model::route::{Backend, HeaderChange};

/// A reference as written; whether it can be followed is found out by `resolve`, when all objects are known.
pub fn backend(reader: &mut Reader<'_>, at: &str, reference: &api::BackendRef) -> Backend {
    let namespace = reference.namespace.as_deref().unwrap_or(reader.namespace());
    let (host, unresolved) = match (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Service")) {
        ("" | "core", "Service") => (service_host(&reference.name, namespace), None),
        // Istio's way to name a ServiceEntry's host.
        ("networking.istio.io", "Hostname") => (resolve(&reference.name, namespace), None),
        (group, kind) => (reference.name.clone(), Some(format!("kind {kind} of group {group:?} is not a backend that the mesh knows"))),
    };
    if unresolved.is_none() && reference.port.is_none() {
        reader.invalid(&format!("{at}.port"), "is missing: a Service as backend needs a port");
    }
    Backend {
        origin: reader.origin(at),
        host,
        port: reader.port(&format!("{at}.port"), reference.port),
        subset: None,
        weight: reader.count(&format!("{at}.weight"), reference.weight).unwrap_or(1),
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved,
    }
}
