//! Every outcome is counted, with the share that the dice give it.

use super::*;
use std::time::Duration;
use taut_model::route::{AbortWith, Fault, FaultAbort, FaultDelay, Mirror};

fn plan(weights: [u32; 3], fault: Option<(f64, f64)>, mirror: Option<f64>) -> Plan {
    let shares = ["v1", "v2", "v3"].iter().zip(weights).map(|(subset, weight)| backend("reviews", Some(subset), weight)).collect();
    let fault = fault.map(|(delay, abort)| Fault {
        origin: origin("VirtualService", "r", "spec.http[0].fault"),
        delay: Some(FaultDelay { percent: delay, duration: Duration::from_secs(7) }),
        abort: Some(FaultAbort { percent: abort, with: AbortWith::Http(500) }),
    });
    let mirrors = mirror.map(|percent| Mirror { backend: backend("ratings", None, 1), percent }).into_iter().collect();
    let rule = HttpRule { fault, mirrors, ..rule("r", vec![], HttpAction::Forward(shares)) };
    Plan::compile(&with_routes(vec![route(Dialect::Istio, "r", "", vec![rule])]))
}

/// Outcomes, whether they are delayed, and their shares in millionths of a percent.
fn shares(plan: &Plan) -> Vec<(String, bool, u128)> {
    let found = plan.possibilities(&get("/").facts());
    assert_eq!(found.all.iter().map(|one| one.odds).sum::<u128>(), found.whole);
    let delayed = |verdict: &Verdict| matches!(verdict, Verdict::Go(go) if go.delay.is_some());
    let share = |odds: u128| odds * 100_000_000 / found.whole;
    found.all.iter().map(|one| (short(&one.verdict), delayed(&one.verdict), share(one.odds))).collect()
}

#[test]
fn shares_are_those_of_the_weights() {
    let of = |weights| shares(&plan(weights, None, None)).into_iter().map(|(to, _, share)| (to, share)).collect::<Vec<_>>();
    let named = |name: &str, share: u128| (name.to_owned(), share);
    assert_eq!(of([90, 0, 10]), [named("reviews v1", 90_000_000), named("reviews v3", 10_000_000)]);
    assert_eq!(of([1, 1, 1]).iter().map(|(_, share)| *share).collect::<Vec<_>>(), [33_333_333; 3]);
    assert_eq!(of([u32::MAX, 1, 0]).len(), 2);
    assert_eq!(of([0, 0, 0]).len(), 1);
}

#[test]
fn faults_and_backends_multiply() {
    let found = shares(&plan([90, 10, 0], Some((12.5, 20.0)), None));
    let share = |wanted: bool, what: fn(&str) -> bool| -> u128 {
        found.iter().filter(|(to, delayed, _)| *delayed == wanted && what(to)).map(|(.., share)| share).sum()
    };
    // Delays and aborts are independent; what is aborted goes nowhere.
    assert_eq!(share(true, |_| true), 12_500_000);
    assert_eq!(share(true, |to| to == "reviews v1"), 9_000_000);
    assert_eq!(share(false, |to| to == "reviews v2"), 7_000_000);
    assert_eq!(share(false, |to| !to.starts_with("reviews")), 17_500_000);
}

#[test]
fn what_always_or_never_happens_is_one_outcome() {
    assert_eq!(shares(&plan([1, 0, 0], Some((0.0, 100.0)), None)).len(), 1);
    assert_eq!(shares(&plan([1, 0, 0], Some((100.0, 0.0)), None)), [("reviews v1".to_owned(), true, 100_000_000)]);
}

#[test]
fn copies_are_told_beside_whatever_the_dice_say() {
    let found = plan([1, 1, 0], None, Some(12.5)).possibilities(&get("/").facts());
    let [mirrored] = &found.mirrors[..] else { panic!("{:?}", found.mirrors) };
    assert_eq!((mirrored.to.as_ref().map(|key| &*key.host), mirrored.percent), (Some(&*fqdn("ratings")), 12.5));
}
