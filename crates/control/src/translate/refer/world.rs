//! All names that can be referred to, indexed.

use super::super::translation::Translation;
use super::super::values::nearest;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::destination::Destination;
use taut_model::host;
use taut_model::object::Object;
use taut_model::service::Service;
use taut_model::workload::Workload;

pub type Labels = BTreeMap<String, String>;

/// Workloads that run, and those that a Deployment or a Pod announces.
pub struct World<'a> {
    services: &'a BTreeMap<String, Arc<Service>>,
    destinations: BTreeMap<&'a str, Vec<&'a Destination>>,
    serving: BTreeMap<&'a str, Vec<&'a Workload>>,
    /// Namespace -> labels of pods to come.
    announced: BTreeMap<&'a str, Vec<Labels>>,
    /// Service host -> its selector.
    selectors: BTreeMap<String, Labels>,
    /// `namespace/account`.
    accounts: BTreeSet<String>,
}

impl<'a> World<'a> {
    pub fn new(objects: &'a [Arc<Object>], translation: &'a Translation) -> Self {
        let mut world = Self {
            services: &translation.services,
            destinations: BTreeMap::new(),
            serving: BTreeMap::new(),
            announced: BTreeMap::new(),
            selectors: BTreeMap::new(),
            accounts: BTreeSet::new(),
        };
        for destination in translation.destinations.values() {
            world.destinations.entry(&destination.host).or_default().push(destination);
        }
        for workload in translation.workloads.values() {
            world.accounts.insert(format!("{}/{}", workload.namespace, workload.identity.service_account));
            let hosts: BTreeSet<&str> = workload.serves.iter().map(|serves| serves.host.as_str()).collect();
            for host in hosts {
                world.serving.entry(host).or_default().push(workload);
            }
        }
        for object in objects {
            world.read(object);
        }
        world
    }

    fn read(&mut self, object: &'a Object) {
        let spec = &object.value["spec"];
        let pod = match (object.kind.group, object.kind.kind) {
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => &spec["template"],
            ("", "Pod") => &object.value,
            ("", "ServiceAccount") => {
                self.accounts.insert(format!("{}/{}", object.namespace, object.name));
                return;
            }
            ("", "Service") => {
                self.selectors.insert(host::service_host(&object.name, &object.namespace), labels(&spec["selector"]));
                return;
            }
            _ => return,
        };
        self.announced.entry(&object.namespace).or_default().push(labels(&pod["metadata"]["labels"]));
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        self.accounts.insert(format!("{}/{account}", object.namespace));
    }

    pub fn service(&self, host: &str) -> Option<&'a Service> {
        self.services.get(host).map(Arc::as_ref)
    }

    /// A host that exists and is written much like this one.
    pub fn near_host(&self, host: &str) -> Option<String> {
        nearest(host, self.services.keys().map(String::as_str)).map(|near| format!("did you mean {:?}?", host::short(near)))
    }

    /// Those for the host itself and those for a pattern that covers it.
    pub fn destinations(&self, host: &str) -> impl Iterator<Item = &'a Destination> {
        let patterns = self.destinations.range("*".."+").filter(move |(pattern, _)| host::matches(pattern, host)).flat_map(|(_, all)| all);
        self.destinations.get(host).into_iter().flatten().chain(patterns).copied()
    }

    /// The labels of every workload that serves `host`, or will.
    pub fn labels_behind(&self, host: &str) -> Vec<&Labels> {
        let running = self.serving.get(host).into_iter().flatten().map(|workload| &workload.labels);
        let selector = self.selectors.get(host).filter(|selector| !selector.is_empty());
        let namespace = self.service(host).map_or("", |service| &service.namespace);
        let announced =
            self.announced.get(namespace).into_iter().flatten().filter(|labels| selector.is_some_and(|selector| covers(selector, labels)));
        running.chain(announced).collect()
    }

    pub fn selectors(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.selectors.iter().filter(|(_, selector)| !selector.is_empty()).map(|(host, selector)| (host.as_str(), selector))
    }

    pub fn knows_account(&self, account: &str) -> bool {
        self.accounts.contains(account)
    }

    pub fn near_account(&self, account: &str) -> Option<String> {
        nearest(account, self.accounts.iter().map(String::as_str)).map(|near| format!("did you mean {near:?}?"))
    }
}

pub fn covers(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
