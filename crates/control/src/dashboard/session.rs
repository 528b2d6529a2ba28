//! Signing in and out: a token becomes a session, which is a cookie that scripts cannot read.

use super::Dashboard;
use crate::access::{Access, Grant, PassKind, Role, SESSION, Visitor};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The ways to sign in.
const METHODS: [&str; 1] = ["token"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    token: String,
}

/// Who is signed in.
pub(super) async fn look(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap) -> Response {
    match visitor(&dashboard.access, &headers) {
        Ok(visitor) => Json(described(&visitor)).into_response(),
        Err(why) => stranger(&why),
    }
}

pub(super) async fn sign_in(State(dashboard): State<Arc<Dashboard>>, body: Bytes) -> Response {
    let Ok(Wanted { token }) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "the body must be {\"token\": \"…\"}"}))).into_response();
    };
    match dashboard.begin(&token) {
        Ok((cookie, visitor)) => (with_cookie(&cookie), Json(described(&visitor))).into_response(),
        Err(why) => stranger(&why),
    }
}

pub(super) async fn sign_out(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap) -> Response {
    let session = visitor(&dashboard.access, &headers).ok().and_then(|visitor| visitor.pass).filter(|pass| pass.kind == PassKind::Session);
    if let Some(session) = session
        && let Err(fault) = dashboard.access.revoke(&session.id)
    {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": fault.to_string()}))).into_response();
    }
    (StatusCode::NO_CONTENT, with_cookie(&dashboard.set_cookie("", 0))).into_response()
}

/// `?token=…` of an address.
pub(super) fn token_of_address(uri: &Uri) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == "token").map(|(_, value)| value.to_owned())
}

/// The session that the token is good for, and the address without it. A token that is no good leads to the same page, which asks
/// to sign in.
pub(super) fn swap(dashboard: &Dashboard, token: &str) -> Response {
    let to = [(header::LOCATION, HeaderValue::from_static("/"))];
    match dashboard.begin(token) {
        Ok((cookie, _)) => (StatusCode::SEE_OTHER, to, with_cookie(&cookie)).into_response(),
        Err(_) => (StatusCode::SEE_OTHER, to).into_response(),
    }
}

fn with_cookie(cookie: &str) -> [(header::HeaderName, HeaderValue); 1] {
    // Names and secrets are of letters that headers may hold.
    [(header::SET_COOKIE, HeaderValue::from_str(cookie).unwrap_or(HeaderValue::from_static("")))]
}

fn visitor(access: &Access, headers: &HeaderMap) -> Result<Visitor, String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    access.visitor(bearer)
}

fn described(visitor: &Visitor) -> Value {
    let expires = visitor.pass.as_ref().map(|pass| pass.expires.to_string());
    json!({"user": visitor.user, "role": visitor.role, "methods": METHODS, "version": env!("CARGO_PKG_VERSION"), "expires": expires})
}

fn stranger(why: &str) -> Response {
    let body = json!({"error": why, "methods": METHODS, "version": env!("CARGO_PKG_VERSION")});
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

impl Dashboard {
    /// Begins a session for whoever shows this token, and the cookie that carries it.
    fn begin(&self, token: &str) -> Result<(String, Visitor), String> {
        let begun = self.owner(token).and_then(|owner| {
            let parent = owner.pass.as_ref().map(|pass| pass.id.clone());
            let grant = Grant { kind: PassKind::Session, user: owner.user, role: owner.role, lifetime: SESSION, parent };
            self.access.issue(grant).map_err(|fault| fault.to_string())
        });
        self.counts.signed_in(begun.is_ok());
        let (secret, pass) = begun?;
        let visitor = Visitor { user: pass.user.clone(), role: pass.role, pass: Some(pass) };
        Ok((self.set_cookie(&secret, SESSION.as_secs()), visitor))
    }

    fn owner(&self, token: &str) -> Result<Visitor, String> {
        let is_link =
            |link: &zeroize::Zeroizing<String>| aws_lc_rs::constant_time::verify_slices_are_equal(token.as_bytes(), link.as_bytes()).is_ok();
        if self.link.as_ref().is_some_and(is_link) {
            return Ok(Visitor { user: crate::access::ADMIN.to_owned(), role: Role::Admin, pass: None });
        }
        let unknown = || "this token is not valid here; make one with taut token --role viewer".to_owned();
        let visitor = self.access.visitor(Some(token)).map_err(|_| unknown())?;
        // A session is no way to another session: it would never end.
        match visitor.pass.as_ref().is_some_and(|pass| pass.kind == PassKind::Session) {
            true => Err(unknown()),
            false => Ok(visitor),
        }
    }

    fn set_cookie(&self, secret: &str, seconds: u64) -> String {
        let secure = if self.here.tls { "; Secure" } else { "" };
        format!("{}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", self.here.cookie_name())
    }
}
