//! Tables from the APIs' texts and the neutral values they must become.

mod assembly;
mod connections;
mod cors;
mod delegates;
mod evaluator;
mod fields;
mod gateway_api;
mod istio_destinations;
mod istio_routes;
mod own_kinds;
mod properties;
mod refer;
mod refused;
mod security;
mod settings;
mod telemetry;

use super::{Settings, Translation, admit, translate};
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::destination::Destination;
use taut_model::kinds::Kind;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::route::{HttpRule, Route};

pub fn object(value: Value) -> Object {
    let (group, version) = value["apiVersion"].as_str().unwrap().rsplit_once('/').unwrap_or(("", "v1"));
    let text = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let kind = Kind {
        group: text(group),
        versions: Box::leak(Box::new([text(version)])),
        kind: text(value["kind"].as_str().unwrap()),
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        has_status: true,
        columns: &[],
    };
    Object {
        kind: Box::leak(Box::new(kind)),
        namespace: value["metadata"]["namespace"].as_str().unwrap_or("default").to_owned(),
        name: value["metadata"]["name"].as_str().unwrap().to_owned(),
        value,
        places: None,
    }
}

pub fn named(kind: &str, name: &str, spec: Value) -> Object {
    let api = match kind {
        "VirtualService" | "DestinationRule" | "ServiceEntry" | "WorkloadEntry" | "Sidecar" => "networking.istio.io/v1",
        "PeerAuthentication" | "AuthorizationPolicy" | "RequestAuthentication" => "security.istio.io/v1",
        "MeshSettings" | "RateLimit" | "HealthCheck" | "ServiceLevelObjective" | "Incident" => "tautline.dev/v1alpha1",
        "XBackendTrafficPolicy" => "gateway.networking.x-k8s.io/v1alpha1",
        "Telemetry" => "telemetry.istio.io/v1",
        "Deployment" => "apps/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Service" | "ServiceAccount" | "Pod" | "Node" => "v1",
        _ => "gateway.networking.k8s.io/v1",
    };
    object(json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

/// The same object in another namespace, created at another time, or with an annotation.
pub fn with(mut object: Object, field: &str, value: Value) -> Object {
    if field == "namespace" {
        object.namespace = value.as_str().unwrap().to_owned();
    }
    object.value["metadata"][field] = value;
    object
}

pub fn service(name: &str) -> Object {
    named("Service", name, json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]}))
}

pub fn settings() -> Settings {
    Settings { trust_domain: "mesh.local".to_owned(), ..Settings::default() }
}

pub fn translated(objects: Vec<Object>) -> Translation {
    translate(&objects.into_iter().map(Arc::new).collect::<Vec<_>>(), &settings())
}

pub fn errors(problems: &[Problem]) -> Vec<&Problem> {
    problems.iter().filter(|problem| problem.severity == Severity::Error).collect()
}

pub fn route_of(object: Object) -> Route {
    let name = super::key(&object.reference());
    assert_eq!(errors(&admit(&object)), Vec::<&Problem>::new());
    translated(vec![service("reviews"), object]).routes[&name].as_ref().clone()
}

/// The one HTTP rule that a VirtualService's rule becomes, with a destination added unless it says what to do.
pub fn http_rule(mut rule: Value) -> HttpRule {
    if ["route", "redirect", "directResponse"].iter().all(|action| rule.get(action).is_none()) {
        rule["route"] = json!([{"destination": {"host": "reviews"}}]);
    }
    let route = route_of(named("VirtualService", "reviews", json!({"hosts": ["reviews"], "http": [rule]})));
    assert_eq!(route.http.len(), 1);
    route.http[0].clone()
}

pub fn destination_of(spec: Value) -> Destination {
    let object = named("DestinationRule", "reviews", spec);
    assert_eq!(errors(&admit(&object)), Vec::<&Problem>::new());
    translated(vec![object]).destinations["DestinationRule/default/reviews"].as_ref().clone()
}

pub fn findings<'a>(translation: &'a Translation, kind: &str, name: &str) -> &'a [Problem] {
    let object = ObjectRef::new(kind, "default", name);
    translation.findings.get(&object).map_or(&[], Vec::as_slice)
}

/// Code and path of what was found about an object, for comparison.
pub fn found(translation: &Translation, kind: &str, name: &str) -> Vec<(&'static str, String)> {
    findings(translation, kind, name).iter().map(|problem| (problem.code, problem.path.clone())).collect()
}

pub const REVIEWS: &str = "reviews.default.svc.cluster.local";
