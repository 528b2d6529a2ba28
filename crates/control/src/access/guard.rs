//! The guard before all routes: a visitor whose role does not do is told so. Who is not known is passed on, for each route
//! asks for its own proof and says in its own way what is missing.

use super::rules::needed;
use super::{Access, Visitor};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

/// The routes behind the guard. Each request carries its [`Visitor`] as an extension, if there is one.
pub fn guarded(router: Router, access: Access) -> Router {
    router.layer(from_fn_with_state(access, check))
}

async fn check(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let Ok(visitor) = access.visitor(bearer(request.headers())) else { return next.run(request).await };
    let least = needed(request.method(), request.uri().path());
    if visitor.role < least {
        return forbidden(&visitor, &format!("{} {} needs the role {least}", request.method(), request.uri().path()));
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// As kubectl and as our own clients read a refusal.
fn forbidden(visitor: &Visitor, because: &str) -> Response {
    let message = format!("{because}, and {} is {}; ask an admin for a token: taut token --role ROLE", visitor.user, visitor.role);
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": message, "error": message,
    });
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}
