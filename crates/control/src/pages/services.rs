//! The list of services, with how each of them is.

use super::traffic::{Places, Traffic, health, milliseconds};
use crate::publish::Published;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::service::Place;
use taut_model::signal::Signals;
use taut_model::workload::Health;

pub fn services(published: &Published, traffic: &Traffic) -> Value {
    let places = Places::new(published);
    let mut into: BTreeMap<&str, Signals> = BTreeMap::new();
    for (edge, signals) in &traffic.edges {
        into.entry(&edge.service.host).or_default().merge(signals);
    }
    let nothing = Signals::default();
    let row = |service: &std::sync::Arc<taut_model::service::Service>| {
        let signals = into.get(service.host.as_str()).unwrap_or(&nothing);
        let serving = places.serving(&service.host);
        let ready = serving.iter().filter(|workload| workload.health == Health::Ready).count();
        let versions: BTreeSet<&str> = serving.iter().map(|workload| workload.version()).filter(|version| !version.is_empty()).collect();
        json!({
            "namespace": service.namespace, "name": service.name, "host": service.host, "kind": kind(service.place), "versions": versions,
            "endpoints": serving.len(), "ready": ready, "rate": traffic.rate(signals), "errorRate": signals.error_rate(),
            "p99": milliseconds(signals, 0.99), "health": health(signals, Some((ready, serving.len()))),
        })
    };
    let services: Vec<Value> = published.translation.services.values().map(row).collect();
    json!({"at": traffic.at, "windowSeconds": traffic.seconds, "complete": traffic.complete, "services": services})
}

pub fn kind(place: Place) -> &'static str {
    match place {
        Place::Mesh => "service",
        Place::External => "external",
    }
}
