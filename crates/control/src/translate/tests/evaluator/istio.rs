//! VirtualService, from the comments in `networking/v1alpha3/virtual_service.proto`: the first rule in the list with a match that
//! holds decides, and all conditions of a match must hold.

use super::{Asked, Outcome, PATHS, any, share, whole_match};
use fastrand::Rng;
use serde_json::{Value, json};

const PATTERNS: &[&str] = &["/a|/ab", "/a.*", ".*b", "1+", "[12]*", "GET|PUT"];

fn string_match(dice: &mut Rng, texts: &[&str]) -> Value {
    match dice.u8(..3) {
        0 => json!({"exact": any(dice, texts)}),
        1 => json!({"prefix": any(dice, texts)}),
        _ => json!({"regex": any(dice, PATTERNS)}),
    }
}

fn perhaps(dice: &mut Rng, into: &mut Value, field: &str, make: impl FnOnce(&mut Rng) -> Value) {
    if dice.u8(..4) == 0 {
        into[field] = make(dice);
    }
}

fn named(dice: &mut Rng, names: &[&str]) -> Value {
    let value = if dice.u8(..4) == 0 { json!({}) } else { string_match(dice, &["1", "12", "2"]) };
    let mut all = json!({});
    all[any(dice, names)] = value;
    all
}

fn request_match(dice: &mut Rng) -> Value {
    let mut one = json!({});
    if dice.bool() {
        one["uri"] = string_match(dice, PATHS);
    }
    perhaps(dice, &mut one, "ignoreUriCase", |_| json!(true));
    perhaps(dice, &mut one, "method", |dice| string_match(dice, &["GET", "PO"]));
    perhaps(dice, &mut one, "scheme", |dice| json!({"exact": any(dice, &["http", "https"])}));
    perhaps(dice, &mut one, "authority", |dice| json!({any(dice, &["exact", "prefix"]): any(dice, &["reviews", "reviews:9080", "shop.example"])}));
    perhaps(dice, &mut one, "headers", |dice| named(dice, &["a", "B"]));
    perhaps(dice, &mut one, "withoutHeaders", |dice| named(dice, &["a", "b"]));
    perhaps(dice, &mut one, "queryParams", |dice| named(dice, &["q", "r"]));
    perhaps(dice, &mut one, "port", |dice| json!(any(dice, &[9080, 9090])));
    perhaps(dice, &mut one, "sourceLabels", |dice| json!({"app": any(dice, &["productpage", "other"])}));
    perhaps(dice, &mut one, "sourceNamespace", |dice| json!(any(dice, &["default", "other"])));
    perhaps(dice, &mut one, "gateways", |dice| json!(any(dice, &[["mesh", "edge"], ["edge", "other/edge"]])));
    one
}

fn rule(dice: &mut Rng) -> Value {
    let matches: Vec<Value> = (0..dice.usize(..3)).map(|_| request_match(dice)).collect();
    let mut rule = json!({"match": matches});
    match dice.u8(..8) {
        0 => rule["directResponse"] = json!({"status": any(dice, &[200, 418])}),
        1 => {
            let mut redirect = json!({});
            perhaps(dice, &mut redirect, "authority", |dice| json!(any(dice, &["new", "new:81"])));
            perhaps(dice, &mut redirect, "scheme", |_| json!("https"));
            perhaps(dice, &mut redirect, "port", |dice| json!(any(dice, &[82, 443])));
            perhaps(dice, &mut redirect, "redirectCode", |dice| json!(any(dice, &[302, 308])));
            let path = any(dice, &["uri", "prefixRewrite", "none"]);
            if path != "none" {
                redirect[path] = json!("/new");
            }
            rule["redirect"] = redirect;
        }
        _ => {
            let shares = (0..1 + dice.usize(..3)).map(|_| {
                let mut destination = json!({"host": any(dice, &["reviews", "ratings", "details"])});
                perhaps(dice, &mut destination, "port", |dice| json!({"number": any(dice, &[9080, 9090])}));
                json!({"destination": destination, "weight": dice.u8(..3)})
            });
            rule["route"] = shares.collect();
            perhaps(dice, &mut rule, "timeout", |dice| json!(any(dice, &["0s", "1.5s"])));
            match dice.u8(..4) {
                0 => rule["rewrite"] = json!({"uri": any(dice, &["/new", "/"])}),
                1 => rule["rewrite"] = json!({"authority": "other:1", "uriRegexRewrite": {"match": "^/a/(.*)$", "rewrite": "/z/\\1"}}),
                _ => {}
            }
        }
    }
    rule
}

pub fn configure(dice: &mut Rng) -> Vec<Value> {
    let rules: Vec<Value> = (0..1 + dice.usize(..6)).map(|_| rule(dice)).collect();
    vec![json!({"hosts": ["reviews"], "http": rules})]
}

fn holds(condition: &Value, value: &str) -> bool {
    let said = |kind: &str| condition[kind].as_str();
    match (said("exact"), said("prefix"), said("regex")) {
        (Some(exact), ..) => exact == value,
        (_, Some(prefix), _) => value.starts_with(prefix),
        (.., Some(regex)) => whole_match(regex, value),
        // "If the value is empty and only the name of header is specified, presence of the header is checked."
        _ => true,
    }
}

fn all_named(conditions: &Value, value: impl Fn(&str) -> Option<String>) -> bool {
    let mut conditions = conditions.as_object().into_iter().flatten();
    conditions.all(|(name, condition)| value(name).is_some_and(|value| holds(condition, &value)))
}

fn matches(one: &Value, asked: &Asked) -> bool {
    let list = |field: &str| one[field].as_array().cloned().unwrap_or_default();
    let of_gateways = !list("gateways").is_empty() && !list("gateways").contains(&json!("mesh"));
    let any_case = one["ignoreUriCase"] == true && one["uri"]["regex"].is_null();
    let lower = |value: &Value| serde_json::from_str::<Value>(&value.to_string().to_lowercase()).unwrap();
    let path = match any_case {
        true => holds(&lower(&one["uri"]), &asked.path.to_lowercase()),
        false => holds(&one["uri"], asked.path),
    };
    let host = asked.authority.split(':').next().unwrap();
    let header = |name: &str| asked.header(&name.to_lowercase());
    let unwanted = one["withoutHeaders"].as_object().into_iter().flatten();
    !of_gateways
        && path
        && holds(&one["method"], asked.method)
        && holds(&one["scheme"], "http")
        && (holds(&one["authority"], asked.authority) || holds(&one["authority"], host))
        && all_named(&one["headers"], header)
        && unwanted.into_iter().all(|(name, condition)| !header(name).is_some_and(|value| holds(condition, &value)))
        && all_named(&one["queryParams"], |name| asked.parameter(name))
        && one["port"].as_u64().is_none_or(|port| port == u64::from(asked.port))
        && one["sourceLabels"]["app"].as_str().is_none_or(|app| app == "productpage")
        && one["sourceNamespace"].as_str().is_none_or(|namespace| namespace == "default")
}

pub fn read(specs: &[Value], asked: &Asked) -> Outcome {
    let rules = specs[0]["http"].as_array().unwrap();
    // Rules for gateways only are none of a sidecar's.
    let concerns_mesh = |rule: &&Value| {
        let matches = rule["match"].as_array().unwrap();
        let edge_only = |one: &Value| one["gateways"].as_array().is_some_and(|gateways| !gateways.contains(&json!("mesh")));
        matches.is_empty() || !matches.iter().all(edge_only)
    };
    if !rules.iter().any(|rule| concerns_mesh(&rule)) {
        return forwarded(asked, "reviews", u64::from(asked.port), None, None, 0);
    }
    for rule in rules {
        let all = rule["match"].as_array().unwrap();
        let hit = if all.is_empty() { Some(Value::Null) } else { all.iter().find(|one| matches(one, asked)).cloned() };
        if let Some(hit) = hit {
            return act(rule, &hit, asked);
        }
    }
    Outcome::Answered(404)
}

fn forwarded(asked: &Asked, host: &str, port: u64, path: Option<String>, authority: Option<&str>, timeout_ms: u128) -> Outcome {
    let path = asked.whole(path.as_deref().unwrap_or(asked.path));
    Outcome::Forwarded { to: format!("{host}:{port}"), path, authority: authority.unwrap_or(asked.authority).to_owned(), timeout_ms }
}

fn act(rule: &Value, hit: &Value, asked: &Asked) -> Outcome {
    if let Some(status) = rule["directResponse"]["status"].as_u64() {
        return Outcome::Answered(status);
    }
    if rule["redirect"].is_object() {
        return redirected(&rule["redirect"], hit, asked);
    }
    let shares = rule["route"].as_array().unwrap();
    let weights: Vec<u64> = shares.iter().map(|share| share["weight"].as_u64().unwrap()).collect();
    // "If there is only one destination in a rule, it will receive all traffic."
    let index = if shares.len() == 1 { Some(0) } else { share(&weights, asked.roll) };
    let Some(destination) = index.map(|index| &shares[index]["destination"]) else { return Outcome::Answered(500) };
    let port = destination["port"]["number"].as_u64().unwrap_or(asked.port.into());
    let path = match (rule["rewrite"]["uri"].as_str(), rule["rewrite"]["uriRegexRewrite"].is_object()) {
        (Some(new), _) => Some(replaced(hit, asked, new)),
        (None, true) => Some(asked.path.strip_prefix("/a/").map_or_else(|| asked.path.to_owned(), |rest| format!("/z/{rest}"))),
        (None, false) => None,
    };
    let timeout_ms = if rule["timeout"] == "1.5s" { 1500 } else { 0 };
    forwarded(asked, destination["host"].as_str().unwrap(), port, path, rule["rewrite"]["authority"].as_str(), timeout_ms)
}

/// "If the original URI was matched based on prefix, the value provided in this field will replace the corresponding matched prefix."
fn replaced(hit: &Value, asked: &Asked, new: &str) -> String {
    match (hit["uri"].is_null(), hit["uri"]["prefix"].as_str()) {
        (true, _) => format!("{new}{}", &asked.path["/".len()..]),
        (false, Some(prefix)) => format!("{new}{}", &asked.path[prefix.len()..]),
        (false, None) => new.to_owned(),
    }
}

fn redirected(redirect: &Value, hit: &Value, asked: &Asked) -> Outcome {
    let scheme = redirect["scheme"].as_str().unwrap_or("http");
    let (host, port) = asked.authority.split_once(':').unwrap_or((asked.authority, ""));
    // Envoy: the port that is the old scheme's own goes with it (`scheme_redirect`).
    let port = if port == "80" { "" } else { port };
    let (host, port) = redirect["authority"].as_str().map_or((host, port), |new| new.split_once(':').unwrap_or((new, "")));
    let port = redirect["port"].as_u64().map_or_else(|| port.to_owned(), |port| port.to_string());
    let port = if port.is_empty() || (scheme == "https" && port == "443") { String::new() } else { format!(":{port}") };
    let path = match (redirect["uri"].as_str(), redirect["prefixRewrite"].as_str()) {
        (Some(new), _) => new.to_owned(),
        (None, Some(new)) => replaced(hit, asked, new),
        (None, None) => asked.path.to_owned(),
    };
    let location = format!("{scheme}://{host}{port}{}", asked.whole(&path));
    Outcome::Redirected { status: redirect["redirectCode"].as_u64().unwrap_or(301), location }
}
