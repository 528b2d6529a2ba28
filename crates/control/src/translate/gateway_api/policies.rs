//! Policies that are attached to Services (XBackendTrafficPolicy, BackendTLSPolicy) -> what is added to their destinations.

use super::api;
use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;
use crate::translate::values;
use serde_json::{Value, json};
use taut_model::destination::{ClientTls, Destination, Origination, Persistence, SessionMark, TrafficPolicy};
use taut_model::host::service_host;
use taut_model::object::Object;
use taut_model::origin::Origin;

/// The name of a session's cookie or header where users give it none.
const SESSION: &str = "taut-session";

pub fn backend_traffic_policy(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::BackendTrafficPolicy = reader.spec(&[]);
    let persistence = spec.session_persistence.and_then(|written| persistence(reader, "spec.sessionPersistence", written));
    if persistence.is_none() {
        reader.invalid("spec", "says nothing: sessionPersistence is what it may hold");
    }
    let policy = TrafficPolicy { persistence, ..TrafficPolicy::default() };
    additions(reader, &spec.target_refs, &policy)
}

fn persistence(reader: &mut Reader<'_>, at: &str, written: api::SessionPersistence) -> Option<Persistence> {
    let age = reader.positive_duration(&format!("{at}.absoluteTimeout"), written.absolute_timeout.as_deref());
    let by = match written.r#type.as_deref() {
        None | Some("Cookie") => {
            if written.header.is_some() {
                reader.invalid(&format!("{at}.header"), "stands beside type Cookie");
            }
            let cookie = written.cookie.unwrap_or_default();
            let permanent = match cookie.lifetime_type.as_deref() {
                None | Some("Session") => false,
                Some("Permanent") => true,
                Some(other) => {
                    reader.invalid(&format!("{at}.cookie.lifetimeType"), format_args!("{other:?} is neither Session nor Permanent"));
                    false
                }
            };
            match (permanent, age) {
                (true, None) => reader.invalid(&format!("{at}.absoluteTimeout"), "is missing: a Permanent cookie needs one"),
                (false, Some(_)) => {
                    let instead = "use cookie.lifetimeType Permanent, or remove it";
                    reader.unsupported_value(&format!("{at}.absoluteTimeout"), "a timeout of a cookie that lasts for the client's session", instead);
                }
                _ => {}
            }
            let name = cookie.name.unwrap_or_else(|| SESSION.to_owned());
            let path = cookie.path.unwrap_or_default();
            reader.taken(&format!("{at}.cookie.name"), values::cookie_name(&name));
            reader.taken(&format!("{at}.cookie.path"), values::cookie_text(&path));
            SessionMark::Cookie { name, path, ttl: age }
        }
        Some("Header") => {
            if age.is_some() {
                reader.unsupported_value(&format!("{at}.absoluteTimeout"), "a timeout with type Header", "remove it, or use a Permanent cookie");
            }
            let name = written.header.map_or_else(|| SESSION.to_owned(), |header| header.name);
            SessionMark::Header(reader.taken(&format!("{at}.header.name"), values::header_name(&name))?)
        }
        Some(other) => {
            reader.unsupported_value(&format!("{at}.type"), other, "use Cookie or Header");
            return None;
        }
    };
    Some(Persistence { origin: reader.origin(at), by })
}

/// TLS to a Service's endpoints, checked against the system's roots.
pub fn backend_tls_policy(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::BackendTlsPolicy = reader.spec(&["spec.options"]);
    let validation = spec.validation;
    if validation.hostname.is_empty() {
        reader.invalid("spec.validation.hostname", "is missing: the name that the server must prove");
    }
    if !validation.ca_certificate_refs.is_empty() {
        let instead = "use wellKnownCACertificates: System, or a DestinationRule with tls.caCertificates";
        reader.unsupported_value("spec.validation.caCertificateRefs", "a reference to roots", instead);
    } else if validation.well_known_ca_certificates.as_deref() != Some("System") {
        reader.invalid("spec.validation.wellKnownCACertificates", "must be System");
    }
    let mut names = Vec::new();
    for (index, name) in validation.subject_alt_names.into_iter().enumerate() {
        match (name.r#type.as_str(), name.hostname) {
            ("Hostname", Some(hostname)) => names.push(hostname),
            (other, _) => reader.unsupported_value(
                &format!("spec.validation.subjectAltNames[{index}].type"),
                format_args!("{other:?}"),
                "use Hostname with a hostname",
            ),
        }
    }
    let origination = Origination { sni: Some(validation.hostname), subject_alt_names: names, ..Origination::default() };
    let policy = TrafficPolicy { tls: Some(ClientTls::Simple(origination)), ..TrafficPolicy::default() };
    additions(reader, &spec.target_refs, &policy)
}

/// In place of a BackendTLSPolicy that is not accepted: its targets are reached over the mesh's own mutual TLS, or not at all.
pub fn guarded_backends(object: &Object) -> Vec<Destination> {
    let policy = TrafficPolicy { tls: Some(ClientTls::Mesh), ..TrafficPolicy::default() };
    let origin = Origin { path: "(not accepted, so mutual TLS is demanded)".to_owned(), location: object.location(""), ..object.origin("") };
    let host = |name: &String| service_host(name, &object.namespace);
    target_names(object).iter().map(|name| Destination::addition(origin.clone(), host(name), policy.clone())).collect()
}

/// The `spec` of a policy with the targets of `object`.
pub fn guarded_backends_spec(object: &Object) -> Value {
    let targets: Vec<Value> = target_names(object).iter().map(|name| json!({"group": "", "kind": "Service", "name": name})).collect();
    json!({"targetRefs": targets, "validation": {"hostname": "not-accepted", "wellKnownCACertificates": "System"}})
}

fn target_names(object: &Object) -> Vec<String> {
    let targets = object.value["spec"]["targetRefs"].as_array().into_iter().flatten();
    targets.filter_map(|target| target["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)).collect()
}

fn additions(reader: &mut Reader<'_>, targets: &[api::PolicyTarget], policy: &TrafficPolicy) -> Meaning {
    if targets.is_empty() {
        reader.invalid("spec.targetRefs", "names no Service");
    }
    let mut additions = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let at = format!("spec.targetRefs[{index}]");
        if !(matches!(target.group.as_str(), "" | "core") && target.kind == "Service") {
            reader.unsupported_value(&at, format_args!("the target {}/{}", target.group, target.kind), "use group \"\" and kind Service");
        }
        if target.section_name.is_some() {
            reader.unsupported_value(&format!("{at}.sectionName"), "the name of a port", "remove it: the policy then holds for every port");
        }
        additions.push(Destination::addition(reader.origin(""), service_host(&target.name, reader.namespace()), policy.clone()));
    }
    Meaning::Additions(additions)
}
