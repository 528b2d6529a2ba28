//! AuthorizationPolicy, from the comments in `security/v1beta1/authorization_policy.proto`: any source, and any operation, and every
//! condition; every list that is given has a value that matches, and no negated one has. What a hop cannot see counts as matched for
//! DENY and as not matched for ALLOW.

use super::any;
use fastrand::Rng;
use serde_json::{Value, json};
use std::net::IpAddr;
use taut_model::identity::Identity;

pub const TRUST_DOMAIN: &str = "mesh.local";
/// What the mesh was called before.
pub const ALIAS: &str = "old.local";
pub const OWN_ADDRESS: &str = "10.0.0.1";

/// Whoever comes to productpage, and what for.
#[derive(Debug)]
pub struct Visit {
    pub identity: Option<Identity>,
    pub address: &'static str,
    /// Whom a load balancer named; else `address`.
    pub client: &'static str,
    pub port: u16,
    /// What the mesh is called: its trust domain and the aliases of that.
    pub names: &'static [&'static str],
    /// `None`: the hop sees a connection, and no HTTP.
    pub request: Option<Asked>,
}

#[derive(Debug)]
pub struct Asked {
    pub method: &'static str,
    pub authority: &'static str,
    pub path: &'static str,
    pub headers: Vec<(&'static str, &'static str)>,
    /// What a verified token says; `None` without one.
    pub token: Option<Value>,
}

const ADDRESSES: &[&str] = &["192.168.0.9", "192.168.1.9", "203.0.113.7", "2001:db8::7"];

impl Visit {
    pub fn any(dice: &mut Rng, names: &'static [&'static str]) -> Self {
        let address = any(dice, ADDRESSES);
        let identity = (dice.u8(..4) > 0).then(|| {
            Identity::new(any(dice, &[TRUST_DOMAIN, TRUST_DOMAIN, ALIAS, "west.local"]), any(dice, &["default", "shop"]), any(dice, &["web", "cart"]))
        });
        let mut headers = Vec::new();
        for (name, values) in [("x-team", &["a", "ab", ""][..]), ("x-team", &["b"]), ("x-forwarded-for", &["203.0.113.7"])] {
            if dice.u8(..4) == 0 {
                headers.push((name, any(dice, values)));
            }
        }
        let request = (dice.u8(..4) > 0).then(|| Asked {
            method: any(dice, &["GET", "POST", "GETALL"]),
            authority: any(dice, &["productpage", "productpage:9080", "shop.example", "Shop.Example.:80", ""]),
            path: any(dice, &["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/../b", "/a/%62", "/b/a", "/b"]),
            headers,
            token: (dice.u8(..3) > 0).then(|| claims(dice)),
        });
        let client = if dice.u8(..4) == 0 { any(dice, ADDRESSES) } else { address };
        Self { identity, address, client, port: any(dice, &[9080, 9090]), names, request }
    }

    pub fn sni(&self) -> Option<&'static str> {
        self.identity.as_ref().map(|_| "productpage.default.svc.cluster.local")
    }
}

/// Fields of lists, each with values to choose from. The negation is `not` and the name.
type Choices = &'static [(&'static str, &'static [&'static str])];

const SOURCE: Choices = &[
    (
        "principals",
        &[
            "mesh.local/ns/default/sa/web",
            "cluster.local/ns/shop/sa/cart",
            "old.local/*",
            "*/sa/cart",
            "*",
            "spiffe://mesh.local/ns/shop/*",
            "old.local/ns/shop/sa/web",
            "*h.local/ns/shop/sa/cart",
            "old*",
            "west.local/*",
        ],
    ),
    ("namespaces", &["default", "shop", "sh*", "*ault", "*"]),
    ("trustDomains", &["mesh.local", "cluster.local", "old*", "*.local", "*"]),
    ("ipBlocks", &["192.168.0.0/24", "192.168.1.9", "203.0.113.0/24", "2001:db8::/32"]),
    ("remoteIpBlocks", &["192.168.0.0/24", "203.0.113.7", "::/0"]),
    ("requestPrincipals", &["https://a/ada", "https://a/*", "*/bob", "*"]),
];
const ACCOUNT: Choices = &[("serviceAccounts", &["web", "shop/cart", "default/cart"]), ("ipBlocks", &["192.168.0.0/16"])];
const OPERATION: Choices = &[
    ("hosts", &["productpage", "SHOP.example", "*.example", "product*", "*", "productpage:9080"]),
    ("ports", &["9080", "9090", "1"]),
    ("methods", &["GET", "G*", "*ST", "*"]),
    ("paths", &["/a", "/a/*", "*/b", "*", "/a/{*}", "/{*}/b", "/{**}", "/a/{**}", "/b"]),
];
const CONDITIONS: Choices = &[
    ("request.headers[X-Team]", &["a", "a*", "*b", "*", "ab,b"]),
    ("source.ip", &["192.168.0.9", "203.0.113.0/24"]),
    ("remote.ip", &["192.168.0.0/24", "203.0.113.7"]),
    ("source.namespace", &["default", "s*"]),
    ("source.principal", &["*", "cluster.local/ns/default/sa/web", "old.local/ns/shop/*"]),
    ("source.serviceAccount", &["web", "shop/cart"]),
    ("source.trustDomain", &["cluster.local", "old.local"]),
    ("destination.ip", &["10.0.0.1", "10.0.1.0/24"]),
    ("destination.port", &["9080"]),
    ("connection.sni", &["productpage.*", "*"]),
    ("request.auth.principal", &["https://a/ada", "*"]),
    ("request.auth.audiences", &["shop", "s*", "*"]),
    ("request.auth.presenter", &["app", "*p"]),
    ("request.auth.claims[role]", &["admin", "*in", "*"]),
    ("request.auth.claims[realm][roles]", &["admin", "a*", "*"]),
];

/// Of issuers, and with claims of all types.
fn claims(dice: &mut Rng) -> Value {
    let mut all = json!({"iss": any(dice, &["https://a", "https://b"])});
    let choices: [(&str, &[Value]); 5] = [
        ("sub", &[json!("ada"), json!("bob"), json!("")]),
        ("aud", &[json!("shop"), json!(["desk", "shop"]), json!("desk"), json!([])]),
        ("azp", &[json!("app"), json!("other")]),
        ("role", &[json!("admin"), json!(["admin", "user"]), json!("user"), json!(7), json!(["user", 7]), json!(true), json!(null)]),
        ("realm", &[json!({"roles": ["admin"]}), json!({"roles": "user"}), json!({"roles": {"admin": true}}), json!("admin"), json!({})]),
    ];
    for (name, values) in choices {
        if dice.u8(..3) > 0 {
            all[name] = values[dice.usize(..values.len())].clone();
        }
    }
    all
}

pub fn negated(field: &str) -> String {
    format!("not{}{}", field[..1].to_uppercase(), &field[1..])
}

/// At least one of these fields.
fn fields(dice: &mut Rng, choices: Choices) -> Value {
    let mut all = json!({});
    while all.as_object().is_some_and(serde_json::Map::is_empty) {
        for (field, values) in choices {
            let name = match dice.u8(..10) {
                0 | 1 => (*field).to_owned(),
                2 => negated(field),
                _ => continue,
            };
            all[name] = (0..1 + dice.usize(..2)).map(|_| json!(any(dice, values))).collect();
        }
    }
    all
}

fn rule(dice: &mut Rng) -> Value {
    let mut rule = json!({});
    if dice.bool() {
        rule["from"] = (0..1 + dice.usize(..2))
            .map(|_| {
                let choices = any(dice, &[SOURCE, SOURCE, SOURCE, ACCOUNT]);
                json!({"source": fields(dice, choices)})
            })
            .collect();
    }
    if dice.bool() {
        rule["to"] = (0..1 + dice.usize(..2)).map(|_| json!({"operation": fields(dice, OPERATION)})).collect();
    }
    let conditions = (0..dice.usize(..3)).map(|_| {
        let (key, values) = any(dice, CONDITIONS);
        let mut condition = json!({"key": key});
        condition[any(dice, &["values", "values", "notValues"])] = json!([any(dice, values)]);
        condition
    });
    rule["when"] = conditions.collect();
    rule
}

pub fn configure(dice: &mut Rng) -> Vec<Value> {
    (0..1 + dice.usize(..4))
        .map(|_| {
            let rules: Vec<Value> = (0..1 + dice.usize(..3)).map(|_| rule(dice)).collect();
            json!({"action": any(dice, &["ALLOW", "ALLOW", "DENY", "AUDIT"]), "rules": rules})
        })
        .collect()
}

/// Whether the visit may go on.
pub fn read(specs: &[Value], visit: &Visit) -> bool {
    let with = |action: &'static str| specs.iter().filter(move |spec| spec["action"] == action);
    let matches = |spec: &Value, unseen: bool| list(&spec["rules"]).iter().any(|rule| rule_matches(rule, visit, unseen));
    if with("DENY").any(|spec| matches(spec, true)) {
        return false;
    }
    with("ALLOW").next().is_none() || with("ALLOW").any(|spec| matches(spec, false))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rule_matches(rule: &Value, visit: &Visit, unseen: bool) -> bool {
    let any_of = |all: &[Value], part: &str, fields: Choices| {
        let whole = |one: &Value| fields.iter().all(|(field, _)| lists_hold(field, &one[part][field], &one[part][negated(field)], visit, unseen));
        all.is_empty() || all.iter().any(whole)
    };
    let accounts =
        |one: &Value| lists_hold("serviceAccounts", &one["source"]["serviceAccounts"], &one["source"]["notServiceAccounts"], visit, unseen);
    let from: Vec<Value> = list(&rule["from"]).iter().filter(|one| accounts(one)).cloned().collect();
    (list(&rule["from"]).is_empty() || (!from.is_empty() && any_of(&from, "source", SOURCE)))
        && any_of(list(&rule["to"]), "operation", OPERATION)
        && list(&rule["when"]).iter().all(|one| lists_hold(one["key"].as_str().unwrap(), &one["values"], &one["notValues"], visit, unseen))
}

fn lists_hold(field: &str, values: &Value, not_values: &Value, visit: &Visit, unseen: bool) -> bool {
    if values.is_null() && not_values.is_null() {
        return true;
    }
    if let Some(path) = claim_path(field) {
        return claim_holds(&path, values, not_values, visit, unseen);
    }
    let Some(matches) = seen(field, visit) else { return unseen };
    let some = |values: &Value| list(values).iter().any(|value| matches(value.as_str().unwrap()));
    (values.is_null() || some(values)) && !some(not_values)
}

fn claim_path(field: &str) -> Option<Vec<&str>> {
    match field {
        "request.auth.audiences" => Some(vec!["aud"]),
        "request.auth.presenter" => Some(vec!["azp"]),
        "request.auth.claims[role]" => Some(vec!["role"]),
        "request.auth.claims[realm][roles]" => Some(vec!["realm", "roles"]),
        _ => None,
    }
}

/// A claim that is no text, and no list with one that decides, cannot be read; then each list goes against the visit.
fn claim_holds(path: &[&str], values: &Value, not_values: &Value, visit: &Visit, unseen: bool) -> bool {
    let Some(asked) = &visit.request else { return unseen };
    let claim = path.iter().fold(asked.token.clone().unwrap_or_default(), |value, name| value[*name].clone());
    let has = |wanted: &Value, unreadable: bool| {
        let is = |one: &Value| list(wanted).iter().any(|want| one.as_str().is_some_and(|one| text(want.as_str().unwrap(), one)));
        match &claim {
            Value::Null => false,
            Value::String(_) => is(&claim),
            Value::Array(all) => all.iter().any(is) || (all.iter().any(|one| !one.is_string()) && unreadable),
            _ => unreadable,
        }
    };
    (values.is_null() || has(values, unseen)) && (not_values.is_null() || !has(not_values, !unseen))
}

/// Whether a value matches.
type Match<'a> = Box<dyn Fn(&str) -> bool + 'a>;

/// How a value is held against what the visit has of this field; `None`: this hop cannot see it.
fn seen<'a>(field: &str, visit: &'a Visit) -> Option<Match<'a>> {
    let request = || visit.request.as_ref();
    let identity = visit.identity.as_ref();
    let forwarded = || request().is_some_and(|asked| asked.headers.iter().any(|(name, _)| *name == "x-forwarded-for"));
    Some(match field {
        "principals" | "source.principal" => {
            let local = |value: &str| match value.trim_start_matches("spiffe://").strip_prefix("cluster.local/") {
                Some(rest) => format!("{TRUST_DOMAIN}/{rest}"),
                None => value.trim_start_matches("spiffe://").to_owned(),
            };
            // Written out as the API's text has it: an identity of one of the mesh's names is treated as one of each.
            let known = identity.map(|identity| {
                let ours = visit.names.contains(&identity.trust_domain.as_str());
                let names = if ours { visit.names.to_vec() } else { vec![identity.trust_domain.as_str()] };
                names.iter().map(|name| format!("{name}/ns/{}/sa/{}", identity.namespace, identity.service_account)).collect::<Vec<_>>()
            });
            Box::new(move |value| known.iter().flatten().any(|principal| text(&local(value), principal)))
        }
        "namespaces" | "source.namespace" => Box::new(move |value| identity.is_some_and(|identity| text(value, &identity.namespace))),
        "trustDomains" | "source.trustDomain" => Box::new(move |value| {
            let is = |identity: &Identity| match value {
                "cluster.local" => visit.names.contains(&identity.trust_domain.as_str()),
                value => text(value, &identity.trust_domain),
            };
            identity.is_some_and(is)
        }),
        "serviceAccounts" | "source.serviceAccount" => Box::new(move |value| {
            let value = if value.contains('/') { value.to_owned() } else { format!("default/{value}") };
            identity.is_some_and(|identity| value == format!("{}/{}", identity.namespace, identity.service_account))
        }),
        "requestPrincipals" | "request.auth.principal" => {
            let token = request()?.token.as_ref();
            let part = move |name: &str| token.and_then(|token| token[name].as_str()).filter(|text| !text.is_empty());
            let principal = part("iss").zip(part("sub")).map(|(issuer, subject)| format!("{issuer}/{subject}"));
            Box::new(move |value| principal.as_ref().is_some_and(|principal| text(value, principal)))
        }
        "ipBlocks" | "source.ip" => Box::new(|value| within(value, visit.address)),
        // Somebody says that somebody stood in between, and nobody who would know has named the client.
        "remoteIpBlocks" | "remote.ip" if forwarded() && visit.client == visit.address => return None,
        "remoteIpBlocks" | "remote.ip" => Box::new(|value| within(value, visit.client)),
        "destination.ip" => Box::new(|value| within(value, OWN_ADDRESS)),
        "ports" | "destination.port" => Box::new(|value| value == visit.port.to_string()),
        "connection.sni" => Box::new(|value| visit.sni().is_some_and(|name| text(value, name))),
        "methods" => {
            let method = request()?.method;
            Box::new(move |value| text(value, method))
        }
        "hosts" => {
            let host = request()?.authority.to_lowercase().replace(".:", ":");
            if host.is_empty() {
                return None;
            }
            Box::new(move |value| text(&value.to_lowercase(), &host) || text(&value.to_lowercase(), host.split(':').next().unwrap()))
        }
        "paths" => {
            let path = request()?.path.replace("/a/../b", "/b").replace("%62", "b");
            Box::new(move |value| if value.contains('{') { template(value, &path) } else { text(value, &path) })
        }
        "request.headers[X-Team]" => {
            let lines: Vec<&str> = request()?.headers.iter().filter(|(name, _)| *name == "x-team").map(|(_, value)| *value).collect();
            let joined = (!lines.is_empty()).then(|| lines.join(","));
            Box::new(move |value| lines.iter().any(|line| text(value, line)) || joined.as_ref().is_some_and(|all| text(value, all)))
        }
        other => panic!("{other}"),
    })
}

/// Exact, `prefix*`, `*suffix`, `*` (present).
fn text(value: &str, have: &str) -> bool {
    match (value, value.strip_prefix('*'), value.strip_suffix('*')) {
        ("*", ..) => !have.is_empty(),
        (_, Some(end), _) => have.ends_with(end),
        (_, _, Some(start)) => have.starts_with(start),
        _ => value == have,
    }
}

/// `{*}` is one segment, `{**}` the rest, which may be one empty segment.
fn template(value: &str, path: &str) -> bool {
    let pattern = value.replace("{**}", ".*").replace("{*}", "[^/]+");
    super::whole_match(&pattern, path)
}

fn within(block: &str, address: &str) -> bool {
    let (start, bits) = block.split_once('/').map_or((block, 128), |(start, bits)| (start, bits.parse().unwrap()));
    match (start.parse().unwrap(), address.parse().unwrap()) {
        (IpAddr::V4(start), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(bits);
            u64::from(start.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
        }
        (IpAddr::V6(start), IpAddr::V6(address)) => bits == 0 || start.to_bits() >> (128 - bits) == address.to_bits() >> (128 - bits),
        _ => false,
    }
}
