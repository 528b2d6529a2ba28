//! Records in, Prometheus text out.

use super::*;
use crate::record::{Failure, Party, Protocol, Reporter};
use crate::text::{Id, Text};
use smallvec::SmallVec;
use std::sync::Arc;

fn party(name: &str) -> Party {
    Party {
        workload: format!("{name}-v1"),
        namespace: "default".into(),
        app: name.into(),
        version: "v1".into(),
        principal: format!("spiffe://mesh.local/ns/default/sa/{name}"),
    }
}

pub(crate) fn edge(reporter: Reporter, protocol: Protocol) -> Edge {
    Edge {
        reporter,
        source: party("productpage").into(),
        destination: party("reviews").into(),
        service_host: "reviews.default.svc.cluster.local".into(),
        service_name: "reviews".into(),
        service_namespace: "default".into(),
        mutual_tls: true,
        protocol,
    }
}

fn exchange(edge: Edge, status: u16) -> ExchangeRecord {
    ExchangeRecord {
        edge,
        started: "2026-01-01T00:00:00.000000Z".parse().unwrap(),
        request_id: Id::read("r-1"),
        trace_id: Id::None,
        method: "GET".into(),
        authority: "reviews:9080".into(),
        path: "/reviews/1".into(),
        status,
        grpc_status: None,
        failure: None,
        request_bytes: 0,
        response_bytes: 300,
        duration_us: 12_500,
        waited_us: 0,
        upstream_us: 12_000,
        attempts: SmallVec::new(),
        plan: 3,
        rule: None,
        would_deny: None,
        route: Text::default(),
    }
}

fn connection(edge: Edge) -> ConnectionRecord {
    ConnectionRecord {
        edge,
        started: "2026-01-01T00:00:00.000000Z".parse().unwrap(),
        connection_id: Id::read("c-1"),
        failure: None,
        received_bytes: 10,
        sent_bytes: 20,
        duration_us: 1,
        endpoint: "default/store-1".into(),
        plan: 3,
        rule: None,
    }
}

/// Value of the only line that starts with `name{` (or `name `) and holds all of `labels`.
fn value(text: &str, name: &str, labels: &[&str]) -> String {
    let hit = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|l| line.contains(l));
    let found: Vec<_> = text.lines().filter(hit).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?} in\n{text}");
    found[0].rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn an_exchange_becomes_istios_series() {
    let registry = Registry::default();
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    let text = registry.render(&[]);
    let want = "istio_requests_total{reporter=\"source\",source_workload=\"productpage-v1\",source_workload_namespace=\"default\",\
        source_principal=\"spiffe://mesh.local/ns/default/sa/productpage\",source_app=\"productpage\",source_version=\"v1\",\
        source_canonical_service=\"productpage\",source_canonical_revision=\"v1\",destination_workload=\"reviews-v1\",\
        destination_workload_namespace=\"default\",destination_principal=\"spiffe://mesh.local/ns/default/sa/reviews\",\
        destination_app=\"reviews\",destination_version=\"v1\",destination_canonical_service=\"reviews\",\
        destination_canonical_revision=\"v1\",destination_service=\"reviews.default.svc.cluster.local\",\
        destination_service_name=\"reviews\",destination_service_namespace=\"default\",request_protocol=\"http\",\
        response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"unknown\"} 2";
    assert!(text.lines().any(|line| line == want), "{text}");
    assert_eq!(value(&text, "istio_request_duration_milliseconds_bucket", &["le=\"10\""]), "0");
    assert_eq!(value(&text, "istio_request_duration_milliseconds_bucket", &["le=\"25\""]), "2");
    assert_eq!(value(&text, "istio_request_duration_milliseconds_bucket", &["le=\"+Inf\""]), "2");
    assert_eq!(value(&text, "istio_request_duration_milliseconds_sum", &[]), "25");
    assert_eq!(value(&text, "istio_request_bytes_bucket", &["le=\"0.5\""]), "2");
    assert_eq!(value(&text, "istio_response_bytes_sum", &[]), "600");
}

#[test]
fn the_destination_tells_the_security_policy_and_failures_their_flags() {
    let registry = Registry::default();
    let mut failed = exchange(edge(Reporter::Destination, Protocol::Grpc), 200);
    failed.grpc_status = Some(14);
    failed.failure =
        Some(Failure { side: "upstream".into(), reason: "connect_failed".into(), retry_safe: true, detail: String::new(), origin: None });
    registry.exchange(&failed);
    let mut plain = exchange(edge(Reporter::Destination, Protocol::Http), 200);
    plain.edge.mutual_tls = false;
    registry.exchange(&plain);
    let text = registry.render(&[]);
    assert_eq!(
        value(&text, names::REQUESTS, &["connection_security_policy=\"mutual_tls\"", "response_flags=\"UF\"", "grpc_response_status=\"14\""]),
        "1"
    );
    assert_eq!(value(&text, names::REQUESTS, &["connection_security_policy=\"none\"", "request_protocol=\"http\""]), "1");
}

#[test]
fn connections_are_counted_when_opened_and_closed() {
    let registry = Registry::default();
    let edge = edge(Reporter::Source, Protocol::Tcp);
    registry.connection_opened(&edge);
    registry.connection_opened(&edge);
    registry.connection(&connection(edge));
    let text = registry.render(&[]);
    for (name, want) in [(names::TCP_OPENED, "2"), (names::TCP_CLOSED, "1"), (names::TCP_SENT, "20"), (names::TCP_RECEIVED, "10")] {
        assert_eq!(value(&text, name, &["reporter=\"source\""]), want, "{name}");
    }
    assert!(!text.contains("response_code"));
}

#[test]
fn unknown_parts_are_unknown_and_values_are_escaped() {
    let registry = Registry::default();
    let mut record = exchange(edge(Reporter::Source, Protocol::Http), 0);
    record.edge.source = Party::nobody();
    Arc::make_mut(&mut record.edge.destination).version = String::new();
    record.edge.service_host = "a\"b\\c\nd".into();
    registry.exchange(&record);
    let text = registry.render(&[]);
    let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).unwrap();
    for want in [
        "source_workload=\"unknown\"",
        "destination_version=\"unknown\"",
        "destination_canonical_revision=\"latest\"",
        r#"destination_service="a\"b\\c\nd""#,
        "response_code=\"0\"",
    ] {
        assert!(line.contains(want), "{want} in {line}");
    }
}

#[test]
fn a_full_family_counts_in_its_overflow_series() {
    let registry = Registry::new(10);
    for status in 200..250 {
        registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), status));
    }
    // Those that were there first are still counted as themselves.
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    let text = registry.render(&[]);
    assert_eq!(text.lines().filter(|line| line.starts_with("istio_requests_total{")).count(), 11);
    assert_eq!(value(&text, names::REQUESTS, &["response_code=\"other\"", "source_app=\"other\"", "reporter=\"source\""]), "40");
    assert_eq!(value(&text, names::REQUESTS, &["response_code=\"200\""]), "2");
    assert_eq!(value(&text, names::SERIES_OVERFLOW, &["family=\"istio_requests_total\""]), "40");
    assert_eq!(value(&text, names::SERIES_OVERFLOW, &["family=\"istio_tcp_connections_closed_total\""]), "0");
}

#[test]
fn threads_lose_no_count() {
    let registry = Registry::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for status in 0..1000 {
                    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200 + status % 5));
                }
            });
        }
    });
    let text = registry.render(&[]);
    for status in 200..205 {
        assert_eq!(value(&text, names::REQUESTS, &[&format!("response_code=\"{status}\"")]), "800");
    }
}

#[test]
fn every_family_is_described_once_before_its_samples() {
    let registry = Registry::default();
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    registry.connection(&connection(edge(Reporter::Source, Protocol::Tcp)));
    let labels = [(label::VERSION, "0.1.0")];
    let text = registry.render(&[Sample { name: names::BUILD, help: "Build.", kind: Kind::Gauge, labels: &labels, value: 1.0 }]);
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(described.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s).filter(|b| described.contains(*b))).unwrap_or(name);
            assert!(described.contains(base), "{line}");
        }
    }
    assert_eq!(value(&text, names::BUILD, &["version=\"0.1.0\""]), "1");
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("istio_requests_total{")).count()
}

#[test]
fn names_that_clients_choose_make_no_series() {
    let registry = Registry::default();
    for number in 0..50 {
        let mut record = exchange(edge(Reporter::Source, Protocol::Http), 200);
        record.edge.destination = Party::nobody();
        (record.edge.service_host, record.edge.service_namespace) = (format!("{number}.example.com").into(), "unknown".into());
        registry.exchange(&record);
        record.edge.service_name = names::PASSTHROUGH.into();
        registry.exchange(&record);
    }
    let text = registry.render(&[]);
    assert_eq!(series(&text), 2);
    let passed = ["destination_service=\"unknown\",destination_service_name=\"PassthroughCluster\",destination_service_namespace=\"unknown\""];
    assert_eq!(value(&text, names::REQUESTS, &passed), "50");
    assert_eq!(value(&text, names::REQUESTS, &["destination_service=\"unknown\",destination_service_name=\"unknown\""]), "50");
}

#[test]
fn a_series_without_a_change_for_ten_minutes_is_gone_and_makes_room() {
    let registry = Registry::new(2);
    let at = |minutes: u64| registry.expire(Duration::from_secs(minutes * 60));
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 404));
    registry.connection(&connection(edge(Reporter::Source, Protocol::Tcp)));
    at(9);
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 200));
    assert_eq!(series(&registry.render(&[])), 2);
    at(10);
    let text = registry.render(&[]);
    assert_eq!(series(&text), 1);
    assert_eq!(value(&text, names::REQUESTS, &["response_code=\"200\""]), "2");
    assert!(!text.contains("istio_tcp_connections_closed_total{"), "{text}");
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 404));
    assert_eq!(value(&registry.render(&[]), names::REQUESTS, &["response_code=\"404\""]), "1");
    assert_eq!(value(&registry.render(&[]), names::SERIES_OVERFLOW, &["family=\"istio_requests_total\""]), "0");
    at(40);
    assert_eq!(series(&registry.render(&[])), 0);
}

#[test]
fn openmetrics_has_the_newest_trace_of_each_bucket() {
    let registry = Registry::default();
    let slow = ExchangeRecord { duration_us: 80_000, ..exchange(edge(Reporter::Source, Protocol::Http), 200) };
    for (trace, record) in [(1, exchange(edge(Reporter::Source, Protocol::Http), 200)), (2, slow.clone()), (0xabc, slow)] {
        registry.exchange(&ExchangeRecord { trace_id: Id::Trace(trace), ..record });
    }
    registry.exchange(&exchange(edge(Reporter::Source, Protocol::Http), 500));
    let limits = [("limit", "a")];
    let limited = |labels| Sample { name: names::RATE_LIMITED, help: "Limited.", kind: Kind::Counter, labels, value: 1.0 };
    let text = registry.render_as(Format::OpenMetrics, &[limited(&limits), limited(&[("limit", "b")])]);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE istio_requests counter\n") && text.contains("istio_requests_total{"));
    assert_eq!(text.matches("# TYPE taut_rate_limited counter\n").count(), 1);
    let exemplars: Vec<&str> = text.lines().filter_map(|line| line.split_once(" # ").map(|(_, exemplar)| exemplar)).collect();
    let at = "1767225600";
    let expected = [(1, "12.5"), (0xabc, "80")].map(|(trace, value)| format!("{{trace_id=\"{trace:032x}\"}} {value} {at}"));
    assert_eq!(exemplars, expected);
    assert!(text.lines().any(|line| line.contains("le=\"100\"} 3 # {")), "{text}");
    let plain = registry.render(&[]);
    assert!(!plain.contains(" # {") && !plain.contains("# EOF") && plain.contains("# TYPE istio_requests_total counter\n"));
}

#[test]
fn an_application_can_do_what_all_its_workers_have_proven() {
    let registry = Registry::new(2);
    [8080, 8080, 9090].into_iter().for_each(|port| registry.door_opened(port));
    assert_eq!(registry.proven_limit(), None);
    registry.proven_limit_changed(8080, None, Some(12));
    assert_eq!(registry.proven_limit(), None, "the other worker lets in as many as come");
    registry.proven_limit_changed(8080, None, Some(10));
    assert_eq!(registry.proven_limit(), Some(22));
    registry.proven_limit_changed(8080, Some(12), Some(8));
    registry.proven_limit_changed(9090, None, Some(4));
    assert_eq!(registry.proven_limit(), Some(22));
    registry.proven_limit_changed(8080, Some(8), None);
    assert_eq!(registry.proven_limit(), Some(4));
}
