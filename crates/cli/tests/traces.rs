//! One request through four services, as an OTLP receiver made of OpenTelemetry's own messages (Python) sees it: who called whom,
//! by spans and their parents; and the metrics and log records beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use support::{Client, Member, Mesh, PATIENCE, eventually};

/// The receiver, and where it writes what it gets.
struct Receiver {
    child: Child,
    log: std::path::PathBuf,
    grpc: u64,
    http: u64,
}

impl Receiver {
    /// `None`: this machine's Python lacks OpenTelemetry's messages.
    fn start(mesh: &Mesh) -> Option<Self> {
        let able = Command::new("python3").args(["-c", "import grpc, opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc"]).output();
        if !able.is_ok_and(|output| output.status.success()) {
            eprintln!("python3 with grpcio and opentelemetry-proto is not installed: nothing receives spans here");
            return None;
        }
        let log = mesh.directory.path().join("received");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otlp_receiver.py");
        let mut command = Command::new("python3");
        command.args(["-u", script, &mesh.address(240)]).env("PYTHONDONTWRITEBYTECODE", "1");
        let child = command.stdin(Stdio::null()).stdout(File::create(&log).unwrap()).spawn().unwrap();
        let mut receiver = Self { child, log, grpc: 0, http: 0 };
        let ready = eventually(PATIENCE, "the receiver listens", || receiver.all("ready").pop().ok_or_else(|| "nothing yet".to_owned()));
        (receiver.grpc, receiver.http) = (ready["grpc"].as_u64().unwrap(), ready["http"].as_u64().unwrap());
        Some(receiver)
    }

    fn all(&self, signal: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).filter(|one: &Value| one["signal"] == signal).collect()
    }

    fn spans(&self, trace: &str) -> Vec<Value> {
        self.all("span").into_iter().filter(|span| span["trace"] == trace).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The four services that the page is made of, one version each, and what they store things in.
fn four() -> Vec<Member> {
    let member = Member::new;
    vec![member("store", "v1", 9), member("ratings", "v1", 7), member("reviews", "v2", 5), member("details", "v1", 2), member("productpage", "v1", 1)]
}

fn settings(mesh: &Mesh, receiver: &Receiver, more: &str) {
    let address = mesh.address(240);
    let (grpc, http) = (receiver.grpc, receiver.http);
    mesh.apply_text(&format!(
        "apiVersion: tautline.dev/v1alpha1
kind: MeshSettings
metadata: {{ name: mesh }}
spec:
  extensionProviders:
  - name: collector
    opentelemetry: {{ service: {address}, port: {grpc}, metricsInterval: 1s }}
  - name: web
    opentelemetry: {{ service: {address}, port: {http}, http: {{}}, metricsInterval: 1s }}
  - name: nobody
    opentelemetry: {{ service: {address}, port: 9 }}
  defaultProviders: {{ tracing: [collector], metrics: [web] }}
{more}"
    ));
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
}

/// `client productpage.default GET /productpage` -> its children, sorted, each with theirs.
fn tree(spans: &[Value], parent: &str, depth: usize, out: &mut String) {
    let kind = |span: &Value| if span["kind"] == 3 { "client" } else { "server" };
    let mut children: Vec<(String, &str)> = spans
        .iter()
        .filter(|span| span["parent"] == parent)
        .map(|span| {
            let path = span["attributes"]["url.path"].as_str().unwrap_or_default();
            let line = format!("{} {} {} {path}", span["service"].as_str().unwrap(), kind(span), span["name"].as_str().unwrap());
            (line.trim_end().to_owned(), span["span"].as_str().unwrap())
        })
        .collect();
    children.sort();
    for (line, span) in children {
        out.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
        tree(spans, span, depth + 1, out);
    }
}

const PAGE: &str = "\
details.default client GET /productpage
  productpage.default server GET /productpage
    productpage.default client GET /details/0
      details.default server GET /details/0
    productpage.default client GET /reviews/0
      reviews.default server GET /reviews/0
        reviews.default client GET /ratings/0
          ratings.default server GET /ratings/0
";

#[test]
fn one_request_through_four_services_is_one_tree() {
    let mut mesh = Mesh::start();
    let Some(receiver) = Receiver::start(&mesh) else { return };
    for member in four() {
        mesh.run(&member);
    }
    mesh.wait_ready(four().len());
    settings(&mesh, &receiver, "  tracing: { randomSamplingPercentage: 0 }");

    // The client speaks through a sidecar, whose span is the first: nobody has decided before it.
    let telemetry = "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: all, namespace: istio-system }
spec:
  tracing:
  - randomSamplingPercentage: 100
    customTags: { team: { literal: { value: books } }, user: { header: { name: end-user, defaultValue: nobody } } }
  accessLogging:
  - providers: [{ name: web }]
    filter: { expression: \"request.url_path.startsWith('/reviews')\" }
  metrics:
  - overrides:
    - tagOverrides: { source_principal: { operation: REMOVE }, cell: { value: \"'a'\" } }
    - match: { metric: RESPONSE_SIZE }
      disabled: true
";
    mesh.apply_text(telemetry);
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    let mut client = Client::behind(&mesh, 2);
    let reply = client.get("http://productpage:9080/productpage", &[("end-user", "jason"), ("x-request-id", "whole-page")]).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);

    let first = eventually(PATIENCE, "the first span is received", || {
        let mine = receiver.all("span").into_iter().find(|span| span["attributes"]["taut.request_id"] == "whole-page");
        mine.ok_or_else(|| format!("{} spans", receiver.all("span").len()))
    });
    let trace = first["trace"].as_str().unwrap().to_owned();
    let is_http = |span: &Value| span["attributes"]["rpc.system"].is_null();
    let spans = eventually(PATIENCE, "all spans are received", || {
        let spans: Vec<Value> = receiver.spans(&trace).into_iter().filter(is_http).collect();
        if spans.len() >= PAGE.lines().count() { Ok(spans) } else { Err(format!("{spans:#?}")) }
    });
    let mut seen = String::new();
    tree(&spans, "", 0, &mut seen);
    assert_eq!(seen, PAGE);
    conventions(&spans);
    beside(&receiver, &trace, &mesh);
}

/// What each span says.
fn conventions(spans: &[Value]) {
    let by_span: BTreeMap<&str, &Value> = spans.iter().map(|span| (span["span"].as_str().unwrap(), span)).collect();
    for span in spans {
        let says = &span["attributes"];
        assert_eq!((&says["http.request.method"], &says["http.response.status_code"]), (&"GET".into(), &200.into()), "{span:#}");
        assert_eq!((&span["status"], &span["scope"], &says["team"]), (&0.into(), &"tautline".into(), &"books".into()));
        assert_eq!(says["user"], "jason", "the header goes with the request: {span:#}");
        assert!(says["network.peer.address"].as_str().unwrap().starts_with("127."), "{span:#}");
        assert!(!says["server.address"].as_str().unwrap().is_empty() && says["server.port"] == 9080, "{span:#}");
        if let Some(parent) = by_span.get(span["parent"].as_str().unwrap()) {
            assert!(parent["start"].as_u64() <= span["start"].as_u64(), "{parent:#} began after {span:#}");
            let mutual = says["taut.mutual_tls"] == true;
            assert!(mutual, "{span:#}");
        }
    }
}

/// Metrics and log records, over HTTP.
fn beside(receiver: &Receiver, trace: &str, mesh: &Mesh) {
    let counted = eventually(PATIENCE, "reviews' requests are counted", || {
        let mut all = receiver.all("metric").into_iter().filter(|point| point["service"] == "reviews.default");
        let counts = |point: &Value| point["name"] == "istio_requests_total" && point["attributes"]["reporter"] == "destination";
        all.rfind(counts).ok_or_else(|| "no such point yet".to_owned())
    });
    let labels = &counted["attributes"];
    assert_eq!((&counted["by"], &counted["kind"], &counted["count"]), (&"http".into(), &"sum".into(), &1.0.into()), "{counted:#}");
    assert_eq!((&labels["source_app"], &labels["destination_app"], &labels["cell"]), (&"productpage".into(), &"reviews".into(), &"a".into()));
    assert!(labels["source_principal"].is_null());
    let points = receiver.all("metric");
    let duration = points.iter().find(|point| point["name"] == "istio_request_duration_milliseconds").expect("a histogram");
    assert!(duration["kind"] == "histogram" && duration["unit"] == "ms" && duration["buckets"].as_array().unwrap().len() == 20, "{duration:#}");
    assert!(!points.iter().any(|point| point["name"] == "istio_response_bytes"));
    let text = mesh.admin(5, "/metrics").body;
    assert!(text.contains("cell=\"a\"") && !text.contains("source_principal") && !text.contains("istio_response_bytes_bucket"), "{text}");
    assert!(text.contains("taut_telemetry_exported_total{signal=\"traces\"}"), "{text}");

    let logs = eventually(PATIENCE, "both sides of /reviews/0 are logged", || {
        let logs = receiver.all("log");
        if logs.len() >= 2 { Ok(logs) } else { Err(format!("{logs:#?}")) }
    });
    for line in &logs {
        let says = (line["trace"].as_str(), line["attributes"]["url.path"].as_str(), line["severity"].as_str());
        assert_eq!(says, (Some(trace), Some("/reviews/0"), Some("INFO")), "{line:#}");
        assert!(receiver.spans(trace).iter().any(|span| span["span"] == line["span"]) && line["body"].as_str().unwrap().contains("whole-page"));
    }
    let config: Value = serde_json::from_str(&mesh.admin(5, "/config").body).unwrap();
    assert_eq!(config["telemetry"]["from"][0].as_str().map(|from| from.contains("istio-system/all")), Some(true), "{:#}", config["telemetry"]);
    assert_eq!(config["telemetry"]["server"]["tracing"]["randomSamplingPercentage"], 100.0);
}

#[test]
fn what_others_decided_holds_and_what_failed_is_told_nevertheless() {
    let mut mesh = Mesh::start();
    let Some(receiver) = Receiver::start(&mesh) else { return };
    let members = [Member::new("details", "v1", 2), Member::new("productpage", "v1", 1)];
    for member in &members {
        mesh.run(member);
    }
    mesh.wait_ready(members.len());
    settings(&mesh, &receiver, "  tracing: { randomSamplingPercentage: 0 }");
    let mut client = Client::behind(&mesh, 1);
    let trace = |number: u8| format!("{number:032x}");
    let parent = |number: u8, flags: &str| format!("00-{}-00000000000000aa-{flags}", trace(number));
    let mut get = |path: &str, headers: &[(&str, &str)]| client.get(&format!("http://details:9080{path}"), headers).unwrap().status;

    // 1: not sampled, and well. 2: sampled. 3: not sampled, and refused on purpose. 4: as 2, in B3.
    assert_eq!(get("/details/0", &[("traceparent", &parent(1, "00"))]), 200);
    assert_eq!(get("/details/0", &[("traceparent", &parent(2, "01"))]), 200);
    mesh.apply_text(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: details, namespace: default }
spec:
  hosts: [details]
  http:
  - match: [{ uri: { prefix: /fails } }]
    fault: { abort: { httpStatus: 503, percentage: { value: 100 } } }
    route: [{ destination: { host: details } }]
  - route: [{ destination: { host: details } }]
",
    );
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    assert_eq!(get("/fails", &[("traceparent", &parent(3, "00"))]), 503);
    let b3 = format!("{}-00000000000000aa-1", trace(4));
    assert_eq!(get("/details/0", &[("b3", &b3)]), 200);

    let spans = eventually(PATIENCE, "the spans of three traces are received", || {
        let spans: Vec<Vec<Value>> = [2, 3, 4].map(|number| receiver.spans(&trace(number))).into_iter().collect();
        let enough = spans[0].len() == 2 && spans[1].len() == 1 && spans[2].len() == 2;
        if enough { Ok(spans) } else { Err(format!("{spans:#?}")) }
    });
    assert!(receiver.spans(&trace(1)).is_empty());
    for spans in [&spans[0], &spans[2]] {
        let (client, server) = if spans[0]["kind"] == 3 { (&spans[0], &spans[1]) } else { (&spans[1], &spans[0]) };
        assert_eq!((&client["parent"], &server["parent"]), (&"00000000000000aa".into(), &client["span"]));
    }
    let failed = &spans[1][0];
    assert_eq!((&failed["kind"], &failed["parent"], &failed["status"]), (&3.into(), &"00000000000000aa".into(), &2.into()), "{failed:#}");
    assert_eq!((&failed["attributes"]["error.type"], &failed["attributes"]["taut.reason"]), (&"fault_injected".into(), &"fault_injected".into()));
}

/// A collector that is away costs spans, which are counted, and no request.
#[test]
fn a_collector_that_is_away_holds_up_nobody() {
    let mut mesh = Mesh::start();
    let Some(receiver) = Receiver::start(&mesh) else { return };
    let member = Member::new("details", "v1", 2);
    mesh.run(&member);
    mesh.wait_ready(1);
    settings(&mesh, &receiver, "  tracing: { randomSamplingPercentage: 100 }");
    let away = "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: away, namespace: default }
spec: { tracing: [{ providers: [{ name: nobody }] }] }
";
    mesh.apply_text(away);
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    let mut client = Client::behind(&mesh, 2);
    // Client and server of each are one proxy's here, so 4,000 spans meet a queue of 2,048 and one batch under way.
    for _ in 0..2000 {
        assert_eq!(client.get("http://details:9080/details/0", &[]).unwrap().status, 200);
    }
    let dropped = "taut_telemetry_dropped_total{signal=\"traces\",reason=\"queue_full\"} ";
    let lost = |text: &str| text.lines().find_map(|line| line.strip_prefix(dropped)?.parse::<f64>().ok());
    let count = eventually(PATIENCE, "the loss is counted", || {
        let text = mesh.admin(2, "/metrics").body;
        lost(&text).filter(|count| *count > 0.0).ok_or(text)
    });
    assert!(count <= 4000.0 && receiver.all("span").is_empty(), "{count}");
    // Sent elsewhere, spans arrive again.
    mesh.taut_ok(&["delete", "telemetry", "away"]);
    eventually(PATIENCE, "a span is received", || {
        assert_eq!(client.get("http://details:9080/details/0", &[]).unwrap().status, 200);
        if receiver.all("span").is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
}
