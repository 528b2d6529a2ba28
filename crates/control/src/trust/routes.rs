//! `/taut/v1/trust`: how it stands; rotation, its abort, and revocation by admins.

use super::Trust;
use crate::access::Visitor;
use crate::audit::Audit;
use crate::fault::Fault;
use crate::signing::Signing;
use crate::translate::published;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Behind the guard: who may read sees it, admins change it. The bundle is for everybody: it holds nothing secret, and those who need it are
/// in other trust domains.
pub fn router(trust: Trust, audit: Audit) -> Router {
    Router::new()
        .route("/taut/v1/trust", get(status))
        .route("/taut/v1/trust/bundle", get(bundle))
        .route("/taut/v1/trust/rotate", post(rotate))
        .route("/taut/v1/trust/abort", post(abort))
        .route("/taut/v1/trust/revoke", post(revoke))
        .with_state(Audited { trust, audit })
}

/// What the routes stand on.
#[derive(Clone)]
struct Audited {
    trust: Trust,
    audit: Audit,
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

#[expect(clippy::result_large_err, reason = "the response is what is sent")]
fn body<T: DeserializeOwned>(bytes: &Bytes, shape: &str) -> Result<T, Response> {
    let text = if bytes.is_empty() { &b"{}"[..] } else { bytes };
    serde_json::from_slice(text).map_err(|error| refuse(StatusCode::BAD_REQUEST, format!("the body must be {shape}: {error}")))
}

async fn status(State(Audited { trust, .. }): State<Audited>, _: Visitor) -> Json<Value> {
    Json(trust.status())
}

/// SPIFFE's bundle format; as a JSON Web Key Set it says who signs this mesh's JWT-SVIDs.
async fn bundle(State(Audited { trust, .. }): State<Audited>) -> Json<Value> {
    let bundle = trust.authority.bundle().borrow().clone();
    Json(published(&bundle))
}

fn done(trust: &Trust, done: Result<(), Fault>) -> Response {
    match done {
        Ok(()) => Json(trust.status()).into_response(),
        Err(fault) => refuse(StatusCode::CONFLICT, fault.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// A directory on the control plane's machine.
    #[serde(default)]
    to: Option<PathBuf>,
}

async fn rotate(State(Audited { trust, audit }): State<Audited>, visitor: Visitor, bytes: Bytes) -> Response {
    let wanted: Rotate = match body(&bytes, "{to?}") {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    if wanted.to.as_ref().is_some_and(|to| !to.is_absolute()) {
        return refuse(StatusCode::BAD_REQUEST, "to must be the absolute path of a directory on the control plane's machine");
    }
    let to = wanted.to.or_else(|| trust.sources.directory().map(Into::into));
    let begun = trust.authority.rotate(to.as_deref(), trust.world.wall());
    if begun.is_ok() {
        tracing::info!(by = %visitor.user, "a rotation of the root has begun");
        audit.note(trust.world.wall(), &visitor.user, "trust.rotation", json!({"begun": true, "to": to}));
    }
    done(&trust, begun)
}

async fn abort(State(Audited { trust, audit }): State<Audited>, visitor: Visitor) -> Response {
    let aborted = trust.authority.abort(trust.world.wall());
    if aborted.is_ok() {
        tracing::info!(by = %visitor.user, "the rotation of the root is taken back");
        audit.note(trust.world.wall(), &visitor.user, "trust.rotation", json!({"aborted": true}));
    }
    done(&trust, aborted)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    /// Hexadecimal.
    #[serde(default)]
    serial: Option<String>,
    /// `namespace/name` of a connected workload.
    #[serde(default)]
    workload: Option<String>,
}

async fn revoke(State(Audited { trust, audit }): State<Audited>, visitor: Visitor, bytes: Bytes) -> Response {
    let wanted: Revoke = match body(&bytes, "{serial} or {workload}") {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    if matches!(trust.signing, Signing::Agent(_)) {
        let why = "certificates of this mesh come from a SPIFFE Workload API, which alone can take them back: delete the workload's entry there";
        return refuse(StatusCode::CONFLICT, why);
    }
    let (serials, workload) = match (wanted.serial, wanted.workload) {
        (Some(serial), None) => (vec![serial], None),
        (None, Some(uid)) => match trust.serials_of(&uid) {
            serials if !serials.is_empty() => (serials, Some(uid)),
            _ => {
                let why = format!("no connected workload {uid} has said which certificate it shows; name its serial number instead");
                return refuse(StatusCode::NOT_FOUND, why);
            }
        },
        _ => return refuse(StatusCode::BAD_REQUEST, "the body must be {serial} or {workload}"),
    };
    let revoked = trust.authority.revoke(&serials, workload.as_deref(), &visitor.user, trust.world.wall());
    if revoked.is_ok() {
        tracing::warn!(by = %visitor.user, ?serials, workload = workload.as_deref().unwrap_or_default(), "a certificate is revoked");
        audit.note(trust.world.wall(), &visitor.user, "certificate.revoked", json!({"serial": serials.join(" "), "workload": workload}));
    }
    done(&trust, revoked)
}
