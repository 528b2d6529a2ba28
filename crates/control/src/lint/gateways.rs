//! Istio's Gateways and Sidecars, and the routes that are bound to gateways: names, hosts, ports, certificates.

use super::findings::Findings;
use super::name;
use super::paths::{self, Labels, items, texts};
use super::scene::{ISTIO, Scene};
use crate::translate::{code, nearest};
use serde_json::Value;
use std::collections::BTreeMap;
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::Severity;

const MESH: &str = "mesh";

/// The gateways that a VirtualService names.
pub fn bound(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    let gateways = scene.of_kind(ISTIO, "Gateway");
    let mut found: Vec<&Object> = Vec::new();
    let mut elsewhere = false;
    for (at, written) in texts(spec, "spec", "gateways") {
        let (namespace, name) = written.split_once('/').unwrap_or((&object.namespace, written));
        match gateways.iter().find(|gateway| gateway.namespace == namespace && gateway.name == name) {
            _ if written == MESH => elsewhere = true,
            Some(gateway) => found.push(gateway),
            None => {
                elsewhere = true;
                let known = gateways.iter().filter(|gateway| gateway.namespace == namespace).map(|gateway| gateway.name.as_str());
                let help = nearest(name, known).map(|near| format!("did you mean {near:?}?"));
                let message = format!("there is no Gateway {namespace}/{name}");
                findings.add(Severity::Warning, code::UNKNOWN_REFERENCE, object, &at, message, help);
            }
        }
    }
    if found.is_empty() || elsewhere {
        return;
    }
    for (at, wanted) in texts(spec, "spec", "hosts") {
        let offered = found.iter().flat_map(|gateway| hosts(gateway));
        if !offered.clone().any(|offer| host::matches(offer, wanted) || host::matches(wanted, offer)) {
            let offered: Vec<&str> = offered.collect();
            findings.warn(name::HOST_NOT_IN_GATEWAY, object, &at, format!("{wanted:?} is none of the gateway's hosts {}", offered.join(", ")));
        }
    }
}

/// Without the namespace that a host may be prefixed with.
fn hosts(gateway: &Object) -> impl Iterator<Item = &str> + Clone {
    let servers = gateway.value["spec"]["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let hosts = servers.iter().flat_map(|server| server["hosts"].as_array().map(Vec::as_slice).unwrap_or_default());
    hosts.filter_map(Value::as_str).map(|host| host.rsplit_once('/').map_or(host, |(_, host)| host))
}

pub fn gateway(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    let selector = paths::labels(&spec["selector"]);
    nobody(scene, object, &selector, findings);
    let secrets: Vec<&str> =
        scene.of_kind("", "Secret").iter().filter(|secret| secret.namespace == object.namespace).map(|secret| secret.name.as_str()).collect();
    let ports = open_ports(scene, &selector);
    for (at, server) in items(spec, "spec", "servers") {
        let wanted = server["tls"]["credentialName"].as_str().filter(|wanted| !secrets.is_empty() && !secrets.contains(wanted));
        if let Some(wanted) = wanted {
            let help = nearest(wanted, secrets.iter().copied()).map(|near| format!("did you mean {near:?}?"));
            let message = format!("there is no Secret {}/{wanted}", object.namespace);
            findings.add(Severity::Warning, code::UNKNOWN_REFERENCE, object, &format!("{at}.tls.credentialName"), message, help);
        }
        if let Some(number) = paths::port(&server["port"]["number"]).filter(|number| !ports.is_empty() && !ports.contains(number)) {
            let message = format!("no Service of the gateway's workloads has the port {number}");
            findings.warn(name::GATEWAY_PORT, object, &format!("{at}.port.number"), message);
        }
    }
}

/// Gateways mostly run elsewhere: it is a mistake only where others carry the same label with another value.
fn nobody(scene: &Scene<'_>, object: &Object, selector: &Labels, findings: &mut Findings) {
    let mut workers = scene.workers.all();
    let alike = |labels: &Labels| selector.iter().all(|(name, _)| labels.contains_key(name));
    let found = scene.workers.all().any(|worker| paths::covers(selector, &worker.labels));
    if !selector.is_empty() && !found && workers.any(|worker| alike(&worker.labels)) {
        findings.warn(code::SELECTS_NOTHING, object, "spec.selector", format!("no workload has {}", paths::shown(selector)));
    }
}

/// What the Services before the gateway's workloads open, by either side's number.
fn open_ports(scene: &Scene<'_>, selector: &Labels) -> Vec<u16> {
    let workers = scene.workers.all().filter(|worker| !selector.is_empty() && paths::covers(selector, &worker.labels));
    let mut ports = Vec::new();
    for worker in workers {
        for object in scene.of_kind("", "Service").iter().filter(|object| object.namespace == worker.namespace) {
            let selects = paths::labels(&object.value["spec"]["selector"]);
            if !selects.is_empty() && paths::covers(&selects, &worker.labels) {
                let numbers = items(&object.value["spec"], "spec", "ports").flat_map(|(_, port)| [&port["port"], &port["targetPort"]]);
                ports.extend(numbers.filter_map(paths::port));
            }
        }
    }
    ports
}

/// Gateways of the same workloads that claim the same, and Sidecars of the same workloads.
pub fn conflicts(scene: &Scene<'_>, findings: &mut Findings) {
    let mut claims: BTreeMap<(Labels, u16, &str), &Object> = BTreeMap::new();
    let mut certificates: BTreeMap<(Labels, &str, &str), &Object> = BTreeMap::new();
    for gateway in scene.of_kind(ISTIO, "Gateway") {
        let selector = paths::labels(&gateway.value["spec"]["selector"]);
        for (at, server) in items(&gateway.value["spec"], "spec", "servers") {
            let number = paths::port(&server["port"]["number"]).unwrap_or_default();
            for (at, host) in texts(server, &at, "hosts") {
                match claims.get(&(selector.clone(), number, host)) {
                    Some(first) if first.reference() != gateway.reference() => {
                        let message = format!("{} claims {host:?} on port {number} of the same workloads", first.reference());
                        findings.warn(code::CONFLICT, gateway, &at, message);
                    }
                    Some(_) => {}
                    None => drop(claims.insert((selector.clone(), number, host), gateway)),
                }
            }
            let Some(certificate) = server["tls"]["credentialName"].as_str() else { continue };
            match certificates.get(&(selector.clone(), &gateway.namespace, certificate)) {
                Some(first) if first.reference() != gateway.reference() => {
                    let message = format!("{certificate:?} is {}'s certificate, too", first.reference());
                    findings.warn(name::REPEATED_CERTIFICATE, gateway, &format!("{at}.tls.credentialName"), message);
                }
                Some(_) => {}
                None => drop(certificates.insert((selector.clone(), &gateway.namespace, certificate), gateway)),
            }
        }
    }
    sidecars(scene, findings);
}

fn sidecars(scene: &Scene<'_>, findings: &mut Findings) {
    let mut first: BTreeMap<(&str, Labels), &Object> = BTreeMap::new();
    for sidecar in scene.of_kind(ISTIO, "Sidecar") {
        let selector = paths::labels(&sidecar.value["spec"]["workloadSelector"]["labels"]);
        match first.get(&(sidecar.namespace.as_str(), selector.clone())) {
            Some(other) => {
                let message = format!("{} is about the same workloads", other.reference());
                findings.warn(code::CONFLICT, sidecar, "spec.workloadSelector", message);
            }
            None => drop(first.insert((&sidecar.namespace, selector), sidecar)),
        }
    }
}
