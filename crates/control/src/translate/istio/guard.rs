//! What stands in for a DestinationRule that is not accepted: its demand for TLS, so that no traffic is weaker than it reads.

use super::api;
use super::destination_rule::tls;
use crate::translate::reader::Reader;
use serde_json::{Value, json};
use taut_model::destination::{ClientTls, Clients, Destination, Origination, Role, TrafficPolicy};
use taut_model::host;
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::problem::Severity;

/// Fields among which a misspelt `trafficPolicy` or `tls` would hide. Any other makes the rule's TLS unreadable.
const OF_SPEC: &[&str] = &["host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"];
const OF_POLICY: &[&str] =
    &["loadBalancer", "connectionPool", "outlierDetection", "tls", "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget", "port"];

/// The rule's TLS cannot be told from what is written.
struct Unreadable;

/// In place of a DestinationRule that is not accepted: the TLS that it demands of its host and of single ports, and nothing
/// else of it. Where that cannot be read, the mesh's own mutual TLS ([`ClientTls::Mesh`]) is demanded: requests to endpoints
/// that cannot speak it, such as all those outside the mesh, are refused, and the refusal names this rule. `None` when the
/// rule names no host, or demands no TLS.
pub fn guarded(object: &Object) -> Option<Destination> {
    let spec = &object.value["spec"];
    let host = spec["host"].as_str().filter(|host| !host.is_empty())?;
    let (policy, because) = match demanded(object, spec) {
        Ok(policy) if policy.tls.is_none() && policy.ports.iter().all(|(_, port)| port.tls.is_none()) => return None,
        Ok(policy) => (policy, "not accepted, so only its TLS holds"),
        Err(Unreadable) => (tls_only(Some(ClientTls::Mesh)), "not accepted and its TLS cannot be read, so mutual TLS is demanded"),
    };
    Some(Destination {
        origin: Origin { path: format!("({because})"), location: object.location(""), ..object.origin("") },
        host: host::resolve(host, &object.namespace),
        namespace: object.namespace.clone(),
        role: Role::Rule,
        // For every client: less is not known.
        clients: Clients::default(),
        policy,
        subsets: Vec::new(),
    })
}

/// The `spec` of a rule that says what [`guarded`] makes of `object`.
pub fn guarded_spec(object: &Object) -> Option<Value> {
    let Destination { host, policy, .. } = guarded(object)?;
    let mut of_ports = Vec::new();
    for (number, port) in &policy.ports {
        let mut setting = json!({"port": {"number": number}});
        write_tls(&mut setting, port.tls.as_ref());
        of_ports.push(setting);
    }
    let mut of_host = json!({"portLevelSettings": of_ports});
    write_tls(&mut of_host, policy.tls.as_ref());
    Some(json!({"host": host, "trafficPolicy": of_host}))
}

fn write_tls(into: &mut Value, tls: Option<&ClientTls>) {
    match tls {
        None => {}
        Some(ClientTls::Disable) => into["tls"] = json!({"mode": "DISABLE"}),
        Some(ClientTls::Mesh) => into["tls"] = json!({"mode": "ISTIO_MUTUAL"}),
        Some(ClientTls::Simple(Origination { sni, subject_alt_names, roots, certificate })) => {
            let mode = if certificate.is_some() { "MUTUAL" } else { "SIMPLE" };
            into["tls"] = json!({"mode": mode, "subjectAltNames": subject_alt_names});
            let files = certificate.as_ref().map(|files| (files.chain.as_str(), files.key.as_str())).unzip();
            let said = [("sni", sni.as_deref()), ("caCertificates", roots.as_deref()), ("clientCertificate", files.0), ("privateKey", files.1)];
            for (field, value) in said.into_iter().filter_map(|(field, value)| Some((field, value?))) {
                into["tls"][field] = value.into();
            }
        }
    }
}

fn demanded(object: &Object, spec: &Value) -> Result<TrafficPolicy, Unreadable> {
    only(spec, OF_SPEC)?;
    let written = &spec["trafficPolicy"];
    only(written, OF_POLICY)?;
    let mut policy = tls_only(demand(object, &written["tls"])?);
    let ports = match &written["portLevelSettings"] {
        Value::Null => &[],
        Value::Array(ports) => ports.as_slice(),
        _ => return Err(Unreadable),
    };
    for port in ports {
        only(port, OF_POLICY)?;
        let number = port["port"]["number"].as_u64().and_then(|number| u16::try_from(number).ok());
        let twice = |number: &u16| policy.ports.iter().any(|(other, _)| other == number);
        let number = number.filter(|number| *number > 0 && !twice(number)).ok_or(Unreadable)?;
        // What it leaves out is not inherited, so it is written down even if it demands nothing.
        policy.ports.push((number, tls_only(demand(object, &port["tls"])?)));
    }
    Ok(policy)
}

/// The TLS that a `tls` section demands: `None` for no section, and for one that switches TLS off, since the mesh's default
/// is then the stronger one.
fn demand(object: &Object, written: &Value) -> Result<Option<ClientTls>, Unreadable> {
    if written.is_null() {
        return Ok(None);
    }
    let mut unread = false;
    let read: api::ClientTls = serde_ignored::deserialize(written, |_| unread = true).map_err(|_| Unreadable)?;
    let mut reader = Reader::new(object);
    let tls = tls(&mut reader, "spec.trafficPolicy", Some(read));
    let refused = reader.finish().iter().any(|problem| problem.severity == Severity::Error);
    match (unread || refused, tls) {
        (true, _) | (false, None) => Err(Unreadable),
        (false, Some(ClientTls::Disable)) => Ok(None),
        (false, tls) => Ok(tls),
    }
}

fn tls_only(tls: Option<ClientTls>) -> TrafficPolicy {
    TrafficPolicy { tls, ..TrafficPolicy::default() }
}

/// Whether a map has no other fields than these; nothing at all is fine too.
fn only(value: &Value, known: &[&str]) -> Result<(), Unreadable> {
    match value {
        Value::Null => Ok(()),
        Value::Object(fields) if fields.keys().all(|name| known.contains(&name.as_str())) => Ok(()),
        _ => Err(Unreadable),
    }
}
