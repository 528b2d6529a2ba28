//! The whole way from what users write to what is decided, held against slow and obvious readings of the APIs' texts: random routes,
//! random requests, 100,000 of each dialect. A failure names its seed.

mod authorization;
mod conformance;
mod gateway_api;
mod istio;

use super::*;
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::host::service_host;
use taut_plan::token::{Claim, Claims};
use taut_plan::verdict::Action;
use taut_plan::{Direction, Facts, HttpFacts, Peer, Plan, Rolls, Snapshot, Token, Verdict};

const CONFIGURATIONS: u64 = 400;
const REQUESTS: usize = 250;

/// A request, as a client sends it to `reviews`.
#[derive(Debug)]
pub struct Asked {
    pub method: &'static str,
    pub authority: &'static str,
    pub path: &'static str,
    pub query: &'static str,
    pub headers: Vec<(&'static str, &'static str)>,
    pub port: u16,
    pub roll: u64,
}

pub const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/A", "/a/B", "/shop.Cart/Get", "/shop.Cart/List", "/x.Y/Get"];
const QUERIES: &[&str] = &["", "q=1", "q=12&r=2", "r=%31", "q", "q=2&q=1"];
const AUTHORITIES: &[&str] = &["reviews:9080", "reviews", "reviews.default:80", "shop.example"];
const METHODS: &[&str] = &["GET", "POST", "PUT"];
const VALUES: &[&str] = &["1", "12", "2", ""];

impl Asked {
    fn any(dice: &mut Rng) -> Self {
        let mut headers = Vec::new();
        for name in ["a", "b", "a"] {
            if dice.u8(..4) < 2 {
                headers.push((name, any(dice, VALUES)));
            }
        }
        Self {
            method: any(dice, METHODS),
            authority: any(dice, AUTHORITIES),
            path: any(dice, PATHS),
            query: any(dice, QUERIES),
            headers,
            port: any(dice, &[9080, 9080, 9090]),
            roll: dice.u64(..),
        }
    }

    /// Several lines of one name are one value (RFC 9110 section 5.3).
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<&str> = self.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%31", "1")).next()
    }

    pub fn whole(&self, path: &str) -> String {
        if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) }
    }
}

pub fn any<T: Copy>(dice: &mut Rng, choices: &[T]) -> T {
    choices[dice.usize(..choices.len())]
}

/// What the decision comes to, in words that both readings use.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Forwarded { to: String, path: String, authority: String, timeout_ms: u128 },
    Redirected { status: u64, location: String },
    Answered(u64),
}

pub fn whole_match(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, regex::Regex>> = RefCell::default();
    }
    let compile = || regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
    COMPILED.with_borrow_mut(|compiled| compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(text))
}

/// The share that `roll` falls on; `None` if nobody has a weight.
pub fn share(weights: &[u64], roll: u64) -> Option<usize> {
    let total: u64 = weights.iter().sum();
    let place = ((u128::from(roll) * u128::from(total)) >> 64) as u64;
    (0..weights.len()).find(|index| place < weights[..=*index].iter().sum())
}

/// Services with somebody behind each, and the client.
fn mesh() -> Vec<Object> {
    let mut objects = Vec::new();
    for name in ["productpage", "reviews", "ratings", "details"] {
        let ports = json!([{"name": "http", "port": 9080}, {"name": "http-more", "port": 9090}]);
        objects.push(named("Service", name, json!({"selector": {"app": name}, "ports": ports})));
        objects.push(named("WorkloadEntry", name, json!({"address": "10.0.0.1", "labels": {"app": name}, "serviceAccount": name})));
    }
    objects
}

fn plan(said: Vec<Object>) -> Plan {
    let mut objects = mesh();
    objects.extend(said);
    let translation = translated(objects);
    let refused = translation.findings.values().flatten().find(|problem| problem.severity == Severity::Error);
    assert!(refused.is_none(), "{refused:?}");
    let plan = Plan::compile(&Snapshot {
        version: 1,
        trust_domain: "mesh.local".to_owned(),
        own: translation.workloads.get("default/productpage").cloned(),
        absent: BTreeSet::from([service_host("nowhere", "default")]),
        services: translation.services,
        workloads: translation.workloads,
        routes: translation.routes,
        authorizations: translation.authorizations,
        tokens: translation.tokens,
        settings: translation.settings,
        policies_complete: true,
        ..Snapshot::default()
    });
    assert!(plan.problems().is_empty(), "{:?}", plan.problems());
    plan
}

fn decided(plan: &Plan, asked: &Asked) -> Outcome {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &asked.headers {
        headers.append(*name, value.parse().unwrap());
    }
    let http = HttpFacts {
        method: asked.method,
        scheme: "http",
        authority: asked.authority,
        path: asked.path,
        query: asked.query,
        headers: &headers,
        token: None,
        permitted_by: None,
    };
    let facts = Facts { direction: Direction::Outbound, host: "reviews", port: asked.port, http: Some(http), peer: Peer::default(), sni: None };
    let rolls = Rolls { backend: asked.roll, ..Rolls::default() };
    match plan.decide(&facts, &rolls) {
        Verdict::Go(go) => match go.action {
            Action::Forward(forward) => Outcome::Forwarded {
                to: format!("{}:{}", taut_model::host::short(&forward.cluster.key.host), forward.cluster.key.port),
                path: forward.path_and_query.unwrap_or_else(|| asked.whole(asked.path)),
                authority: forward.authority.unwrap_or_else(|| asked.authority.to_owned()),
                timeout_ms: go.rule.timeout.map_or(0, |timeout| timeout.as_millis()),
            },
            Action::Redirect { status, location } => Outcome::Redirected { status: status.into(), location },
            Action::Respond { status, .. } => Outcome::Answered(status.into()),
            other => panic!("{other:?}"),
        },
        Verdict::Refuse(refusal) => Outcome::Answered(refusal.status.into()),
        Verdict::Ask(question) => panic!("{question:?}"),
    }
}

/// Every decision of random configurations, beside what `read` makes of the same texts.
fn agree(configure: impl Fn(&mut Rng) -> Vec<Value>, kind: &str, read: impl Fn(&[Value], &Asked) -> Outcome) {
    for seed in 0..CONFIGURATIONS {
        let mut dice = Rng::with_seed(seed);
        let specs = configure(&mut dice);
        let routes = specs.iter().enumerate().map(|(number, spec)| {
            let created = format!("2026-01-0{}T00:00:00Z", 1 + spec["age"].as_u64().unwrap_or(0));
            let mut spec = spec.clone();
            spec.as_object_mut().unwrap().remove("age");
            with(named(kind, &format!("r{number}"), spec), "creationTimestamp", json!(created))
        });
        let plan = plan(routes.collect());
        for _ in 0..REQUESTS {
            let asked = Asked::any(&mut dice);
            assert_eq!(decided(&plan, &asked), read(&specs, &asked), "seed {seed}: {asked:?}\n{}", serde_json::to_string_pretty(&specs).unwrap());
        }
    }
}

#[test]
fn a_virtual_service_is_read_as_its_text_says() {
    agree(istio::configure, "VirtualService", istio::read);
}

#[test]
fn http_routes_are_read_as_their_text_says() {
    agree(gateway_api::http::configure, "HTTPRoute", gateway_api::http::read);
}

#[test]
fn grpc_routes_are_read_as_their_text_says() {
    agree(gateway_api::grpc::configure, "GRPCRoute", gateway_api::grpc::read);
}

/// A token's value as the plan has it.
fn claim(value: &Value) -> Claim {
    match value {
        Value::Null => Claim::Null,
        Value::Bool(value) => Claim::Bool(*value),
        Value::Number(value) => Claim::Number(value.to_string()),
        Value::String(text) => Claim::Text(text.clone()),
        Value::Array(all) => Claim::List(all.iter().map(claim).collect()),
        Value::Object(all) => Claim::Object(all.iter().map(|(name, value)| (name.clone(), claim(value))).collect()),
    }
}

/// Whether the plan lets it in.
fn lets_in(plan: &Plan, visit: &authorization::Visit) -> bool {
    let mut headers = http::HeaderMap::new();
    for (name, value) in visit.request.iter().flat_map(|asked| &asked.headers) {
        headers.append(*name, value.parse().unwrap());
    }
    let headers = &headers;
    let token = visit.request.as_ref().and_then(|asked| asked.token.as_ref()).map(|token| {
        let rule = plan.issuers().policies()[0].rules[0].origin.clone();
        Token::Proven(Claims { rule, all: claim(token) })
    });
    let http = visit.request.as_ref().map(|asked| {
        let authorization::Asked { method, authority, path, .. } = asked;
        HttpFacts { method, scheme: "http", authority, path, query: "", headers, token: token.as_ref(), permitted_by: None }
    });
    let peer = Peer { identity: visit.identity.as_ref(), address: Some(visit.address.parse().unwrap()), client: Some(visit.client.parse().unwrap()) };
    let facts = Facts { direction: Direction::Inbound, host: visit.sni().unwrap_or_default(), port: visit.port, http, peer, sni: None };
    match plan.decide(&facts, &Rolls::default()) {
        Verdict::Go(_) => true,
        Verdict::Refuse(refusal) if refusal.status == 403 => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn authorization_policies_are_read_as_their_text_says() {
    let mut let_in = 0;
    for seed in 0..CONFIGURATIONS {
        let mut dice = Rng::with_seed(seed);
        let specs = authorization::configure(&mut dice);
        let named = |(number, spec): (usize, &Value)| named("AuthorizationPolicy", &format!("p{number}"), spec.clone());
        let mut said: Vec<Object> = specs.iter().enumerate().map(named).collect();
        let issuer = json!({"issuer": "https://a", "jwks": r#"{"keys": [{"kty": "OKP"}]}"#});
        said.push(super::named("RequestAuthentication", "tokens", json!({"jwtRules": [issuer]})));
        // Half of the meshes were renamed.
        let names: &[&str] = if seed % 2 == 0 { &[authorization::TRUST_DOMAIN] } else { &[authorization::TRUST_DOMAIN, authorization::ALIAS] };
        said.push(super::named("MeshSettings", "mesh", json!({"trustDomainAliases": names[1..]})));
        let plan = plan(said);
        for _ in 0..REQUESTS {
            let visit = authorization::Visit::any(&mut dice, names);
            let decided = lets_in(&plan, &visit);
            let text = || serde_json::to_string_pretty(&specs).unwrap();
            assert_eq!(decided, authorization::read(&specs, &visit), "seed {seed}: {visit:?}\n{}", text());
            let_in += u64::from(decided);
        }
    }
    // Random policies that let in everybody or nobody would show nothing.
    let all = CONFIGURATIONS * REQUESTS as u64;
    assert!((all / 10..all * 9 / 10).contains(&let_in), "{let_in} of {all}");
}
