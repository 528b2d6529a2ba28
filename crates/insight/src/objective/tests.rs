//! Tests of [`Budget`]: when it fires, when it does not, what is left.

use super::{Budget, Count, DAY, HOUR, Indicator, Objective, Urgency, condensed};
use proptest::prelude::*;
use taut_model::signal::{Second, Signals};

const START: Second = 1_790_000_000;

fn budget(target: f64) -> Budget {
    Budget::new(Objective { indicator: Indicator::Availability, target, window: 30 * DAY })
}

/// Lets time pass in ticks of `step` seconds; when it first fires, in seconds from here.
fn run(budget: &mut Budget, from: &mut Second, seconds: Second, step: Second, (bad, all): (u64, u64)) -> Option<(Second, Urgency)> {
    let start = *from;
    let mut first = None;
    while *from < start + seconds {
        budget.observe(*from, bad, all);
        *from += step;
        first = first.or_else(|| budget.standing().fires().map(|urgency| (*from - start, urgency)));
    }
    first
}

#[test]
fn it_pages_the_sooner_the_faster_the_budget_burns() {
    // Of 99.9 %: what share is bad, and within which time the workbook says that it fires.
    for (bad, at_least, within, urgency) in [
        (10_000, 0, 60, Urgency::Page),
        (1000, 8 * 60, 10 * 60, Urgency::Page),
        (150, 40 * 60, 62 * 60, Urgency::Page),
        (70, 4 * HOUR, 6 * HOUR, Urgency::Page),
        (15, DAY, 3 * DAY, Urgency::Ticket),
    ] {
        let (mut budget, mut at) = (budget(0.999), START);
        assert_eq!(run(&mut budget, &mut at, 3 * DAY, 60, (0, 10_000)), None);
        let fired = run(&mut budget, &mut at, 3 * DAY, 60, (bad, 10_000));
        assert!(fired.is_some_and(|(seconds, how)| how == urgency && (at_least..=within).contains(&seconds)), "{bad}: {fired:?}");
    }
}

#[test]
fn what_keeps_the_objective_never_fires_and_what_is_over_stops_soon() {
    let (mut budget, mut at) = (budget(0.999), START);
    assert_eq!(run(&mut budget, &mut at, 10 * DAY, 300, (9, 10_000)), None);
    assert!(run(&mut budget, &mut at, HOUR, 10, (500, 10_000)).is_some());
    run(&mut budget, &mut at, 6 * 60, 10, (0, 10_000));
    let standing = budget.standing();
    assert!(!standing.burns[0].fires, "the short window is clean: {standing:?}");
}

#[test]
fn one_bad_request_of_few_is_no_page_and_several_are() {
    let (mut budget, mut at) = (budget(0.999), START);
    assert_eq!(run(&mut budget, &mut at, DAY, 60, (0, 1)), None);
    assert_eq!(run(&mut budget, &mut at, 60, 60, (1, 1)), None, "one of the last 60 burns at 16 times, and proves nothing");
    assert!(run(&mut budget, &mut at, 600, 60, (1, 1)).is_some_and(|(seconds, _)| seconds <= 180));
}

#[test]
fn the_budget_that_is_left_and_when_it_will_be_gone() {
    let (mut budget, mut at) = (budget(0.99), START);
    assert_eq!(budget.standing().left, 1.0);
    run(&mut budget, &mut at, 15 * DAY, 600, (5, 1000));
    let standing = budget.standing();
    // Half of what is allowed, for half of the window.
    assert!((standing.left - 0.75).abs() < 0.02 && standing.exhausted_in.is_none(), "{standing:?}");
    run(&mut budget, &mut at, HOUR, 10, (5, 50));
    let standing = budget.standing();
    let seconds = standing.exhausted_in.unwrap_or(0) as f64;
    // At ten times the budget's rate what is left of 30 days is gone in a tenth of it.
    assert!((seconds / (standing.left * 3.0 * DAY as f64) - 1.0).abs() < 0.1, "{standing:?}");
    run(&mut budget, &mut at, 10 * DAY, 600, (1000, 1000));
    assert!(budget.standing().left < 0.0 && budget.standing().exhausted_in == Some(0));
}

#[test]
fn what_is_bad_is_read_from_signals() {
    let mut signals = Signals { requests: 10, ..Signals::default() };
    signals.outcomes.count(200, None, None, 7);
    signals.outcomes.count(503, None, Some("no_endpoint"), 2);
    signals.outcomes.count(0, None, Some("client_left"), 1);
    signals.latency.record_many(10_000, 8);
    signals.latency.record_many(900_000, 2);
    assert_eq!(Indicator::Availability.count(&signals), (2, 10));
    assert_eq!(Indicator::Latency { under: 100_000 }.count(&signals), (2, 10));
    assert_eq!(Indicator::Latency { under: 100_000 }.count(&Signals::default()), (0, 0));
}

#[test]
fn it_stays_small_and_goes_on_after_a_restart() {
    let (mut budget, mut at) = (budget(0.999), START);
    run(&mut budget, &mut at, 40 * DAY, 600, (3, 1000));
    let text = serde_json::to_string(&budget).unwrap();
    assert!(text.len() < 10_000, "{} bytes", text.len());
    let mut after: Budget = serde_json::from_str(&text).unwrap();
    after.observe(at, 5, 10);
    budget.observe(at, 5, 10);
    assert_eq!(after.standing(), budget.standing());
}

proptest! {
    #[test]
    fn whatever_comes_it_stands_somewhere(
        ticks in prop::collection::vec((prop_oneof![any::<u64>(), START..START + 100_000], any::<u64>(), any::<u64>()), 0..100),
        target in prop_oneof![any::<f64>(), 0.0..1.0], window in any::<u64>(),
    ) {
        let mut budget = Budget::new(Objective { indicator: Indicator::Availability, target, window });
        for (at, bad, all) in ticks {
            budget.observe(at, bad, all);
            let standing = budget.standing();
            prop_assert!(standing.burns.iter().all(|burn| burn.over_long >= 0.0 && burn.over_short >= 0.0), "{standing:?}");
            prop_assert!(standing.left <= 1.0, "{standing:?}");
        }
    }
}

#[test]
fn a_past_in_few_counts_stands_as_all_of_it() {
    let mut all = Vec::new();
    let mut at = START;
    // Coarse when it is old, fine when it is new, as the store of signals keeps it; with an hour of which nothing is known.
    for (span, until) in [(3600, START + 28 * DAY), (60, START + 30 * DAY - 2 * HOUR), (10, START + 30 * DAY - HOUR), (1, START + 30 * DAY)] {
        while at < until {
            let (bad, all_of_it) = ((at / 7 % 3) * span, 100 * span);
            all.push(Count { at, bad, all: all_of_it });
            at += span;
        }
        at += if span == 10 { HOUR / 2 } else { 0 };
    }
    let few = condensed(&all);
    assert!(all.len() > 4000 && few.len() < 700, "{} of {}", few.len(), all.len());
    let told = |past: &[Count]| {
        let mut budget = budget(0.999);
        past.iter().for_each(|Count { at, bad, all }| budget.observe(*at, *bad, *all));
        budget
    };
    let (mut one, mut other) = (told(&all), told(&few));
    assert_eq!(one.standing(), other.standing());
    // And so it does as time goes on.
    for second in 0..2 * HOUR {
        one.observe(at + second, second % 50, 100);
        other.observe(at + second, second % 50, 100);
        assert_eq!(one.standing(), other.standing());
    }
    assert_eq!(condensed(&[]), []);
}
