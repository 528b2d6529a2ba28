//! Services, ServiceEntries, WorkloadEntries and EndpointSlices: protocols, ports and who is behind them.

use super::findings::Findings;
use super::name;
use super::paths::{self, Labels, items};
use super::scene::Scene;
use crate::translate::code;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::service::{AppProtocol, Resolution, Service};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub fn service(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let Some(service) = scene.service(&host::service_host(&object.name, &object.namespace)) else { return };
    for (at, port) in items(&object.value["spec"], "spec", "ports") {
        let number = paths::port(&port["port"]);
        let known = number.and_then(|number| service.port(number));
        if let Some(known) = known.filter(|known| known.protocol == AppProtocol::Unknown) {
            let said = match (port["appProtocol"].as_str(), known.name.as_str()) {
                (Some(said), _) => format!("appProtocol {said:?} is none that the mesh knows"),
                (None, "") => "it has no name".to_owned(),
                (None, name) => format!("{name:?} begins with no protocol"),
            };
            findings.info(name::UNDECLARED_PROTOCOL, object, &at, format!("port {} does not say what it speaks: {said}", known.number));
        }
        if let Some(wanted) = port["targetPort"].as_str().filter(|wanted| wanted.parse::<u16>().is_err()) {
            target_port(scene, object, service, &at, wanted, findings);
        }
    }
}

/// Only where every workload behind the Service declares its ports: what is not declared may listen all the same.
fn target_port(scene: &Scene<'_>, object: &Object, service: &Service, at: &str, wanted: &str, findings: &mut Findings) {
    let behind = scene.behind(service);
    let names: Option<Vec<_>> = behind.iter().map(|worker| worker.port_names.as_ref()).collect();
    let Some(names) = names.filter(|names| !names.is_empty() && names.iter().all(|names| !names.contains(wanted))) else { return };
    let known: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    let help = crate::translate::nearest(wanted, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
    let whose = behind.first().and_then(|worker| worker.announced_by.as_deref()).unwrap_or("the workload");
    let message = format!("{whose} declares no port {wanted:?}");
    findings.add(Severity::Warning, name::UNKNOWN_TARGET_PORT, object, &format!("{at}.targetPort"), message, help);
}

/// Services that send different protocols to one port of the same workloads.
pub fn disagreements(scene: &Scene<'_>, findings: &mut Findings) {
    let mut by_namespace: BTreeMap<&str, Vec<(&Object, Labels)>> = BTreeMap::new();
    for object in scene.of_kind("", "Service") {
        let selector = paths::labels(&object.value["spec"]["selector"]);
        if !selector.is_empty() {
            by_namespace.entry(&object.namespace).or_default().push((object, selector));
        }
    }
    let mut compared: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for worker in scene.workers.all() {
        let services = by_namespace.get(worker.namespace.as_str()).into_iter().flatten();
        let serving: Vec<&Object> = services.filter(|(_, selector)| paths::covers(selector, &worker.labels)).map(|(object, _)| *object).collect();
        for (index, object) in serving.iter().enumerate() {
            for other in &serving[..index] {
                if compared.insert((&object.namespace, &object.name, &other.name)) {
                    compare(object, other, worker.announced_by.as_deref().unwrap_or("one workload"), findings);
                }
            }
        }
    }
}

fn compare(object: &Object, other: &Object, whose: &str, findings: &mut Findings) {
    for (at, port) in items(&object.value["spec"], "spec", "ports") {
        let mut theirs = items(&other.value["spec"], "spec", "ports").map(|(_, port)| port);
        let clash = theirs.find(|other| target(port) == target(other) && tellable(protocol(port), protocol(other)));
        if let Some(clash) = clash {
            let (one, two) = (protocol(port), protocol(clash));
            let message = format!("{one:?} to port {} of {whose}, to which {} sends {two:?}", target(port), other.reference());
            findings.warn(name::SERVICES_DISAGREE, object, &at, message);
        }
    }
}

/// Whether the same bytes would be read in two ways. gRPC is HTTP/2, and one that is not declared is whatever comes.
fn tellable(one: AppProtocol, other: AppProtocol) -> bool {
    let read_as = |protocol| if protocol == AppProtocol::Grpc { AppProtocol::Http2 } else { protocol };
    one != AppProtocol::Unknown && other != AppProtocol::Unknown && read_as(one) != read_as(other)
}

fn protocol(port: &Value) -> AppProtocol {
    AppProtocol::declared(port["appProtocol"].as_str(), port["name"].as_str().unwrap_or_default())
}

/// The workload's port as it is written: a number or a name.
fn target(port: &Value) -> String {
    let written = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
    written.as_str().map_or_else(|| written.to_string(), str::to_owned)
}

pub fn entry(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    let hosts = || paths::texts(spec, "spec", "hosts").filter_map(|(_, written)| scene.named(written, &object.namespace));
    let own = || hosts().find(|service| service.origin.object == object.reference());
    let Some(service) = own() else { return };
    let plain = service.ports.iter().position(|port| port.protocol == AppProtocol::Tcp).filter(|_| service.addresses.is_empty());
    if let Some(index) = plain {
        let message = format!("{} speaks TCP and the entry has no addresses", service.ports[index].number);
        findings.warn(name::ADDRESSES_REQUIRED, object, &format!("spec.ports[{index}]"), message);
    }
    let selector = paths::labels(&spec["workloadSelector"]["labels"]);
    let listed = items(spec, "spec", "endpoints").next().is_some();
    if service.resolution == Resolution::Static && !listed && selector.is_empty() {
        findings.warn(name::NO_ENDPOINT, object, "spec.resolution", "STATIC without endpoints and without a workloadSelector");
    }
    if !selector.is_empty() && scene.workers.selected(&object.namespace, &selector).next().is_none() {
        let message = format!("no workload has {}, so requests to {} are refused", paths::shown(&selector), service.host);
        findings.warn(code::SELECTS_NOTHING, object, "spec.workloadSelector", message);
    }
}

pub fn workload(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let Some(workload) = scene.translation.workloads.get(&format!("{}/{}", object.namespace, object.name)) else { return };
    if workload.serves.is_empty() && !scene.translation.services.is_empty() {
        let labels = paths::shown(&workload.labels);
        let message = if labels.is_empty() { "it has no labels".to_owned() } else { format!("nobody selects {labels}") };
        findings.info(name::SELECTED_BY_NOBODY, object, "spec.labels", message);
    }
}

pub fn slice(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let Some(name) = object.value["metadata"]["labels"][SERVICE_NAME].as_str() else {
        return findings.warn(code::NO_EFFECT, object, "metadata.labels", format!("no label {SERVICE_NAME}, so it belongs to no Service"));
    };
    if scene.service(&host::service_host(name, &object.namespace)).is_none() {
        let at = format!("metadata.labels[{SERVICE_NAME:?}]");
        findings.warn(code::UNKNOWN_REFERENCE, object, &at, format!("there is no Service {}/{name}", object.namespace));
    }
}
