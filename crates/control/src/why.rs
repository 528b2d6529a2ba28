//! Why a request goes where it goes: for one that might be made, from the plans that both proxies would have; for one that
//! was made, from the proxies that carried it.

use crate::proxies::Proxies;
use crate::publish::Published;
use crate::view::{Viewer, leads_to, view};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::host;
use taut_model::service::AppProtocol;
use taut_model::workload::{Health, Workload};
use taut_plan::cluster::Transport;
use taut_plan::verdict::{Action, Forward, Rolls};
use taut_plan::{Direction, Explanation, Facts, HttpFacts, Peer, Plan, Snapshot, Verdict};
use taut_wire::desk::ask;

/// How long proxies may take to look an exchange up.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Throws of the dice to find out where most requests go.
const THROWS: u64 = 100;

/// A request that might be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// A workload (`name` or `namespace/name`) or a service that a workload serves.
    pub from: String,
    /// `host` or `host:port`, as the client names it.
    pub to: String,
    /// Without method and path the question is about a connection, unless the port speaks HTTP: then about `GET /`.
    #[serde(default)]
    pub method: Option<String>,
    /// With the query, if any.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The workload that asks.
    pub from: String,
    pub to: String,
    pub outbound: Explanation,
    /// The other end's decision, when the request would get there.
    pub inbound: Option<Inbound>,
    /// All of it for people.
    pub text: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Inbound {
    /// The workload that most such requests could go to.
    pub workload: String,
    pub explanation: Explanation,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    UnknownFrom { from: String, known: Vec<String> },
    BadRequest(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFrom { from, known } if known.is_empty() => write!(f, "there is no workload {from:?}: no workload has registered yet"),
            Self::UnknownFrom { from, known } => write!(f, "there is no workload or service {from:?} to ask from; there are {}", known.join(", ")),
            Self::BadRequest(why) => write!(f, "the request cannot be read: {why}"),
        }
    }
}
impl std::error::Error for NoAnswer {}

/// Explains what would happen to a request, at its source and at its most likely destination.
///
/// # Errors
/// The workload that asks is not known, or the request is malformed.
pub fn hypothetical(published: &Published, trust_domain: &str, question: &Question) -> Result<Answer, NoAnswer> {
    let from = find_from(published, &question.from)?;
    let (to, port) = split_port(&question.to)?;
    let headers = headers(question)?;
    let whole = question.path.as_deref().unwrap_or("/");
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let method = question.method.as_deref().unwrap_or("GET");
    let http = HttpFacts { method, scheme: "http", authority: to, path, query, headers: &headers };
    let plan = Plan::compile(&snapshot(published, trust_domain, from, &hosts(published, to, &from.namespace)));
    let port = port.unwrap_or_else(|| first_port(published, to, &from.namespace));
    let bytes = matches!(plan.protocol(to, port), Some(AppProtocol::Tcp | AppProtocol::Tls));
    let http = (question.method.is_some() || !bytes).then_some(http);
    let facts = Facts { direction: Direction::Outbound, host: to, port, http, peer: Peer::default(), sni: None };
    let outbound = plan.explain(&facts, None);
    let inbound = likely(&plan, &facts).and_then(|forward| explain_inbound(published, trust_domain, from, &forward, http));
    let mut text = outbound.to_string();
    if let Some(inbound) = &inbound {
        text.push_str(&format!("\n\nat {}:\n{}", inbound.workload, inbound.explanation));
    }
    Ok(Answer { from: from.uid.clone(), to: question.to.clone(), outbound, inbound, text })
}

fn find_from<'a>(published: &'a Published, from: &str) -> Result<&'a Arc<Workload>, NoAnswer> {
    let workloads = &published.translation.workloads;
    let by_name = || workloads.values().find(|workload| workload.name == from);
    let (service, namespace) = from.split_once('/').map_or((from, "default"), |(namespace, name)| (name, namespace));
    let serving = |host: String| {
        let mut all = workloads.values().filter(move |workload| workload.serves.iter().any(|serves| serves.host == host));
        all.next()
    };
    let known = || {
        let mut names: Vec<_> = workloads.keys().take(20).cloned().collect();
        names.sort();
        names
    };
    workloads
        .get(from)
        .or_else(by_name)
        .or_else(|| serving(host::resolve(service, namespace)))
        .or_else(|| host::candidates(from, "default").into_iter().find_map(serving))
        .or_else(|| workloads.values().find(|workload| workload.app() == from))
        .ok_or_else(|| NoAnswer::UnknownFrom { from: from.to_owned(), known: known() })
}

fn split_port(to: &str) -> Result<(&str, Option<u16>), NoAnswer> {
    let bracketed = to.starts_with('[') && to.ends_with(']');
    match to.rsplit_once(':') {
        Some((host, port)) if !bracketed => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(NoAnswer::BadRequest(format!("{port:?} is not a port; write host or host:port"))),
        },
        _ => Ok((to, None)),
    }
}

fn headers(question: &Question) -> Result<http::HeaderMap, NoAnswer> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &question.headers {
        let parsed = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| NoAnswer::BadRequest(format!("{name:?} is not a header name")))?;
        let value = http::HeaderValue::from_str(value).map_err(|_| NoAnswer::BadRequest(format!("the value of header {name:?} is not allowed")))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// The hosts that a client in `namespace` would subscribe to for `to`, and wildcard services that may cover them.
fn hosts(published: &Published, to: &str, namespace: &str) -> BTreeSet<String> {
    let mut hosts: BTreeSet<String> = host::candidates(to, namespace).into_iter().collect();
    let wildcards = published.translation.services.keys().filter(|name| name.starts_with('*'));
    let covering: Vec<_> = wildcards.filter(|pattern| hosts.iter().any(|host| host::matches(pattern, host))).cloned().collect();
    hosts.extend(covering);
    hosts
}

fn first_port(published: &Published, to: &str, namespace: &str) -> u16 {
    let found = host::candidates(to, namespace).into_iter().find_map(|host| published.translation.services.get(&host));
    let ports = found.map(|service| service.ports.as_slice()).unwrap_or_default();
    ports.iter().find(|port| port.protocol.is_http()).or(ports.first()).map_or(80, |port| port.number)
}

/// What the proxy of `own` would have, had it asked for `hosts`.
fn snapshot(published: &Published, trust_domain: &str, own: &Arc<Workload>, hosts: &BTreeSet<String>) -> Snapshot {
    let mesh = &published.translation;
    let viewer = Viewer { uid: own.uid.clone(), namespace: own.namespace.clone(), hosts: hosts.clone() };
    let view = view(mesh, &published.index, &viewer);
    fn pick<T>(all: &BTreeMap<String, Arc<T>>, names: &BTreeSet<String>) -> BTreeMap<String, Arc<T>> {
        names.iter().filter_map(|name| all.get_key_value(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
    let routes = pick(&mesh.routes, &view.routes);
    let led_to = routes.values().flat_map(|route| leads_to(route)).map(str::to_owned);
    let absent = led_to.chain(hosts.iter().cloned()).filter(|host| !mesh.services.contains_key(host)).collect();
    Snapshot {
        version: published.version,
        trust_domain: trust_domain.to_owned(),
        own: Some(own.clone()),
        services: pick(&mesh.services, &view.services),
        absent,
        workloads: pick(&mesh.workloads, &view.workloads),
        destinations: pick(&mesh.destinations, &view.destinations),
        authentications: pick(&mesh.authentications, &view.authentications),
        authorizations: pick(&mesh.authorizations, &view.authorizations),
        limits: pick(&mesh.limits, &view.limits),
        settings: pick(&mesh.settings, &view.settings),
        routes,
        policies_complete: true,
    }
}

/// Where most such requests go, faults aside.
fn likely(plan: &Plan, facts: &Facts<'_>) -> Option<Forward> {
    let mut seen: BTreeMap<_, (u64, Forward)> = BTreeMap::new();
    for throw in 0..THROWS {
        let rolls = Rolls { backend: throw * (u64::MAX / THROWS), delay: u64::MAX, abort: u64::MAX, mirror: u64::MAX, cookie: 0 };
        if let Verdict::Go(go) = plan.decide(facts, &rolls)
            && let Action::Forward(forward) = go.action
        {
            seen.entry(forward.cluster.key.clone()).or_insert((0, forward)).0 += 1;
        }
    }
    seen.into_values().max_by_key(|(count, _)| *count).map(|(_, forward)| forward)
}

fn explain_inbound(published: &Published, trust_domain: &str, from: &Workload, forward: &Forward, http: Option<HttpFacts<'_>>) -> Option<Inbound> {
    let endpoint = forward.cluster.endpoints.first()?;
    let to = &endpoint.workload;
    // Without a proxy nobody decides there.
    to.peer?;
    let key = &forward.cluster.key;
    let identity = matches!(endpoint.transport, Transport::Mesh { .. }).then_some(&from.identity);
    let (host, port) = match identity {
        Some(_) => (&*key.host, key.port),
        None => ("", to.target(&key.host, key.port)?),
    };
    let rewritten = forward.path_and_query.as_deref().map(|whole| whole.split_once('?').unwrap_or((whole, "")));
    let http = http.map(|http| {
        let (path, query) = rewritten.unwrap_or((http.path, http.query));
        HttpFacts { path, query, authority: forward.authority.as_deref().unwrap_or(http.authority), ..http }
    });
    let address = from.address.parse().ok();
    let peer = Peer { identity, address, client: address };
    let plan = Plan::compile(&snapshot(published, trust_domain, to, &BTreeSet::from([key.host.to_string()])));
    let facts = Facts { direction: Direction::Inbound, host, port, http, peer, sni: None };
    let mut explanation = plan.explain(&facts, None);
    if to.health != Health::Ready {
        explanation.outcome.push_str(" (but the workload is not ready)");
    }
    Some(Inbound { workload: to.uid.clone(), explanation })
}

/// Asks every connected proxy for an exchange that happened; the halves come in the order in which they began, of two at the
/// same instant the source's first. `None`: nobody remembers it.
pub async fn exchange(proxies: &Proxies, request_id: &str) -> Option<Value> {
    let all = proxies.all();
    let asked = all.len();
    let answers = join_all(all.iter().map(|proxy| async move {
        let json = proxy.line.ask(ask::What::Exchange(request_id.to_owned()), ASK_LIMIT).await?;
        // One proxy may hold both halves of a request that a workload sends to itself.
        let records: Vec<Value> = serde_json::from_str(&json).ok()?;
        Some(records.into_iter().map(|answer| json!({"proxy": proxy.uid, "answer": answer})).collect::<Vec<_>>())
    }))
    .await;
    let mut halves: Vec<Value> = answers.into_iter().flatten().flatten().collect();
    if halves.is_empty() {
        return None;
    }
    sort_halves(&mut halves);
    Some(json!({"requestId": request_id, "asked": asked, "halves": halves}))
}

/// One request id may cover several exchanges: applications pass it on.
fn sort_halves(halves: &mut [Value]) {
    let began = |half: &Value| half["answer"]["record"]["started"].as_str().unwrap_or_default().to_owned();
    halves.sort_by_cached_key(|half| (began(half), reporter(&half["answer"]) != Some("source")));
}

/// Who reported a record: directly in it, or in the record inside.
fn reporter(answer: &Value) -> Option<&str> {
    [&answer["record"]["edge"]["reporter"], &answer["edge"]["reporter"], &answer["reporter"]].into_iter().find_map(Value::as_str)
}

#[cfg(test)]
mod tests;
