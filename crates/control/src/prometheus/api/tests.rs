//! Requests as Grafana, Kiali and Flagger make them, over two series.

use super::*;
use crate::prometheus::series::{Family, Sample, Series};
use crate::signals::{Limits, Store};
use http::{Method, Request as HttpRequest};
use http_body_util::BodyExt;
use taut_wire::net::OsNetwork;
use tower::ServiceExt;

const NOW: i64 = 1_767_225_600_000;

/// Two series that count up by one each ten seconds, for an hour; slow to read when asked for.
struct Two;

impl Source for Two {
    fn select(&self, selector: &Selector, window: Window, budget: &mut Budget<'_>) -> Result<Vec<Series>, Failure> {
        if !selector.matchers.is_empty() && selector.matches(&LabelSet::new([("__name__", "slow")])) {
            loop {
                budget.spend(0)?;
                std::thread::yield_now();
            }
        }
        let samples = || (0..360).map(|n| Sample { at: NOW - 3_600_000 + n * 10_000, value: n as f64 });
        let series = ["a", "b"].map(|job| Series { labels: LabelSet::new([("__name__", "hits_total"), ("job", job)]), samples: samples().collect() });
        let mut found = Vec::from(series);
        found.retain_mut(|series| {
            series.samples.retain(|sample| (window.from..=window.to).contains(&sample.at));
            selector.matches(&series.labels) && !series.samples.is_empty()
        });
        budget.spend(found.iter().map(|series| series.samples.len()).sum())?;
        Ok(found)
    }

    fn families(&self) -> &[Family] {
        &[Family { name: "hits_total", kind: "counter", help: "Hits.", series: &["hits_total"] }]
    }
}

fn app() -> Router {
    let wall = jiff::Timestamp::from_millisecond(NOW).unwrap();
    let world = World::simulated(Arc::new(OsNetwork), 1, wall);
    let authenticate: Authenticate = Arc::new(|token| if token == Some("secret") { Ok("admin".into()) } else { Err("no".into()) });
    let mesh = Arc::new(Mesh::new(Store::in_memory(Limits::default())));
    router(Prometheus::new(Arc::new(Two), mesh, Proxies::default(), world, authenticate))
}

async fn send(method: Method, target: &str, authorization: &str, body: &'static str) -> (StatusCode, Value) {
    let request = HttpRequest::builder().method(method).uri(target).header("authorization", authorization);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(axum::body::Body::from(body)).unwrap();
    let response = app().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn get_json(target: &str) -> (StatusCode, Value) {
    send(Method::GET, &format!("/prometheus{target}"), "Bearer secret", "").await
}

#[tokio::test]
async fn answers_are_prometheus() {
    let (status, body) = get_json("/api/v1/query?query=sum(hits_total)&time=1767225590").await;
    assert_eq!(status, 200);
    assert_eq!(body, json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1_767_225_590, "718"]}]}}));
    let form = "query=hits_total%7Bjob%3D%22a%22%7D&start=1767225580.5&end=1767225590.5&step=10";
    let (_, body) = send(Method::POST, "/prometheus/api/v1/query_range", "Bearer secret", form).await;
    let series = json!([{"metric": {"__name__": "hits_total", "job": "a"}, "values": [[1_767_225_580.5, "358"], [1_767_225_590.5, "359"]]}]);
    assert_eq!(body["data"], json!({"resultType": "matrix", "result": series}));
    assert_eq!(get_json("/api/v1/query?query=1%2F0&time=1767225600").await.1["data"]["result"], json!([NOW / 1000, "+Inf"]));
    assert_eq!(get_json("/api/v1/query?query=%22x%22&time=1767225600").await.1["data"], json!({"resultType": "string", "result": [NOW / 1000, "x"]}));
    assert_eq!(get_json("/api/v1/query?query=vector(1)").await.1["data"]["result"][0]["value"][1], "1");
}

#[tokio::test]
async fn names_and_labels_are_told() {
    assert_eq!(get_json("/api/v1/labels").await.1["data"], json!(["__name__", "job"]));
    assert_eq!(get_json("/api/v1/label/job/values?match[]=hits_total%7Bjob!=%22a%22%7D").await.1["data"], json!(["b"]));
    assert_eq!(get_json("/api/v1/label/__name__/values").await.1["data"], json!(["hits_total"]));
    let (_, body) = get_json("/api/v1/series?match[]=hits_total&start=1767225000&end=1767225600").await;
    assert_eq!(body["data"], json!([{"__name__": "hits_total", "job": "a"}, {"__name__": "hits_total", "job": "b"}]));
    assert_eq!(get_json("/api/v1/metadata").await.1["data"], json!({"hits_total": [{"type": "counter", "help": "Hits.", "unit": ""}]}));
    assert_eq!(get_json("/api/v1/metadata?metric=x").await.1["data"], json!({}));
    assert_eq!(get_json("/api/v1/status/buildinfo").await.1["data"]["version"], "2.42.0");
    assert_eq!(get_json("/-/healthy").await.0, 200);
}

#[tokio::test]
async fn failures_have_prometheus_types() {
    for (target, status, kind, says) in [
        ("/api/v1/query", 400, "bad_data", "query"),
        ("/api/v1/query?query=sum(", 400, "bad_data", "parse error"),
        ("/api/v1/query?query=holt_winters(a[1m],1,1)", 400, "bad_data", "holt_winters"),
        ("/api/v1/query?query=a&time=soon", 400, "bad_data", "timestamp"),
        ("/api/v1/query?query=first_over_time(a[1m])", 400, "bad_data", "first_over_time"),
        ("/api/v1/query_range?query=a&start=0&end=1000000&step=1", 400, "bad_data", "11,000 points"),
        ("/api/v1/query_range?query=a[1m]&start=0&end=10&step=1", 400, "bad_data", "range vector"),
        ("/api/v1/query?query=hits_total%20*%20on()%20hits_total", 422, "execution", "many-to-many"),
        ("/api/v1/query_range?query=hits_total%20or%20vector(1)&start=1&end=2&step=1&timeout=x", 400, "bad_data", "duration"),
        ("/api/v1/series", 400, "bad_data", "match[]"),
        ("/api/v1/series?match[]=sum(x)", 400, "bad_data", "selector"),
        ("/api/v1/rules", 404, "not_found", "query_range"),
    ] {
        let (found, body) = get_json(target).await;
        assert_eq!((found.as_u16(), body["status"].as_str(), body["errorType"].as_str()), (status, Some("error"), Some(kind)), "{target}: {body}");
        assert!(body["error"].as_str().unwrap().contains(says), "{target}: {body}");
    }
    let deep = format!("/api/v1/query?query={}1{}", "(".repeat(3000), ")".repeat(3000));
    assert_eq!(get_json(&deep).await.1["errorType"], "bad_data");
}

#[tokio::test]
async fn a_slow_query_ends() {
    let (status, body) = get_json("/api/v1/query?query=slow&timeout=200ms").await;
    assert_eq!((status.as_u16(), &body["errorType"]), (503, &json!("timeout")));
}

#[tokio::test]
async fn only_those_with_the_token_ask() {
    // user:secret
    for (authorization, status) in
        [("Bearer secret", 200), ("Basic dXNlcjpzZWNyZXQ=", 200), ("Basic dXNlcjpndWVzcw==", 401), ("Bearer x", 401), ("", 401)]
    {
        let (found, _) = send(Method::GET, "/prometheus/api/v1/query?query=1", authorization, "").await;
        assert_eq!(found, status, "{authorization}");
        assert_eq!(send(Method::GET, "/taut/v1/prometheus/targets", authorization, "").await.0, status);
        assert_eq!(send(Method::GET, "/metrics/mesh", authorization, "").await.0, status);
    }
}

#[tokio::test]
async fn the_mesh_is_one_page() {
    let request = HttpRequest::get("/prometheus/federate").header("authorization", "Bearer secret").body(axum::body::Body::empty()).unwrap();
    let response = app().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let expected = "# HELP hits_total Hits.\n# TYPE hits_total counter\nhits_total{job=\"a\"} 359\nhits_total{job=\"b\"} 359\n";
    assert_eq!(String::from_utf8_lossy(&page), expected);
}
