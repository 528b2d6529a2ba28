//! Policies that are attached to Services (XBackendTrafficPolicy, BackendTLSPolicy) -> what is added to their destinations.

use super::api;
use super::persistence::persistence;
use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;
use serde_json::{Value, json};
use std::time::Duration;
use taut_model::destination::{ClientTls, Destination, Origination, RetryBudget, RetryRate, TrafficPolicy};
use taut_model::host::service_host;
use taut_model::object::Object;
use taut_model::origin::Origin;

/// GEP-3388's defaults.
const BUDGET_INTERVAL: Duration = Duration::from_secs(10);
const FREE_RETRIES: RetryRate = RetryRate { count: 10, interval: Duration::from_secs(1) };
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

pub fn backend_traffic_policy(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::BackendTrafficPolicy = reader.spec(&[]);
    let persistence = spec.session_persistence.and_then(|written| persistence(reader, "spec.sessionPersistence", written));
    let retry_budget = spec.retry_constraint.map(|written| retry_budget(reader, "spec.retryConstraint", written));
    if persistence.is_none() && retry_budget.is_none() {
        reader.invalid("spec", "says nothing: sessionPersistence and retryConstraint are what it may hold");
    }
    let policy = TrafficPolicy { persistence, retry_budget, ..TrafficPolicy::default() };
    additions(reader, &spec.target_refs, &policy)
}

fn retry_budget(reader: &mut Reader<'_>, at: &str, written: api::RetryConstraint) -> RetryBudget {
    let interval = budget_interval(reader, &format!("{at}.budget.interval"), written.budget.interval.as_deref());
    if interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
        reader.invalid(&format!("{at}.budget.interval"), "is shorter than 1s, the shortest that the API allows");
    }
    let min_rate = written.min_retry_rate.map_or(FREE_RETRIES, |rate| RetryRate {
        count: reader.count(&format!("{at}.minRetryRate.count"), rate.count).unwrap_or(FREE_RETRIES.count),
        interval: budget_interval(reader, &format!("{at}.minRetryRate.interval"), rate.interval.as_deref()).unwrap_or(FREE_RETRIES.interval),
    });
    RetryBudget {
        percent: reader.percent(&format!("{at}.budget.percent"), written.budget.percent.unwrap_or(RetryBudget::default().percent)),
        min_concurrency: 0,
        interval: interval.unwrap_or(BUDGET_INTERVAL),
        min_rate: Some(min_rate),
    }
}

fn budget_interval(reader: &mut Reader<'_>, at: &str, written: Option<&str>) -> Option<Duration> {
    let interval = reader.positive_duration(at, written)?;
    if interval > LONGEST_INTERVAL {
        reader.invalid(at, "is longer than 1h, the longest that the API allows");
    }
    Some(interval)
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
