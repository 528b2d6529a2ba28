//! AuthorizationPolicies and PeerAuthentications: whom they select, and rules that can never match there.

use super::findings::Findings;
use super::name;
use super::paths::{self, Labels, items, texts};
use super::scene::{Scene, created};
use super::workloads::Worker;
use crate::translate::code;
use serde_json::Value;
use std::collections::BTreeMap;
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::policy::{MtlsMode, PeerAuthentication, ROOT_NAMESPACE};
use taut_model::problem::Severity;
use taut_model::service::{AppProtocol, Service};

/// How workloads with these labels take connections, and what says so; the narrowest policy wins. `None` where nothing says, or
/// where it depends on the port.
pub fn mode<'a>(scene: &Scene<'a>, namespace: &str, labels: &Labels) -> Option<(MtlsMode, &'a Origin)> {
    let policies: Vec<&PeerAuthentication> = scene.translation.authentications.values().map(AsRef::as_ref).collect();
    let scopes: [&dyn Fn(&PeerAuthentication) -> bool; 3] = [
        &|policy| policy.namespace == namespace && !policy.selector.is_empty() && paths::covers(&policy.selector, labels),
        &|policy| policy.namespace == namespace && policy.selector.is_empty(),
        &|policy| policy.namespace == ROOT_NAMESPACE && policy.selector.is_empty(),
    ];
    for scope in scopes {
        let holds = policies.iter().filter(|policy| scope(policy)).min_by_key(|policy| (&policy.created, &policy.origin.object));
        match holds {
            Some(policy) if !policy.ports.is_empty() => return None,
            Some(policy) => {
                if let Some(mode) = policy.mode {
                    return Some((mode, &policy.origin));
                }
            }
            None => {}
        }
    }
    None
}

/// Whom a policy is about; the root namespace's are about all namespaces.
fn selected<'a>(scene: &'a Scene<'_>, object: &Object, selector: &'a Labels) -> Vec<&'a Worker> {
    let there = |worker: &&Worker| object.namespace == ROOT_NAMESPACE || worker.namespace == object.namespace;
    scene.workers.all().filter(there).filter(|worker| paths::covers(selector, &worker.labels)).collect()
}

fn selector(scene: &Scene<'_>, object: &Object, findings: &mut Findings) -> Labels {
    let selector = paths::labels(&object.value["spec"]["selector"]["matchLabels"]);
    let none = Labels::new();
    if !selector.is_empty() && selected(scene, object, &selector).is_empty() && !selected(scene, object, &none).is_empty() {
        let message = format!("no workload of the namespace {} has {}", object.namespace, paths::shown(&selector));
        findings.warn(code::SELECTS_NOTHING, object, "spec.selector", message);
    }
    selector
}

pub fn authorization(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    let selector = selector(scene, object, findings);
    let workers = selected(scene, object, &selector);
    let ports = Ports::of(scene, &object.namespace, &selector, &workers);
    let rules: Vec<(String, &Value)> = items(spec, "spec", "rules").collect();
    let plain =
        !workers.is_empty() && workers.iter().all(|worker| matches!(mode(scene, &worker.namespace, &worker.labels), Some((MtlsMode::Disable, _))));
    for (at, rule) in rules {
        for (at, to) in items(rule, &at, "to") {
            let (at, operation) = (format!("{at}.operation"), &to["operation"]);
            for (at, port) in texts(operation, &at, "ports") {
                ports.check(object, &at, port.parse().ok(), findings);
            }
            let http = ["methods", "notMethods", "paths", "notPaths", "hosts", "notHosts"].into_iter().find(|field| !operation[*field].is_null());
            if let Some(field) = http.filter(|_| ports.only_bytes()) {
                findings.warn(name::HTTP_RULE_ON_TCP, object, &format!("{at}.{field}"), "the workloads that are selected serve TCP only");
            }
        }
        for (at, condition) in items(rule, &at, "when").filter(|_| ports.only_bytes()) {
            if condition["key"].as_str().is_some_and(|key| key.starts_with("request.")) {
                findings.warn(name::HTTP_RULE_ON_TCP, object, &format!("{at}.key"), "the workloads that are selected serve TCP only");
            }
        }
        for (at, from) in items(rule, &at, "from") {
            source(scene, object, &format!("{at}.source"), &from["source"], plain, findings);
        }
    }
}

fn source(scene: &Scene<'_>, object: &Object, at: &str, source: &Value, plain: bool, findings: &mut Findings) {
    let identities = ["principals", "namespaces", "serviceAccounts"].into_iter().find(|field| !source[*field].is_null());
    if let Some(field) = identities.filter(|_| plain) {
        let message = "mutual TLS is off for the workloads that are selected, so nobody has one";
        findings.warn(name::PRINCIPAL_WITHOUT_MTLS, object, &format!("{at}.{field}"), message);
    }
    for (at, namespace) in ["namespaces", "notNamespaces"].into_iter().flat_map(|field| texts(source, at, field)) {
        if !namespace.contains('*') && !scene.has_namespace(namespace) {
            let message = format!("nothing of these objects is in the namespace {namespace:?}");
            findings.add(Severity::Info, code::UNKNOWN_REFERENCE, object, &at, message, scene.near_namespace(namespace));
        }
    }
}

pub fn authentication(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let selector = selector(scene, object, findings);
    let ports = Ports::of(scene, &object.namespace, &selector, &selected(scene, object, &selector));
    for port in object.value["spec"]["portLevelMtls"].as_object().into_iter().flat_map(|ports| ports.keys()) {
        ports.check(object, &format!("spec.portLevelMtls.{port}"), port.parse().ok(), findings);
    }
}

/// Two for the same workloads: the older one counts.
pub fn conflicts(scene: &Scene<'_>, findings: &mut Findings) {
    let mut by_scope: BTreeMap<(&str, Labels), Vec<&Object>> = BTreeMap::new();
    for object in scene.of_kind("security.istio.io", "PeerAuthentication") {
        let selector = paths::labels(&object.value["spec"]["selector"]["matchLabels"]);
        by_scope.entry((&object.namespace, selector)).or_default().push(object);
    }
    for mut objects in by_scope.into_values() {
        objects.sort_by_key(|object| created(object));
        for object in objects.iter().skip(1) {
            let message = format!("not followed: {} is about the same workloads, and older or first by name", objects[0].reference());
            findings.warn(code::CONFLICT, object, "spec", message);
        }
    }
}

/// The ports at which workloads are served, and those of the services before them.
#[derive(Default)]
struct Ports {
    /// The workload's own port and what it speaks; `None`: named, and not looked up.
    own: Vec<(Option<u16>, AppProtocol)>,
    /// The service's port, and the workload's behind it.
    of_services: BTreeMap<u16, u16>,
}

impl Ports {
    /// A policy without a selector is about every Service of its namespace: asking every workload for its own would take their product.
    fn of(scene: &Scene<'_>, namespace: &str, selector: &Labels, workers: &[&Worker]) -> Self {
        let mut ports = Self::default();
        if selector.is_empty() {
            scene.selecting(namespace).for_each(|(service, object, _)| ports.serve(service, object));
            return ports;
        }
        for worker in workers {
            for (service, object, selects) in scene.selecting(&worker.namespace) {
                if paths::covers(selects, &worker.labels) {
                    ports.serve(service, object);
                }
            }
        }
        ports
    }

    fn serve(&mut self, service: &Service, object: &Object) {
        for (_, port) in items(&object.value["spec"], "spec", "ports") {
            let Some(number) = paths::port(&port["port"]) else { continue };
            let target = if port["targetPort"].is_null() { Some(number) } else { paths::port(&port["targetPort"]) };
            let protocol = service.port(number).map_or(AppProtocol::Unknown, |port| port.protocol);
            self.own.push((target, protocol));
            if let Some(target) = target {
                self.of_services.insert(number, target);
            }
        }
    }

    fn only_bytes(&self) -> bool {
        !self.own.is_empty() && self.own.iter().all(|(_, protocol)| matches!(protocol, AppProtocol::Tcp | AppProtocol::Tls))
    }

    /// Policies speak of the workload's own ports (Istio: "ports of the workload").
    fn check(&self, object: &Object, at: &str, port: Option<u16>, findings: &mut Findings) {
        let Some(port) = port else { return };
        let own = self.own.iter().any(|(own, _)| own.is_none_or(|own| own == port));
        if let Some(target) = self.of_services.get(&port).filter(|_| !own) {
            let help = Some(format!("write {target}"));
            let message = format!("{port} is the port of the Service, and policies are about the workload's own, {target}");
            findings.add(Severity::Warning, code::UNKNOWN_REFERENCE, object, at, message, help);
        }
    }
}
