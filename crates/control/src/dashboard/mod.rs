//! The dashboard's listener: who signs in, which requests a browser may make, and the pages' files. What the pages show comes
//! from the same routes that bearer tokens open, behind the same guard.
//!
//! A browser proves itself with a cookie. So that no other page makes it speak for its user: the `Host` must be an address or a
//! name that is ours (DNS rebinding), requests must come from our own pages (`Sec-Fetch-Site`, `Origin`), the cookie is
//! `HttpOnly` and `SameSite=Strict`, nobody may frame or read us, and no script runs but our own files (CSP).

pub mod assets;
mod counts;
mod origin;
mod session;
#[cfg(test)]
mod tests;

pub use counts::Counts;
pub use origin::Here;

use crate::access::Access;
use assets::Assets;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use tower::ServiceExt;
use zeroize::Zeroizing;

/// What the listener stands on.
pub struct Dashboard {
    pub access: Access,
    /// What the address that is printed at start carries; `None` where others than this machine's users can get at the listener.
    pub link: Option<Zeroizing<String>>,
    pub assets: Assets,
    pub here: Here,
    pub counts: Arc<Counts>,
}

/// Paths of the routes behind the guard; everything else is a page or a file of one.
const BEHIND: [&str; 10] = ["api", "apis", "openapi", "taut", "prometheus", "metrics", "healthz", "livez", "readyz", "version"];

/// No script, style, font, picture or connection but from here. Attributes of style are let in: charts and maps place things.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// The pages, signing in, and `behind`: the guarded routes.
pub fn router(dashboard: Arc<Dashboard>, behind: Router) -> Router {
    let fallback = move |State(dashboard): State<Arc<Dashboard>>, request: Request| {
        let behind = behind.clone();
        async move {
            match is_behind(request.uri().path()) {
                true => behind.oneshot(request).await.unwrap_or_else(|never| match never {}),
                false => page(&dashboard, &request),
            }
        }
    };
    Router::new()
        .route("/taut/v1/session", get(session::look).post(session::sign_in).delete(session::sign_out))
        .fallback(fallback)
        .layer(from_fn_with_state(dashboard.clone(), front))
        .with_state(dashboard)
}

fn is_behind(path: &str) -> bool {
    path.split('/').find(|segment| !segment.is_empty()).is_some_and(|first| BEHIND.contains(&first))
}

/// A first visit with a token in its address becomes a session and an address without it.
fn page(dashboard: &Dashboard, request: &Request) -> Response {
    match session::token_of_address(request.uri()) {
        Some(token) => session::swap(dashboard, &token),
        None => assets::answer(dashboard.assets, request),
    }
}

/// Before everything: is this request meant for us, and does it come from our own pages? Then the cookie becomes the proof that
/// the routes ask for.
async fn front(State(dashboard): State<Arc<Dashboard>>, mut request: Request, next: Next) -> Response {
    let mut response = match judge(&dashboard, &request) {
        Err(refusal) => {
            dashboard.counts.refused(refusal);
            refusal.into_response()
        }
        Ok(()) => {
            if let Some(proof) = proof_of_cookie(&dashboard, request.headers()) {
                request.headers_mut().insert(header::AUTHORIZATION, proof);
            }
            next.run(request).await
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    dashboard.counts.answered(response.status());
    response
}

fn judge(dashboard: &Dashboard, request: &Request) -> Result<(), origin::Refusal> {
    let own = dashboard.here.own_origin(request)?;
    match is_behind(request.uri().path()) {
        true => origin::from_our_pages(request.method(), request.headers(), &own, dashboard.cookie(request.headers()).is_some()),
        false => Ok(()),
    }
}

/// A bearer token that the client shows itself goes before its cookie.
fn proof_of_cookie(dashboard: &Dashboard, headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let mut proof = HeaderValue::from_str(&format!("Bearer {}", dashboard.cookie(headers)?)).ok()?;
    proof.set_sensitive(true);
    Some(proof)
}

impl Dashboard {
    /// The session's secret, if the browser sent one.
    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.here.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl IntoResponse for origin::Refusal {
    fn into_response(self) -> Response {
        let (code, message) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "this name is not the dashboard's: open it by its address, or name it with taut up --dashboard-name NAME",
            ),
            Self::Origin => (StatusCode::FORBIDDEN, "this request was made by a page of somebody else"),
        };
        (code, axum::Json(serde_json::json!({"error": message}))).into_response()
    }
}
