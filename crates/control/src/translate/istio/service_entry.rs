//! ServiceEntry and WorkloadEntry -> services and workloads.

use super::api;
use crate::registry::{AUTO_REGISTERED, IDENTITY, PEER};
use crate::translate::core::{distribution, topology};
use crate::translate::meaning::{Candidate, Meaning, Offer, OfferedPort, Target};
use crate::translate::reader::{Reader, code};
use crate::translate::translation::Settings;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use taut_model::identity::Identity;
use taut_model::service::{Affinity, AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};

pub fn workload_entry(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let spec: api::WorkloadEntry = reader.spec(&[]);
    // Where the workload's proxy takes mutual TLS; a workload without it is outside the mesh.
    let peer = reader.annotation(PEER).and_then(|written| {
        let peer = written.parse::<SocketAddr>();
        reader.taken(
            &format!("metadata.annotations.{PEER}"),
            peer.map_err(|_| format!("{written:?} is not an address and a port such as 10.0.0.7:15008")),
        )
    });
    // A workload that registered itself has a proxy. Until it is known where, nothing is sent, least of all in plain text.
    let lost = peer.is_none() && registered_itself(reader);
    let health = if lost { Health::NotReady } else { health(reader) };
    let name = reader.object().name.clone();
    let candidate = candidate(reader, "spec", spec, &name, settings);
    let identity = foreign_identity(reader, settings).unwrap_or_else(|| candidate.workload.identity.clone());
    Meaning::Candidate(Candidate { workload: Workload { peer, health, identity, ..candidate.workload }, ..candidate })
}

/// Who a workload of another trust domain proves to be. Those of the own one are named by namespace and service account alone.
fn foreign_identity(reader: &mut Reader<'_>, settings: &Settings) -> Option<Identity> {
    let written = reader.annotation(IDENTITY)?.to_owned();
    let read = Identity::parse(&written).map_err(|fault| fault.to_string());
    let foreign = read.and_then(|identity| match identity.trust_domain == settings.trust_domain {
        true => Err(format!("{written:?} is of this mesh's own trust domain: say it by the namespace and spec.serviceAccount")),
        false => Ok(identity),
    });
    reader.taken(&format!("metadata.annotations.{IDENTITY}"), foreign)
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<StatusCondition>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StatusCondition {
    r#type: String,
    status: String,
    reason: String,
}

/// An entry that has not been judged is taken to be well, but for one that a workload wrote by itself: it will be judged.
fn health(reader: &mut Reader<'_>) -> Health {
    let status: Status = reader.part("status");
    match status.conditions.iter().find(|condition| condition.r#type == "Healthy") {
        Some(condition) if condition.status == "False" && condition.reason == "Draining" => Health::Draining,
        Some(condition) if condition.status == "False" => Health::NotReady,
        None if registered_itself(reader) => Health::NotReady,
        _ => Health::Ready,
    }
}

fn registered_itself(reader: &Reader<'_>) -> bool {
    reader.annotation(AUTO_REGISTERED) == Some("true")
}

/// A WorkloadEntry, or an endpoint that a ServiceEntry spells out, at the field `at`.
fn candidate(reader: &mut Reader<'_>, at: &str, entry: api::WorkloadEntry, name: &str, settings: &Settings) -> Candidate {
    let namespace = reader.namespace();
    let address = entry.address.unwrap_or_default();
    if address.is_empty() {
        reader.invalid(&format!("{at}.address"), "is missing: write an IP address or a host name");
    } else if address.starts_with("unix:") {
        reader.unsupported_value(&format!("{at}.address"), "a Unix socket", "write an IP address or a host name");
    }
    let account = entry.service_account.filter(|account| !account.is_empty()).unwrap_or_else(|| "default".to_owned());
    let identity = Identity::new(settings.trust_domain.clone(), namespace, account);
    let nameable = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if !nameable(&identity.service_account) {
        reader.invalid(&format!("{at}.serviceAccount"), format_args!("{:?} is not a service account's name", identity.service_account));
    }
    let mut ports = BTreeMap::new();
    for (name, number) in entry.ports {
        if let Some(number) = reader.port(&format!("{at}.ports.{name}"), Some(number)) {
            ports.insert(name, number);
        }
    }
    let workload = Workload {
        origin: reader.origin(if at == "spec" { "" } else { at }),
        uid: format!("{namespace}/{name}"),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        identity,
        locality: locality(entry.locality, &entry.labels),
        labels: entry.labels,
        address,
        serves: Vec::new(),
        peer: None,
        health: Health::Ready,
        weight: reader.count(&format!("{at}.weight"), entry.weight).unwrap_or(1).max(1),
    };
    Candidate { workload, ports }
}

/// What the entry says, else what its labels say; Istio's own label writes dots for slashes.
fn locality(said: Option<String>, labels: &BTreeMap<String, String>) -> String {
    let said = said.filter(|said| !said.is_empty());
    let istio = || labels.get("istio-locality").map(|label| if label.contains('/') { label.clone() } else { label.replace('.', "/") });
    said.or_else(istio).unwrap_or_else(|| topology(|label| labels.get(label).map(String::as_str)))
}

pub fn service_entry(reader: &mut Reader<'_>, settings: &Settings) -> Meaning {
    let spec: api::ServiceEntry = reader.spec(&[]);
    if spec.export_to.iter().any(|namespace| namespace != "*") {
        reader.unsupported_value("spec.exportTo", spec.export_to.join(", "), "remove it, or use \"*\"");
    }
    let place = place(reader, spec.location.as_deref());
    let resolution = resolution(reader, spec.resolution.as_deref());
    let ports: Vec<OfferedPort> =
        spec.ports.into_iter().enumerate().filter_map(|(index, port)| offered_port(reader, &format!("spec.ports[{index}]"), port)).collect();
    if spec.hosts.is_empty() {
        reader.invalid("spec.hosts", "names no host");
    }
    let addresses = addresses(reader, &spec.addresses);
    let hosts: Vec<String> = spec.hosts.iter().enumerate().filter_map(|(index, host)| host_name(reader, index, host)).collect();
    let endpoints = spec
        .endpoints
        .into_iter()
        .enumerate()
        .map(|(index, endpoint)| {
            let at = format!("spec.endpoints[{index}]");
            // A tilde cannot be part of an object's name, so these never meet a WorkloadEntry's.
            let name = format!("{}~{index}", reader.object().name);
            let candidate = candidate(reader, &at, endpoint, &name, settings);
            check_address(reader, &at, &candidate.workload.address, resolution);
            serving_all(candidate, &hosts, &ports)
        })
        .collect();
    let selector = spec.workload_selector.map(|selector| selector.labels).unwrap_or_default();
    let created = reader.created();
    let distribution = distribution(reader, None);
    let origin = reader.origin("");
    let namespace = reader.namespace().to_owned();
    let offers = hosts
        .into_iter()
        .map(|host| Offer {
            service: Service {
                origin: origin.clone(),
                name: taut_model::host::short(&host).to_owned(),
                host,
                namespace: namespace.clone(),
                ports: ports.iter().map(|port| port.port.clone()).collect(),
                place,
                resolution,
                addresses: addresses.clone(),
                distribution,
                affinity: Affinity::None,
            },
            selector: selector.clone(),
            ports: ports.clone(),
            created: created.clone(),
        })
        .collect();
    Meaning::Offers { offers, endpoints, additions: Vec::new() }
}

fn place(reader: &mut Reader<'_>, written: Option<&str>) -> Place {
    match written {
        None | Some("MESH_EXTERNAL") => Place::External,
        Some("MESH_INTERNAL") => Place::Mesh,
        Some(other) => {
            reader.invalid("spec.location", format_args!("{other:?} is neither MESH_EXTERNAL nor MESH_INTERNAL"));
            Place::External
        }
    }
}

fn resolution(reader: &mut Reader<'_>, written: Option<&str>) -> Resolution {
    match written {
        None | Some("NONE") => Resolution::Passthrough,
        Some("STATIC") => Resolution::Static,
        Some("DNS" | "DNS_ROUND_ROBIN") => Resolution::Dns,
        Some(other) => {
            reader.unsupported_value("spec.resolution", other, "use NONE, STATIC, DNS or DNS_ROUND_ROBIN");
            Resolution::Passthrough
        }
    }
}

fn host_name(reader: &mut Reader<'_>, index: usize, written: &str) -> Option<String> {
    let at = format!("spec.hosts[{index}]");
    if written.is_empty() || written.contains('/') {
        reader.invalid(&at, format_args!("{written:?} is not a host name"));
        return None;
    }
    if written.contains('*') {
        reader.unsupported_value(&at, format_args!("the pattern {written:?}"), "write each host that is called");
        return None;
    }
    Some(reader.host(written))
}

fn addresses(reader: &mut Reader<'_>, written: &[String]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let at = format!("spec.addresses[{index}]");
        match (text.parse::<IpAddr>(), text.contains('/')) {
            (Ok(address), _) => addresses.push(address),
            (Err(_), true) => reader.unsupported_value(&at, format_args!("the block {text:?}"), "write single addresses"),
            (Err(_), false) => reader.invalid(&at, format_args!("{text:?} is not an IP address")),
        }
    }
    addresses
}

fn offered_port(reader: &mut Reader<'_>, at: &str, written: api::ServicePort) -> Option<OfferedPort> {
    if written.number.is_none() {
        reader.invalid(&format!("{at}.number"), "is missing");
    }
    let number = reader.port(&format!("{at}.number"), written.number)?;
    let protocol = written.protocol.map(|protocol| protocol.to_ascii_lowercase()).filter(|protocol| !protocol.is_empty());
    if protocol.as_deref() == Some("udp") {
        reader.unsupported_value(&format!("{at}.protocol"), "UDP", "remove the port");
    }
    let declared = AppProtocol::declared(protocol.as_deref(), &written.name);
    if protocol.is_some() && declared == AppProtocol::Unknown {
        reader.warn(code::NO_EFFECT, &format!("{at}.protocol"), "is not a protocol that the mesh knows, so it is learned from the traffic");
    }
    Some(OfferedPort {
        port: ServicePort { number, name: written.name, protocol: declared },
        target: reader.port(&format!("{at}.targetPort"), written.target_port).map_or(Target::Same, Target::Number),
    })
}

fn check_address(reader: &mut Reader<'_>, at: &str, address: &str, resolution: Resolution) {
    if resolution == Resolution::Static && !address.is_empty() && address.parse::<IpAddr>().is_err() {
        reader.invalid(&format!("{at}.address"), format_args!("{address:?} is not an IP address, which resolution STATIC needs"));
    }
}

/// An endpoint that is spelled out serves every host and port of its entry.
fn serving_all(candidate: Candidate, hosts: &[String], ports: &[OfferedPort]) -> Workload {
    let serves = hosts
        .iter()
        .flat_map(|host| ports.iter().map(|port| Serves { host: host.clone(), port: port.port.number, target: port.target_on(&candidate.ports) }))
        .collect();
    Workload { serves, ..candidate.workload }
}
