//! What becomes of flows in two worlds: where requests go and in which shares, what is refused and by whom, how they are protected.

use super::probes::{Probe, probes};
use crate::publish::{Encoded, Published};
use crate::trial::seen::{End, Seen, seen};
use crate::trial::share;
use crate::view::{Viewer, view};
use crate::why::{Inquiry, NoAnswer, stranger};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use taut_model::origin::Origin;
use taut_plan::Verdict;
use taut_plan::cluster::Transport;
use taut_wire::resource::ResourceType;

/// Questions that are put to both worlds; a mesh has more flows than anybody reads.
const MOST_QUESTIONS: usize = 4000;

/// A flow that was seen: from somebody to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub from: Caller,
    pub host: String,
    /// How many requests were seen; `None`: the workload's proxy has asked for the service.
    pub requests: Option<u64>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// `namespace/name`
    Workload(String),
    /// Somebody whom nobody knows, in plain text, at a workload of the mesh (`namespace/name`).
    Stranger { at: String },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(uid) => f.write_str(uid),
            Self::Stranger { .. } => f.write_str("(plain text)"),
        }
    }
}

/// A flow, or a kind of its requests, whose outcome changes.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowChange {
    pub from: String,
    pub to: String,
    /// The kind of requests; empty for all that no rule names.
    pub request: String,
    pub before: String,
    pub after: String,
    /// Something of it is refused then that is carried now.
    pub refused: bool,
    /// What refuses it.
    pub by: Option<Origin>,
    pub requests: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    pub changes: Vec<FlowChange>,
    /// Flows that were looked at.
    pub seen: usize,
    /// Not all were.
    pub truncated: bool,
}

/// What becomes of one kind of request.
#[derive(Default, PartialEq)]
struct Fate {
    text: String,
    /// The part that is refused, out of a million.
    refused: u128,
    by: Option<Origin>,
}

pub fn compare(before: &Published, after: &Published, trust_domain: &str, pairs: &[Pair]) -> Outcomes {
    let mut outcomes = Outcomes { seen: pairs.len(), ..Outcomes::default() };
    let mut asked = 0;
    for pair in pairs.iter().filter(|pair| differs(before, after, pair)) {
        let mut known: Vec<(String, String)> = Vec::new();
        let from = pair.from.to_string();
        for probe in probes([before, after], &pair.host) {
            asked += 1;
            if asked > MOST_QUESTIONS {
                outcomes.truncated = true;
                return outcomes;
            }
            let (now, then) = (fate(before, trust_domain, pair, &probe), fate(after, trust_domain, pair, &probe));
            let told = (now.text.clone(), then.text.clone());
            // What a rule names and meets the same as all the rest is not told again.
            if now == then || known.contains(&told) {
                continue;
            }
            outcomes.add(FlowChange {
                from: from.clone(),
                to: pair.host.clone(),
                request: probe.describe(),
                refused: then.refused > now.refused,
                before: now.text,
                after: then.text,
                by: then.by,
                requests: pair.requests,
            });
            known.push(told);
        }
    }
    outcomes
}

impl Outcomes {
    /// Strangers at several workloads of a service are told as one.
    fn add(&mut self, new: FlowChange) {
        let same = |known: &&mut FlowChange| FlowChange { requests: new.requests, ..(*known).clone() } == new;
        match self.changes.iter_mut().find(same) {
            Some(known) => known.requests = known.requests.zip(new.requests).map(|(one, other)| one.saturating_add(other)),
            None => self.changes.push(new),
        }
    }
}

/// Whether anything that the proxies at either end would be told is another.
fn differs(before: &Published, after: &Published, pair: &Pair) -> bool {
    let ends = |published: &Published| -> BTreeSet<String> {
        let serves = published.index.serving(&pair.host);
        let caller = match &pair.from {
            Caller::Workload(uid) => Some(uid.clone()),
            Caller::Stranger { .. } => None,
        };
        caller.into_iter().chain(serves.cloned()).collect()
    };
    let told = |published: &Published, uid: &str| -> BTreeMap<ResourceType, Encoded> {
        let Some(workload) = published.translation.workloads.get(uid) else { return BTreeMap::new() };
        let viewer = Viewer { uid: uid.to_owned(), namespace: workload.namespace.clone(), hosts: BTreeSet::from([pair.host.clone()]) };
        let view = view(&published.translation, &published.index, &viewer);
        ResourceType::all().into_iter().map(|of_type| (of_type, published.of(&view, of_type))).collect()
    };
    let (now, then) = (ends(before), ends(after));
    now != then || now.iter().any(|uid| told(before, uid) != told(after, uid))
}

fn fate(published: &Published, trust_domain: &str, pair: &Pair, probe: &Probe) -> Fate {
    match &pair.from {
        Caller::Workload(uid) => fate_of_workload(published, trust_domain, uid, &pair.host, probe),
        Caller::Stranger { at } => fate_of_stranger(published, trust_domain, at, &pair.host, probe),
    }
}

/// At each port at which the workload serves: the signals do not tell them apart.
fn fate_of_stranger(published: &Published, trust_domain: &str, at: &str, host: &str, probe: &Probe) -> Fate {
    let Some(to) = published.translation.workloads.get(at) else {
        return Fate { text: "there is no such workload".to_owned(), ..Fate::default() };
    };
    let ports: BTreeSet<u16> = to.serves.iter().filter(|serves| serves.host == host).map(|serves| serves.target).collect();
    let question = probe.question("", host);
    let (mut fate, mut texts) = (Fate::default(), BTreeSet::new());
    for port in &ports {
        match stranger(published, trust_domain, to, *port, &question).map(|arrival| arrival.verdict) {
            Ok(Verdict::Refuse(refusal)) => {
                let end = End::Refused { status: refusal.status, reason: refusal.reason.name(), detail: refusal.detail };
                texts.insert(end.describe());
                fate.refused += 1_000_000 / ports.len().max(1) as u128;
                fate.by = fate.by.or(refusal.origin);
            }
            Ok(Verdict::Go(_) | Verdict::Ask(_)) => drop(texts.insert("let in".to_owned())),
            Err(why) => drop(texts.insert(why.to_string())),
        }
    }
    fate.text = texts.into_iter().collect::<Vec<_>>().join(", ");
    fate
}

fn fate_of_workload(published: &Published, trust_domain: &str, from: &str, host: &str, probe: &Probe) -> Fate {
    let question = probe.question(from, host);
    let inquiry = match Inquiry::new(published, trust_domain, &question) {
        Ok(inquiry) => inquiry,
        Err(NoAnswer::UnknownFrom { .. }) => return Fate { text: "there is no such workload".to_owned(), ..Fate::default() },
        Err(NoAnswer::BadRequest(why)) => return Fate { text: why, ..Fate::default() },
    };
    let found = inquiry.plan.possibilities(&inquiry.facts());
    let ends: Vec<Seen> = found.all.into_iter().map(|possibility| seen(&inquiry, possibility)).collect();
    let mut shares: Vec<(String, u128)> = Vec::new();
    for end in &ends {
        let text = describe(end);
        match shares.iter_mut().find(|(known, _)| *known == text) {
            Some((_, odds)) => *odds += end.odds,
            None => shares.push((text, end.odds)),
        }
    }
    let told =
        |(text, odds): &(String, u128)| if shares.len() == 1 { text.clone() } else { format!("{} {text}", share::percent(*odds, found.whole)) };
    let refusals: Vec<&Seen> = ends.iter().filter(|end| matches!(end.end, End::Refused { .. } | End::Unknown(_))).collect();
    let odds: u128 = refusals.iter().map(|end| end.odds).sum();
    Fate {
        text: shares.iter().map(told).collect::<Vec<_>>().join(", "),
        refused: odds.saturating_mul(1_000_000) / found.whole.max(1),
        by: refusals.first().and_then(|end| end.origin.clone()),
    }
}

/// Where it goes, and how it is protected if that is not by mutual TLS.
fn describe(seen: &Seen) -> String {
    let transport = seen.forward.as_ref().and_then(|forward| forward.cluster.endpoints.first()).map(|endpoint| &endpoint.transport);
    let protection = match (&seen.end, transport) {
        (End::GoesTo(_), Some(Transport::Plain)) => " in plain text",
        (End::GoesTo(_), Some(Transport::Tls { .. })) => " over TLS",
        _ => "",
    };
    let delay = seen.delay.map_or_else(String::new, |delay| format!(", delayed by {delay:?}"));
    format!("{}{protection}{delay}", seen.end.describe())
}
