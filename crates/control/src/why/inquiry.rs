//! One request that might be made: who asks, what the proxies at both ends would be told, and what they would decide.

use super::{NoAnswer, Question};
use crate::publish::Published;
use crate::view::{Viewer, leads_to, view};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::host;
use taut_model::service::AppProtocol;
use taut_model::workload::{Health, Workload};
use taut_plan::cluster::Transport;
use taut_plan::verdict::{Forward, Rolls};
use taut_plan::{Direction, Explanation, Facts, HttpFacts, Peer, Plan, Snapshot, Verdict};

/// A question and the plan of the proxy that it is put to.
pub struct Inquiry<'a> {
    published: &'a Published,
    trust_domain: &'a str,
    question: &'a Question,
    pub from: &'a Arc<Workload>,
    pub plan: Plan,
    host: &'a str,
    port: u16,
    headers: http::HeaderMap,
    /// Whether it is about a request, and not about a connection.
    request: bool,
}

/// The decision at the other end.
pub struct Arrival {
    pub workload: String,
    pub verdict: Verdict,
    pub explanation: Explanation,
}

impl<'a> Inquiry<'a> {
    /// # Errors
    /// The workload that asks is not known, or the request is malformed.
    pub fn new(published: &'a Published, trust_domain: &'a str, question: &'a Question) -> Result<Self, NoAnswer> {
        let from = find_from(published, &question.from)?;
        let (host, port) = split_port(&question.to)?;
        let headers = headers(question)?;
        let plan = Plan::compile(&snapshot(published, trust_domain, from, &hosts(published, host, &from.namespace)));
        let port = port.unwrap_or_else(|| first_port(published, host, &from.namespace));
        let bytes = matches!(plan.protocol(host, port), Some(AppProtocol::Tcp | AppProtocol::Tls));
        let request = question.method.is_some() || !bytes;
        Ok(Self { published, trust_domain, question, from, plan, host, port, headers, request })
    }

    /// What the caller's proxy would know of it.
    pub fn facts(&self) -> Facts<'_> {
        Facts { direction: Direction::Outbound, host: self.host, port: self.port, http: self.http(), peer: Peer::default(), sni: None }
    }

    fn http(&self) -> Option<HttpFacts<'_>> {
        self.request.then(|| http_facts(self.question, self.host, &self.headers))
    }

    /// What is decided where a request arrives. `None` where no proxy decides: nobody serves it, or only what is outside the mesh.
    pub fn arrival(&self, forward: &Forward) -> Option<Arrival> {
        let endpoint = forward.cluster.endpoints.first()?;
        let to = &endpoint.workload;
        to.peer?;
        let key = &forward.cluster.key;
        let identity = matches!(endpoint.transport, Transport::Mesh { .. }).then_some(&self.from.identity);
        let (host, port) = match identity {
            Some(_) => (&*key.host, key.port),
            None => ("", to.target(&key.host, key.port)?),
        };
        let rewritten = forward.path_and_query.as_deref().map(|whole| whole.split_once('?').unwrap_or((whole, "")));
        let http = self.http().map(|http| {
            let (path, query) = rewritten.unwrap_or((http.path, http.query));
            HttpFacts { path, query, authority: forward.authority.as_deref().unwrap_or(http.authority), ..http }
        });
        let address = self.from.address.parse().ok();
        let peer = Peer { identity, address, client: address };
        let facts = Facts { direction: Direction::Inbound, host, port, http, peer, sni: None };
        Some(arrival(self.published, self.trust_domain, to, &key.host, &facts))
    }
}

/// What is decided at a workload about a call in plain text by somebody whom nobody knows. `target`: the workload's own port.
///
/// # Errors
/// The request is malformed.
pub fn stranger(published: &Published, trust_domain: &str, to: &Arc<Workload>, target: u16, question: &Question) -> Result<Arrival, NoAnswer> {
    let headers = headers(question)?;
    let serves = to.serves.iter().find(|serves| serves.host == question.to && serves.target == target);
    let port = serves.and_then(|serves| published.translation.services.get(&serves.host)?.port(serves.port));
    let bytes = port.is_some_and(|port| matches!(port.protocol, AppProtocol::Tcp | AppProtocol::Tls));
    let request = question.method.is_some() || !bytes;
    let http = request.then(|| http_facts(question, &question.to, &headers));
    let facts = Facts { direction: Direction::Inbound, host: "", port: target, http, peer: Peer::default(), sni: None };
    Ok(arrival(published, trust_domain, to, &question.to, &facts))
}

fn arrival(published: &Published, trust_domain: &str, to: &Arc<Workload>, host: &str, facts: &Facts<'_>) -> Arrival {
    let plan = Plan::compile(&snapshot(published, trust_domain, to, &BTreeSet::from([host.to_owned()])));
    let mut explanation = plan.explain(facts, None);
    if to.health != Health::Ready {
        explanation.outcome.push_str(" (but the workload is not ready)");
    }
    Arrival { workload: to.uid.clone(), verdict: plan.decide(facts, &Rolls::default()), explanation }
}

fn http_facts<'a>(question: &'a Question, authority: &'a str, headers: &'a http::HeaderMap) -> HttpFacts<'a> {
    let whole = question.path.as_deref().unwrap_or("/");
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let method = question.method.as_deref().unwrap_or("GET");
    HttpFacts { method, scheme: "http", authority, path, query, headers, token: None, permitted_by: None }
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
        tokens: pick(&mesh.tokens, &view.tokens),
        limits: pick(&mesh.limits, &view.limits),
        settings: pick(&mesh.settings, &view.settings),
        telemetry: pick(&mesh.telemetry, &view.telemetry),
        trust: pick(&mesh.trust, &view.trust),
        routes,
        policies_complete: true,
    }
}
