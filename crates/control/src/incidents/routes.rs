//! `/taut/v1/incidents`: what users suffer from, with its story.

use super::{Incidents, Shown};
use crate::access::Visitor;
use crate::trust::{Leaf, Trust};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use taut_insight::incident::Incident;
use taut_insight::tick::Node;

const DEFAULT_LIMIT: usize = 50;

/// Behind the guard: whoever may read sees it.
pub fn router(incidents: Incidents, trust: Trust) -> Router {
    let ahead = Router::new().route("/taut/v1/forecast/{namespace}/{service}", get(forecast)).with_state((incidents.clone(), trust));
    Router::new()
        .route("/taut/v1/incidents", get(list))
        .route("/taut/v1/incidents/{id}", get(one))
        .route("/taut/v1/objectives", get(objectives))
        .with_state(incidents)
        .merge(ahead)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    state: State_,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum State_ {
    Open,
    Closed,
    #[default]
    All,
}

async fn list(State(incidents): State<Incidents>, _: Visitor, Query(wanted): Query<Wanted>) -> Json<Value> {
    let fits = |incident: &Incident| match wanted.state {
        State_::Open => incident.closed.is_none(),
        State_::Closed => incident.closed.is_some(),
        State_::All => true,
    };
    let found = incidents.all().into_iter().filter(fits).take(wanted.limit.unwrap_or(DEFAULT_LIMIT));
    let found: Vec<Value> = found.map(|incident| view(&incident.into())).collect();
    Json(json!({"at": incidents.world.second(), "incidents": found}))
}

async fn one(State(incidents): State<Incidents>, _: Visitor, Path(id): Path<String>) -> Response {
    match incidents.all().into_iter().find(|incident| incident.id == id) {
        Some(incident) => Json(view(&incident.into())).into_response(),
        None => {
            let error = format!("there is no incident {id:?}; GET /taut/v1/incidents lists them");
            (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
        }
    }
}

/// An incident as the API gives it.
pub fn view(shown: &Shown) -> Value {
    let mut value = json!(shown.incident);
    value["state"] = if shown.incident.closed.is_some() { "closed" } else { "open" }.into();
    value["story"] = json!(shown.story);
    // Evidence by its place: which cause, and which of what speaks for it.
    let places = shown.incident.causes.iter().enumerate();
    let places: Vec<String> = places.flat_map(|(at, cause)| (0..cause.evidence.len()).map(move |number| format!("{at}.{number}"))).collect();
    for line in value["story"]["lines"].as_array_mut().into_iter().flatten() {
        let numbers = line["evidence"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let named: Vec<&String> = numbers.filter_map(|number| places.get(usize::try_from(number).ok()?.checked_sub(1)?)).collect();
        line["evidence"] = json!(named);
    }
    value
}

async fn objectives(State(incidents): State<Incidents>, _: Visitor) -> Json<Value> {
    let standings = incidents.standings();
    let shown: Vec<Value> = standings.iter().map(|(promise, standing)| super::objectives::shown(promise, standing)).collect();
    Json(json!({"at": incidents.world.second(), "objectives": shown}))
}

async fn forecast(State((incidents, trust)): State<(Incidents, Trust)>, _: Visitor, Path((namespace, service)): Path<(String, String)>) -> Response {
    let (loads, rooms) = incidents.forecasts();
    let node = Node::new(&namespace, &service);
    match loads.shown(&node) {
        Some(mut shown) => {
            shown["capacity"] = rooms.shown(&node, &loads);
            shown["certificates"] = certificates(&trust.leaves(&namespace, &service));
            Json(shown).into_response()
        }
        None => {
            let error = format!("no request to {namespace}/{service} was seen yet: a forecast needs some, and five minutes");
            (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
        }
    }
}

/// The end of the certificates of a service's workloads, the first of them.
fn certificates(leaves: &[Leaf]) -> Value {
    let first = leaves.first().map(|first| {
        json!({
            "workload": first.workload, "ends": first.ends.as_second(), "renewedFrom": first.renewed_from.as_second(),
            "alarm": first.severity,
        })
    });
    json!({"workloads": leaves.len(), "first": first})
}
