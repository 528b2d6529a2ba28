//! What would break if mutual TLS were demanded (STRICT), and the PeerAuthentications that would demand it.

use super::plain::{Plain, plain};
use super::ports::ports;
use super::selector::{Group, groups, selector};
use super::{Check, manifests, window};
use crate::calls::{COARSE, Calls, FINE, HOUR};
use crate::proposal::{Caller, Pair, Proposals};
use crate::publish::Published;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use taut_model::policy::{MtlsMode, PeerAuthentication, ROOT_NAMESPACE};
use taut_model::signal::{Protocol, Second};
use taut_model::workload::Workload;

/// What is asked for.
pub struct Wanted<'a> {
    /// `None`: the whole mesh.
    pub namespace: Option<&'a str>,
    /// Services whose workloads go on taking plain text.
    pub except: &'a [String],
    pub since: Second,
}

/// The report as JSON.
///
/// # Errors
/// A service that is excepted is not there, or its workloads cannot be selected.
pub fn report(proposals: &Proposals, wanted: &Wanted<'_>) -> Result<Value, String> {
    let published = proposals.published.borrow().clone();
    let calls = Calls::read(&proposals.signals, wanted.since, FINE, wanted.namespace, proposals.world.second());
    let concerned: BTreeSet<&str> = concerned(&published, wanted.namespace).map(|workload| workload.uid.as_str()).collect();
    let with_proxy = |uid: &str| published.translation.workloads.get(uid).is_some_and(|workload| workload.peer.is_some());
    let plain = plain(&calls, |to| concerned.contains(to) && with_proxy(to));
    // Exceptions first: between the two, what is excepted would be refused.
    let exceptions = wanted.except.iter().map(|service| exception(&published, wanted.namespace, service));
    let mut objects = exceptions.collect::<Result<Vec<Value>, String>>()?;
    objects.push(demand(&published, wanted.namespace));
    let pairs: Vec<Pair> = plain.iter().map(pair).collect();
    let proposal = proposals.judge(&manifests(&objects), "strict.yaml", "taut", &pairs);
    let verbs: Vec<&str> = proposal.changes.iter().map(|change| change.verb).collect();
    let changes = verbs.iter().any(|verb| *verb != "unchanged");
    let check = Check::of(proposal);
    let rows: Vec<Value> = plain.iter().map(|plain| row(&published, plain, &check)).collect();
    let breaks = rows.iter().filter(|row| row["breaks"] == true).count();
    let proxies = concerned.iter().copied().filter(|uid| with_proxy(uid)).collect();
    let known = calls.known_seconds(&proxies);
    let without: Vec<&str> = concerned.iter().copied().filter(|uid| !with_proxy(uid)).collect();
    Ok(json!({
        "window": window(&calls), "knownSeconds": known, "gaps": calls.gaps, "plaintext": rows, "breaks": breaks, "errors": check.errors,
        "withoutProxy": without, "objects": objects, "changes": changes, "narrower": narrower(&published, wanted.namespace),
        "safe": breaks == 0 && check.errors.is_empty() && known > 0,
    }))
}

/// What was carried in plain text lately, for those who look at the state of the mesh.
pub fn lately(proposals: &Proposals, namespace: Option<&str>, since: Option<Second>) -> Value {
    let published = proposals.published.borrow().clone();
    let calls = Calls::read(&proposals.signals, since.unwrap_or(HOUR), COARSE, namespace, proposals.world.second());
    let in_mesh = |to: &str| published.translation.workloads.get(to).is_some_and(|workload| workload.peer.is_some());
    json!({"window": window(&calls), "plaintext": plain(&calls, in_mesh).iter().map(Plain::told).collect::<Vec<_>>()})
}

fn concerned<'a>(published: &'a Published, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Workload> {
    let here = move |workload: &&Workload| namespace.is_none_or(|namespace| workload.namespace == namespace);
    published.translation.workloads.values().map(AsRef::as_ref).filter(here)
}

fn pair(plain: &Plain) -> Pair {
    let from = match &plain.from {
        Some(uid) => Caller::Workload(uid.clone()),
        None => Caller::Stranger { at: plain.to.clone() },
    };
    Pair { from, host: plain.host.clone(), requests: Some(plain.seen.carried.max(1)) }
}

fn row(published: &Published, plain: &Plain, check: &Check) -> Value {
    let from = pair(plain).from.to_string();
    let refused = check.refused.iter().find(|flow| flow.from == from && flow.to == plain.host);
    let mut told = plain.told();
    (told["breaks"], told["after"]) = (refused.is_some().into(), json!(refused.map(|flow| &flow.after)));
    let to: Vec<&Arc<Workload>> = published.translation.workloads.get(&plain.to).into_iter().collect();
    let of = |protocol: &Protocol| ports(published, &to, &plain.host, *protocol);
    told["ports"] = json!(plain.protocols.iter().flat_map(of).collect::<BTreeSet<u16>>());
    told
}

/// The policy for the whole namespace or mesh: the one that holds there now, made stricter, or a new one.
fn demand(published: &Published, namespace: Option<&str>) -> Value {
    let namespace = namespace.unwrap_or(ROOT_NAMESPACE);
    let wide = published.translation.authentications.values().filter(|policy| policy.namespace == namespace && policy.selector.is_empty());
    let oldest = wide.min_by_key(|policy| (&policy.created, &policy.origin.object.name));
    let name = oldest.map_or("default", |policy| policy.origin.object.name.as_str());
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": name, "namespace": namespace},
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}

/// Lets plain text in at the workloads of one service.
fn exception(published: &Published, namespace: Option<&str>, service: &str) -> Result<Value, String> {
    let (short, named) = service.split_once('.').map_or((service, namespace), |(short, namespace)| (short, Some(namespace)));
    let namespace = named.unwrap_or("default");
    let serves = |group: &Group<'_>| group.name == short || group.hosts.iter().any(|host| taut_model::host::short(host) == short);
    let all = groups(published, namespace);
    let group = all.iter().find(|group| serves(group)).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|group| group.name.as_str()).collect();
        format!("no workload with a proxy serves {service:?} in namespace {namespace}; there are {}", known.join(", "))
    })?;
    let labels = selector(published, group).ok_or_else(|| {
        format!(
            "the workloads of {service} have no labels in common that no other workload of the namespace has, so no policy can be about them alone"
        )
    })?;
    Ok(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": format!("plain-text-to-{}", group.name), "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "mtls": {"mode": "PERMISSIVE"}},
    }))
}

/// Policies for a part of what is concerned: they win, and some of them go on taking plain text.
fn narrower(published: &Published, namespace: Option<&str>) -> Vec<Value> {
    let lenient = |policy: &PeerAuthentication| {
        let mode = policy.mode.is_some_and(|mode| mode != MtlsMode::Strict);
        mode || policy.ports.values().any(|mode| *mode != MtlsMode::Strict)
    };
    let is_narrower = |policy: &PeerAuthentication| match namespace {
        Some(namespace) => policy.namespace == namespace && !policy.selector.is_empty(),
        None => policy.namespace != ROOT_NAMESPACE || !policy.selector.is_empty(),
    };
    let all = published.translation.authentications.values();
    all.filter(|policy| is_narrower(policy) && lenient(policy)).map(|policy| json!(policy.origin.object.to_string())).collect()
}
