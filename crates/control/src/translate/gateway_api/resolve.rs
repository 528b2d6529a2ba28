//! Whether the references of a Gateway API route can be followed: the Service is there, and may be referred to.

use super::super::meaning::{Bound, Grant, NamedPort};
use super::super::reader::{code, problem};
use super::super::values::nearest;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use taut_model::route::{Backend, HttpAction, Parent, Route};
use taut_model::service::Service;

/// What all objects together say about references.
pub struct Known<'a> {
    services: &'a BTreeMap<String, Service>,
    /// Kind and namespace that may refer, namespace and name (`None`: all) that may be referred to.
    granted: BTreeSet<(String, String, String, Option<String>)>,
}

impl<'a> Known<'a> {
    pub fn new(services: &'a BTreeMap<String, Service>, grants: Vec<Grant>) -> Self {
        let mut granted = BTreeSet::new();
        for grant in grants {
            for (kind, from) in &grant.from {
                granted.extend(grant.to.iter().map(|to| (kind.clone(), from.clone(), grant.namespace.clone(), to.clone())));
            }
        }
        Self { services, granted }
    }

    fn permits(&self, kind: &str, from: &str, namespace: &str, name: &str) -> bool {
        let permitted = |name: Option<String>| self.granted.contains(&(kind.to_owned(), from.to_owned(), namespace.to_owned(), name));
        from == namespace || permitted(None) || permitted(Some(name.to_owned()))
    }

    /// Why a backend cannot be followed.
    fn unresolved(&self, object: &Object, parents: &[Parent], backend: &Backend) -> Option<(&'static str, String, Option<String>)> {
        if let Some(because) = &backend.unresolved {
            return Some((code::INVALID_KIND, because.clone(), None));
        }
        let written = backend.host.strip_suffix(host::CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix(".svc."));
        if let Some((name, namespace)) = written.and_then(|rest| rest.split_once('.')) {
            // Said before whether the Service exists, so that nobody can probe another namespace.
            // What a consumer route is attached to, its clients reach without it (mesh conformance, `MeshConsumerRoute`).
            let is_parent = parents.iter().any(|parent| parent.host == backend.host);
            if !is_parent && !self.permits(object.kind.kind, &object.namespace, namespace, name) {
                let message = format!("Service {namespace}/{name} is in another namespace, and no ReferenceGrant there lets this route refer to it");
                let help = format!("create a ReferenceGrant in namespace {namespace} from {} in {}", object.kind.kind, object.namespace);
                return Some((code::REFERENCE_NOT_PERMITTED, message, Some(help)));
            }
        }
        let Some(service) = self.services.get(&backend.host) else {
            let near = nearest(&backend.host, self.services.keys().map(String::as_str)).map(|near| format!("did you mean {:?}?", host::short(near)));
            return Some((code::BACKEND_NOT_FOUND, format!("there is no Service for {}", backend.host), near));
        };
        let port = backend.port.filter(|port| service.port(*port).is_none())?;
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let help = format!("its ports are {}", ports.join(", "));
        Some((code::BACKEND_NOT_FOUND, format!("{} has no port {port}", backend.host), Some(help)))
    }
}

/// Gives the parents that name a port of their Service its number; one that names none of its ports is attached to nothing.
pub fn bind(object: &Object, bound: Bound, known: &Known<'_>) -> (Route, Vec<Problem>) {
    let Bound { mut route, ports } = bound;
    let mut problems = Vec::new();
    // From the end, so that the positions of those before stay.
    for NamedPort { parent: position, name, at } in ports.into_iter().rev() {
        let Some(parent) = route.parents.get_mut(position) else { continue };
        let service = known.services.get(&parent.host);
        let number = service.and_then(|service| service.ports.iter().find(|port| port.name == name)).map(|port| port.number);
        match number.filter(|number| parent.port.is_none_or(|port| port == *number)) {
            Some(number) => parent.port = Some(number),
            None => {
                let message = match parent.port {
                    Some(port) => format!("{at}: {} has no port {port} of the name {name:?}, so this parent has no effect", parent.host),
                    None => format!("{at}: {} has no port of the name {name:?}, so this parent has no effect", parent.host),
                };
                let near = service.and_then(|service| nearest(&name, service.ports.iter().map(|port| port.name.as_str())));
                let help = near.map(|near| format!("did you mean {near:?}?"));
                problems.push(problem(object, Severity::Warning, code::UNKNOWN_REFERENCE, &at, message, help));
                route.parents.remove(position);
            }
        }
    }
    (route, problems)
}

/// Marks the backends of `route` that cannot be followed: their share of the traffic is answered with 500.
pub fn resolve(object: &Object, route: &mut Route, known: &Known<'_>) -> Vec<Problem> {
    let (mut problems, parents) = (Vec::new(), route.parents.clone());
    let mut follow = |backend: &mut Backend| {
        if let Some((code, message, help)) = known.unresolved(object, &parents, backend) {
            let path = backend.origin.path.clone();
            problems.push(problem(object, Severity::Warning, code, &path, format!("{path}: {message}"), help));
            backend.unresolved = Some(message);
        }
    };
    for rule in &mut route.http {
        let forward = match &mut rule.action {
            HttpAction::Forward(backends) => backends.as_mut_slice(),
            HttpAction::Redirect(_) | HttpAction::Respond(_) => &mut [],
        };
        forward.iter_mut().chain(rule.mirrors.iter_mut().map(|mirror| &mut mirror.backend)).for_each(&mut follow);
    }
    route.tcp.iter_mut().flat_map(|rule| &mut rule.backends).for_each(&mut follow);
    problems
}
