//! What the rules of routes do: shares, retries, faults, redirects, mirrors.

use super::findings::Findings;
use super::name;
use super::paths::{items, port};
use super::scene::Scene;
use crate::translate::duration;
use serde_json::Value;
use taut_model::host;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::service::Service;

/// Weights whose sum is this near to 100 are meant as percentages.
const PERCENTAGES: std::ops::RangeInclusive<u64> = 85..=120;

/// A VirtualService's rule of any protocol.
pub fn rule(scene: &Scene<'_>, object: &Object, parents: &[&Service], at: &str, rule: &Value, findings: &mut Findings) {
    weights(object, at, "route", rule, findings);
    repeated_destinations(object, at, rule, findings);
    for (at, share) in items(rule, at, "route") {
        ambiguous_port(scene, object, parents, &at, &share["destination"], findings);
    }
    retries(object, at, rule, findings);
    if rule["fault"].is_object() {
        let switched_off: Vec<&str> = ["timeout", "retries"].into_iter().filter(|field| !rule[*field].is_null()).collect();
        if !switched_off.is_empty() {
            let message = format!("switches {} of this rule off", switched_off.join(" and "));
            findings.warn(name::FAULT_DISARMS, object, &format!("{at}.fault"), message);
        }
    }
    redirect(object, at, rule, findings);
    mirrors(object, at, rule, findings);
}

/// A rule of an HTTPRoute or a GRPCRoute.
pub fn standard(object: &Object, at: &str, rule: &Value, findings: &mut Findings) {
    weights(object, at, "backendRefs", rule, findings);
    let filters: Vec<(String, &Value)> = items(rule, at, "filters").collect();
    let answers = filters.iter().any(|(_, filter)| filter["type"] == "RequestRedirect" || filter["type"] == "ExtensionRef");
    if !answers && items(rule, at, "backendRefs").next().is_none() {
        findings.warn(name::NO_BACKEND, object, at, "names no backend, and no filter that answers");
    }
    for (at, filter) in &filters {
        let redirect = &filter["requestRedirect"];
        let unchanged = ["scheme", "hostname", "port", "path"].iter().all(|field| redirect[*field].is_null());
        if redirect.is_object() && unchanged {
            findings.warn(name::REDIRECT_LOOP, object, &format!("{at}.requestRedirect"), "redirects to what was asked for");
        }
    }
}

fn weights(object: &Object, at: &str, field: &str, rule: &Value, findings: &mut Findings) {
    let weights: Vec<u64> = items(rule, at, field).filter_map(|(_, share)| share["weight"].as_u64()).collect();
    let sum: u64 = weights.iter().fold(0, |sum, weight| sum.saturating_add(*weight));
    let meant_as_percentages = weights.len() > 1 && PERCENTAGES.contains(&sum) && weights.iter().any(|weight| *weight != weights[0]);
    if meant_as_percentages && sum != 100 {
        let shares: Vec<String> = weights.iter().map(|weight| format!("{:.1} %", *weight as f64 * 100.0 / sum as f64)).collect();
        let message = format!("the weights add up to {sum}, so these are shares of {}", shares.join(", "));
        findings.warn(name::ODD_WEIGHTS, object, &format!("{at}.{field}"), message);
    }
}

fn repeated_destinations(object: &Object, at: &str, rule: &Value, findings: &mut Findings) {
    let mut seen: Vec<(&Value, String)> = Vec::new();
    for (at, share) in items(rule, at, "route") {
        // A share that changes headers of its own may well be for the same destination.
        if !share["headers"].is_null() {
            continue;
        }
        match seen.iter().find(|(destination, _)| *destination == &share["destination"]) {
            Some((_, first)) => findings.warn(name::REPEATED_DESTINATION, object, &at, format!("goes where {first} goes")),
            None => seen.push((&share["destination"], at)),
        }
    }
}

/// Without a port of its own a destination is called on the port that the client called, or on its only one.
fn ambiguous_port(scene: &Scene<'_>, object: &Object, parents: &[&Service], at: &str, destination: &Value, findings: &mut Findings) {
    let Some(written) = destination["host"].as_str().filter(|_| destination["port"].is_null()) else { return };
    let Some(service) = scene.named(written, &object.namespace).filter(|service| service.ports.len() > 1) else { return };
    let lacking = parents.iter().flat_map(|parent| &parent.ports).find(|called| service.port(called.number).is_none());
    if let Some(called) = lacking {
        let numbers: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let message = format!("{written} has the ports {}, and not {}, which clients call", numbers.join(", "), called.number);
        findings.warn(name::AMBIGUOUS_PORT, object, &format!("{at}.destination"), message);
    }
}

fn retries(object: &Object, at: &str, rule: &Value, findings: &mut Findings) {
    let read = |value: &Value| value.as_str().and_then(|text| duration(text).ok()).filter(|time| !time.is_zero());
    let (Some(whole), Some(one)) = (read(&rule["timeout"]), read(&rule["retries"]["perTryTimeout"])) else { return };
    if one >= whole && rule["retries"]["attempts"].as_u64() != Some(0) {
        let message = format!("a try may take {one:?}, and all of them together {whole:?}");
        findings.warn(name::RETRIES_CANNOT_HAPPEN, object, &format!("{at}.retries.perTryTimeout"), message);
    }
}

fn redirect(object: &Object, at: &str, rule: &Value, findings: &mut Findings) {
    let redirect = &rule["redirect"];
    let elsewhere = ["authority", "scheme", "port", "derivePort"].iter().any(|field| !redirect[*field].is_null());
    if !redirect.is_object() || elsewhere {
        return;
    }
    let same_path = match redirect["uri"].as_str() {
        None => true,
        Some(uri) => items(rule, at, "match").any(|(_, matching)| matching["uri"]["exact"] == uri || prefix_covers(&matching["uri"], uri)),
    };
    if same_path {
        let at = format!("{at}.redirect");
        findings.warn(name::REDIRECT_LOOP, object, &at, "redirects to what the same rule matches again");
    }
}

fn prefix_covers(text: &Value, uri: &str) -> bool {
    text["prefix"].as_str().is_some_and(|prefix| uri.starts_with(prefix))
}

fn mirrors(object: &Object, at: &str, rule: &Value, findings: &mut Findings) {
    let lone = (format!("{at}.mirror"), &rule["mirror"]);
    let listed = items(rule, at, "mirrors").map(|(at, mirror)| (format!("{at}.destination"), &mirror["destination"]));
    let only: Vec<&Value> = items(rule, at, "route").map(|(_, share)| &share["destination"]).collect();
    let ([only], place) = (&only[..], |destination: &Value| {
        let host = host::resolve(destination["host"].as_str().unwrap_or_default(), &object.namespace);
        (host, port(&destination["port"]["number"]), destination["subset"].as_str().map(str::to_owned))
    }) else {
        return;
    };
    for (at, mirror) in std::iter::once(lone).chain(listed).filter(|(_, mirror)| mirror.is_object()) {
        if place(mirror) == place(only) {
            findings.add(Severity::Warning, name::MIRRORS_ITSELF, object, &at, "mirrors to where the requests themselves go", None);
        }
    }
}
