//! What the store promises: any window adds up, nothing counts twice, what is missing is known, memory has a ceiling.

use super::*;
use taut_model::signal::{Party, Protocol, Reporter, Security, ServiceName};

const START: Second = 1_700_000_000;

pub(super) fn edge(source: &str, service: &str, version: &str) -> Arc<Edge> {
    let party = |workload: String, version: &str| {
        Arc::new(Party { namespace: "shop".into(), app: workload.clone(), workload, version: version.into(), principal: "unknown".into() })
    };
    Arc::new(Edge {
        source: party(source.into(), "v1"),
        service: Arc::new(ServiceName { host: format!("{service}.shop.svc.cluster.local"), namespace: "shop".into(), name: service.into() }),
        destination: party(format!("{service}-{version}"), version),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security: Security::MutualTls,
    })
}

pub(super) fn signals(requests: u64) -> Signals {
    let mut signals = Signals { requests, in_flight: 2, connections: 1, ..Signals::default() };
    signals.latency.record_many(1000 * requests, requests);
    signals.outcomes.count(200, None, None, requests);
    signals
}

pub(super) fn batch(proxy: &str, sequence: u64, second: Second, entries: Vec<(Arc<Edge>, Signals)>) -> Batch {
    Batch { proxy: proxy.into(), epoch: 7, sequence, second, entries, lost: 0, last: false }
}

fn requests(of: &[(Arc<Edge>, Signals)]) -> u64 {
    of.iter().map(|(_, signals)| signals.requests).sum()
}

/// A store that has taken `seconds` batches, with the number of the second as requests.
fn filled(seconds: u64, limits: Limits) -> Store {
    let store = Store::in_memory(limits);
    for n in 0..seconds {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + n + 1);
        store.tick(START + n + 1);
    }
    (seconds + 1..seconds + 6).for_each(|n| store.tick(START + n));
    store
}

#[test]
fn every_window_is_the_sum_of_its_seconds() {
    let store = filled(8000, Limits::default());
    for (from, to) in [(0, 8000), (0, 1), (7, 8), (3, 25), (9, 3601), (1199, 7300), (7990, 8000), (60, 120), (500, 500)] {
        let exact: u64 = (from..to).sum();
        let edges = store.edges(START + from..START + to, &Filter::default());
        assert_eq!(requests(&edges), exact, "{from}..{to}");
        assert_eq!(edges.iter().map(|(_, signals)| signals.latency.count()).sum::<u64>(), exact);
    }
}

#[test]
fn series_add_up_at_every_step() {
    let store = filled(8000, Limits::default());
    for step in [1, 5, 10, 30, 60, 600, 3600] {
        let answer = store.series(START..START + 8000, step, &Filter::default(), By::Service, 10);
        assert_eq!(answer.step, step);
        let points = &answer.series[0].points;
        let sum: u64 = points.iter().filter_map(|point| point.signals.as_ref()).map(|signals| signals.requests).sum();
        assert_eq!(sum, (0..8000).sum::<u64>(), "{step}");
        let second = points.iter().find(|point| point.at > START + 4000).unwrap();
        let exact = (second.at..second.at + step).map(|at| at - START).sum::<u64>();
        assert_eq!(second.signals.as_ref().unwrap().requests, exact);
        assert_eq!(second.signals.as_ref().unwrap().connections, 1);
    }
}

#[test]
fn what_is_sent_again_counts_once() {
    let store = Store::in_memory(Limits::default());
    let said = batch("shop/web", 1, START, vec![(edge("web", "cart", "v1"), signals(5))]);
    for now in 1..10 {
        store.add(said.clone(), START + now);
        store.tick(START + now);
    }
    assert_eq!(requests(&store.edges(START - 10..START + 10, &Filter::default())), 5);
    assert_eq!(store.kept("shop/web", 7), 1);
}

#[test]
fn what_comes_late_is_added_to_its_time_at_every_resolution() {
    let store = filled(200, Limits::default());
    store.add(batch("shop/late", 1, START + 50, vec![(edge("late", "cart", "v1"), signals(1000))]), START + 206);
    (206..300).for_each(|n| store.tick(START + n));
    for (from, to) in [(50, 51), (0, 100), (20, 140), (0, 250)] {
        let exact: u64 = (from..to.min(200)).sum::<u64>() + 1000;
        assert_eq!(requests(&store.edges(START + from..START + to, &Filter::default())), exact, "{from}..{to}");
    }
    assert_eq!(requests(&store.edges(START + 51..START + 100, &Filter::default())), (51..100).sum::<u64>());
}

#[test]
fn what_a_proxy_lost_is_a_gap_and_a_silent_proxy_too() {
    let store = filled(20, Limits::default());
    let mut late = batch("shop/web", 31, START + 30, vec![]);
    late.lost = 10;
    store.add(late, START + 31);
    (31..150).for_each(|n| store.tick(START + n));
    let gaps = store.gaps(START..START + 200);
    assert_eq!((gaps[0].from, gaps[0].to), (START + 20, START + 30));
    assert_eq!((gaps[1].from, gaps[1].proxy.as_deref()), (START + 31, Some("shop/web")));
    assert!(store.gaps(START..START + 20).is_empty());
}

#[test]
fn a_batch_is_kept_for_good_when_it_is_sealed() {
    let store = Store::in_memory(Limits::default());
    for n in 0..4 {
        store.add(batch("shop/web", n + 1, START + n, vec![]), START + n);
    }
    assert_eq!(store.kept("shop/web", 7), 0);
    store.tick(START + GRACE + 1);
    assert_eq!(store.kept("shop/web", 7), 2);
    assert_eq!(store.latest(), START + 1);
}

#[test]
fn a_clock_that_is_wrong_or_set_back_neither_stops_nor_hides_anything() {
    let store = filled(100, Limits::default());
    // A proxy that lives in 1970, and one in the year 3000.
    store.add(batch("shop/old", 1, 5, vec![(edge("old", "cart", "v1"), signals(1))]), START + 106);
    store.add(batch("shop/new", 1, START * 20, vec![(edge("new", "cart", "v1"), signals(1))]), START + 106);
    (106..112).for_each(|n| store.tick(START + n));
    assert_eq!(requests(&store.edges(START + 100..START + 110, &Filter::default())), 2);
    // The store's own clock is set back by a minute: the seconds that come twice hold both.
    for n in 50..60 {
        store.add(batch("shop/web", n + 100, START + n, vec![(edge("web", "cart", "v1"), signals(1))]), START + n + 1);
        store.tick(START + n + 1);
    }
    (61..70).for_each(|n| store.tick(START + n));
    assert_eq!(requests(&store.edges(START + 50..START + 60, &Filter::default())), (50..60).sum::<u64>() + 10);
}

#[test]
fn memory_stays_below_its_ceiling_and_what_is_old_stays_known_coarsely() {
    let limits = Limits { memory: 60_000 };
    let store = filled(4000, limits);
    let weight: usize = store.inner.lock().levels.iter().map(Level::weight).sum();
    assert!(weight <= limits.memory, "{weight}");
    let hour = START.div_ceil(3600) * 3600;
    assert_eq!(requests(&store.edges(START..hour, &Filter::default())), (0..hour - START).sum::<u64>());
    let answer = store.series(START..START + 4000, 1, &Filter::default(), By::Service, 10);
    assert!(answer.step > 1);
}

#[test]
fn the_busiest_series_are_told_apart() {
    let store = Store::in_memory(Limits::default());
    let entries = (1..=50).map(|n| (edge("web", &format!("s{n:02}"), "v1"), signals(n))).collect();
    store.add(batch("shop/web", 1, START, entries), START);
    (1..6).for_each(|n| store.tick(START + n));
    let answer = store.series(START..START + 1, 1, &Filter::default(), By::Service, 4);
    let sums: Vec<u64> = answer.series.iter().map(|series| series.points[0].signals.as_ref().unwrap().requests).collect();
    assert_eq!(sums, [50, 49, 48, (1..=47).sum()]);
    assert_eq!(answer.series[3].key, Key::other());
    let one = Filter { service: Some("s07.shop".into()), ..Filter::default() };
    assert_eq!(requests(&store.edges(START..START + 1, &one)), 7);
}

#[test]
fn no_report_is_not_the_same_as_no_traffic() {
    let store = filled(20, Limits::default());
    let answer = store.series(START - 5..START + 20, 1, &Filter::default(), By::Service, 4);
    let known: Vec<bool> = answer.series[0].points.iter().map(|point| point.signals.is_some()).collect();
    assert_eq!(known, [[false; 5].as_slice(), &[true; 20]].concat());
}
