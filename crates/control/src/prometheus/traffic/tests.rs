//! A store of known traffic, read as series and by queries.

use super::*;
use crate::prometheus::{Answer, MOST_SAMPLES, Times, instant, range, read, selector};
use crate::signals::Limits;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use taut_model::signal::{Batch, Edge, Party, Protocol, Reporter, Security, ServiceName, Signals};

const START: Second = 1_700_000_000;

fn edge(source: &str, reporter: Reporter, protocol: Protocol) -> Arc<Edge> {
    let party = |workload: &str| {
        Arc::new(Party {
            namespace: "shop".into(),
            app: workload.into(),
            workload: workload.into(),
            version: "v1".into(),
            principal: "unknown".into(),
        })
    };
    Arc::new(Edge {
        source: party(source),
        service: Arc::new(ServiceName { host: "cart.shop.svc.cluster.local".into(), namespace: "shop".into(), name: "cart".into() }),
        destination: party("cart-v1"),
        protocol,
        route: "".into(),
        reporter,
        security: Security::MutualTls,
    })
}

/// So many good and bad requests, of 3 ms each.
fn passed(good: u64, bad: u64) -> Signals {
    let mut signals = Signals { requests: good + bad, request_bytes: 10 * (good + bad), ..Signals::default() };
    signals.latency.record_many(3000, good + bad);
    signals.outcomes.count(200, None, None, good);
    signals.outcomes.count(503, None, Some("no_endpoint"), bad);
    signals
}

/// What each second adds, until `seconds`; the store has sealed them.
fn filled(seconds: Second, entries: impl Fn(Second) -> Vec<(Arc<Edge>, Signals)>) -> Traffic {
    filled_within(Limits::default(), seconds, entries)
}

fn filled_within(limits: Limits, seconds: Second, entries: impl Fn(Second) -> Vec<(Arc<Edge>, Signals)>) -> Traffic {
    let store = Store::in_memory(limits);
    for n in 0..seconds {
        let batch = Batch { proxy: "shop/web".into(), epoch: 1, sequence: n + 1, second: START + n, entries: entries(n), lost: 0, last: false };
        store.add(batch, START + n + 1);
        store.tick(START + n + 1);
    }
    (seconds..seconds + 6).for_each(|n| store.tick(START + n + 1));
    Traffic::new(store)
}

fn ask(traffic: &Traffic, query: &str, at: Second) -> Vec<(LabelSet, f64)> {
    let given_up = AtomicBool::new(false);
    let answer = instant(&read(query).unwrap(), at as i64 * 1000, traffic, Budget::new(MOST_SAMPLES, &given_up)).unwrap();
    let Answer::Vector { points, .. } = answer else { panic!("{query}: {answer:?}") };
    points
}

fn one(traffic: &Traffic, query: &str, at: Second) -> f64 {
    let points = ask(traffic, query, at);
    assert_eq!(points.len(), 1, "{query}: {points:?}");
    points[0].1
}

#[test]
fn counters_are_all_that_ever_was() {
    let traffic = filled(4000, |_| vec![(edge("web", Reporter::Source, Protocol::Http), passed(9, 1))]);
    let end = START + 4000;
    assert_eq!(one(&traffic, "sum(istio_requests_total)", end), 40_000.0);
    assert_eq!(one(&traffic, "istio_requests_total{response_code=\"503\",response_flags=\"UH\",destination_service_name=\"cart\"}", end), 4000.0);
    assert_eq!(one(&traffic, "istio_request_bytes_sum", end), 400_000.0);
    assert_eq!(one(&traffic, "istio_request_duration_milliseconds_sum", end), 120_000.0);
    assert_eq!(one(&traffic, "istio_request_duration_milliseconds_bucket{le=\"+Inf\"}", end), 40_000.0);
    assert_eq!(one(&traffic, "istio_request_duration_milliseconds_bucket{le=\"1\"}", end), 0.0);
    assert_eq!(one(&traffic, "sum(istio_requests_total)", START + 1000), 10_000.0);
    for query in ["sum(rate(istio_requests_total[1m]))", "sum(rate(istio_requests_total[10m]))", "sum(increase(istio_requests_total[30m])) / 1800"] {
        let rate = one(&traffic, query, end - 10);
        assert!((rate - 10.0).abs() < 0.01, "{query}: {rate}");
    }
    let p99 = one(&traffic, "histogram_quantile(0.5, sum by (le) (rate(istio_request_duration_milliseconds_bucket[5m])))", end);
    assert!((p99 - 3.0).abs() < 1e-9, "the middle of the bucket from 1 to 5: {p99}");
    for nothing in
        ["istio_requests_total{reporter=\"destination\"}", "istio_requests_total{source_workload=\"other\"}", "istio_tcp_sent_bytes_total", "up"]
    {
        assert!(ask(&traffic, nothing, end).is_empty(), "{nothing}");
    }
}

#[test]
fn a_range_is_monotonic_across_roll_ups() {
    let traffic = filled(9000, |n| vec![(edge("web", Reporter::Destination, Protocol::Http), passed(n % 7, n % 3))]);
    let exact = |seconds: Second| (0..seconds).map(|n| n % 7 + n % 3).sum::<Second>() as f64;
    let given_up = AtomicBool::new(false);
    for step in [1, 15, 61, 600] {
        let times = Times { start: (START as i64 + 4000) * 1000, end: (START as i64 + 9000) * 1000, step: step * 1000 };
        let answer = range(&read("sum(istio_requests_total)").unwrap(), times, &traffic, Budget::new(MOST_SAMPLES, &given_up)).unwrap();
        let Answer::Matrix(series) = answer else { panic!() };
        let samples = &series[0].samples;
        assert!(samples.windows(2).all(|pair| pair[0].value <= pair[1].value));
        for sample in samples {
            let known = exact((sample.at / 1000) as Second - START);
            // The newest sample may be one step old.
            assert!(
                sample.value <= known && sample.value >= exact(((sample.at / 1000) as Second - START).saturating_sub(step as Second)),
                "{step}: {sample:?} {known}"
            );
        }
        assert_eq!(samples.len() as i64, 5000 / step + 1);
    }
}

#[test]
fn series_begin_at_zero_and_end() {
    let late = edge("late", Reporter::Source, Protocol::Tcp);
    let traffic = filled(2000, |n| {
        let mut entries = vec![(edge("web", Reporter::Source, Protocol::Http), passed(1, 0))];
        if (100..200).contains(&n) {
            entries.push((late.clone(), Signals { opened: 1, response_bytes: 50, ..Signals::default() }));
        }
        entries
    });
    // All of the first increase counts.
    assert_eq!(one(&traffic, "max_over_time(istio_tcp_sent_bytes_total[3m]) - min_over_time(istio_tcp_sent_bytes_total[3m])", START + 250), 5000.0);
    assert_eq!(one(&traffic, "istio_tcp_connections_opened_total{source_workload=\"late\"}", START + 500), 100.0);
    // Ten minutes, the five that a query looks back, and how coarsely it looked.
    assert!(ask(&traffic, "istio_tcp_connections_opened_total", START + 1500).is_empty());
    let given_up = AtomicBool::new(false);
    let window = Window { from: START as i64 * 1000, to: (START as i64 + 2000) * 1000, spacing: i64::MAX };
    let sets = traffic.sets(&selector("{source_workload=~\"late|web\"}").unwrap(), window, &mut Budget::new(MOST_SAMPLES, &given_up)).unwrap();
    assert!(
        sets.iter().any(|set| set.value(NAME) == "istio_tcp_sent_bytes_total") && sets.iter().any(|set| set.value(NAME) == "istio_requests_total")
    );
    assert!(traffic.families().iter().flat_map(|family| family.series).all(|name| !name.is_empty()));
}

#[test]
fn what_is_known_too_coarsely_for_a_range_is_left_out_and_not_all_the_rest_with_it() {
    let steady = |_| vec![(edge("web", Reporter::Source, Protocol::Http), passed(10, 0))];
    let traffic = filled_within(Limits { memory: 60_000, ..Limits::default() }, 30_000, steady);
    let times = Times { start: START as i64 * 1000, end: (START + 29_900) as i64 * 1000, step: 60_000 };
    let given_up = AtomicBool::new(false);
    let query = read("sum(rate(istio_requests_total[1m]))").unwrap();
    let Answer::Matrix(series) = range(&query, times, &traffic, Budget::new(MOST_SAMPLES, &given_up)).unwrap() else { panic!() };
    let [one] = &series[..] else { panic!("{} series", series.len()) };
    let newest = one.samples.last().unwrap();
    assert!((newest.value - 10.0).abs() < 0.5, "{newest:?}");
    assert!(one.samples.len() < 490, "what is only known by the hour has no rate over a minute");
}

#[test]
fn a_query_over_too_much_is_refused() {
    let traffic = filled(300, |n| vec![(edge(&format!("web-{}", n % 50), Reporter::Source, Protocol::Http), passed(1, 1))]);
    let given_up = AtomicBool::new(false);
    let refused = |query: &str, samples: usize| {
        let budget = Budget::new(samples, &given_up);
        instant(&read(query).unwrap(), (START as i64 + 300) * 1000, &traffic, budget).unwrap_err()
    };
    assert!(matches!(refused("istio_requests_total", 100), Failure::Execution(_)));
    given_up.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(refused("istio_requests_total", MOST_SAMPLES), Failure::Timeout(_)));
}
