//! What collectors get of exchanges, over OTLP's HTTP form, from a collector that is made here.

use super::*;
use crate::telemetry::{Source, keep};
use prost::Message;
use std::time::Duration;
use taut_model::settings::MeshSettings;
use taut_model::telemetry::{Collector, DefaultProviders, OtlpProtocol, Provider, ProviderKind, TracingDefaults};
use taut_wire::otlp::{ExportResponse, ExportTraceRequest, PartialSuccess, Span};

/// A collector that answers as it is told, the last answer again and again.
#[derive(Clone)]
struct Store {
    spans: Rc<RefCell<Vec<Span>>>,
    asked: Rc<Cell<usize>>,
}

async fn collector(answers: Vec<(u16, Option<ExportResponse>)>) -> (Store, SocketAddr) {
    let store = Store { spans: Rc::default(), asked: Rc::default() };
    let (answers, kept) = (Rc::new(answers), store.clone());
    let address = app(move |request| {
        let (answers, store) = (answers.clone(), kept.clone());
        async move {
            assert_eq!((request.uri().path(), request.headers()["x-key"].as_bytes()), ("/v1/traces", b"k".as_slice()));
            assert!(request.headers()["traceparent"].to_str().unwrap().ends_with("-00"), "exports must not be traced");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let number = store.asked.replace(store.asked.get() + 1);
            let (status, answer) = answers.get(number).or_else(|| answers.last()).unwrap().clone();
            if status == 200 {
                let request = ExportTraceRequest::decode(body).unwrap();
                let spans = request.resource_spans.into_iter().flat_map(|one| one.scope_spans).flat_map(|one| one.spans);
                store.spans.borrow_mut().extend(spans);
            }
            let mut response = Response::new(Full::new(answer.unwrap_or_default().encode_to_vec().into()));
            *response.status_mut() = status.try_into().unwrap();
            response
        }
    })
    .await;
    (store, address)
}

fn settings(at: SocketAddr, tracing: TracingDefaults) -> MeshSettings {
    let protocol = OtlpProtocol::Http { base: String::new(), headers: vec![("x-key".into(), "k".into())] };
    let (timeout, metrics_every) = (Duration::from_secs(5), Duration::from_secs(60));
    let collector = Collector { host: at.ip().to_string(), port: at.port(), protocol, timeout, metrics_every };
    MeshSettings {
        providers: vec![Provider { name: "otel".into(), kind: ProviderKind::Otlp(collector) }],
        default_providers: DefaultProviders { tracing: Some("otel".into()), ..DefaultProviders::default() },
        tracing,
        ..MeshSettings::default()
    }
}

/// Has the client's proxy, which is the only one with settings, export.
async fn exporting(at: SocketAddr, tracing: TracingDefaults) -> Pair {
    let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
    let mut snapshot = pair.mesh.snapshot(2, "default/web");
    snapshot.settings.insert("mesh".into(), Arc::new(settings(at, tracing)));
    let plan = Plan::compile(&snapshot);
    pair.client.current.pin(Arc::new(snapshot), Arc::new(plan));
    let source = Source::new(World::os(), pair.client.current.clone(), pair.client.sink.registry().clone());
    tokio::task::spawn_local(keep(pair.client.sink.telemetry().clone(), source, || ()));
    tokio::task::yield_now().await;
    pair
}

fn all() -> TracingDefaults {
    TracingDefaults { sampling: 100.0, failures: true, slower_than: None }
}

fn lost(pair: &Pair, reason: &str) -> u64 {
    pair.client.sink.telemetry().lost().find(|(signal, why, _)| *signal == "traces" && *why == reason).unwrap().2
}

#[test]
fn spans_reach_a_collector_that_is_away_at_first() {
    run(async {
        let (store, at) = collector(vec![(503, None), (200, None)]).await;
        let pair = exporting(at, all()).await;
        let answer = get(pair.client.outbound, "/reviews/1?secret=x").await;
        let span = eventually(|| store.spans.borrow().first().cloned()).await;
        let record = pair.client.exchange().await;
        assert_eq!((store.asked.get(), span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (2, 16, 8, 0));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&span.trace_id), record.trace_id.to_string());
        let passed_on = format!("traceparent: 00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert!(answer.contains(&passed_on), "{passed_on} in {answer}");
        assert!(!format!("{span:?}").contains("secret"), "{span:?}");
        eventually(|| pair.client.sink.telemetry().exported().any(|one| one == ("traces", 1)).then_some(())).await;
    });
}

#[test]
fn what_a_collector_does_not_take_is_counted() {
    run(async {
        let (_, at) = collector(vec![(400, None)]).await;
        let pair = exporting(at, all()).await;
        get(pair.client.outbound, "/").await;
        eventually(|| (lost(&pair, "refused") == 1).then_some(())).await;

        let partial = PartialSuccess { rejected: 1, error_message: "too odd".into() };
        let (_, at) = collector(vec![(200, Some(ExportResponse { partial_success: Some(partial) }))]).await;
        let pair = exporting(at, all()).await;
        get(pair.client.outbound, "/").await;
        eventually(|| (lost(&pair, "refused") == 1).then_some(())).await;
        assert!(pair.client.sink.telemetry().exported().all(|(_, count)| count == 0));
    });
}

#[test]
fn of_traces_that_are_not_sampled_failures_are_told_and_not_too_many() {
    run(async {
        let (store, at) = collector(vec![(200, None)]).await;
        let pair = exporting(at, TracingDefaults { sampling: 0.0, ..all() }).await;
        get(pair.client.outbound, "/").await;
        // The service has no such port.
        let fails = |number: u32| {
            let outbound = pair.client.outbound;
            async move {
                let parent = format!("00-{number:032x}-00000000000000aa-00");
                let request = format!("GET / HTTP/1.1\r\nHost: reviews:1\r\ntraceparent: {parent}\r\nConnection: close\r\n\r\n");
                talk(outbound, request).await
            }
        };
        for number in 1..=120 {
            assert!(fails(number).await.contains("x-taut-reason"), "it fails");
        }
        eventually(|| (pair.client.exchanges().len() >= 10 && !store.spans.borrow().is_empty()).then_some(())).await;
        eventually(|| (store.spans.borrow().len() as u64 + lost(&pair, "too_many_failures") == 120).then_some(())).await;
        for span in store.spans.borrow().iter() {
            assert_eq!((span.parent_span_id.last(), span.flags, span.status.as_ref().unwrap().code), (Some(&0xaa), 0, 2));
        }
        let (store, at) = collector(vec![(200, None)]).await;
        let slow = TracingDefaults { sampling: 0.0, failures: false, slower_than: Some(Duration::ZERO) };
        let pair = exporting(at, slow).await;
        get(pair.client.outbound, "/").await;
        eventually(|| (store.spans.borrow().len() == 1).then_some(())).await;
    });
}
