//! The store of signals over HTTP: edges of a window, series, and what the store itself is up to. JSON.

use crate::signals::{Answer, By, Filter, Gap, Point, Reports, Store};
use crate::translate;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Edge, Party, Reporter, Second, Signals, Sketch};

/// The most edges or series of one answer, unless `limit` asks for fewer.
const MOST: usize = 10_000;
/// Series of one answer, unless `limit` asks otherwise.
const SERIES: usize = 100;

/// Whoever may not read is to be kept away by the caller.
pub fn router<S: Clone + Send + Sync + 'static>(store: Store) -> Router<S> {
    Router::new()
        .route("/taut/v1/signals/edges", get(edges))
        .route("/taut/v1/signals/series", get(series))
        .route("/taut/v1/signals/store", get(about))
        .with_state(store)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    window: Option<String>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    workload: Option<String>,
    #[serde(default)]
    reporter: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Wanted {
    /// The window that ends at `at`, by default with the newest second that is known.
    fn window(&self, store: &Store, default: Second) -> Result<Range<Second>, String> {
        let length = self.window.as_deref().map_or(Ok(default), seconds)?;
        let end = match &self.at {
            Some(at) => time(at)?,
            None => store.latest() + 1,
        };
        Ok(end.saturating_sub(length)..end)
    }

    fn filter(&self) -> Result<Filter, String> {
        let reports = match self.reporter.as_deref() {
            None | Some("" | "once") => Reports::Once,
            Some("source") => Reports::Of(Reporter::Source),
            Some("destination") => Reports::Of(Reporter::Destination),
            Some("both") => Reports::Both,
            Some(other) => return Err(format!("reporter is {other:?}; expected source, destination, both, or once")),
        };
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        Ok(Filter { namespace: named(&self.namespace), service: named(&self.service), workload: named(&self.workload), reports })
    }
}

/// Whole seconds, at least one.
pub(crate) fn seconds(text: &str) -> Result<Second, String> {
    match translate::duration(text)?.as_secs() {
        0 => Err(format!("{text:?} is shorter than a second, which is the finest that is known")),
        seconds => Ok(seconds),
    }
}

/// Seconds since 1970, or RFC 3339.
///
/// # Errors
/// What is expected instead.
pub fn time(text: &str) -> Result<Second, String> {
    let wrong = || format!("{text:?} is no time: write seconds since 1970, or RFC 3339 such as 2026-01-02T03:04:05Z");
    if let Ok(seconds) = text.parse::<f64>() {
        return if (0.0..1e12).contains(&seconds) { Ok(seconds as Second) } else { Err(wrong()) };
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    Second::try_from(time.as_second()).map_err(|_| wrong())
}

fn bad(why: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": why.into()}))).into_response()
}

/// Reads outside the threads that serve: a window of a large mesh takes a while.
async fn reading(work: impl FnOnce() -> Result<Value, String> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(why)) => bad(why),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": error.to_string()}))).into_response(),
    }
}

async fn edges(State(store): State<Store>, Query(wanted): Query<Wanted>) -> Response {
    reading(move || {
        let (window, filter) = (wanted.window(&store, 30)?, wanted.filter()?);
        let edges = store.edges(window.clone(), &filter);
        let (complete, gaps) = missing(&store, &window);
        let mut answer = edges_json(edges, &window, &gaps, wanted.limit.unwrap_or(MOST));
        // That nothing is missing is known for what is over only.
        answer["complete"] = complete.into();
        Ok(answer)
    })
    .await
}

/// What edges carried in a window, as programs read it, the busiest first; at most `most` edges.
pub fn edges_json(mut edges: Vec<(Arc<Edge>, Signals)>, window: &Range<Second>, gaps: &[Gap], most: usize) -> Value {
    edges.sort_by_key(|(_, signals)| std::cmp::Reverse(signals.requests.max(signals.connections)));
    let length = window.end.saturating_sub(window.start);
    let shown: Vec<Value> = edges.iter().take(most.min(MOST)).map(|(edge, signals)| edge_json(edge, signals, length)).collect();
    json!({
        "at": text(window.end), "windowSeconds": length, "complete": gaps.is_empty(), "gaps": gaps, "leftOut": edges.len() - shown.len(),
        "edges": shown,
    })
}

/// RFC 3339, UTC.
pub fn text(second: Second) -> String {
    Timestamp::from_second(second.try_into().unwrap_or_default()).unwrap_or_default().to_string()
}

/// Whether all of a window is known, and what is not.
fn missing(store: &Store, window: &Range<Second>) -> (bool, Vec<Gap>) {
    let gaps = store.gaps(window.clone());
    (gaps.is_empty() && window.end <= store.latest() + 1, gaps)
}

/// One edge as programs read it. `length`: seconds that the signals cover.
pub fn edge_json(edge: &Edge, signals: &Signals, length: Second) -> Value {
    json!({
        "source": party(&edge.source), "service": {"host": edge.service.host, "namespace": edge.service.namespace, "name": edge.service.name},
        "destination": party(&edge.destination), "protocol": edge.protocol, "route": edge.route, "security": edge.security, "reporter": edge.reporter,
        "requests": signals.requests, "rate": signals.requests as f64 / length.max(1) as f64,
        "failures": signals.failures(), "errorRate": signals.error_rate(), "statuses": signals.statuses(), "latencyMs": latency(&signals.latency),
        "requestBytes": signals.request_bytes, "responseBytes": signals.response_bytes, "opened": signals.opened, "closed": signals.closed,
        "connections": signals.connections, "inFlight": signals.in_flight,
    })
}

fn party(party: &Party) -> Value {
    json!({
        "namespace": party.namespace, "workload": party.workload, "version": party.version, "app": party.app, "principal": party.principal,
    })
}

fn ms(sketch: &Sketch, q: f64) -> Option<f64> {
    sketch.quantile(q).map(|micros| micros / 1000.0)
}

fn latency(sketch: &Sketch) -> Value {
    match sketch.is_empty() {
        true => Value::Null,
        false => json!({"p50": ms(sketch, 0.5), "p90": ms(sketch, 0.9), "p99": ms(sketch, 0.99), "max": sketch.max() as f64 / 1000.0}),
    }
}

async fn series(State(store): State<Store>, Query(wanted): Query<Wanted>) -> Response {
    reading(move || {
        let (window, filter) = (wanted.window(&store, 900)?, wanted.filter()?);
        let step = wanted.step.as_deref().map_or(Ok(5), seconds)?;
        let by = match wanted.by.as_deref() {
            None => By::default(),
            Some(word) => By::read(word).ok_or_else(|| format!("by is {word:?}; expected source, destination, service, version, route or edge"))?,
        };
        let Answer { step, series } = store.series(window.clone(), step, &filter, by, wanted.limit.unwrap_or(SERIES).min(MOST));
        let (complete, gaps) = missing(&store, &window);
        let series: Vec<Value> = series
            .iter()
            .map(|series| json!({"key": series.key, "points": series.points.iter().map(|point| point_json(point, step)).collect::<Vec<_>>()}))
            .collect();
        Ok(json!({"step": step, "complete": complete, "gaps": gaps, "series": series}))
    })
    .await
}

fn point_json(point: &Point, step: Second) -> Value {
    let Some(signals) = &point.signals else { return json!({"at": point.at, "gap": true}) };
    let step = step.max(1) as f64;
    json!({
        "at": point.at, "rate": signals.requests as f64 / step, "errorRate": signals.error_rate(),
        "p50": ms(&signals.latency, 0.5), "p90": ms(&signals.latency, 0.9), "p99": ms(&signals.latency, 0.99),
        "bytesPerSecond": signals.request_bytes.saturating_add(signals.response_bytes) as f64 / step,
        "inFlight": signals.in_flight, "connections": signals.connections,
    })
}

async fn about(State(store): State<Store>) -> Response {
    Json(store.about()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(time("1700000000"), Ok(1_700_000_000));
        assert_eq!(time("1700000000.7"), Ok(1_700_000_000));
        assert_eq!(time("2023-11-14T22:13:20Z"), Ok(1_700_000_000));
        for bad in ["", "now", "-5", "1e300", "1960-01-01T00:00:00Z", "NaN"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!((seconds("30s"), seconds("1m30s")), (Ok(30), Ok(90)));
        assert!(seconds("100ms").is_err() && seconds("5").is_err());
    }

    const NOW: Second = 1_700_000_000;

    fn edge(source: &str) -> std::sync::Arc<Edge> {
        let party = |name: &str| {
            let name = || name.to_owned();
            std::sync::Arc::new(Party { workload: name(), namespace: "shop".into(), app: name(), version: name(), principal: name() })
        };
        std::sync::Arc::new(Edge {
            source: party(source),
            service: std::sync::Arc::new(taut_model::signal::ServiceName { host: "cart".into(), namespace: "shop".into(), name: "cart".into() }),
            destination: party("cart-v1"),
            protocol: taut_model::signal::Protocol::Http,
            route: source.into(),
            reporter: Reporter::Source,
            security: taut_model::signal::Security::MutualTls,
        })
    }

    fn hear(store: &Store, sequence: u64, second: Second, source: &str) {
        let signals = Signals { requests: 1, ..Signals::default() };
        let entries = vec![(edge(source), signals)];
        let batch = taut_model::signal::Batch { proxy: "shop/web".into(), epoch: 1, sequence, second, entries, lost: 0, last: false };
        store.add(batch, second + 1);
        store.tick(second + 5);
    }

    async fn get_json(store: &Store, path: &str) -> (StatusCode, Value) {
        use tower::ServiceExt;
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router::<()>(store.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn names_of_any_kind_come_out_as_they_went_in() {
        let store = Store::in_memory(crate::signals::Limits::default());
        let long = "x".repeat(10_000);
        for (source, n) in ["quote\"", "line\nbreak", "back\\slash", &long].into_iter().zip(0..) {
            hear(&store, n + 1, NOW + n, source);
            let (status, body) = get_json(&store, "/taut/v1/signals/edges?window=20s").await;
            assert!(status == 200 && body["edges"].as_array().unwrap().iter().any(|edge| edge["source"]["workload"] == source), "{body}");
            let (_, body) = get_json(&store, "/taut/v1/signals/series?window=20s&step=1s&by=route").await;
            assert!(body["series"].as_array().unwrap().iter().any(|series| series["key"]["route"] == source), "{body}");
        }
        let (_, named) = get_json(&store, "/taut/v1/signals/edges?window=20s&workload=line%0Abreak").await;
        assert_eq!(named["edges"].as_array().map(Vec::len), Some(1), "{named}");
        let (status, _) = get_json(&store, &format!("/taut/v1/signals/edges?workload={long}")).await;
        assert_eq!(status, 200);
    }

    #[tokio::test]
    async fn a_clock_that_jumps_back_still_shows_what_is_newest() {
        let store = Store::in_memory(crate::signals::Limits::default());
        (0..30).for_each(|n| hear(&store, n + 1, NOW + n, "web"));
        hear(&store, 31, NOW - 600, "late");
        let (status, body) = get_json(&store, "/taut/v1/signals/edges?window=30s").await;
        assert_eq!((status.as_u16(), &body["edges"][0]["source"]["workload"]), (200, &json!("late")), "{body}");
        let (_, before) = get_json(&store, &format!("/taut/v1/signals/edges?window=30s&at={}", NOW + 30)).await;
        assert_eq!(before["edges"][0]["requests"], 30, "{before}");
        assert_eq!(before["complete"], false, "it ends after what the clock says");
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("signals");
        let store = Store::open(&place, crate::signals::Limits::default()).unwrap();
        std::fs::remove_dir(&place).unwrap();
        hear(&store, 1, NOW, "web");
        let (_, about) = get_json(&store, "/taut/v1/signals/store").await;
        assert!(about["failing"].is_string() && about["writeErrors"].as_u64() > Some(0), "{about}");
        assert_eq!(get_json(&store, "/taut/v1/signals/edges?window=5s").await.1["edges"][0]["requests"], 1);
    }
}
