//! `POST /taut/v1/plan`: YAML in, what would change out.

use super::{Caller, Changed, FlowChange, Pair, Proposal, Terms, judge};
use crate::access::Visitor;
use crate::calls;
use crate::pages::Traffic;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::signals;
use crate::store::Store;
use crate::translate::Settings;
use crate::world::World;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::problem::Problem;
use taut_model::signal::{Edge, Reporter, Second, Security};
use tokio::sync::watch;

/// How far back a flow counts as seen, unless the caller says otherwise.
const SEEN: Second = 3600;

/// What proposals are held against. Cheap to clone.
#[derive(Clone)]
pub struct Proposals {
    pub store: Store,
    pub published: watch::Receiver<Arc<Published>>,
    pub proxies: Proxies,
    pub signals: signals::Store,
    pub settings: Settings,
    pub world: World,
}

/// Behind the guard; a plan changes nothing, so whoever may read may ask for one.
pub fn router(proposals: Proposals) -> Router {
    Router::new().route("/taut/v1/plan", post(plan)).with_state(proposals)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct How {
    /// Who would apply it; `taut` if not said.
    #[serde(default)]
    field_manager: Option<String>,
    /// What the text is called in problems.
    #[serde(default)]
    file: Option<String>,
    /// How far back a flow counts as seen: `30m`, `7d`.
    #[serde(default)]
    since: Option<String>,
}

/// A proposal that brings the flows along that it is to be held against, as a recording has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replayed {
    manifests: String,
    flows: Vec<Recorded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recorded {
    /// `namespace/name`; without one it came in plain text from somebody whom nobody knows.
    #[serde(default)]
    workload: Option<String>,
    /// The workload that it came to.
    #[serde(default)]
    at: Option<String>,
    host: String,
    requests: u64,
}

/// By caller and service.
type Counted = BTreeMap<(Caller, String), Option<u64>>;

async fn plan(State(proposals): State<Proposals>, _: Visitor, Query(how): Query<How>, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |why: String| (StatusCode::BAD_REQUEST, Json(json!({"error": why}))).into_response();
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let (text, counted) = match read(&body, is_json) {
        Ok(read) => read,
        Err(why) => return refuse(why),
    };
    let since = match how.since.as_deref().filter(|since| !since.is_empty()).map_or(Ok(SEEN), calls::span) {
        Ok(since) => since,
        Err(why) => return refuse(format!("since: {why}")),
    };
    // Compiling plans takes a while, and proxies should not wait for it.
    let judged = tokio::task::spawn_blocking(move || {
        let (pairs, left_out) = proposals.known(counted.unwrap_or_else(|| proposals.counted(since)));
        let manager = how.field_manager.as_deref().filter(|manager| !manager.is_empty()).unwrap_or("taut");
        let proposal = proposals.judge(&text, how.file.as_deref().unwrap_or("body"), manager, &pairs);
        let mut answer = told(&proposal);
        answer["leftOut"] = left_out.into();
        answer
    });
    match judged.await {
        Ok(answer) => Json(answer).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the plan was given up"}))).into_response(),
    }
}

/// The manifests, and the flows if they came along.
fn read(body: &Bytes, is_json: bool) -> Result<(String, Option<Counted>), String> {
    if !is_json {
        return Ok((String::from_utf8(body.to_vec()).map_err(|_| "the body must be YAML in UTF-8".to_owned())?, None));
    }
    let replayed: Replayed = serde_json::from_slice(body).map_err(|error| format!("the body must be {{manifests, flows}}: {error}"))?;
    let mut counted = Counted::new();
    for flow in replayed.flows {
        let caller = flow.workload.map(Caller::Workload).or_else(|| flow.at.map(|at| Caller::Stranger { at }));
        let caller = caller.ok_or_else(|| "a flow needs workload, or at where it came in plain text".to_owned())?;
        let seen = counted.entry((caller, flow.host)).or_default();
        *seen = Some(seen.unwrap_or_default().saturating_add(flow.requests));
    }
    Ok((replayed.manifests, Some(counted)))
}

impl Proposals {
    /// Holds a text against the mesh as it is and the flows given.
    pub fn judge(&self, text: &str, file: &str, manager: &str, pairs: &[Pair]) -> Proposal {
        let published = self.published.borrow().clone();
        let now = &self.world.wall_text();
        judge(text, file, &Terms { store: &self.store, published: &published, settings: &self.settings, manager, now, pairs })
    }

    /// Who called whom in so many seconds, and whose proxies have asked for a service: they do on first use.
    pub fn pairs(&self, since: Second) -> Vec<Pair> {
        self.known(self.counted(since)).0
    }

    fn counted(&self, since: Second) -> Counted {
        let mut counted = Counted::new();
        for proxy in self.proxies.all() {
            let asked = proxy.viewer.hosts.iter().map(|host| ((Caller::Workload(proxy.uid.clone()), host.clone()), None));
            counted.extend(asked);
        }
        for (edge, signals) in Traffic::read(&self.signals, since, None, self.world.second()).edges {
            let carried = signals.requests.max(signals.opened).max(signals.connections);
            let Some(caller) = caller(&edge).filter(|_| carried > 0) else { continue };
            let seen = counted.entry((caller, edge.service.host.clone())).or_default();
            *seen = Some(seen.unwrap_or_default().saturating_add(carried));
        }
        counted
    }

    /// The flows between what there is now, and how many there are of others.
    fn known(&self, counted: Counted) -> (Vec<Pair>, usize) {
        let published = self.published.borrow().clone();
        let mesh = &published.translation;
        // A proxy asks for the service that its own workload serves, too: that is no call.
        let is_known = |caller: &Caller, host: &String, requests: Option<u64>| {
            let (Caller::Workload(uid) | Caller::Stranger { at: uid }) = caller;
            let workload = mesh.workloads.get(uid).filter(|_| mesh.services.contains_key(host));
            workload.is_some_and(|workload| requests.is_some() || !workload.serves.iter().any(|serves| serves.host == *host))
        };
        let seen = counted.values().filter(|requests| requests.is_some()).count();
        let known: Vec<Pair> = counted
            .into_iter()
            .filter(|((caller, host), requests)| is_known(caller, host, *requests))
            .map(|((from, host), requests)| Pair { from, host, requests })
            .collect();
        let left_out = seen - known.iter().filter(|pair| pair.requests.is_some()).count();
        (known, left_out)
    }
}

/// Who called, as far as a proposal can be asked about it.
fn caller(edge: &Edge) -> Option<Caller> {
    match (edge.reporter, edge.security) {
        (Reporter::Destination, Security::Plaintext) => calls::uid(&edge.destination).map(|at| Caller::Stranger { at }),
        _ => calls::uid(&edge.source).map(Caller::Workload),
    }
}

fn told(proposal: &Proposal) -> Value {
    json!({
        "problems": proposal.problems.iter().map(problem).collect::<Vec<_>>(),
        "changes": proposal.changes.iter().map(change).collect::<Vec<_>>(),
        "flows": proposal.flows.changes.iter().map(flow).collect::<Vec<_>>(),
        "seen": proposal.flows.seen, "truncated": proposal.flows.truncated,
        "refused": proposal.flows.changes.iter().filter(|flow| flow.refused).count(),
    })
}

fn problem(problem: &Problem) -> Value {
    let at = problem.location.as_ref();
    json!({
        "line": at.map(|at| at.line), "column": at.map(|at| at.column), "message": problem.message, "hint": problem.help, "severity": problem.severity,
        "code": problem.code, "object": problem.object, "path": problem.path, "text": problem.to_string(),
    })
}

fn change(changed: &Changed) -> Value {
    let object = changed.object.reference();
    json!({"verb": changed.verb, "kind": object.kind, "namespace": object.namespace, "name": object.name, "diff": changed.diff})
}

fn flow(flow: &FlowChange) -> Value {
    json!({
        "from": flow.from, "to": flow.to, "request": flow.request, "before": flow.before, "after": flow.after, "refused": flow.refused, "by": flow.by,
        "requests": flow.requests,
    })
}
