//! A store of known traffic, scraped again and again.

use super::*;
use crate::signals::Limits;
use std::collections::BTreeMap;
use taut_model::signal::{Batch, Party, Protocol, Security, ServiceName};

const START: Second = 1_700_000_000;

fn edge(source: &str, service: &str) -> Arc<Edge> {
    let party = |name: &str| {
        let name = || name.to_owned();
        Arc::new(Party { workload: name(), namespace: "shop".into(), app: name(), version: "v\"1\n".into(), principal: "unknown".into() })
    };
    Arc::new(Edge {
        source: party(source),
        service: Arc::new(ServiceName { host: format!("{service}.shop.svc"), namespace: "shop".into(), name: service.into() }),
        destination: party(service),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security: Security::MutualTls,
    })
}

fn passed(good: u64, bad: u64) -> Signals {
    let mut signals = Signals { requests: good + bad, request_bytes: 7 * (good + bad), ..Signals::default() };
    signals.latency.record_many(3000, good + bad);
    signals.outcomes.count(200, None, None, good);
    signals.outcomes.count(503, None, Some("no_endpoint"), bad);
    signals
}

/// Reports one second and seals it.
fn second(store: &Store, n: Second, entries: Vec<(Arc<Edge>, Signals)>) {
    store.add(Batch { proxy: "shop/web".into(), epoch: 1, sequence: n + 1, second: START + n, entries, lost: 0, last: false }, START + n + 1);
    store.tick(START + n + 4);
}

/// Values by name and labels.
fn scrape(mesh: &Mesh, format: Format) -> BTreeMap<String, f64> {
    let page = mesh.page(format);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap()).collect()
}

fn sum(of: &BTreeMap<String, f64>, parts: &[&str]) -> f64 {
    of.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part))).map(|(_, value)| value).sum()
}

#[test]
fn counters_are_what_passed_and_never_fall() {
    let store = Store::in_memory(Limits { memory: 20_000, ..Limits::default() });
    let mesh = Mesh::new(store.clone());
    let mut before = BTreeMap::new();
    for n in 0..300 {
        second(&store, n, vec![(edge("web", "cart"), passed(9, 1)), (edge("web", "stock"), passed(u64::from(n < 100), 0))]);
        if n % 7 == 0 {
            let now = scrape(&mesh, Format::Text);
            for (name, value) in &before {
                assert!(now.get(name).is_some_and(|now| now >= value), "{name} fell at {n}");
            }
            before = now;
        }
    }
    let now = scrape(&mesh, Format::Text);
    assert_eq!(sum(&now, &["istio_requests_total", "destination_service_name=\"cart\"", "response_code=\"200\""]), 2700.0);
    assert_eq!(sum(&now, &["istio_requests_total", "response_code=\"503\"", "response_flags=\"UH\""]), 300.0);
    assert_eq!(sum(&now, &["istio_requests_total", "destination_service_name=\"stock\""]), 100.0);
    assert_eq!(sum(&now, &["istio_request_bytes_sum", "destination_service_name=\"cart\""]), 21_000.0);
    assert_eq!(sum(&now, &["istio_request_duration_milliseconds_bucket", "cart", "le=\"+Inf\""]), 3000.0);
    assert_eq!(sum(&now, &["istio_request_duration_milliseconds_bucket", "cart", "le=\"1\""]), 0.0);
    assert!(now.keys().any(|name| name.contains("source_version=\"v\\\"1\\n\"")), "labels are escaped: {now:?}");
    assert!(mesh.page(Format::OpenMetrics).ends_with("# EOF\n"));
    assert!(mesh.page(Format::OpenMetrics).contains("# TYPE istio_requests counter\n"));
}

#[test]
fn an_edge_that_nothing_passes_goes() {
    let store = Store::in_memory(Limits::default());
    let mesh = Mesh::new(store.clone());
    second(&store, 0, vec![(edge("web", "cart"), passed(1, 0)), (edge("web", "stock"), passed(1, 0))]);
    assert_eq!(scrape(&mesh, Format::Text)[names::MESH_EDGES], 2.0);
    second(&store, EXPIRES_AFTER + 10, vec![(edge("web", "cart"), passed(1, 0))]);
    let now = scrape(&mesh, Format::Text);
    assert_eq!((now[names::MESH_EDGES], sum(&now, &["istio_requests_total"])), (1.0, 2.0));
}

#[test]
fn names_without_number_end_in_others_and_the_sum_stays_right() {
    let store = Store::in_memory(Limits::default());
    let mesh = Mesh::new(store.clone());
    for n in 0..5 {
        second(&store, n, (0..1000).map(|m| (edge("web", &format!("s{}", n * 1000 + m)), passed(1, 0))).collect());
        scrape(&mesh, Format::Text);
    }
    let now = scrape(&mesh, Format::Text);
    assert_eq!((now[names::MESH_EDGES], sum(&now, &["istio_requests_total"])), (MOST_EDGES as f64, 5000.0));
    assert_eq!(sum(&now, &["istio_requests_total", "destination_workload=\"other\""]), 3000.0);
}

#[test]
fn whoever_comes_too_late_begins_anew_and_sees_it() {
    let store = Store::in_memory(Limits { memory: 4000, ..Limits::default() });
    let mesh = Mesh::new(store.clone());
    second(&store, 0, vec![(edge("web", "cart"), passed(1000, 0))]);
    let first = scrape(&mesh, Format::Text);
    (1..400).for_each(|n| second(&store, n, vec![(edge("web", "cart"), passed(1, 0))]));
    let now = scrape(&mesh, Format::Text);
    assert!(now[names::MESH_SINCE] > first[names::MESH_SINCE]);
    assert!(sum(&now, &["istio_requests_total"]) < 400.0, "{now:?}");
}
