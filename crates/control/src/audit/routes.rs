//! `/taut/v1/audit`: the newest entries, and whether the chain holds. For admins alone: it says who did what.

use super::Audit;
use crate::access::Visitor;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

const PAGE: usize = 50;
const LARGEST_PAGE: usize = 5000;

/// Behind the guard, which lets admins through and nobody else.
pub fn router(audit: Audit) -> Router {
    Router::new().route("/taut/v1/audit", get(list)).route("/taut/v1/audit/verify", get(verify)).with_state(audit)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    limit: Option<usize>,
    /// The beginning of `what`.
    #[serde(default)]
    what: String,
}

fn answer<T: serde::Serialize>(done: Result<T, crate::fault::Fault>, name: &str) -> Response {
    match done {
        Ok(value) => Json(json!({ name: value })).into_response(),
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": fault.to_string()}))).into_response(),
    }
}

async fn list(State(audit): State<Audit>, _: Visitor, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    answer(audit.entries(limit, |entry| entry.what.starts_with(&page.what)), "entries")
}

async fn verify(State(audit): State<Audit>, _: Visitor) -> Response {
    answer(audit.verify(), "verified")
}
