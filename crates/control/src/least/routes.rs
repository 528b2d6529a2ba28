//! `GET /taut/v1/policy/suggest`, `/taut/v1/trust/strict` and `/taut/v1/trust/plaintext`: read from the signals, as JSON.

use super::strict::{self, lately, report};
use super::suggest::{Suggestion, Wanted, suggest};
use super::{Check, manifests, window};
use crate::access::Visitor;
use crate::calls::{self, Calls, HOUR};
use crate::proposal::{Caller, Pair, Proposals};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use taut_model::signal::Second;

/// How far back is looked where nobody says.
const SINCE: Second = 24 * HOUR;

/// Behind the guard: they change nothing, so whoever may read may ask.
pub fn router(proposals: Proposals) -> Router {
    Router::new()
        .route("/taut/v1/policy/suggest", get(suggestions))
        .route("/taut/v1/trust/strict", get(strictness))
        .route("/taut/v1/trust/plaintext", get(plaintext))
        .with_state(proposals)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    service: Option<String>,
    /// `30m`, `7d`.
    #[serde(default)]
    since: Option<String>,
    /// Services, separated by commas.
    #[serde(default)]
    except: Option<String>,
}

impl Asked {
    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|name| !name.is_empty())
    }

    fn since(&self) -> Result<Option<Second>, String> {
        self.since.as_deref().filter(|since| !since.is_empty()).map(calls::span).transpose().map_err(|why| format!("since: {why}"))
    }
}

/// Reads and compiles outside the threads that serve.
async fn answer(work: impl FnOnce() -> Result<Value, String> + Send + 'static) -> Response {
    let refuse = |status: StatusCode, why: String| (status, Json(json!({"error": why}))).into_response();
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(why)) => refuse(StatusCode::BAD_REQUEST, why),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn suggestions(State(proposals): State<Proposals>, _: Visitor, Query(asked): Query<Asked>) -> Response {
    answer(move || {
        let published = proposals.published.borrow().clone();
        let namespace = asked.namespace().unwrap_or("default");
        let since = asked.since()?.unwrap_or(SINCE);
        let calls = Calls::read(&proposals.signals, since, Some(namespace), proposals.world.second());
        let service = asked.service.as_deref().filter(|name| !name.is_empty());
        let found = suggest(&Wanted { published: &published, calls: &calls, namespace, service });
        if let (Some(service), []) = (service, &found[..]) {
            return Err(format!("no workload with a proxy serves {service:?} in namespace {namespace}"));
        }
        let check = checked(&proposals, &found, since);
        Ok(json!({
            "namespace": namespace, "window": window(&calls), "crowded": calls.crowded, "gaps": calls.gaps,
            "suggestions": found.iter().map(Suggestion::told).collect::<Vec<_>>(), "check": check.told(),
        }))
    })
    .await
}

/// What would become of the flows that were carried, were all that is suggested applied.
pub(super) fn checked(proposals: &Proposals, found: &[Suggestion<'_>], since: Second) -> Check {
    let policies: Vec<Value> = found.iter().filter_map(|suggestion| suggestion.policy.clone()).collect();
    let is_let_in = |pair: &Pair| {
        let Caller::Workload(uid) = &pair.from else { return true };
        let calls = |suggestion: &&Suggestion<'_>| suggestion.callers.values().any(|caller| caller.workloads.contains(uid));
        found.iter().filter(calls).any(|suggestion| suggestion.group.hosts.contains(pair.host.as_str()))
    };
    let concerns = |pair: &Pair| {
        let policy = found.iter().find(|suggestion| suggestion.group.hosts.contains(pair.host.as_str()));
        policy.is_some_and(|suggestion| suggestion.policy.is_some())
    };
    let pairs: Vec<Pair> = proposals.pairs(since).into_iter().filter(|pair| concerns(pair) && is_let_in(pair)).collect();
    Check::of(proposals.judge(&manifests(&policies), "suggested.yaml", "taut", &pairs))
}

async fn strictness(State(proposals): State<Proposals>, _: Visitor, Query(asked): Query<Asked>) -> Response {
    answer(move || {
        let except: Vec<String> = asked.except.iter().flat_map(|all| all.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        report(&proposals, &strict::Wanted { namespace: asked.namespace(), except: &except, since: asked.since()?.unwrap_or(SINCE) })
    })
    .await
}

async fn plaintext(State(proposals): State<Proposals>, _: Visitor, Query(asked): Query<Asked>) -> Response {
    answer(move || Ok(lately(&proposals, asked.namespace(), asked.since()?))).await
}
