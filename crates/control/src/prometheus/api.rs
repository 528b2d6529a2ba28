//! The HTTP side: routes under `/prometheus` and the list of targets, who may ask, and how much one query may take.

use super::answer::envelope;
use super::evaluate::{instant, range};
use super::federate;
use super::labels::{LabelSet, NAME};
use super::mesh::Mesh;
use super::parameters::Parameters;
use super::read::{read, selector};
use super::series::{Budget, Failure, MOST_SAMPLES, Selector, Source, Window};
use super::targets::{self, Group};
use crate::proxies::Proxies;
use crate::side::Authenticate;
use crate::world::World;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use taut_observe::exposition::Format;
use tokio::sync::Semaphore;

/// The longest that a query may take, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(30);
/// Queries that are evaluated at the same time: more would take the processor from what proxies wait for.
const AT_ONCE: usize = 2;
/// What is looked through for series and labels when no start is named.
const RECENT_MS: i64 = 3_600_000;

/// What the routes stand on. Cheap to clone.
#[derive(Clone)]
pub struct Prometheus {
    source: Arc<dyn Source>,
    mesh: Arc<Mesh>,
    proxies: Proxies,
    world: World,
    authenticate: Authenticate,
    turns: Arc<Semaphore>,
}

impl Prometheus {
    pub fn new(source: Arc<dyn Source>, mesh: Arc<Mesh>, proxies: Proxies, world: World, authenticate: Authenticate) -> Self {
        Self { source, mesh, proxies, world, authenticate, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn now(&self) -> i64 {
        self.world.wall().as_millisecond()
    }

    /// Does `work` beside the tasks of the control plane. Whoever stops waiting stops the work.
    async fn evaluate<T: Send + 'static>(
        &self,
        asked: Option<Duration>,
        work: impl FnOnce(&dyn Source, Budget<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let limit = asked.unwrap_or(LONGEST).min(LONGEST);
        let late = || Failure::Timeout(format!("query timed out in expression evaluation after {limit:?}"));
        let waited = tokio::time::timeout(limit, self.turns.clone().acquire_owned()).await;
        let turn = waited.map_err(|_| late())?.map_err(|_| Failure::Internal("the control plane stops".to_owned()))?;
        let (source, given_up) = (self.source.clone(), Arc::new(AtomicBool::new(false)));
        let _watch = GiveUp(given_up.clone());
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&*source, Budget::new(MOST_SAMPLES, &given_up))
        });
        let ended = tokio::time::timeout(limit, working).await.map_err(|_| late())?;
        ended.unwrap_or_else(|_| Err(Failure::Internal("the query could not be evaluated; please report it with the query".to_owned())))
    }
}

/// Tells the work that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub fn router(prometheus: Prometheus) -> Router {
    Router::new()
        .route("/prometheus/api/v1/query", get(query).post(query))
        .route("/prometheus/api/v1/query_range", get(query_range).post(query_range))
        .route("/prometheus/api/v1/series", get(series).post(series))
        .route("/prometheus/api/v1/labels", get(labels).post(labels))
        .route("/prometheus/api/v1/label/{name}/values", get(values))
        .route("/prometheus/api/v1/metadata", get(metadata))
        .route("/prometheus/api/v1/status/{what}", get(status))
        .route("/prometheus/federate", get(federate))
        .route("/prometheus/-/healthy", get(healthy))
        .route("/prometheus/-/ready", get(healthy))
        .route("/prometheus/{*path}", get(elsewhere).post(elsewhere))
        .route("/taut/v1/prometheus/targets", get(targets))
        .route("/metrics/mesh", get(mesh))
        .route_layer(from_fn_with_state(prometheus.clone(), authenticated))
        .with_state(prometheus)
}

/// A bearer token, or the same as the password of whatever user: many tools know no other way.
async fn authenticated(State(prometheus): State<Prometheus>, request: Request, next: Next) -> Response {
    let said = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let password = || {
        let pair = STANDARD.decode(said?.strip_prefix("Basic ")?).ok()?;
        String::from_utf8(pair).ok()?.split_once(':').map(|(_, password)| password.to_owned())
    };
    let token = said.and_then(|said| said.strip_prefix("Bearer ")).map(str::to_owned).or_else(password);
    match (prometheus.authenticate)(token.as_deref()) {
        Ok(_) => next.run(request).await,
        Err(why) => {
            let body = json!({"status": "error", "errorType": "unauthorized", "error": why});
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"tautline\"")], Json(body)).into_response()
        }
    }
}

fn respond<T: Serialize>(outcome: Result<T, Failure>) -> Response {
    let (status, body) = envelope(outcome);
    (status, Json(body)).into_response()
}

/// From the query string and a form alike. A body that is no text is no form.
fn parameters(query: Option<&str>, body: &Bytes) -> Parameters {
    Parameters::read(&[query.unwrap_or_default(), std::str::from_utf8(body).unwrap_or_default()])
}

async fn query(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let parameters = parameters(query.as_deref(), &body);
    let asked = || -> Result<_, Failure> {
        Ok((read(parameters.need("query")?)?, parameters.time("time", prometheus.now())?, parameters.duration("timeout")?))
    };
    respond(match asked() {
        Ok((expression, at, timeout)) => prometheus.evaluate(timeout, move |source, budget| instant(&expression, at, source, budget)).await,
        Err(failure) => Err(failure),
    })
}

async fn query_range(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let parameters = parameters(query.as_deref(), &body);
    let asked = || -> Result<_, Failure> { Ok((read(parameters.need("query")?)?, parameters.times()?, parameters.duration("timeout")?)) };
    respond(match asked() {
        Ok((expression, times, timeout)) => prometheus.evaluate(timeout, move |source, budget| range(&expression, times, source, budget)).await,
        Err(failure) => Err(failure),
    })
}

impl Prometheus {
    /// The label sets that any of `match[]` matches; every one without it.
    async fn sets(&self, parameters: &Parameters, needs_match: bool) -> Result<BTreeSet<LabelSet>, Failure> {
        let end = parameters.time("end", self.now())?;
        let window = Window { from: parameters.time("start", end.saturating_sub(RECENT_MS))?, to: end, spacing: i64::MAX };
        if window.from > window.to {
            return Err(Failure::BadData("end timestamp must not be before start time".to_owned()));
        }
        let mut selectors = parameters.all("match[]").map(selector).collect::<Result<Vec<_>, _>>()?;
        if selectors.is_empty() && needs_match {
            return Err(Failure::BadData("no match[] parameter provided".to_owned()));
        }
        if selectors.is_empty() {
            selectors.push(Selector::default());
        }
        self.evaluate(None, move |source, mut budget| {
            let mut found = BTreeSet::new();
            for selector in selectors {
                found.extend(source.sets(&selector, window, &mut budget)?);
            }
            Ok(found)
        })
        .await
    }
}

async fn series(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    respond(prometheus.sets(&parameters(query.as_deref(), &body), true).await)
}

async fn labels(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let found = prometheus.sets(&parameters(query.as_deref(), &body), false).await;
    respond(found.map(|sets| sets.iter().flat_map(LabelSet::iter).map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()))
}

async fn values(State(prometheus): State<Prometheus>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    let parameters = parameters(query.as_deref(), &Bytes::new());
    if name == NAME && parameters.all("match[]").next().is_none() {
        let names: BTreeSet<&str> = prometheus.source.families().iter().flat_map(|family| family.series.iter().copied()).collect();
        return respond(Ok(names));
    }
    let found = prometheus.sets(&parameters, false).await;
    let values = |sets: BTreeSet<LabelSet>| sets.iter().map(|set| set.value(&name).to_owned()).filter(|value| !value.is_empty()).collect();
    respond(found.map(|sets| -> BTreeSet<String> { values(sets) }))
}

async fn metadata(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery) -> Response {
    let parameters = parameters(query.as_deref(), &Bytes::new());
    let wanted = |name: &str| parameters.get("metric").is_none_or(|metric| metric == name);
    let families = prometheus.source.families().iter().filter(|family| wanted(family.name));
    let entries = families.map(|family| (family.name, json!([{"type": family.kind, "help": family.help, "unit": ""}])));
    respond(Ok(entries.collect::<BTreeMap<_, _>>()))
}

/// What tools ask to learn whom they talk to and how long it remembers.
async fn status(State(prometheus): State<Prometheus>, Path(what): Path<String>) -> Response {
    let retention = prometheus.source.retention_seconds().map_or_else(|| "unlimited".to_owned(), |seconds| format!("{}h", seconds / 3600));
    let answer = match &*what {
        "buildinfo" => json!({
            "version": "2.42.0", "revision": env!("CARGO_PKG_VERSION"), "branch": "tautline", "buildUser": "", "buildDate": "", "goVersion": "",
        }),
        "runtimeinfo" => json!({"storageRetention": retention, "reloadConfigSuccess": true}),
        "config" => json!({"yaml": "global:\n  scrape_interval: 1s\n  evaluation_interval: 1m\n"}),
        "flags" => {
            json!({"query.lookback-delta": "5m", "query.timeout": format!("{}s", LONGEST.as_secs()), "storage.tsdb.retention.time": retention})
        }
        _ => return elsewhere().await,
    };
    respond::<Value>(Ok(answer))
}

/// Every series' newest sample as a page to scrape: the whole mesh in one target. `match[]` picks series.
async fn federate(State(prometheus): State<Prometheus>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let parameters = parameters(query.as_deref(), &Bytes::new());
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (format, now) = (Format::accepted(accept), prometheus.now());
    let mut selectors = match parameters.all("match[]").map(selector).collect::<Result<Vec<_>, _>>() {
        Ok(selectors) => selectors,
        Err(failure) => return respond::<()>(Err(failure)),
    };
    if selectors.is_empty() {
        selectors.push(Selector::default());
    }
    match prometheus.evaluate(None, move |source, budget| federate::page(source, &selectors, now, format, budget)).await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(failure) => respond::<()>(Err(failure)),
    }
}

/// What every proxy would show, summed: one target instead of many. Not part of `/metrics`, so that nobody counts twice.
async fn mesh(State(prometheus): State<Prometheus>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (format, mesh) = (Format::accepted(accept), prometheus.mesh.clone());
    match prometheus.evaluate(None, move |_, _| Ok(mesh.page(format))).await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(failure) => respond::<()>(Err(failure)),
    }
}

async fn targets(State(prometheus): State<Prometheus>) -> Json<Vec<Group>> {
    Json(targets::targets(&prometheus.proxies))
}

async fn healthy() -> &'static str {
    "Tautline answers queries.\n"
}

async fn elsewhere() -> Response {
    let why = "Tautline serves query, query_range, series, labels, label/NAME/values, metadata and status of Prometheus' HTTP API \
        under /prometheus/api/v1, and /prometheus/federate; rules, alerts and remote storage are a Prometheus server's";
    (StatusCode::NOT_FOUND, Json(json!({"status": "error", "errorType": "not_found", "error": why}))).into_response()
}

#[cfg(test)]
mod tests;
