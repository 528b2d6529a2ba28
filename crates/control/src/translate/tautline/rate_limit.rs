//! RateLimit -> the limits of the workloads that it selects.

use super::api;
use crate::translate::istio::{api::Rule, authorization_rule, selector, stand_in};
use crate::translate::meaning::Meaning;
use crate::translate::reader::{Reader, code};
use crate::translate::values;
use serde_json::Value;
use std::time::Duration;
use taut_model::object::Object;
use taut_model::policy::AuthorizationRule;
use taut_model::rate_limit::{Per, RateLimit, RequestLimit, SizeLimit};

const INTERVAL: Duration = Duration::from_secs(1);
/// A bucket is a time; one that takes longer to fill says nothing about traffic.
const LONGEST_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);

pub fn rate_limit(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::RateLimit = reader.spec(&[]);
    if spec.limits.is_empty() && spec.sizes.is_empty() {
        reader.invalid("spec.limits", "names no limit, and neither does spec.sizes");
    }
    let limits: Vec<RequestLimit> = spec.limits.into_iter().enumerate().map(|(index, written)| limit(reader, index, written)).collect();
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index].iter().any(|earlier| earlier.name == limit.name) {
            reader.invalid(&format!("spec.limits[{index}].name"), format_args!("{:?} is the name of two limits", limit.name));
        }
    }
    Meaning::RateLimit(RateLimit {
        origin: reader.origin(""),
        namespace: reader.namespace().to_owned(),
        selector: spec.selector.match_labels,
        limits,
        sizes: spec.sizes.into_iter().enumerate().map(|(index, written)| size(reader, index, written)).collect(),
    })
}

/// In place of a RateLimit that is not accepted: the same workloads let nothing in.
pub fn refuse_everything(object: &Object) -> RateLimit {
    let origin = stand_in(object, "not accepted, so nothing is let in");
    let matching = AuthorizationRule { origin: origin.clone(), from: Vec::new(), to: Vec::new(), when: Vec::new() };
    let name = "not accepted".to_owned();
    let all = RequestLimit { origin: origin.clone(), name, requests: 0, interval: INTERVAL, burst: 1, per: Per::Workload, matching };
    RateLimit { origin, namespace: object.namespace.clone(), selector: selector(object), limits: vec![all], sizes: Vec::new() }
}

fn limit(reader: &mut Reader<'_>, index: usize, written: api::RequestLimit) -> RequestLimit {
    let at = format!("spec.limits[{index}]");
    if written.requests.is_none() {
        reader.invalid(&format!("{at}.requests"), "is missing: say how many are let in per interval; 0 refuses all");
    }
    let requests = reader.count(&format!("{at}.requests"), written.requests).unwrap_or(0);
    if requests == 0 {
        reader.warn(code::REFUSES_ALL, &format!("{at}.requests"), "is 0, so every request that this limit is about is refused");
    }
    let burst = reader.count(&format!("{at}.burst"), written.burst);
    if burst == Some(0) {
        reader.invalid(&format!("{at}.burst"), "must be at least 1; to refuse everything write requests: 0");
    }
    let interval = reader.positive_duration(&format!("{at}.interval"), written.interval.as_deref()).unwrap_or(INTERVAL);
    if interval > LONGEST_INTERVAL {
        reader.invalid(&format!("{at}.interval"), "is longer than a week (168h), the longest interval there is");
    }
    let per = per(reader, &at, written.per.as_deref(), written.header);
    let rule = Rule { from: written.from, to: written.to, when: written.when };
    let matching = authorization_rule(reader, &at, rule);
    RequestLimit {
        origin: reader.origin(&at),
        name: written.name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("limit {index}")),
        requests,
        interval,
        burst: burst.unwrap_or(requests).max(1),
        per,
        matching,
    }
}

fn size(reader: &mut Reader<'_>, index: usize, written: api::SizeLimit) -> SizeLimit {
    let at = format!("spec.sizes[{index}]");
    if written.max_request.is_none() && written.max_response.is_none() {
        reader.invalid(&at, "limits nothing: name maxRequest or maxResponse");
    }
    let mut bytes = |field: &str, written: Option<Value>| written.and_then(|written| reader.taken(&format!("{at}.{field}"), values::bytes(&written)));
    let (max_request, max_response) = (bytes("maxRequest", written.max_request), bytes("maxResponse", written.max_response));
    let rule = Rule { from: written.from, to: written.to, when: written.when };
    let matching = authorization_rule(reader, &at, rule);
    let name = written.name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("size {index}"));
    SizeLimit { origin: reader.origin(&at), name, max_request, max_response, matching }
}

fn per(reader: &mut Reader<'_>, at: &str, written: Option<&str>, header: Option<String>) -> Per {
    if written != Some("Header") && header.is_some() {
        reader.invalid(&format!("{at}.header"), "stands without per: Header");
    }
    match (written, header) {
        (None | Some("Workload"), _) => Per::Workload,
        (Some("Client"), _) => Per::Client,
        (Some("Header"), Some(name)) => reader.taken(&format!("{at}.header"), values::header_name(&name)).map_or(Per::Workload, Per::Header),
        (Some("Header"), None) => {
            reader.invalid(&format!("{at}.header"), "is missing: name the header whose values have limits of their own");
            Per::Workload
        }
        (Some(other), _) => {
            reader.invalid(&format!("{at}.per"), format_args!("{other:?} is not one of Workload, Client and Header"));
            Per::Workload
        }
    }
}
