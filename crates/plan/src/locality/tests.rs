//! Places, as tables: who is near whom, and who gets how much.

use super::*;
use crate::tests::workload;
use proptest::prelude::*;

fn at(locality: &str, number: u8) -> Workload {
    Workload { locality: locality.to_owned(), ..workload("reviews", &format!("v{number}"), number) }
}

fn endpoints(localities: &[&str]) -> Vec<Workload> {
    localities.iter().zip(1..).map(|(locality, number)| at(locality, number)).collect()
}

fn places_of(
    own: Option<&Workload>,
    endpoints: &[Workload],
    policy: Option<&LocalityPolicy>,
    distribution: Distribution,
    fails_over: bool,
) -> Places {
    places(own, &endpoints.iter().collect::<Vec<_>>(), policy, distribution, fails_over)
}

fn client(locality: &str) -> Workload {
    Workload { locality: locality.to_owned(), ..workload("productpage", "v1", 200) }
}

fn groups(places: &Places) -> Vec<Vec<usize>> {
    places.iter().map(|place| place.positions.clone()).collect()
}

#[test]
fn localities_are_ranked_as_istio_does() {
    let there = endpoints(&["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1", ""]);
    let ranked = |own: &str, policy: Option<&LocalityPolicy>, distribution, fails_over| {
        groups(&places_of(Some(&client(own)), &there, policy, distribution, fails_over))
    };
    let all = vec![vec![0], vec![1], vec![2], vec![3, 4, 5]];
    assert_eq!(ranked("eu/a/1", None, Distribution::Any, true), all);
    // Without a judge of health nothing is kept near, unless the service wishes it.
    assert!(ranked("eu/a/1", None, Distribution::Any, false).is_empty());
    assert_eq!(ranked("eu/a/1", None, Distribution::SameZone, false), vec![vec![0, 1], vec![2], vec![3, 4, 5]]);
    // A client that does not know where it is has no near and far.
    assert!(ranked("", None, Distribution::SameZone, true).is_empty());
    let policy = LocalityPolicy { failover: vec![("eu".into(), "us".into())], ..LocalityPolicy::default() };
    assert_eq!(ranked("eu/a/1", Some(&policy), Distribution::Any, true), vec![vec![0], vec![1], vec![2], vec![3], vec![4, 5]]);
    let off = LocalityPolicy { disabled: true, ..LocalityPolicy::default() };
    assert!(ranked("eu/a/1", Some(&off), Distribution::SameZone, true).is_empty());
    assert_eq!(places_of(None, &there, None, Distribution::SameZone, true), Places::Alike);
    // A slice tells the zone and not the region.
    assert_eq!(ranked("eu/a", None, Distribution::SameZone, false)[0], [0, 1]);
    let zones = endpoints(&["/a", "/b"]);
    assert_eq!(groups(&places_of(Some(&client("eu/a")), &zones, None, Distribution::SameZone, false)), vec![vec![0], vec![1]]);
}

#[test]
fn labels_rank_by_how_many_of_the_first_ones_match() {
    let label = |name: &str, value: Option<&str>| LabelMatch { name: name.into(), value: value.map(Into::into) };
    let policy = |labels: Vec<LabelMatch>| LocalityPolicy { failover_priority: labels, ..LocalityPolicy::default() };
    let there = endpoints(&["eu/a", "eu/b", "us/a"]);
    let ranked = |labels| groups(&places_of(Some(&client("eu/b")), &there, Some(&policy(labels)), Distribution::Any, true));
    assert_eq!(ranked(vec![label(REGION, None), label(ZONE, None)]), vec![vec![1], vec![0], vec![2]]);
    assert_eq!(ranked(vec![label("version", Some("v3"))]), vec![vec![2], vec![0, 1]]);
    assert!(ranked(vec![label("absent", None)]).is_empty());
}

#[test]
fn shares_name_places_of() {
    let there = endpoints(&["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1"]);
    let entry =
        |from: &str, to: &[(&str, u32)]| Distribute { from: from.into(), to: to.iter().map(|(at, weight)| ((*at).into(), *weight)).collect() };
    let policy = LocalityPolicy {
        distribute: vec![entry("eu/a/*", &[("eu/*", 20), ("eu/a/*", 80), ("asia/*", 50)]), entry("us/*", &[("*", 1)])],
        ..LocalityPolicy::default()
    };
    let shares = |own: &str| places_of(Some(&client(own)), &there, Some(&policy), Distribution::Any, false);
    let place = |name: &str, positions: Vec<usize>| Place { name: name.into(), positions };
    assert_eq!(shares("eu/a/1"), Places::Shared(vec![(80, place("eu/a/*", vec![0, 1])), (20, place("eu/*", vec![2]))]));
    assert_eq!(shares("us/x"), Places::Shared(vec![(1, place("*", vec![0, 1, 2, 3]))]));
    assert_eq!(shares("asia/x"), Places::Alike);
    let nowhere = LocalityPolicy { distribute: vec![entry("*", &[("mars/*", 100)])], ..LocalityPolicy::default() };
    assert_eq!(places_of(Some(&client("eu")), &there, Some(&nowhere), Distribution::Any, true), Places::Shared(vec![]));
}

#[test]
fn loads_are_envoys() {
    // The examples of Envoy's documentation, "Priority levels" (factor 1.4).
    for (health, want) in [
        (vec![(100, 100), (100, 100)], vec![100, 0]),
        (vec![(72, 100), (100, 100)], vec![100, 0]),
        (vec![(71, 100), (100, 100)], vec![99, 1]),
        (vec![(50, 100), (50, 100)], vec![70, 30]),
        (vec![(25, 100), (100, 100)], vec![35, 65]),
        (vec![(25, 100), (25, 100)], vec![50, 50]),
        (vec![(0, 100), (100, 100)], vec![0, 100]),
        (vec![(5, 100), (0, 100)], vec![100, 0]),
        (vec![(0, 1), (0, 1)], vec![0, 0]),
    ] {
        assert_eq!(loads(&health), want, "{health:?}");
    }
}

proptest! {
    #[test]
    fn loads_add_up_and_grow_with_health(health in proptest::collection::vec((0_usize..50, 1_usize..50), 1..6)) {
        let health: Vec<(usize, usize)> = health.into_iter().map(|(well, all)| (well.min(all), all)).collect();
        let loads = loads(&health);
        let some = health.iter().any(|health| carries(*health) > 0);
        prop_assert_eq!(loads.iter().sum::<u64>(), if some { 100 } else { 0 });
        for (load, (well, _)) in loads.iter().zip(&health) {
            prop_assert!(*load == 0 || *well > 0);
        }
    }

    #[test]
    fn a_place_is_picked_with_something_in_it(well in proptest::collection::vec(any::<bool>(), 4), may in proptest::collection::vec(any::<bool>(), 4), roll: u64) {
        let there = endpoints(&["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1"]);
        let places = places_of(Some(&client("eu/a/1")), &there, None, Distribution::Any, true);
        let picked = places.pick(|at| well[at], |at| may[at], roll);
        prop_assert_eq!(picked.is_empty(), may.iter().all(|may| !may));
        prop_assert!(picked.iter().all(|at| may[*at]));
    }
}
