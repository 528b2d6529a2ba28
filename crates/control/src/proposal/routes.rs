//! `POST /taut/v1/plan`: YAML in, what would change out.

use super::{Changed, FlowChange, Pair, Proposal, Terms, judge};
use crate::access::Visitor;
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
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::problem::Problem;
use taut_model::signal::Second;
use tokio::sync::watch;

/// How far back a flow counts as seen.
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
}

async fn plan(State(proposals): State<Proposals>, _: Visitor, Query(how): Query<How>, body: Bytes) -> Response {
    let Ok(text) = String::from_utf8(body.to_vec()) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "the body must be YAML in UTF-8"}))).into_response();
    };
    // Compiling plans takes a while, and proxies should not wait for it.
    let judged = tokio::task::spawn_blocking(move || {
        let published = proposals.published.borrow().clone();
        let pairs = proposals.pairs();
        let terms = Terms {
            store: &proposals.store,
            published: &published,
            settings: &proposals.settings,
            manager: how.field_manager.as_deref().filter(|manager| !manager.is_empty()).unwrap_or("taut"),
            now: &proposals.world.wall_text(),
            pairs: &pairs,
        };
        told(&judge(&text, how.file.as_deref().unwrap_or("body"), &terms))
    });
    match judged.await {
        Ok(answer) => Json(answer).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the plan was given up"}))).into_response(),
    }
}

impl Proposals {
    /// Who called whom in the last hour, and whose proxies have asked for a service: they do on first use.
    fn pairs(&self) -> Vec<Pair> {
        let mut pairs: BTreeMap<(String, String), Option<u64>> = BTreeMap::new();
        for proxy in self.proxies.all() {
            pairs.extend(proxy.viewer.hosts.iter().map(|host| ((proxy.uid.clone(), host.clone()), None)));
        }
        for (edge, signals) in Traffic::read(&self.signals, SEEN, None, self.world.second()).edges {
            let uid = format!("{}/{}", edge.source.namespace, edge.source.workload);
            let seen = pairs.entry((uid, edge.service.host.clone())).or_default();
            *seen = Some(seen.unwrap_or_default() + signals.requests.max(signals.opened));
        }
        let published = self.published.borrow().clone();
        // A proxy asks for the service that its own workload serves, too: that is no call.
        let known = |(uid, host): &(String, String), requests: Option<u64>| {
            let workload = published.translation.workloads.get(uid).filter(|_| published.translation.services.contains_key(host));
            workload.is_some_and(|workload| requests.is_some() || !workload.serves.iter().any(|serves| serves.host == *host))
        };
        let known = pairs.into_iter().filter(|(pair, requests)| known(pair, *requests));
        known.map(|((workload, host), requests)| Pair { workload, host, requests }).collect()
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
