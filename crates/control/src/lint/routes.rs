//! Routes: hosts, gateways, clients and ports that they speak of. What their rules do is in `actions`.

use super::actions;
use super::findings::Findings;
use super::gateways;
use super::name;
use super::paths::{self, items, texts};
use super::patterns;
use super::scene::Scene;
use super::shadow;
use crate::translate::code;
use serde_json::Value;
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::service::{AppProtocol, Service};

const MESH: &str = "mesh";

pub fn virtual_service(scene: &Scene<'_>, object: &Object, findings: &mut Findings) {
    let spec = &object.value["spec"];
    repeated_hosts(object, findings);
    gateways::bound(scene, object, findings);
    shadow::virtual_service(object, findings);
    let named: Vec<&str> = texts(spec, "spec", "gateways").map(|(_, name)| name).collect();
    let for_mesh = named.is_empty() || named.contains(&MESH);
    let parents: Vec<&Service> =
        texts(spec, "spec", "hosts").filter_map(|(_, written)| scene.named(written, &object.namespace)).filter(|_| for_mesh).collect();
    wrong_protocol(object, &parents, findings);
    for field in ["http", "tls", "tcp"] {
        for (at, rule) in items(spec, "spec", field) {
            for (at, matching) in items(rule, &at, "match") {
                patterns::istio(object, &at, matching, findings);
                client(scene, object, &at, matching, findings);
                match_port(object, &parents, &at, matching, findings);
            }
            actions::rule(scene, object, &parents, &at, rule, findings);
        }
    }
}

pub fn standard(_: &Scene<'_>, object: &Object, findings: &mut Findings) {
    shadow::standard(object, findings);
    for (at, rule) in items(&object.value["spec"], "spec", "rules") {
        for (at, matching) in items(rule, &at, "matches") {
            patterns::standard(object, &at, matching, findings);
        }
        actions::standard(object, &at, rule, findings);
    }
}

/// The same host twice, in short and in full or the same way.
fn repeated_hosts(object: &Object, findings: &mut Findings) {
    let mut seen: Vec<(String, String)> = Vec::new();
    for (at, written) in texts(&object.value["spec"], "spec", "hosts") {
        let host = host::resolve(written, &object.namespace);
        match seen.iter().find(|(known, _)| *known == host) {
            Some((_, first)) => findings.warn(name::REPEATED_HOST, object, &at, format!("{written:?} is {host}, which {first} is too")),
            None => seen.push((host, at)),
        }
    }
}

/// Rules for HTTP mean nothing to ports that do not speak it.
fn wrong_protocol(object: &Object, parents: &[&Service], findings: &mut Findings) {
    if items(&object.value["spec"], "spec", "http").next().is_none() {
        return;
    }
    let bytes = |service: &&&Service| {
        !service.ports.is_empty() && service.ports.iter().all(|port| matches!(port.protocol, AppProtocol::Tcp | AppProtocol::Tls))
    };
    if let Some(service) = parents.iter().find(bytes) {
        let message = format!("{} speaks no HTTP on any port, so rules for HTTP have no effect there", service.host);
        let help = Some("name the port http (or set appProtocol), or write tcp rules".to_owned());
        findings.add(Severity::Warning, code::NO_EFFECT, object, "spec.http", message, help);
    }
}

fn client(scene: &Scene<'_>, object: &Object, at: &str, matching: &Value, findings: &mut Findings) {
    if let Some(namespace) = matching["sourceNamespace"].as_str().filter(|namespace| !scene.has_namespace(namespace)) {
        let message = format!("nothing of these objects is in the namespace {namespace:?}");
        return findings.add(
            Severity::Warning,
            name::NO_SUCH_CLIENT,
            object,
            &format!("{at}.sourceNamespace"),
            message,
            scene.near_namespace(namespace),
        );
    }
    let wanted = paths::labels(&matching["sourceLabels"]);
    let nobody = || !scene.workers.all().any(|worker| paths::covers(&wanted, &worker.labels));
    if !wanted.is_empty() && scene.workers.all().next().is_some() && nobody() {
        findings.warn(name::NO_SUCH_CLIENT, object, &format!("{at}.sourceLabels"), format!("no workload has {}", paths::shown(&wanted)));
    }
}

fn match_port(object: &Object, parents: &[&Service], at: &str, matching: &Value, findings: &mut Findings) {
    let Some(port) = paths::port(&matching["port"]).filter(|_| !parents.is_empty()) else { return };
    if !parents.iter().any(|service| service.port(port).is_some()) {
        let names: Vec<&str> = parents.iter().map(|service| service.host.as_str()).collect();
        findings.warn(code::UNKNOWN_REFERENCE, object, &format!("{at}.port"), format!("{} has no port {port}", names.join(", ")));
    }
}
