//! What is probably not meant (`taut analyze`), beyond what a translation finds by itself: rules that no request reaches, settings that
//! fight, selectors that select nobody. Works on objects as they are written, so that it says what the user can see. None of
//! this keeps an object from being accepted.

mod actions;
mod age;
mod annotations;
mod catalogue;
mod destinations;
mod findings;
mod gateways;
mod paths;
mod patterns;
mod routes;
mod scene;
mod security;
mod services;
mod shadow;
mod suppress;
mod unserved;
mod workloads;

pub use catalogue::{CATALOGUE, Entry, find, name};
pub use suppress::{Suppression, annotated};

use crate::translate::Translation;
use findings::Findings;
use scene::Scene;
use std::sync::Arc;
use taut_model::object::Object;
use taut_model::problem::Problem;

/// All that is found in objects and what was made of them: the translation's own findings, and those of the checks here.
pub fn lint(objects: &[Arc<Object>], translation: &Translation) -> Vec<Problem> {
    let scene = Scene::new(objects, translation);
    let mut findings = Findings::default();
    for object in scene.objects() {
        annotations::check(object, &mut findings);
        age::check(object, &mut findings);
        match (object.kind.group, object.kind.kind) {
            ("networking.istio.io", "VirtualService") => routes::virtual_service(&scene, object, &mut findings),
            ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => routes::standard(&scene, object, &mut findings),
            ("networking.istio.io", "DestinationRule") => destinations::check(&scene, object, &mut findings),
            ("networking.istio.io", "ServiceEntry") => services::entry(&scene, object, &mut findings),
            ("networking.istio.io", "WorkloadEntry") => services::workload(&scene, object, &mut findings),
            ("", "Service") => services::service(&scene, object, &mut findings),
            ("discovery.k8s.io", "EndpointSlice") => services::slice(&scene, object, &mut findings),
            ("security.istio.io", "AuthorizationPolicy") => security::authorization(&scene, object, &mut findings),
            ("security.istio.io", "PeerAuthentication") => security::authentication(&scene, object, &mut findings),
            ("networking.istio.io", "Gateway") => gateways::gateway(&scene, object, &mut findings),
            _ => {}
        }
    }
    destinations::conflicts(&scene, &mut findings);
    security::conflicts(&scene, &mut findings);
    gateways::conflicts(&scene, &mut findings);
    services::disagreements(&scene, &mut findings);
    unserved::check(&scene, &mut findings);
    let own = translation.findings.values().flatten().cloned();
    own.chain(findings.finish()).collect()
}

#[cfg(test)]
mod tests;
