//! The workloads that objects speak of: those that run, and those that a Deployment or a Pod announces.

use super::paths::{self, Labels};
use crate::translate::Translation;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::object::Object;

/// A workload as selectors see it.
pub struct Worker {
    pub namespace: String,
    pub labels: Labels,
    /// Names of the ports that its containers declare; `None` where it declares none, or is not known by containers.
    pub port_names: Option<BTreeSet<String>>,
    /// The Deployment (or the like) that it comes from.
    pub announced_by: Option<String>,
}

/// Workloads by namespace.
#[derive(Default)]
pub struct Workers(BTreeMap<String, Vec<Worker>>);

impl Workers {
    pub fn running(&mut self, translation: &Translation) {
        for workload in translation.workloads.values() {
            let (namespace, labels) = (workload.namespace.clone(), workload.labels.clone());
            self.add(Worker { namespace, labels, port_names: None, announced_by: None });
        }
    }

    pub fn announced(&mut self, object: &Object) {
        let pod = match (object.kind.group, object.kind.kind) {
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => &object.value["spec"]["template"],
            ("", "Pod") => &object.value,
            _ => return,
        };
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let ports: Vec<_> = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()).collect();
        let names = ports.iter().filter_map(|port| port["name"].as_str().map(str::to_owned)).collect();
        self.add(Worker {
            namespace: object.namespace.clone(),
            labels: paths::labels(&pod["metadata"]["labels"]),
            port_names: (!ports.is_empty()).then_some(names),
            announced_by: Some(object.reference().to_string()),
        });
    }

    fn add(&mut self, worker: Worker) {
        self.0.entry(worker.namespace.clone()).or_default().push(worker);
    }

    pub fn of(&self, namespace: &str) -> &[Worker] {
        self.0.get(namespace).map_or(&[], Vec::as_slice)
    }

    pub fn all(&self) -> impl Iterator<Item = &Worker> {
        self.0.values().flatten()
    }

    pub fn selected<'a>(&'a self, namespace: &str, selector: &'a Labels) -> impl Iterator<Item = &'a Worker> {
        self.of(namespace).iter().filter(move |worker| paths::covers(selector, &worker.labels))
    }
}
