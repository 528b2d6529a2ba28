//! What sketches and signals promise: the error, that merging parts is the whole, that bytes come back, that no bytes do harm.

use super::sketch::{MOST_BUCKETS, RELATIVE_ERROR};
use super::varint::Reader;
use super::*;
use proptest::prelude::*;

fn sketch(values: &[u64]) -> Sketch {
    let mut sketch = Sketch::default();
    values.iter().for_each(|value| sketch.record(*value));
    sketch
}

/// Values of all magnitudes, as durations are.
fn value() -> impl Strategy<Value = u64> {
    (0_u32..36, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(value(), 1..200)
}

fn outcome() -> impl Strategy<Value = (u16, Option<u16>, Option<&'static str>, u64)> {
    let reason = prop::option::of(prop::sample::select(vec!["connect_failed", "reset", "timeout", "client_left", "ümlaut"]));
    (0_u16..700, prop::option::of(0_u16..20), reason, 1_u64..1000)
}

fn signals() -> impl Strategy<Value = Signals> {
    (prop::collection::vec(outcome(), 0..50), prop::collection::vec(value(), 0..50), prop::array::uniform6(0_u64..1 << 40)).prop_map(
        |(outcomes, durations, [requests, request_bytes, response_bytes, opened, connections, in_flight])| {
            let mut signals = Signals { requests, request_bytes, response_bytes, opened, connections, in_flight, ..Signals::default() };
            outcomes.into_iter().for_each(|(status, grpc, reason, times)| signals.outcomes.count(status, grpc, reason, times));
            signals.latency = sketch(&durations);
            signals
        },
    )
}

fn edge() -> Edge {
    let party = |name: &str| {
        let name = name.to_owned();
        Arc::new(Party { workload: name.clone(), namespace: "shop".into(), app: name.clone(), version: "v\"1\n".into(), principal: UNKNOWN.into() })
    };
    Edge {
        source: party("web"),
        service: Arc::new(ServiceName { host: "cart.shop.svc.cluster.local".into(), namespace: "shop".into(), name: "cart".into() }),
        destination: party("cart-v1"),
        protocol: Protocol::Grpc,
        route: "canary".into(),
        reporter: Reporter::Destination,
        security: Security::MutualTls,
    }
}

proptest! {
    #[test]
    fn a_quantile_is_within_one_percent_of_the_value_at_its_rank(mut values in values(), q in 0.0_f64..=1.0) {
        let sketch = sketch(&values);
        values.sort_unstable();
        let exact = values[(q * (values.len() - 1) as f64) as usize] as f64;
        let said = sketch.quantile(q).unwrap();
        prop_assert!((said - exact).abs() <= RELATIVE_ERROR * exact, "{said} for {exact}");
        prop_assert_eq!(sketch.count(), values.len() as u64);
        prop_assert_eq!(sketch.sum(), values.iter().sum::<u64>());
        prop_assert_eq!(sketch.max(), *values.last().unwrap());
    }

    #[test]
    fn merging_is_the_same_as_having_seen_both(a in values(), b in values()) {
        let (mut merged, both) = (sketch(&a), sketch(&[a, b.clone()].concat()));
        merged.merge(&sketch(&b));
        prop_assert_eq!(&merged, &both);
        prop_assert!(merged.buckets().count() <= MOST_BUCKETS);
    }

    #[test]
    fn sums_of_written_sketches_are_what_merging_gives(all in prop::collection::vec(values(), 0..5), again in values()) {
        let mut sum = SketchSum::default();
        for all in [all, vec![again]] {
            let mut merged = Sketch::default();
            for values in all {
                let bytes = sketch(&values).to_bytes();
                merged.merge(&sketch(&values));
                sum.add_written(&mut Reader::new(&bytes)).unwrap();
            }
            prop_assert_eq!(sum.take(), merged);
        }
    }

    #[test]
    fn a_sketch_comes_back_from_its_bytes(values in values()) {
        let sketch = sketch(&values);
        prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
    }

    #[test]
    fn counts_up_to_a_bound_are_those_of_the_values_but_for_one_bucket(values in values(), bound in value()) {
        let near = |share: f64| values.iter().filter(|value| **value as f64 <= bound as f64 * share).count() as u64;
        let counted = sketch(&values).count_up_to(bound);
        prop_assert!((near(0.98)..=near(1.02)).contains(&counted), "{counted}");
    }

    #[test]
    fn signals_come_back_from_their_bytes(signals in signals()) {
        let mut bytes = Vec::new();
        signals.write(&mut bytes);
        let read = Signals::read(&bytes).unwrap();
        prop_assert_eq!(&read, &signals);
        prop_assert!(signals.outcomes.iter().count() <= MOST_OUTCOMES + 14);
    }

    #[test]
    fn adding_written_signals_is_adding_signals(a in signals(), b in signals()) {
        let mut bytes = Vec::new();
        b.write(&mut bytes);
        let (mut one, mut other) = (a.clone(), a);
        one.merge(&b);
        other.merge_written(&bytes).unwrap();
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(Signals::written_weight(&bytes).unwrap(), b.requests + b.opened + b.connections);
    }

    #[test]
    fn counts_and_durations_apart_are_the_whole(signals in signals()) {
        let mut bytes = Vec::new();
        signals.write(&mut bytes);
        let (counts, latency) = Signals::split_written(&bytes).unwrap();
        let mut read = Signals::default();
        let gauges = read.add_written_counts(counts).unwrap();
        prop_assert_eq!(read.add_written_counts(&bytes).map(|_| read.requests), Ok(2 * signals.requests));
        read = Signals::default();
        prop_assert_eq!(read.add_written_counts(counts), Ok(gauges));
        prop_assert_eq!(latency.is_empty(), signals.latency.is_empty());
        if !latency.is_empty() {
            read.add_written_latency(latency).unwrap();
        }
        (read.connections, read.in_flight) = (gauges.connections, gauges.in_flight);
        prop_assert_eq!(read, signals);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Sketch::from_bytes(&bytes);
        let _ = Signals::read(&bytes);
        let _ = Edge::read(&mut Reader::new(&bytes));
    }

    #[test]
    fn damaged_bytes_do_no_harm_and_what_is_read_of_them_can_be_written(signals in signals(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = Vec::new();
        signals.write(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = Signals::read(&bytes) {
            let mut again = Vec::new();
            read.write(&mut again);
            prop_assert!(Signals::read(&again).is_ok());
        }
        bytes.truncate(at);
        prop_assert!(Signals::read(&bytes).is_err());
    }
}

#[test]
fn an_edge_comes_back_from_its_bytes_and_every_cut_is_noticed() {
    let mut bytes = Vec::new();
    edge().write(&mut bytes);
    assert_eq!(Edge::read(&mut Reader::new(&bytes)), Ok(edge()));
    for cut in 0..bytes.len() {
        assert!(Edge::read(&mut Reader::new(&bytes[..cut])).is_err(), "{cut}");
    }
}

#[test]
fn the_longest_durations_share_the_last_bucket_and_keep_sum_and_largest() {
    let mut sketch = sketch(&[u64::MAX, 1 << 50, 5]);
    assert_eq!((sketch.count(), sketch.max(), sketch.buckets().count()), (3, u64::MAX, 2));
    sketch.merge(&sketch.clone());
    assert_eq!((sketch.count(), sketch.sum()), (6, u64::MAX));
    assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
}

#[test]
fn outcomes_are_bounded_and_lose_no_count() {
    let mut signals = Signals::default();
    for number in 0..1000 {
        signals.outcomes.count(200 + number, None, Some(&format!("reason {number}")), 1);
    }
    assert!(signals.outcomes.iter().count() <= MOST_OUTCOMES + 14);
    assert_eq!(signals.outcomes.iter().map(|(_, count)| count).sum::<u64>(), 1000);
    assert_eq!(signals.errors(), 1000);
}

#[test]
fn failures_are_named_by_the_mesh_or_by_what_the_application_said() {
    let mut signals = Signals { requests: 10, ..Signals::default() };
    signals.outcomes.count(200, None, None, 4);
    signals.outcomes.count(503, None, None, 2);
    signals.outcomes.count(503, None, Some("no_endpoint"), 1);
    signals.outcomes.count(200, Some(14), None, 1);
    signals.outcomes.count(200, Some(0), None, 1);
    signals.outcomes.count(0, None, Some("client_left"), 1);
    assert_eq!(signals.failures(), BTreeMap::from([("client_left", 1), ("grpc_14", 1), ("http_5xx", 2), ("no_endpoint", 1)]));
    assert_eq!((signals.errors(), signals.error_rate()), (4, 0.4));
    assert_eq!(signals.statuses(), BTreeMap::from([(200, 6), (503, 3)]));
}

#[test]
fn spans_that_follow_each_other_keep_the_last_gauge() {
    let at = |connections, in_flight| Signals { connections, in_flight, opened: 1, ..Signals::default() };
    let (mut beside, mut after) = (at(3, 4), at(3, 4));
    beside.merge(&at(1, 2));
    after.then(&at(1, 2));
    assert_eq!((beside.connections, beside.in_flight, beside.opened), (4, 6, 2));
    assert_eq!((after.connections, after.in_flight, after.opened), (1, 4, 2));
}
