//! Buckets, held against one that counts tokens as people would.

use super::*;
use proptest::prelude::*;
use taut_model::policy::AuthorizationRule;
use taut_model::rate_limit::RequestLimit;

fn limit(requests: u32, interval: Duration, burst: u32) -> Arc<Limit> {
    let matching = AuthorizationRule { origin: Origin::default(), from: vec![], to: vec![], when: vec![] };
    let said = RequestLimit { origin: Origin::default(), name: "a".into(), requests, interval, burst, per: Per::Client, matching };
    Arc::new(Limit::new(&said))
}

fn due(limit: &Arc<Limit>, key: u64) -> [Due; 1] {
    [Due { limit: limit.clone(), key }]
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_burst_then_the_rate() {
    let limit = limit(10, SECOND, 3);
    let mut buckets = Buckets::default();
    let at = |millis| 1000 * SECOND + Duration::from_millis(millis);
    for (millis, want) in [(0, None), (0, None), (0, None), (0, Some(100)), (99, Some(1)), (100, None), (100, Some(100)), (400, None), (400, None)] {
        let got = buckets.take(&due(&limit, 1), at(millis)).err().map(|full| full.wait);
        assert_eq!(got, want.map(Duration::from_millis), "{millis}");
    }
    // Another client has a bucket of its own.
    assert!(buckets.take(&due(&limit, 2), at(0)).is_ok());
}

#[test]
fn a_limit_of_nothing_lets_nothing_through() {
    let limit = limit(0, SECOND, 5);
    let mut buckets = Buckets::default();
    for second in [0, 1, 1000] {
        assert_eq!(buckets.take(&due(&limit, 1), second * SECOND).map_err(|full| full.wait), Err(SECOND));
    }
}

#[test]
fn a_request_that_is_refused_costs_nothing() {
    let (wide, narrow) = (limit(100, SECOND, 100), limit(1, SECOND, 1));
    let narrow = Arc::new(Limit { name: "narrow".into(), ..Arc::into_inner(narrow).unwrap() });
    let both = [due(&wide, 1), due(&narrow, 1)].concat();
    let mut buckets = Buckets::default();
    assert!(buckets.take(&both, SECOND).is_ok());
    for _ in 0..200 {
        let full = buckets.take(&both, SECOND).unwrap_err();
        assert_eq!((&*full.limit.name, full.wait), ("narrow", SECOND));
    }
    assert_eq!((0..200).filter(|_| buckets.take(&due(&wide, 1), SECOND).is_ok()).count(), 99);
    buckets.retain([&wide].into_iter());
    assert!(buckets.take(&both[1..], SECOND).is_ok());
}

#[test]
fn keys_are_bounded() {
    let limit = limit(1, SECOND, 1);
    let mut buckets = Buckets::default();
    let mut taken = |keys: std::ops::Range<u64>, now| keys.filter(|key| buckets.take(&due(&limit, *key), now).is_ok()).count();
    assert_eq!(taken(0..MOST_KEYS as u64, 10 * SECOND), MOST_KEYS);
    // All others share one bucket: one gets through, and those who came first keep theirs.
    assert_eq!(taken(100_000..150_000, 10 * SECOND), 1);
    assert_eq!(taken(0..10, 10 * SECOND), 0);
    // What is full again is forgotten.
    assert_eq!(taken(100_000..100_100, 12 * SECOND), 100);
}

proptest! {
    #[test]
    fn it_lets_through_what_a_bucket_of_tokens_does(
        requests in 1_u32..50, burst in 1_u32..20, waits in proptest::collection::vec(0_u64..500, 1..200),
    ) {
        // In whole nanoseconds, so that both count exactly.
        let step = Duration::from_millis(1000) / requests;
        let limit = limit(requests, step * requests, burst);
        let mut buckets = Buckets::default();
        let (mut tokens, mut now) = (u128::from(burst) * step.as_nanos(), 1000 * SECOND);
        for wait in waits {
            let wait = Duration::from_millis(wait);
            now += wait;
            tokens = (tokens + wait.as_nanos()).min(u128::from(burst) * step.as_nanos());
            let want = tokens >= step.as_nanos();
            if want {
                tokens -= step.as_nanos();
            }
            prop_assert_eq!(buckets.take(&due(&limit, 7), now).is_ok(), want);
        }
    }
}
