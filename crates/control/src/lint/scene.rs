//! All that checks look up: the objects that are accepted, by kind and name, and who works behind each service.

use super::paths::{self, Labels};
use super::workloads::{Worker, Workers};
use crate::translate::{Translation, nearest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::service::Service;

pub struct Scene<'a> {
    pub translation: &'a Translation,
    pub workers: Workers,
    /// Those without an error.
    objects: Vec<&'a Object>,
    by_kind: BTreeMap<(&'static str, &'static str), Vec<&'a Object>>,
    namespaces: BTreeSet<&'a str>,
    /// Host of a Kubernetes Service -> its object and what it selects.
    selectors: BTreeMap<String, (&'a Object, Labels)>,
}

pub const ISTIO: &str = "networking.istio.io";

impl<'a> Scene<'a> {
    pub fn new(objects: &'a [Arc<Object>], translation: &'a Translation) -> Self {
        let refused = |object: &&Arc<Object>| {
            let findings = translation.findings.get(&object.reference());
            findings.is_some_and(|findings| findings.iter().any(|problem| problem.severity == Severity::Error))
        };
        let mut scene = Self {
            translation,
            workers: Workers::default(),
            objects: objects.iter().filter(|object| !refused(object)).map(Arc::as_ref).collect(),
            by_kind: BTreeMap::new(),
            namespaces: objects.iter().map(|object| object.namespace.as_str()).filter(|namespace| !namespace.is_empty()).collect(),
            selectors: BTreeMap::new(),
        };
        scene.workers.running(translation);
        for object in scene.objects.clone() {
            scene.by_kind.entry((object.kind.group, object.kind.kind)).or_default().push(object);
            scene.workers.announced(object);
            if (object.kind.group, object.kind.kind) == ("", "Namespace") {
                scene.namespaces.insert(&object.name);
            }
            if (object.kind.group, object.kind.kind) == ("", "Service") {
                let selector = paths::labels(&object.value["spec"]["selector"]);
                scene.selectors.insert(host::service_host(&object.name, &object.namespace), (object, selector));
            }
        }
        scene
    }

    pub fn objects(&self) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().copied()
    }

    pub fn of_kind(&self, group: &'static str, kind: &'static str) -> &[&'a Object] {
        self.by_kind.get(&(group, kind)).map_or(&[], Vec::as_slice)
    }

    pub fn service(&self, host: &str) -> Option<&'a Service> {
        self.translation.services.get(host).map(Arc::as_ref)
    }

    /// The service that `written` means in an object of `namespace`.
    pub fn named(&self, written: &str, namespace: &str) -> Option<&'a Service> {
        self.service(&host::resolve(written, namespace))
    }

    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    pub fn near_namespace(&self, namespace: &str) -> Option<String> {
        nearest(namespace, self.namespaces.iter().copied()).map(|near| format!("did you mean {near:?}?"))
    }

    /// Kubernetes Services of a namespace that select something, each with its object.
    pub fn selecting(&self, namespace: &str) -> impl Iterator<Item = (&'a Service, &'a Object, &Labels)> {
        let selecting = self.selectors.iter().filter(move |(_, (object, selector))| object.namespace == namespace && !selector.is_empty());
        selecting.filter_map(|(host, (object, selector))| Some((self.service(host)?, *object, selector)))
    }

    /// Who works behind a service: by its selector, or because it says so.
    pub fn behind(&self, service: &Service) -> Vec<&Worker> {
        match self.selectors.get(&service.host).filter(|(_, selector)| !selector.is_empty()) {
            Some((_, selector)) => self.workers.of(&service.namespace).iter().filter(|worker| paths::covers(selector, &worker.labels)).collect(),
            None => Vec::new(),
        }
    }
}

/// Orders objects by age: the oldest wins conflicts, then the name decides.
pub fn created(object: &Object) -> (&str, &str, &str) {
    (object.value["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), &object.namespace, &object.name)
}
