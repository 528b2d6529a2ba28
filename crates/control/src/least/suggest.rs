//! The smallest AuthorizationPolicies that let in every caller that was seen: one for each group of workloads, or the reasons why there is
//! none.

use super::confidence::{Confidence, confidence};
use super::plain::{Plain, plain};
use super::ports::ports;
use super::selector::{Group, groups, selector};
use crate::calls::{Calls, Seen, uid};
use crate::publish::Published;
use crate::signal_routes::text;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taut_model::identity::Identity;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, ROOT_NAMESPACE};
use taut_model::signal::{Protocol, Reporter, Security};

/// What is asked for.
pub struct Wanted<'a> {
    pub published: &'a Published,
    pub calls: &'a Calls,
    pub namespace: &'a str,
    /// Only the group that serves it: a short name or a host.
    pub service: Option<&'a str>,
}

/// What was seen of one identity that calls a group.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// `namespace/name`, as far as it was named.
    pub workloads: BTreeSet<String>,
    pub ports: BTreeSet<u16>,
    pub protocols: BTreeSet<Protocol>,
    pub seen: Seen,
    /// A proxy of the group has let it in, and so has seen its certificate.
    proven: bool,
}

/// For one group of workloads.
pub struct Suggestion<'a> {
    pub group: Group<'a>,
    /// By principal, as policies write it. Those of whom all was refused are not among them.
    pub callers: BTreeMap<String, Caller>,
    /// Of whom policies have refused everything.
    pub refused: BTreeMap<String, Seen>,
    /// Who says that it called, and was seen by no proxy of the group: whoever wants to be let in could say so.
    pub claimed: BTreeMap<String, Seen>,
    pub plain: Vec<Plain>,
    pub policy: Option<Value>,
    /// Why there is no policy though there were calls.
    pub withheld: Vec<String>,
    pub notes: Vec<String>,
    pub confidence: Confidence,
}

/// One for each group of the namespace.
pub fn suggest<'a>(wanted: &Wanted<'a>) -> Vec<Suggestion<'a>> {
    let is_wanted = |group: &Group<'_>| {
        wanted.service.is_none_or(|name| group.name == name || group.hosts.iter().any(|host| *host == name || taut_model::host::short(host) == name))
    };
    groups(wanted.published, wanted.namespace).into_iter().filter(is_wanted).map(|group| one(wanted, group)).collect()
}

fn one<'a>(wanted: &Wanted<'a>, group: Group<'a>) -> Suggestion<'a> {
    let calls = wanted.calls;
    let members: BTreeSet<&str> = group.workloads.iter().map(|workload| workload.uid.as_str()).collect();
    let plain = plain(calls, |to| members.contains(to));
    let (mut callers, unproven) = callers(wanted, &group);
    let those = |is_one: fn(&Caller) -> bool| {
        let found = callers.iter().filter(|(_, caller)| is_one(caller));
        found.map(|(principal, caller)| (principal.clone(), caller.seen.clone())).collect::<BTreeMap<String, Seen>>()
    };
    let (refused, claimed) = (those(|caller| !caller.seen.alive), those(|caller| caller.seen.alive && !caller.proven));
    callers.retain(|_, caller| caller.seen.alive && caller.proven);
    let window_seconds = calls.window.end.saturating_sub(calls.window.start);
    let known_seconds = calls.known_seconds(&members);
    let hours = callers.values().map(|caller| &caller.seen.hours);
    let confidence = confidence(hours, known_seconds, window_seconds, calls.crowded > 0);
    let selector = selector(wanted.published, &group);
    let mut withheld: Vec<String> = plain.iter().map(in_plain_text).collect();
    if unproven > 0 {
        withheld.push(format!("{unproven} requests came over mutual TLS from peers whose identity the signals do not hold"));
    }
    if selector.is_none() {
        withheld.push(format!("the workloads of {} have no labels in common that no other workload of the namespace has", group.name));
    }
    let rules = selector.filter(|_| withheld.is_empty() && !callers.is_empty());
    let policy = rules.map(|labels| policy(wanted, &group.name, &labels, &callers, &confidence));
    let notes = notes(wanted, &group, &callers);
    Suggestion { group, callers, refused, claimed, plain, policy, withheld, notes, confidence }
}

fn in_plain_text(plain: &Plain) -> String {
    let from = plain.from.as_deref().unwrap_or("somebody without a proxy of the mesh");
    format!(
        "{} requests or connections came to {} in plain text from {from}, the last at {}: whoever comes so has no identity that a policy could name",
        plain.seen.carried,
        plain.to,
        text(plain.seen.last)
    )
}

/// Callers by their principals, and how much came from those without one. The source's report and the destination's are of the same calls: of
/// who is known to call, what one of the two has missed the other may have.
fn callers(wanted: &Wanted<'_>, group: &Group<'_>) -> (BTreeMap<String, Caller>, u64) {
    let mut of_reporter: BTreeMap<(String, Reporter), Seen> = BTreeMap::new();
    let mut callers: BTreeMap<String, Caller> = BTreeMap::new();
    let mut unproven = 0;
    let about = |host: &str| group.hosts.contains(host);
    for call in wanted.calls.all.iter().filter(|call| call.security == Security::MutualTls && about(&call.host)) {
        let Ok(identity) = Identity::parse(&call.from.principal) else {
            unproven += call.seen.carried;
            continue;
        };
        let principal = identity.principal();
        let caller = callers.entry(principal.clone()).or_default();
        caller.workloads.extend(uid(&call.from).filter(|_| call.reporter == Reporter::Source));
        caller.proven |= call.seen.alive && call.reporter == Reporter::Destination;
        if call.seen.alive {
            caller.ports.extend(ports(wanted.published, &group.workloads, &call.host, call.protocol));
            caller.protocols.insert(call.protocol);
        }
        of_reporter.entry((principal, call.reporter)).or_default().merge(&call.seen);
    }
    for ((principal, _), seen) in of_reporter {
        let Some(caller) = callers.get_mut(&principal) else { continue };
        let (carried, refused) = (caller.seen.carried.max(seen.carried), caller.seen.refused.max(seen.refused));
        caller.seen.merge(&seen);
        (caller.seen.carried, caller.seen.refused) = (carried, refused);
    }
    (callers, unproven)
}

type Labels = BTreeMap<String, String>;

fn policy(wanted: &Wanted<'_>, name: &str, labels: &Labels, callers: &BTreeMap<String, Caller>, confidence: &Confidence) -> Value {
    let mut by_ports: BTreeMap<&BTreeSet<u16>, Vec<&String>> = BTreeMap::new();
    for (principal, caller) in callers {
        by_ports.entry(&caller.ports).or_default().push(principal);
    }
    let rule = |(ports, principals): (&BTreeSet<u16>, Vec<&String>)| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        json!({"from": [{"source": {"principals": principals}}], "to": [{"operation": {"ports": ports}}]})
    };
    let rules: Vec<Value> = by_ports.into_iter().map(rule).collect();
    let calls = wanted.calls;
    let seconds = calls.window.end.saturating_sub(calls.window.start);
    let annotations = json!({
        WINDOW: format!("{} to {}: {} s of {seconds} s are known", text(calls.window.start), text(calls.window.end), confidence.known_seconds),
        CONFIDENCE: format!("{}: {:.1} % of callers' hours may be of callers that were not seen", word(confidence), confidence.unseen * 100.0),
    });
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": policy_name(name), "namespace": wanted.namespace, "annotations": annotations},
        "spec": {"selector": {"matchLabels": labels}, "action": "ALLOW", "rules": rules},
    })
}

/// Annotations of what is suggested.
pub const WINDOW: &str = "tautline.dev/seen-window";
pub const CONFIDENCE: &str = "tautline.dev/seen-confidence";

fn policy_name(group: &str) -> String {
    format!("seen-callers-of-{group}")
}

fn word(confidence: &Confidence) -> String {
    serde_json::to_value(confidence.level).ok().and_then(|level| level.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What cannot be known, and what else counts.
fn notes(wanted: &Wanted<'_>, group: &Group<'_>, callers: &BTreeMap<String, Caller>) -> Vec<String> {
    let mut notes = Vec::new();
    if callers.is_empty() {
        notes.push("nobody was seen calling it, which is no proof that nobody does: no policy is written".to_owned());
    }
    if wanted.calls.crowded > 0 {
        notes.push(format!("{} requests are of callers that found no room to be told apart: some may be missing here", wanted.calls.crowded));
    }
    let several = callers.values().any(|caller| caller.ports.len() > 1);
    if several {
        notes.push("the signals do not tell ports apart: all that fit the protocol are let in".to_owned());
    }
    let own = policy_name(&group.name);
    let others = wanted.published.translation.authorizations.values().filter(|policy| is_about(policy, group) && policy.origin.object.name != own);
    notes.extend(others.map(|policy| format!("{} lets callers in, too: what it allows stays allowed until it is deleted", policy.origin.object)));
    notes
}

/// Whether an ALLOW policy in force is about any of the workloads.
fn is_about(policy: &AuthorizationPolicy, group: &Group<'_>) -> bool {
    let here = group
        .workloads
        .iter()
        .any(|workload| (policy.namespace == workload.namespace || policy.namespace == ROOT_NAMESPACE) && workload.has_labels(&policy.selector));
    here && policy.action == AuthorizationAction::Allow && !policy.dry_run
}

impl Suggestion<'_> {
    pub fn told(&self) -> Value {
        let caller = |(principal, caller): (&String, &Caller)| {
            let mut told = super::seen(&caller.seen);
            (told["principal"], told["workloads"]) = (json!(principal), json!(caller.workloads));
            (told["ports"], told["protocols"], told["hours"]) = (json!(caller.ports), json!(caller.protocols), json!(caller.seen.hours.len()));
            told
        };
        let refused = |(principal, seen): (&String, &Seen)| json!({"principal": principal, "refused": seen.refused, "carried": seen.carried, "last": text(seen.last)});
        let seconds = self.callers.values().map(|caller| caller.seen.seconds).max().unwrap_or_default();
        json!({
            "service": self.group.name, "hosts": self.group.hosts, "workloads": self.group.workloads.iter().map(|one| &one.uid).collect::<Vec<_>>(),
            "policy": self.policy, "withheld": self.withheld, "notes": self.notes, "confidence": self.confidence, "secondsWithCalls": seconds,
            "callers": self.callers.iter().map(caller).collect::<Vec<_>>(), "refused": self.refused.iter().map(refused).collect::<Vec<_>>(),
            "claimed": self.claimed.iter().map(refused).collect::<Vec<_>>(),
            "plaintext": self.plain.iter().map(Plain::told).collect::<Vec<_>>(),
        })
    }
}
