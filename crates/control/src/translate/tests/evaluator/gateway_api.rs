//! HTTPRoute and GRPCRoute, from the comments in Gateway API's `httproute_types.go` and `grpcroute_types.go`: of all matches that hold,
//! the most specific decides; ties go to the oldest route, then to the first by name, then to the first in the list.

use super::{Asked, Outcome, any, share, whole_match};
use fastrand::Rng;
use serde_json::{Value, json};
use std::cmp::Reverse;

fn routes(dice: &mut Rng, rule: impl Fn(&mut Rng) -> Value) -> Vec<Value> {
    let one = |dice: &mut Rng| {
        let rules: Vec<Value> = (0..1 + dice.usize(..4)).map(|_| rule(dice)).collect();
        json!({"age": dice.u8(..3), "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": rules})
    };
    (0..1 + dice.usize(..3)).map(|_| one(dice)).collect()
}

/// At most one condition for each name.
fn named(dice: &mut Rng, names: &[&str]) -> Value {
    let chosen: Vec<&&str> = names.iter().filter(|_| dice.u8(..3) == 0).collect();
    let one = |name: &str, dice: &mut Rng| match dice.bool() {
        true => json!({"name": name, "value": any(dice, &["1", "12", "2"])}),
        false => json!({"name": name, "type": "RegularExpression", "value": any(dice, &["1.*", "[12]", ".*"])}),
    };
    chosen.into_iter().map(|name| one(name, dice)).collect()
}

fn backends(dice: &mut Rng) -> Value {
    let one = |dice: &mut Rng| json!({"name": any(dice, &["ratings", "details", "reviews", "nowhere"]), "port": any(dice, &[9080, 9090]), "weight": dice.u8(..3)});
    (0..dice.usize(..4)).map(|_| one(dice)).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn all_named(conditions: &[Value], value: impl Fn(&str) -> Option<String>) -> bool {
    conditions.iter().all(|condition| {
        let (name, want) = (condition["name"].as_str().unwrap(), condition["value"].as_str().unwrap());
        value(name).is_some_and(|value| if condition["type"].is_string() { whole_match(want, &value) } else { want == value })
    })
}

/// The rule of the best match, and that match.
fn best<Rank: Ord>(specs: &[Value], holds: impl Fn(&Value) -> bool, rank: impl Fn(&Value) -> Rank) -> Option<(&Value, Value)> {
    let mut found = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        for (position, rule) in list(spec, "rules").iter().enumerate() {
            // "If no matches are specified, the default is a prefix path match on /" (HTTPRoute), or any method (GRPCRoute).
            let matches = if list(rule, "matches").is_empty() { vec![json!({})] } else { list(rule, "matches").to_vec() };
            for (order, one) in matches.into_iter().enumerate().filter(|(_, one)| holds(one)) {
                found.push((Reverse(rank(&one)), spec["age"].as_u64(), number, position, order, rule, one));
            }
        }
    }
    let first = found.into_iter().min_by(|a, b| (&a.0, a.1, a.2, a.3, a.4).cmp(&(&b.0, b.1, b.2, b.3, b.4)))?;
    Some((first.5, first.6))
}

fn forwarded(rule: &Value, asked: &Asked, path: String, authority: Option<&str>) -> Outcome {
    let backends = list(rule, "backendRefs");
    let weights: Vec<u64> = backends.iter().map(|backend| backend["weight"].as_u64().unwrap()).collect();
    // "If all entries in BackendRefs are invalid … all traffic … must receive a 500", and so for weights of zero.
    let chosen = share(&weights, asked.roll).map(|index| &backends[index]).filter(|backend| backend["name"] != "nowhere");
    let Some(backend) = chosen else { return Outcome::Answered(500) };
    Outcome::Forwarded {
        to: format!("{}:{}", backend["name"].as_str().unwrap(), backend["port"]),
        path: asked.whole(&path),
        authority: authority.unwrap_or(asked.authority).to_owned(),
        timeout_ms: if rule["timeouts"]["request"] == "2s" { 2000 } else { 0 },
    }
}

pub mod http {
    use super::*;

    fn request_match(dice: &mut Rng) -> Value {
        let mut one = json!({"headers": named(dice, &["a", "b"]), "queryParams": named(dice, &["q", "r"])});
        if dice.u8(..3) == 0 {
            one["method"] = json!(any(dice, &["GET", "POST"]));
        }
        one["path"] = match dice.u8(..4) {
            0 => json!({"type": "Exact", "value": any(dice, &["/a", "/a/b", "/a/"])}),
            1 => json!({"type": "RegularExpression", "value": any(dice, &["/a.*", "/a|/ab", "/a/./?.*"])}),
            2 => json!({"type": "PathPrefix", "value": any(dice, &["/", "/a", "/a/", "/a/b", "/ab"])}),
            _ => return one,
        };
        one
    }

    fn rule(dice: &mut Rng) -> Value {
        let matches: Vec<Value> = (0..dice.usize(..3)).map(|_| request_match(dice)).collect();
        let prefixes = matches.iter().all(|one| matches!(one["path"]["type"].as_str(), None | Some("PathPrefix")));
        let mut rule = json!({"matches": matches, "backendRefs": backends(dice)});
        let path = match dice.u8(..3) {
            0 => json!({"type": "ReplaceFullPath", "replaceFullPath": "/new"}),
            1 if prefixes => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": any(dice, &["/new", "/new/", "/", ""])}),
            _ => Value::Null,
        };
        match dice.u8(..6) {
            0 => {
                rule["filters"] = json!([{"type": "URLRewrite", "urlRewrite": {"path": path, "hostname": any(dice, &[None, Some("other.example")])}}])
            }
            1 => {
                let redirect = json!({
                    "path": path, "scheme": any(dice, &[None, Some("https")]), "hostname": any(dice, &[None, Some("other.example")]),
                    "port": any(dice, &[None, Some(8443), Some(443)]), "statusCode": any(dice, &[None, Some(301)]),
                });
                rule["filters"] = json!([{"type": "RequestRedirect", "requestRedirect": redirect}]);
                rule["backendRefs"] = json!([]);
            }
            2 => rule["timeouts"] = json!({"request": any(dice, &["2s", "0s"])}),
            _ => {}
        }
        rule
    }

    pub fn configure(dice: &mut Rng) -> Vec<Value> {
        routes(dice, rule)
    }

    fn path(one: &Value) -> (&str, &str) {
        (one["path"]["type"].as_str().unwrap_or("PathPrefix"), one["path"]["value"].as_str().unwrap_or("/"))
    }

    /// "Matches based on a URL path prefix split by `/` … A trailing `/` is ignored."
    fn holds(one: &Value, asked: &Asked) -> bool {
        let path = match path(one) {
            ("Exact", want) => want == asked.path,
            ("RegularExpression", want) => whole_match(want, asked.path),
            (_, want) => {
                let elements = |path: &'static str| path.split('/').skip(1).collect::<Vec<_>>();
                let want: Vec<&str> = want.trim_end_matches('/').split('/').skip(1).collect();
                elements(asked.path).starts_with(&want)
            }
        };
        path && one["method"].as_str().is_none_or(|method| method == asked.method)
            && all_named(list(one, "headers"), |name| asked.header(name))
            && all_named(list(one, "queryParams"), |name| asked.parameter(name))
    }

    /// "Exact path match, prefix path match with largest number of characters, method match, largest number of header matches, largest
    /// number of query param matches." Regular expressions are left to implementations: here between the first two, the longest first.
    fn rank(one: &Value) -> (u8, usize, bool, usize, usize) {
        let (kind, length) = match path(one) {
            ("Exact", _) => (2, 0),
            ("RegularExpression", pattern) => (1, pattern.len()),
            (_, prefix) => (0, prefix.trim_end_matches('/').len().max(1)),
        };
        (kind, length, one["method"].is_string(), list(one, "headers").len(), list(one, "queryParams").len())
    }

    pub fn read(specs: &[Value], asked: &Asked) -> Outcome {
        let Some((rule, one)) = best(specs, |one| holds(one, asked), rank) else { return Outcome::Answered(404) };
        let filter = rule["filters"].get(0).unwrap_or(&Value::Null);
        let (rewrite, redirect) = (&filter["urlRewrite"], &filter["requestRedirect"]);
        if redirect.is_null() {
            return forwarded(rule, asked, new_path(&rewrite["path"], &one, asked), rewrite["hostname"].as_str());
        }
        let (asked_host, asked_port) = asked.authority.split_once(':').unwrap_or((asked.authority, ""));
        let host = redirect["hostname"].as_str().unwrap_or(asked_host);
        let scheme = redirect["scheme"].as_str().unwrap_or("http");
        // "If redirect scheme is not-empty, the redirect port MUST be the well-known port associated with the redirect scheme";
        // "if redirect scheme is empty, … the Gateway Listener port", which is the port that was asked for.
        let port = match (redirect["port"].as_u64(), redirect["scheme"].is_string()) {
            (Some(port), _) => port.to_string(),
            (None, true) => String::new(),
            (None, false) => asked_port.to_owned(),
        };
        // "SHOULD NOT add the port number … if it is the well-known one of the scheme".
        let hidden = port.is_empty() || (scheme, port.as_str()) == ("http", "80") || (scheme, port.as_str()) == ("https", "443");
        let authority = if hidden { host.to_owned() } else { format!("{host}:{port}") };
        let location = format!("{scheme}://{authority}{}", asked.whole(&new_path(&redirect["path"], &one, asked)));
        Outcome::Redirected { status: redirect["statusCode"].as_u64().unwrap_or(302), location }
    }

    fn new_path(change: &Value, one: &Value, asked: &Asked) -> String {
        if let Some(full) = change["replaceFullPath"].as_str() {
            return full.to_owned();
        }
        let Some(new) = change["replacePrefixMatch"].as_str() else { return asked.path.to_owned() };
        let rest = &asked.path[path(one).1.trim_end_matches('/').len()..];
        match format!("{}{rest}", new.trim_end_matches('/')) {
            path if path.starts_with('/') => path,
            path => format!("/{path}"),
        }
    }
}

pub mod grpc {
    use super::*;

    fn call_match(dice: &mut Rng) -> Value {
        let mut method = json!({});
        let regular = dice.bool();
        if regular {
            method["type"] = json!("RegularExpression");
        }
        let (services, methods): (&[&str], &[&str]) =
            if regular { (&["shop\\..*", "x.Y", ".*Y"], &["Get|List", "G.*", ".*"]) } else { (&["shop.Cart", "x.Y", "shop"], &["Get", "List"]) };
        if dice.bool() {
            method["service"] = json!(any(dice, services));
        }
        if dice.bool() {
            method["method"] = json!(any(dice, methods));
        }
        let mut one = json!({"headers": named(dice, &["a", "b"])});
        if method.get("service").or(method.get("method")).is_some() {
            one["method"] = method;
        }
        one
    }

    fn rule(dice: &mut Rng) -> Value {
        let matches: Vec<Value> = (0..dice.usize(..3)).map(|_| call_match(dice)).collect();
        json!({"matches": matches, "backendRefs": backends(dice)})
    }

    pub fn configure(dice: &mut Rng) -> Vec<Value> {
        routes(dice, rule)
    }

    fn holds(one: &Value, asked: &Asked) -> bool {
        let elements: Vec<&str> = asked.path.split('/').collect();
        let ["", service, method] = elements[..] else { return false };
        let part = |field: &str, have: &str| {
            let want = one["method"][field].as_str();
            want.is_none_or(|want| if one["method"]["type"].is_string() { whole_match(want, have) } else { want == have })
        };
        let called = !service.is_empty() && !method.is_empty();
        called && part("service", service) && part("method", method) && all_named(list(one, "headers"), |name| asked.header(name))
    }

    /// "Characters in a matching service, characters in a matching method, header matches."
    fn rank(one: &Value) -> (usize, usize, usize) {
        let length = |field: &str| one["method"][field].as_str().map_or(0, str::len);
        (length("service"), length("method"), list(one, "headers").len())
    }

    pub fn read(specs: &[Value], asked: &Asked) -> Outcome {
        match best(specs, |one| holds(one, asked), rank) {
            Some((rule, _)) => forwarded(rule, asked, asked.path.to_owned(), None),
            None => Outcome::Answered(404),
        }
    }
}
