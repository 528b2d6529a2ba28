//! State beside the plan: picking, ejecting, limits, budgets.

use super::*;
use crate::cluster::Cluster;
use crate::{Live, Outcome, Overflow};
use std::time::Duration;
use taut_model::destination::{Balancer, HashKey, OutlierPolicy, RetryBudget, RetryRate};

const NOW: Duration = Duration::from_secs(100);

pub(super) fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::dice::mix(state)
    }
}

/// The cluster of reviews with its policy changed; three endpoints.
pub(super) fn reviews(change: impl Fn(&mut TrafficPolicy)) -> (Plan, Arc<Cluster>) {
    let mut snapshot = bookstore();
    let mut destination = (*snapshot.destinations["DestinationRule/default/reviews"]).clone();
    change(&mut destination.policy);
    snapshot.destinations.insert("DestinationRule/default/reviews".into(), Arc::new(destination));
    let plan = Plan::compile(&snapshot);
    let cluster = plan.clusters().find(|cluster| *cluster.key.host == fqdn("reviews") && cluster.key.subset.is_none()).unwrap().clone();
    (plan, cluster)
}

pub(super) fn balancers() -> [Balancer; 6] {
    let key = || HashKey::SourceIp;
    [
        Balancer::LeastRequest,
        Balancer::PeakEwma,
        Balancer::RoundRobin,
        Balancer::Random,
        Balancer::RingHash { key: key(), min_size: 1024 },
        Balancer::Maglev { key: key(), table_size: 251 },
    ]
}

#[test]
fn every_balancer_uses_every_endpoint_and_avoids_those_tried() {
    for balancer in balancers() {
        let (_, cluster) = reviews(|policy| policy.balancer = Some(balancer.clone()));
        let (mut live, mut roll) = (Live::new(), dice(1));
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..600 {
            let hash = Some(roll());
            let picked = live.pick(&cluster, NOW, hash, &[], &mut roll).unwrap();
            *seen.entry(picked.uid.to_string()).or_default() += 1;
            let again = live.pick(&cluster, NOW, hash, std::slice::from_ref(&picked.uid), &mut roll).unwrap();
            assert_ne!(again.uid, picked.uid, "{balancer:?}");
            *seen.entry(again.uid.to_string()).or_default() += 1;
            live.report(&cluster, &picked, NOW, Outcome::Status { status: 200, latency: Duration::from_millis(10) });
            live.report(&cluster, &again, NOW, Outcome::Cancelled);
        }
        assert!(seen.len() == 3 && seen.values().all(|count| *count > 200), "{balancer:?} {seen:?}");
    }
}

#[test]
fn peak_ewma_leaves_the_slow_and_the_failing() {
    let (_, cluster) = reviews(|policy| policy.balancer = Some(Balancer::PeakEwma));
    let (mut live, mut roll) = (Live::new(), dice(2));
    let mut seen = BTreeMap::<String, u32>::new();
    for request in 0..1000_u64 {
        let now = NOW + Duration::from_millis(request);
        let picked = live.pick(&cluster, now, None, &[], &mut roll).unwrap();
        *seen.entry(picked.uid.to_string()).or_default() += 1;
        let outcome = match &*picked.uid {
            "default/reviews-v1" => Outcome::Status { status: 200, latency: Duration::from_millis(400) },
            "default/reviews-v2" => Outcome::ConnectFailed,
            _ => Outcome::Status { status: 200, latency: Duration::from_millis(5) },
        };
        live.report(&cluster, &picked, now, outcome);
    }
    assert!(seen["default/reviews-v3"] > 600, "{seen:?}");
}

#[test]
fn an_outlier_is_ejected_and_comes_back() {
    let outlier = OutlierPolicy { consecutive_5xx: 2, max_ejection_percent: 100, ..OutlierPolicy::default() };
    let (plan, cluster) = reviews(|policy| policy.outlier = Some(outlier.clone()));
    let (mut live, mut roll) = (Live::new(), dice(3));
    let mut fail = |live: &mut Live, uid: &str, now| loop {
        let picked = live.pick(&cluster, now, None, &[], &mut roll).unwrap();
        let status = if &*picked.uid == uid { 500 } else { 200 };
        live.report(&cluster, &picked, now, Outcome::Status { status, latency: Duration::ZERO });
        if live.ejected(now).iter().any(|(_, ejected, _)| &**ejected == uid) {
            break;
        }
    };
    for uid in ["default/reviews-v1", "default/reviews-v2", "default/reviews-v3"] {
        fail(&mut live, uid, NOW);
    }
    live.retain(&plan, NOW);
    assert_eq!(live.ejected(NOW).len(), 3);
    let mut roll = dice(4);
    let none = live.pick(&cluster, NOW, None, &[], &mut roll).unwrap_err();
    assert_eq!((none.total, none.ejected), (3, 3));
    assert!(live.pick(&cluster, NOW + Duration::from_secs(30), None, &[], &mut roll).is_ok());
    live.retain(&Plan::compile(&Snapshot::default()), NOW);
    assert!(live.ejected(NOW).is_empty());
}

#[test]
fn one_may_always_go_and_no_more_than_the_percentage() {
    let outlier = OutlierPolicy { consecutive_5xx: 1, ..OutlierPolicy::default() };
    let (_, cluster) = reviews(|policy| policy.outlier = Some(outlier.clone()));
    let (mut live, mut roll) = (Live::new(), dice(5));
    for _ in 0..50 {
        let picked = live.pick(&cluster, NOW, None, &[], &mut roll).unwrap();
        live.report(&cluster, &picked, NOW, Outcome::Reset);
    }
    assert_eq!(live.ejected(NOW).len(), 1);
}

#[test]
fn limits_and_budgets_hold_and_are_given_back() {
    let (_, cluster) = reviews(|policy| {
        let limits = policy.limits.get_or_insert_default();
        (limits.max_requests, limits.max_pending, limits.max_retries) = (Some(30), Some(0), Some(5));
    });
    let mut live = Live::new();
    assert_eq!((0..31).map(|_| live.admit(&cluster, NOW)).filter(Result::is_ok).count(), 30);
    assert_eq!(live.admit(&cluster, NOW), Err(Overflow::Requests(30)));
    live.finish_request(&cluster);
    assert_eq!(live.admit(&cluster, NOW), Ok(()));
    assert_eq!(live.begin_wait(&cluster), Err(Overflow::Pending(0)));
    // 20 % of 30 are 6, and max_retries is 5.
    assert_eq!((0..9).filter(|_| live.try_retry(&cluster, NOW)).count(), 5);
    live.finish_retry(&cluster);
    assert!(live.try_retry(&cluster, NOW));
    let mut quiet = Live::new();
    assert_eq!((0..9).filter(|_| quiet.try_retry(&cluster, NOW)).count(), 3);
    let mut half = Live::for_workers(2);
    assert_eq!((0..31).filter(|_| half.admit(&cluster, NOW).is_ok()).count(), 15);
}

#[test]
fn a_budget_over_time_counts_what_began_in_it() {
    let budget = |min_rate| RetryBudget { percent: 20.0, min_concurrency: 0, interval: Duration::from_secs(10), min_rate };
    let (_, cluster) = reviews(|policy| policy.retry_budget = Some(budget(None)));
    let mut live = Live::new();
    let at = |second| NOW + Duration::from_secs(second);
    // Requests that are over count on.
    for second in 0..10 {
        (0..10).for_each(|_| {
            live.admit(&cluster, at(second)).unwrap();
            live.finish_request(&cluster);
        });
    }
    let tried = |live: &mut Live, second| {
        let tried = (0..50).filter(|_| live.try_retry(&cluster, at(second))).count();
        (0..tried).for_each(|_| live.finish_retry(&cluster));
        tried
    };
    assert_eq!([tried(&mut live, 9), tried(&mut live, 9), tried(&mut live, 40)], [20, 0, 0]);
    let (_, cluster) = reviews(|policy| policy.retry_budget = Some(budget(Some(RetryRate { count: 3, interval: Duration::from_secs(1) }))));
    let mut quiet = Live::new();
    let tried = |live: &mut Live, second| (0..50).filter(|_| live.try_retry(&cluster, at(second))).count();
    assert_eq!([tried(&mut quiet, 0), tried(&mut quiet, 0), tried(&mut quiet, 1)], [3, 0, 3]);
}
