//! Tokens for people and programs, as admins make, list and revoke them: `/taut/v1/access/tokens`.

use super::{Access, Grant, Pass, PassKind, Role, Visitor};
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// Behind the guard, which lets admins through and nobody else.
pub fn router(access: Access) -> Router {
    Router::new().route("/taut/v1/access/tokens", get(list).post(make)).route("/taut/v1/access/tokens/{id}", delete(revoke)).with_state(access)
}

/// Whoever is not known gets no further than this.
impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let known = parts.extensions.get::<Visitor>().cloned();
        known.ok_or_else(|| refuse(StatusCode::UNAUTHORIZED, "this needs a bearer token; use the kubeconfig that the control plane wrote"))
    }
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    role: Role,
    user: String,
    #[serde(default)]
    ttl_seconds: Option<u64>,
}

async fn list(State(access): State<Access>, _: Visitor) -> Json<Value> {
    Json(json!({"tokens": access.tokens().iter().map(described).collect::<Vec<_>>()}))
}

async fn make(State(access): State<Access>, _: Visitor, body: Bytes) -> Response {
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body must be {{role, user, ttlSeconds?}}: {error}")),
    };
    let lifetime = wanted.ttl_seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    if wanted.user.is_empty() || wanted.user.len() > 128 || wanted.user.chars().any(char::is_control) {
        return refuse(StatusCode::BAD_REQUEST, "user must be 1 to 128 printable characters: it is shown beside what its owner changes");
    }
    if lifetime.is_zero() || lifetime > LONGEST_LIFETIME {
        return refuse(StatusCode::BAD_REQUEST, format!("ttlSeconds must be between 1 and {}", LONGEST_LIFETIME.as_secs()));
    }
    match access.issue(Grant { kind: PassKind::Token, user: wanted.user, role: wanted.role, lifetime, parent: None }) {
        Ok((secret, pass)) => {
            let mut answer = described(&pass);
            answer["token"] = secret.as_str().into();
            Json(answer).into_response()
        }
        Err(fault) => refuse(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    }
}

async fn revoke(State(access): State<Access>, _: Visitor, Path(id): Path<String>) -> Response {
    match access.revoke(&id) {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refuse(StatusCode::NOT_FOUND, format!("there is no token {id:?}; taut token --list names them")),
        Err(fault) => refuse(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    }
}

fn described(pass: &Pass) -> Value {
    json!({"id": pass.id, "user": pass.user, "role": pass.role, "issued": pass.issued.to_string(), "expires": pass.expires.to_string()})
}
