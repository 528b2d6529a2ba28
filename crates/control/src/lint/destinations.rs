//! DestinationRules: ports and subsets that they speak of, TLS that the other side does not take, rules in each other's way.

use super::findings::Findings;
use super::name;
use super::paths::{self, Labels, items};
use super::scene::{ISTIO, Scene};
use super::security;
use crate::translate::code;
use serde_json::Value;
use std::collections::BTreeMap;
use taut_model::host;
use taut_model::object::Object;
use taut_model::policy::{MtlsMode, ROOT_NAMESPACE};
use taut_model::problem::Severity;
use taut_model::service::{Place, Service};

pub fn check(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    let Some(service) = scene.named(spec["host"].as_str().unwrap_or_default(), &object.namespace) else { return };
    subsets(scene, object, service, findings);
    for (at, policy) in policies(spec) {
        for (at, port) in items(policy, &at, "portLevelSettings") {
            let number = paths::port(&port["port"]["number"]).filter(|number| service.port(*number).is_none());
            if let Some(number) = number {
                let message = format!("{} has no port {number}, so these settings hold for nothing", service.host);
                findings.warn(code::UNKNOWN_REFERENCE, object, &format!("{at}.port.number"), message);
            }
            client_tls(scene, object, service, &at, port, findings);
        }
        client_tls(scene, object, service, &at, policy, findings);
    }
    let everywhere = [service.namespace.as_str(), ROOT_NAMESPACE].contains(&object.namespace.as_str());
    if service.place == Place::Mesh && !everywhere {
        let message = format!(
            "{} is in the namespace {}: clients of other namespaces than {} do not see this",
            service.host, service.namespace, object.namespace
        );
        findings.info(name::SEEN_FROM_ONE_NAMESPACE, object, "spec.host", message);
    }
}

/// The policy of the rule and of each subset.
fn policies(spec: &Value) -> impl Iterator<Item = (String, &Value)> {
    let own = ("spec.trafficPolicy".to_owned(), &spec["trafficPolicy"]);
    let of_subsets = items(spec, "spec", "subsets").map(|(at, subset)| (format!("{at}.trafficPolicy"), &subset["trafficPolicy"]));
    std::iter::once(own).chain(of_subsets).filter(|(_, policy)| policy.is_object())
}

fn subsets(scene: &Scene<'_>, object: &Object, service: &Service, findings: &mut Findings) {
    let subsets: Vec<(String, &str, Labels)> = items(&object.value["spec"], "spec", "subsets")
        .map(|(at, subset)| (at, subset["name"].as_str().unwrap_or_default(), paths::labels(&subset["labels"])))
        .collect();
    let behind = scene.behind(service);
    for (index, (at, called, labels)) in subsets.iter().enumerate() {
        if labels.is_empty() {
            findings.info(name::SUBSET_OF_ALL, object, at, format!("{called:?} has no labels, so it is all of {}", service.host));
            continue;
        }
        for (_, other, others) in subsets[..index].iter().filter(|(_, _, others)| !others.is_empty()) {
            let both = |labels: &Labels| behind.iter().filter(|worker| paths::covers(labels, &worker.labels)).count();
            let shared = behind.iter().filter(|worker| paths::covers(labels, &worker.labels) && paths::covers(others, &worker.labels)).count();
            if labels == others {
                findings.warn(name::OVERLAPPING_SUBSETS, object, at, format!("{called:?} and {other:?} have the same labels"));
            } else if shared > 0 {
                let message = format!("{called:?} and {other:?} share {shared} of {} workloads", both(labels).max(both(others)));
                findings.warn(name::OVERLAPPING_SUBSETS, object, at, message);
            }
        }
    }
}

/// Workloads that take mutual TLS only are not reached by anything else.
fn client_tls(scene: &Scene<'_>, object: &Object, service: &Service, at: &str, policy: &Value, findings: &mut Findings) {
    let Some(mode @ ("DISABLE" | "SIMPLE" | "MUTUAL")) = policy["tls"]["mode"].as_str() else { return };
    let behind = scene.behind(service);
    let strict = |labels: &Labels| security::mode(scene, &service.namespace, labels).filter(|(mode, _)| *mode == MtlsMode::Strict);
    let demands: Option<Vec<_>> = behind.iter().map(|worker| strict(&worker.labels)).collect();
    if let Some((_, by)) = demands.and_then(|all| all.into_iter().next()).filter(|_| service.place == Place::Mesh) {
        let place = by.location.as_ref().map_or_else(String::new, |location| format!(" ({location})"));
        let message = format!("clients use {mode}, and {}{place} takes mutual TLS only", by.object);
        findings.add(Severity::Error, name::TLS_MODES_FIGHT, object, &format!("{at}.tls.mode"), message, None);
    }
}

/// Several rules of one namespace for one host are merged: the first by name gives the policy, and of subsets with one name the first counts.
pub fn conflicts(scene: &Scene<'_>, findings: &mut Findings) {
    let mut by_host: BTreeMap<(&str, String), Vec<&Object>> = BTreeMap::new();
    for object in scene.of_kind(ISTIO, "DestinationRule") {
        let host = host::resolve(object.value["spec"]["host"].as_str().unwrap_or_default(), &object.namespace);
        by_host.entry((&object.namespace, host)).or_default().push(object);
    }
    for ((_, host), mut objects) in by_host.into_iter().filter(|(_, objects)| objects.len() > 1) {
        objects.sort_by_key(|object| &object.name);
        let (first, others) = (objects[0], &objects[1..]);
        let mut defined: BTreeMap<&str, &Object> = names(first).map(|(_, name)| (name, first)).collect();
        for object in others {
            if object.value["spec"]["trafficPolicy"].is_object() {
                let message = format!("not followed: {} gives the policy for {host}, being first by name", first.reference());
                findings.warn(code::CONFLICT, object, "spec.trafficPolicy", message);
            }
            for (at, name) in names(object) {
                match defined.get(name) {
                    Some(by) => findings.warn(code::CONFLICT, object, &at, format!("not followed: {} defines the subset {name:?}", by.reference())),
                    None => drop(defined.insert(name, object)),
                }
            }
        }
    }
}

fn names(object: &Object) -> impl Iterator<Item = (String, &str)> {
    items(&object.value["spec"], "spec", "subsets").filter_map(|(at, subset)| Some((format!("{at}.name"), subset["name"].as_str()?)))
}
