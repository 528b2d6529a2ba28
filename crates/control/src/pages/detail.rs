//! One service: its endpoints and how they are, the routes and policies in force, who calls it, and what failed.

use super::services::kind;
use super::traffic::{Places, Sum, Traffic, health, milliseconds};
use super::words;
use crate::publish::Published;
use crate::status::Board;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::host;
use taut_model::kinds;
use taut_model::origin::Origin;
use taut_model::policy::ROOT_NAMESPACE;
use taut_model::service::Service;
use taut_model::signal::{Edge, Party, Signals};
use taut_model::workload::{Health, Workload};

/// What a service's page is made of.
pub struct Scene<'a> {
    pub published: &'a Published,
    pub traffic: &'a Traffic,
    pub board: &'a Board,
    /// What proxies say: see [`super::asked`].
    pub told: &'a [(String, Value)],
    /// Exchanges of the service that failed, the newest first: see [`super::asked`].
    pub failed: &'a [Value],
}

/// The service of that name, also by the name of a ServiceEntry's host.
pub fn find<'a>(published: &'a Published, namespace: &str, name: &str) -> Option<&'a Arc<Service>> {
    published.translation.services.values().find(|service| service.namespace == namespace && (service.name == name || service.host == name))
}

pub fn service(scene: &Scene<'_>, service: &Service) -> Value {
    let places = Places::new(scene.published);
    let serving = places.serving(&service.host);
    let edges: Vec<&(Arc<Edge>, Signals)> = scene.traffic.edges.iter().filter(|(edge, _)| edge.service.host == service.host).collect();
    let mut into = Signals::default();
    edges.iter().for_each(|(_, signals)| into.merge(signals));
    let ready = serving.iter().filter(|workload| workload.health == Health::Ready).count();
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| json!({"port": port.number, "name": port.name, "protocol": format!("{:?}", port.protocol).to_lowercase()}))
        .collect();
    json!({
        "namespace": service.namespace, "name": service.name, "host": service.host, "kind": kind(service.place),
        "origin": service.origin, "health": health(&into, Some((ready, serving.len()))), "ports": ports,
        "rate": scene.traffic.rate(&into), "errorRate": into.error_rate(), "p50": milliseconds(&into, 0.5), "p99": milliseconds(&into, 0.99),
        "endpoints": serving.iter().map(|workload| scene.endpoint(service, workload, &edges)).collect::<Vec<_>>(),
        "routes": scene.routes(service), "policies": scene.policies(serving), "callers": scene.callers(&edges), "failures": scene.failures(&edges),
    })
}

impl Scene<'_> {
    fn endpoint(&self, service: &Service, workload: &Workload, edges: &[&(Arc<Edge>, Signals)]) -> Value {
        let mut own = Signals::default();
        let mut all = 0;
        for (edge, signals) in edges {
            all += signals.requests.max(signals.opened);
            if edge.destination.workload == workload.name && edge.destination.namespace == workload.namespace {
                own.merge(signals);
            }
        }
        let target = workload.serves.iter().find(|serves| serves.host == service.host).map_or(0, |serves| serves.target);
        let health = match workload.health {
            Health::Ready => "ready",
            Health::Draining => "draining",
            Health::NotReady => "not ready",
        };
        let ejected = self.ejected(&service.host, &workload.uid);
        json!({
            "workload": workload.uid, "address": format!("{}:{target}", workload.address), "version": workload.version(), "locality": workload.locality,
            "health": health, "ejected": ejected.map_or(Value::Bool(false), Value::String), "inMesh": workload.peer.is_some(),
            // Its share of what the service took.
            "load": (all > 0).then(|| own.requests.max(own.opened) as f64 / all as f64),
            "rate": self.traffic.rate(&own), "errorRate": own.error_rate(), "p99": milliseconds(&own, 0.99), "inFlight": own.in_flight,
        })
    }

    /// Which proxies do not use an endpoint, and for how long yet.
    fn ejected(&self, host: &str, uid: &str) -> Option<String> {
        let mut by = Vec::new();
        for (proxy, told) in self.told {
            let mine = told["endpoints"][host].as_array().into_iter().flatten().filter(|endpoint| endpoint["workload"] == uid);
            for endpoint in mine {
                if let Some(left) = endpoint["ejectedForSeconds"].as_f64() {
                    by.push(format!("by {proxy}, back in {left:.0} s"));
                } else if endpoint["failsChecks"] == true {
                    by.push(format!("fails the health checks of {proxy}"));
                }
            }
        }
        by.dedup();
        (!by.is_empty()).then(|| by.join("; "))
    }

    fn routes(&self, service: &Service) -> Vec<Value> {
        let mesh = &self.published.translation;
        let attached = mesh.routes.values().filter(|route| route.parents.iter().any(|parent| host::matches(&parent.host, &service.host)));
        let mut rules = Vec::new();
        for route in attached {
            rules.extend(route.http.iter().map(|rule| self.rule(&rule.origin, words::http_rule(rule))));
            rules.extend(route.tcp.iter().map(|rule| self.rule(&rule.origin, words::tcp_rule(rule))));
        }
        let about = mesh.destinations.values().filter(|rule| host::matches(&rule.host, &service.host));
        rules.extend(about.map(|rule| self.rule(&rule.origin, words::destination(rule))));
        rules
    }

    fn policies(&self, serving: &[&Arc<Workload>]) -> Vec<Value> {
        let mesh = &self.published.translation;
        let holds = |namespace: &str, selector: &BTreeMap<String, String>| {
            serving.iter().any(|workload| (namespace == workload.namespace || namespace == ROOT_NAMESPACE) && workload.has_labels(selector))
        };
        let authentications = mesh.authentications.values().filter(|policy| holds(&policy.namespace, &policy.selector));
        let authorizations = mesh.authorizations.values().filter(|policy| holds(&policy.namespace, &policy.selector));
        let tokens = mesh.tokens.values().filter(|policy| holds(&policy.namespace, &policy.selector));
        let limits = mesh.limits.values().filter(|limit| holds(&limit.namespace, &limit.selector));
        authentications
            .map(|policy| self.rule(&policy.origin, words::authentication(policy)))
            .chain(authorizations.map(|policy| self.rule(&policy.origin, words::authorization(policy))))
            .chain(tokens.map(|policy| self.rule(&policy.origin, words::tokens(policy))))
            .chain(limits.map(|limit| self.rule(&limit.origin, words::limit(limit))))
            .collect()
    }

    fn rule(&self, origin: &Origin, summary: String) -> Value {
        let object = &origin.object;
        let kind = kinds::KINDS.iter().find(|kind| kind.kind == object.kind);
        let live = kind.and_then(|kind| self.board.liveness(kind, &object.namespace, &object.name));
        json!({"origin": origin, "summary": summary, "live": live})
    }

    fn callers(&self, edges: &[&(Arc<Edge>, Signals)]) -> Vec<Value> {
        let mut callers: BTreeMap<&Party, Sum> = BTreeMap::new();
        for (edge, signals) in edges {
            callers.entry(&edge.source).or_default().add(edge, signals);
        }
        let told = |(party, sum): (&Party, Sum)| {
            json!({
                "namespace": party.namespace, "workload": party.workload, "version": party.version, "principal": party.principal,
                "security": sum.security(), "rate": self.traffic.rate(&sum.signals), "errorRate": sum.signals.error_rate(),
                "p99": milliseconds(&sum.signals, 0.99),
            })
        };
        callers.into_iter().map(told).collect()
    }

    /// By reason, with the caller that met it most.
    fn failures(&self, edges: &[&(Arc<Edge>, Signals)]) -> Vec<Value> {
        let mut reasons: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for (edge, signals) in edges {
            for (reason, count) in signals.failures() {
                let from = format!("{}/{}", edge.source.namespace, edge.source.workload);
                *reasons.entry(reason).or_default().entry(from).or_default() += count;
            }
        }
        let told = |(reason, by): (&str, BTreeMap<String, u64>)| {
            let count: u64 = by.values().sum();
            let from = by.iter().max_by_key(|(_, count)| **count).map(|(from, _)| from.clone());
            let exchanges: Vec<&Value> = self.failed.iter().filter(|exchange| exchange["reason"] == reason).collect();
            // The proxy that failed it knows whose fault it was.
            let side = exchanges.iter().find_map(|exchange| exchange["side"].as_str()).unwrap_or(side(reason));
            let last = exchanges.first().map_or_else(|| json!(self.traffic.at), |exchange| exchange["at"].clone());
            json!({"reason": reason, "side": side, "count": count, "from": from, "last": last, "exchanges": exchanges})
        };
        reasons.into_iter().map(told).collect()
    }
}

/// Whose fault a failure of an application's own is; that of the mesh's reasons is in the record.
fn side(reason: &str) -> &'static str {
    match reason {
        "client_left" | "authorization_denied" | "mutual_tls_required" | "rate_limited" => "client",
        reason if reason.starts_with("http_") || reason.starts_with("grpc_") => "upstream",
        "connect_failed" | "reset" | "timeout" => "upstream",
        _ => "mesh",
    }
}
