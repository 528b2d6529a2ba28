//! Kubernetes' own objects: Service and EndpointSlice.

use super::meaning::{Meaning, Node, Offer, OfferedPort, Slice, Target};
use super::reader::{Reader, code};
use super::registry::NODE_NAME;
use super::translation::Settings;
use super::values;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use taut_model::destination::{Destination, Persistence, SessionMark, TrafficPolicy};
use taut_model::host::service_host;
use taut_model::identity::Identity;
use taut_model::service::{Affinity, AppProtocol, Distribution, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SESSION_COOKIE: &str = "istio.io/persistent-session";
const SESSION_HEADER: &str = "istio.io/persistent-session-header";
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// The part of a Service that says something about mesh traffic; the rest speaks to kube-proxy and cloud load balancers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    selector: BTreeMap<String, String>,
    ports: Vec<Port>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    r#type: Option<String>,
    external_name: Option<String>,
    traffic_distribution: Option<String>,
    session_affinity: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    port: Option<i64>,
    target_port: Option<Value>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

pub fn service(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let spec: ServiceSpec = reader.part("spec");
    let name = reader.object().name.clone();
    let namespace = reader.namespace().to_owned();
    let host = service_host(&name, &namespace);
    let ports: Vec<OfferedPort> = spec.ports.into_iter().enumerate().filter_map(|(index, port)| offered(reader, index, port)).collect();
    let external = spec.external_name.filter(|_| spec.r#type.as_deref() == Some("ExternalName"));
    let endpoints = external.as_deref().map(|target| outside(reader, &host, target, &ports, settings)).into_iter().collect();
    let mut addresses = Vec::new();
    for text in spec.cluster_ip.iter().chain(&spec.cluster_ips) {
        // "None" and the empty text are no addresses: headless, or not assigned yet.
        addresses.extend(text.parse().ok().filter(|address| !addresses.contains(address)));
    }
    let service = Service {
        origin: reader.origin(""),
        host,
        name,
        namespace,
        ports: ports.iter().map(|port| port.port.clone()).collect(),
        place: if external.is_some() { Place::External } else { Place::Mesh },
        resolution: if external.is_some() { Resolution::Dns } else { Resolution::Static },
        addresses,
        distribution: distribution(reader, spec.traffic_distribution.as_deref()),
        affinity: if spec.session_affinity.as_deref() == Some("ClientIP") { Affinity::ClientAddress } else { Affinity::None },
    };
    let offer = Offer { service, selector: spec.selector, ports, created: reader.created() };
    let additions = persistence(reader).map(|said| {
        let policy = TrafficPolicy { persistence: Some(said), ..TrafficPolicy::default() };
        Destination::addition(reader.origin(""), offer.service.host.clone(), policy)
    });
    Meaning::Offers { offers: vec![offer], endpoints, additions: additions.into_iter().collect() }
}

/// Istio's labels for sessions: a cookie's name, with a path behind a colon if it has one, or a header's name.
fn persistence(reader: &mut Reader<'_>) -> Option<Persistence> {
    let labels = &reader.object().value["metadata"]["labels"];
    let by = if let Some(cookie) = labels[SESSION_COOKIE].as_str() {
        let (name, path) = cookie.split_once(':').unwrap_or((cookie, ""));
        let at = format!("metadata.labels.{SESSION_COOKIE}");
        reader.taken(&at, values::cookie_name(name))?;
        reader.taken(&at, values::cookie_text(path))?;
        SessionMark::Cookie { name: name.to_owned(), path: path.to_owned(), ttl: None }
    } else {
        let header = labels[SESSION_HEADER].as_str()?;
        SessionMark::Header(reader.taken(&format!("metadata.labels.{SESSION_HEADER}"), values::header_name(header))?)
    };
    Some(Persistence { origin: reader.origin("metadata.labels"), by })
}

/// `spec.trafficDistribution`, or Istio's annotation. It is a hint: one that is not known is told, and changes nothing.
pub fn distribution(reader: &mut Reader<'_>, written: Option<&str>) -> Distribution {
    let at = if written.is_some() { "spec.trafficDistribution" } else { "metadata.annotations.networking.istio.io/traffic-distribution" };
    match written.or_else(|| reader.annotation(TRAFFIC_DISTRIBUTION)) {
        None | Some("" | "Any") => Distribution::Any,
        Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
        Some("PreferSameNode") => Distribution::SameNode,
        Some(other) => {
            let known = "use PreferClose, PreferSameZone or PreferSameNode";
            reader.warn(code::NO_EFFECT, at, format_args!("{other:?} is not known, so no endpoint is preferred: {known}"));
            Distribution::Any
        }
    }
}

/// Where a machine stands, for the endpoints on it.
pub fn node(reader: &mut Reader<'_>) -> Meaning {
    let labels = &reader.object().value["metadata"]["labels"];
    Meaning::Node(Node { name: reader.object().name.clone(), locality: topology(|label| labels[label].as_str()) })
}

/// `region/zone/subzone` as labels have it; empty if they do not.
pub fn topology<'a>(label: impl Fn(&str) -> Option<&'a str>) -> String {
    let parts = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];
    parts.map(|part| label(part).unwrap_or_default()).join("/").trim_end_matches('/').to_owned()
}

fn offered(reader: &mut Reader<'_>, index: usize, port: Port) -> Option<OfferedPort> {
    let at = format!("spec.ports[{index}]");
    if let Some(other) = port.protocol.as_deref().filter(|protocol| !protocol.is_empty() && *protocol != "TCP") {
        reader.warn(code::NO_EFFECT, &at, format_args!("{other} is not carried by the mesh, so this port is left out"));
        return None;
    }
    let number = reader.port(&format!("{at}.port"), port.port)?;
    let target = match port.target_port {
        None => Target::Same,
        // Kubernetes reads a number in quotes as a name, but no port can be named so.
        Some(Value::String(name)) => name.parse().map_or(Target::Name(name), Target::Number),
        Some(other) => reader.port(&format!("{at}.targetPort"), Some(other.as_i64().unwrap_or(-1))).map_or(Target::Same, Target::Number),
    };
    let name = port.name.unwrap_or_default();
    let protocol = AppProtocol::declared(port.app_protocol.as_deref(), &name);
    Some(OfferedPort { port: ServicePort { number, name, protocol }, target })
}

/// An `ExternalName` Service: one workload outside the mesh, whose name the proxy resolves.
fn outside(reader: &Reader<'_>, host: &str, target: &str, ports: &[OfferedPort], settings: &Settings) -> Workload {
    let serves = ports.iter().map(|port| Serves { host: host.to_owned(), port: port.port.number, target: port.port.number }).collect();
    let workload = elsewhere(reader, "~external", "spec.externalName", settings);
    Workload { address: target.trim_end_matches('.').to_owned(), serves, ..workload }
}

/// A workload without a proxy, that belongs to the object being read.
fn elsewhere(reader: &Reader<'_>, suffix: &str, at: &str, settings: &Settings) -> Workload {
    let namespace = reader.namespace();
    let name = format!("{}{suffix}", reader.object().name);
    Workload {
        origin: reader.origin(at),
        uid: format!("{namespace}/{name}"),
        name,
        namespace: namespace.to_owned(),
        identity: Identity::new(settings.trust_domain.clone(), namespace, "default"),
        labels: BTreeMap::new(),
        address: String::new(),
        serves: Vec::new(),
        peer: None,
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SliceEndpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    zone: Option<String>,
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Conditions {
    /// An unknown readiness counts as ready (EndpointSlice's API text).
    fn health(&self) -> Health {
        let ready = self.ready.unwrap_or(true);
        match (ready, self.terminating.unwrap_or(false), self.serving.unwrap_or(ready)) {
            (_, true, true) => Health::Draining,
            (true, false, _) => Health::Ready,
            _ => Health::NotReady,
        }
    }
}

pub fn endpoint_slice(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let Some(service) = reader.object().value["metadata"]["labels"][SERVICE_NAME].as_str().map(str::to_owned) else {
        return Meaning::Idle(format!("no label {SERVICE_NAME}, so it belongs to no Service"));
    };
    let mut ports = BTreeMap::new();
    for (index, port) in reader.part::<Vec<Port>>("ports").into_iter().enumerate() {
        if let Some(number) = reader.port(&format!("ports[{index}].port"), port.port) {
            ports.insert(port.name.unwrap_or_default(), number);
        }
    }
    let mut endpoints = Vec::new();
    for (index, endpoint) in reader.part::<Vec<SliceEndpoint>>("endpoints").into_iter().enumerate() {
        let at = format!("endpoints[{index}]");
        // "Consumers must handle the first address; further ones are not defined" (EndpointSlice's API text).
        let Some(address) = endpoint.addresses.first() else {
            reader.invalid(&format!("{at}.addresses"), "names no address");
            continue;
        };
        let workload = elsewhere(reader, &format!("~{index}"), &at, settings);
        let locality = endpoint.zone.as_ref().map(|zone| format!("/{zone}")).unwrap_or_default();
        let labels = endpoint.node_name.map(|node| (NODE_NAME.to_owned(), node)).into_iter().collect();
        endpoints.push(Workload { address: address.clone(), health: endpoint.conditions.health(), locality, labels, ..workload });
    }
    Meaning::Slice(Slice { namespace: reader.namespace().to_owned(), service, endpoints, ports })
}
