//! The workloads of a mesh that does not run: those that Deployments and Pods announce, those that a test names, and callers. Each
//! becomes the WorkloadEntry that its sidecar would register, with an address of a network that is set apart for tests (RFC 2544).

use super::written::{Caller, WrittenWorkload};
use crate::registry::PEER;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use taut_model::kinds;
use taut_model::object::Object;

/// Hands out addresses.
pub struct Hands {
    next: u32,
    callers: usize,
    /// Names by which Services look for ports of their workloads.
    sought: BTreeSet<String>,
}

const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Where a sidecar takes mutual TLS.
const PEER_PORT: u16 = 15008;

struct Described<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: Value,
    service_account: Option<&'a str>,
    ports: Value,
    meshed: bool,
}

impl Hands {
    pub fn new(objects: &[Arc<Object>]) -> Self {
        let services = objects.iter().filter(|object| (object.kind.group, object.kind.kind) == ("", "Service"));
        let ports = services.flat_map(|service| service.value["spec"]["ports"].as_array().into_iter().flatten());
        let sought = ports.filter_map(|port| port["targetPort"].as_str().map(str::to_owned)).collect();
        Self { next: u32::from(FIRST), callers: 0, sought }
    }

    /// One workload for each Deployment, and the like, and each Pod.
    pub fn announced(&mut self, objects: &[Arc<Object>]) -> Vec<Arc<Object>> {
        let mut found = Vec::new();
        for object in objects {
            let pod = match (object.kind.group, object.kind.kind) {
                ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => &object.value["spec"]["template"],
                ("", "Pod") => &object.value,
                _ => continue,
            };
            let containers = || pod["spec"]["containers"].as_array().into_iter().flatten();
            let ports = containers().flat_map(|container| container["ports"].as_array().into_iter().flatten());
            // A port's name counts only where a Service asks for it: else its targetPort would lose against a name of the same spelling.
            let sought = ports.filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].clone())));
            let ports: Map<String, Value> =
                sought.filter(|(name, _)| self.sought.contains(*name)).map(|(name, number)| (name.to_owned(), number)).collect();
            let entry = self.entry(Described {
                name: &object.name,
                namespace: &object.namespace,
                labels: pod["metadata"]["labels"].clone(),
                service_account: pod["spec"]["serviceAccountName"].as_str(),
                ports: ports.into(),
                meshed: true,
            });
            found.push(Arc::new(Object { places: object.places.clone(), ..entry }));
        }
        found
    }

    pub fn named(&mut self, written: &WrittenWorkload, namespace: &str) -> Arc<Object> {
        Arc::new(self.entry(Described {
            name: &written.name,
            namespace: written.namespace.as_deref().unwrap_or(namespace),
            labels: json!(written.labels),
            service_account: written.service_account.as_deref(),
            ports: json!(written.ports),
            meshed: written.meshed.unwrap_or(true),
        }))
    }

    pub fn caller(&mut self, written: &Caller, namespace: &str) -> Arc<Object> {
        self.callers += 1;
        // A tilde cannot be part of an object's name, so callers never meet a workload's.
        let name = format!("caller~{}", self.callers);
        Arc::new(self.entry(Described {
            name: &name,
            namespace: written.namespace.as_deref().unwrap_or(namespace),
            labels: json!(written.labels),
            service_account: written.service_account.as_deref(),
            ports: Value::Null,
            meshed: written.meshed.unwrap_or(true),
        }))
    }

    fn entry(&mut self, workload: Described<'_>) -> Object {
        let address = Ipv4Addr::from(self.next);
        self.next += 1;
        let mut value = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": { "name": workload.name, "namespace": workload.namespace },
            "spec": { "address": address.to_string(), "labels": {}, "ports": {} },
        });
        for (field, said) in [("labels", workload.labels), ("ports", workload.ports), ("serviceAccount", workload.service_account.into())] {
            if !said.is_null() {
                value["spec"][field] = said;
            }
        }
        if workload.meshed {
            value["metadata"]["annotations"] = json!({ PEER: format!("{address}:{PEER_PORT}") });
        }
        let (name, namespace) = (workload.name.to_owned(), workload.namespace.to_owned());
        Object { kind: entry_kind(), name, namespace, value, places: None }
    }
}

#[expect(clippy::expect_used, reason = "the table of kinds has it, and a test reads it")]
fn entry_kind() -> &'static kinds::Kind {
    kinds::by_kind("networking.istio.io/v1", "WorkloadEntry").expect("a kind of the table")
}
