//! Why a request goes where it goes: for one that might be made, from the plans that both proxies would have; for one that
//! was made, from the proxies that carried it.

mod inquiry;

pub use inquiry::{Arrival, Inquiry, stranger};

use crate::proxies::Proxies;
use crate::publish::Published;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use taut_plan::verdict::{Action, Forward, Rolls};
use taut_plan::{Explanation, Facts, Plan, Verdict};
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
    let inquiry = Inquiry::new(published, trust_domain, question)?;
    let facts = inquiry.facts();
    let outbound = inquiry.plan.explain(&facts, None);
    let arrival = likely(&inquiry.plan, &facts).and_then(|forward| inquiry.arrival(&forward));
    let inbound = arrival.map(|arrival| Inbound { workload: arrival.workload, explanation: arrival.explanation });
    let mut text = outbound.to_string();
    if let Some(inbound) = &inbound {
        text.push_str(&format!("\n\nat {}:\n{}", inbound.workload, inbound.explanation));
    }
    Ok(Answer { from: inquiry.from.uid.clone(), to: question.to.clone(), outbound, inbound, text })
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
