//! The routes of the pages: which window of time, of which state of the mesh.

use super::security::Decisions;
use super::traffic::Traffic;
use super::{asked, detail, graph, security, services};
use crate::access::Visitor;
use crate::authority::Authority;
use crate::proxies::Proxies;
use crate::publish::Published;
use crate::signals;
use crate::status::Board;
use crate::translate::duration;
use crate::world::World;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use taut_model::signal::Second;
use tokio::sync::watch;

/// The window that is shown where none is asked for, and the longest.
const WINDOW: Second = 30;
const LONGEST_WINDOW: Second = 30 * 24 * 3600;

/// What the pages are made from. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    pub published: watch::Receiver<Arc<Published>>,
    pub proxies: Proxies,
    pub board: Board,
    pub authority: Arc<Authority>,
    pub signals: signals::Store,
    pub decisions: Arc<Decisions>,
    pub world: World,
}

/// Behind the guard, which knows who may read.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/taut/v1/graph", get(map))
        .route("/taut/v1/services", get(list))
        .route("/taut/v1/services/{namespace}/{name}", get(one))
        .route("/taut/v1/security", get(safety))
        .with_state(pages)
}

#[derive(Deserialize)]
struct Span {
    /// `30s`, `5m`.
    #[serde(default)]
    window: Option<String>,
    /// RFC 3339, or seconds since 1970.
    #[serde(default)]
    at: Option<String>,
}

impl Span {
    fn read(&self) -> Result<(Second, Option<Second>), Box<Response>> {
        let wrong = |message: String| Box::new((StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response());
        let seconds = match self.window.as_deref().filter(|window| !window.is_empty()) {
            None => WINDOW,
            Some(window) => duration(window).map_err(|why| wrong(format!("window: {why}")))?.as_secs(),
        };
        if seconds == 0 || seconds > LONGEST_WINDOW {
            return Err(wrong(format!("window: must be between 1s and {}h", LONGEST_WINDOW / 3600)));
        }
        let moment = |text: &str| -> Option<Second> { text.parse().ok().or_else(|| u64::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()) };
        match self.at.as_deref().filter(|at| !at.is_empty()) {
            None => Ok((seconds, None)),
            // So far back and forth that nothing overflows.
            Some(text) => match moment(text).filter(|at| *at < u64::from(u32::MAX) * 4) {
                Some(at) => Ok((seconds, Some(at))),
                None => Err(wrong(format!("at: {text:?} is neither RFC 3339 nor seconds since 1970"))),
            },
        }
    }
}

impl Pages {
    /// Answers off the thread that serves proxies: a large mesh takes a while to add up.
    async fn answer(self, span: Span, draw: impl FnOnce(&Self, &Published, &Traffic) -> Option<Value> + Send + 'static) -> Response {
        let (seconds, at) = match span.read() {
            Ok(span) => span,
            Err(refusal) => return *refusal,
        };
        let drawn = tokio::task::spawn_blocking(move || {
            let published = self.published.borrow().clone();
            let traffic = Traffic::read(&self.signals, seconds, at, self.world.second());
            draw(&self, &published, &traffic)
        });
        match drawn.await {
            Ok(Some(value)) => Json(value).into_response(),
            Ok(None) => (StatusCode::NOT_FOUND, Json(json!({"error": "there is no such service; /taut/v1/services lists them"}))).into_response(),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the answer was given up"}))).into_response(),
        }
    }
}

async fn map(State(pages): State<Pages>, _: Visitor, Query(span): Query<Span>) -> Response {
    let connected = if span.at.is_none() { pages.proxies.all() } else { Vec::new() };
    pages.answer(span, move |_, published, traffic| Some(graph::graph(published, traffic, &connected))).await
}

async fn list(State(pages): State<Pages>, _: Visitor, Query(span): Query<Span>) -> Response {
    pages.answer(span, |_, published, traffic| Some(services::services(published, traffic))).await
}

async fn one(State(pages): State<Pages>, _: Visitor, Path((namespace, name)): Path<(String, String)>, Query(span): Query<Span>) -> Response {
    let published = pages.published.borrow().clone();
    let host = detail::find(&published, &namespace, &name).map(|service| service.host.clone()).unwrap_or_default();
    let (callers, others): (Vec<_>, Vec<_>) = pages.proxies.all().into_iter().partition(|proxy| proxy.viewer.hosts.contains(&host));
    let serves = |uid: &str| published.translation.workloads.get(uid).is_some_and(|workload| workload.serves.iter().any(|it| it.host == host));
    let serving = others.into_iter().filter(|proxy| serves(&proxy.uid));
    let witnesses: Vec<_> = callers.iter().cloned().chain(serving).collect();
    // What proxies remember is of now, not of the past that may be looked at.
    let failed = async { if span.at.is_none() { asked::failures(witnesses, &host).await } else { Vec::new() } };
    let (told, failed) = tokio::join!(asked::configurations(callers), failed);
    let draw = move |pages: &Pages, published: &Published, traffic: &Traffic| {
        let service = detail::find(published, &namespace, &name)?;
        Some(detail::service(&detail::Scene { published, traffic, board: &pages.board, told: &told, failed: &failed }, service))
    };
    pages.answer(span, draw).await
}

async fn safety(State(pages): State<Pages>, _: Visitor, Query(span): Query<Span>) -> Response {
    let told = asked::configurations(pages.proxies.all()).await;
    let draw = move |pages: &Pages, published: &Published, traffic: &Traffic| {
        let scene = security::Scene { published, traffic, authority: &pages.authority, decisions: &pages.decisions, told: &told };
        Some(security::security(&scene))
    };
    pages.answer(span, draw).await
}
