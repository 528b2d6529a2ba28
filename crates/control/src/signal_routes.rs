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
}
