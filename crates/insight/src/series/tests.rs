//! Tests of [`Detector`] on series from a small generator: what it must notice, what it must not, and what it must bear.

use super::dice::Dice;
use super::{Detector, Period, Settings, Surprise, Thorough, ThoroughSettings};
use proptest::prelude::*;

/// What a test takes for an alarm: once in a million observations.
const ALARM: f64 = 6.0;

const START: u64 = 1_790_000_000;

/// How many seconds from the first on until one alarms; `None`: none of them does.
fn first_alarm(surprises: impl IntoIterator<Item = Surprise>) -> Option<usize> {
    surprises.into_iter().position(|surprise| surprise.ready && surprise.value >= ALARM)
}

#[test]
fn noise_alarms_nobody() {
    let mut alarms = 0;
    for series in 0..20 {
        let mut dice = Dice(series);
        let [mut latency, mut count, mut ratio, mut share] =
            [Settings::LATENCY, Settings::RATE, Settings::ERRORS, Settings::SATURATION].map(Detector::new);
        let (rate, mut drift) = (10.0_f64.powf(series as f64 / 5.0 - 1.0), 0.0);
        for second in 0..7200 {
            let at = START + second;
            drift = 0.95 * drift + 0.05 * dice.normal();
            let requests = dice.poisson(rate * (1.0 + 0.1 * f64::tanh(drift)));
            let bad = dice.binomial(requests.min(1000), 0.002);
            let noise = dice.normal();
            let quiet = [
                latency.observe_latency(at, 20.0 * (0.5 * noise / (requests.max(1) as f64).sqrt() + 0.05 * drift).exp(), requests),
                count.observe_count(at, requests),
                ratio.observe_ratio(at, bad, requests.min(1000)),
                share.observe(at, 0.4 + 0.05 * drift + 0.02 * dice.normal()),
            ];
            alarms += quiet.iter().filter(|surprise| surprise.ready && surprise.value >= ALARM).count();
        }
    }
    assert!(alarms <= 5, "{alarms} alarms in 576,000 observations");
}

/// A detector after an hour of a steady rate, with errors one in a thousand.
fn used_to(rate: f64, dice: &mut Dice) -> [Detector; 2] {
    let [mut count, mut ratio] = [Settings::RATE, Settings::ERRORS].map(Detector::new);
    for second in 0..3600 {
        let requests = dice.poisson(rate);
        count.observe_count(START + second, requests);
        ratio.observe_ratio(START + second, dice.binomial(requests, 0.001), requests);
    }
    [count, ratio]
}

#[test]
fn errors_are_noticed_the_sooner_the_more_requests_there_are() {
    for (rate, share, within) in [(100.0, 0.05, 5), (10.0, 0.2, 5), (1.0, 0.5, 20), (0.05, 1.0, 200)] {
        let mut dice = Dice(7);
        let [_, mut ratio] = used_to(rate, &mut dice);
        let told = (0..600).map(|second| {
            let requests = dice.poisson(rate);
            ratio.observe_ratio(START + 3600 + second, dice.binomial(requests, share), requests)
        });
        let noticed = first_alarm(told);
        assert!(noticed.is_some_and(|seconds| seconds <= within), "{rate} a second, {share} bad: {noticed:?}");
    }
}

#[test]
fn one_error_of_a_service_with_a_request_a_minute_is_no_alarm() {
    let mut ratio = Detector::new(Settings::ERRORS);
    for minute in 0..600 {
        ratio.observe_ratio(START + 60 * minute, 0, 1);
    }
    let first = ratio.observe_ratio(START + 60 * 600, 1, 1);
    assert!(first.value < 3.0, "{first:?}");
    let calm = ratio.observe_ratio(START + 60 * 601, 0, 1);
    assert!(calm.value < 1.0, "one good request ends it: {calm:?}");
    let told = (602..612).map(|minute| ratio.observe_ratio(START + 60 * minute, 1, 1));
    let noticed = first_alarm(told);
    assert!(noticed.is_some_and(|requests| requests <= 5), "but failing on and on is: {noticed:?}");
}

#[test]
fn requests_that_no_longer_come_are_missed() {
    for (rate, within) in [(100.0, 3), (10.0, 10), (1.0, 30), (0.05, 1200)] {
        let mut dice = Dice(3);
        let [mut count, _] = used_to(rate, &mut dice);
        let told: Vec<Surprise> = (0..1500).map(|second| count.observe_count(START + 3600 + second, 0)).collect();
        let noticed = first_alarm(told.iter().copied());
        assert!(noticed.is_some_and(|seconds| seconds <= within), "{rate} a second: {noticed:?}");
        assert!(told.iter().all(|surprise| !surprise.above || surprise.value < ALARM), "too few, not too many");
    }
}

#[test]
fn a_fault_is_not_learned_while_it_lasts_and_a_lasting_change_is() {
    let settings = Settings { relearn: 900, ..Settings::LATENCY };
    let (mut detector, mut dice) = (Detector::new(settings), Dice(11));
    let mut at = START;
    let mut run = |level: f64, seconds: u64| -> Vec<Surprise> {
        (0..seconds)
            .map(|_| {
                at += 1;
                detector.observe_latency(at, level * (0.1 * dice.normal()).exp(), 50)
            })
            .collect()
    };
    assert_eq!(first_alarm(run(20.0, 3600)), None);
    let fault = run(60.0, 600);
    assert!(first_alarm(fault.iter().copied()).is_some_and(|seconds| seconds <= 3));
    assert!(fault.iter().skip(5).all(|surprise| surprise.value >= ALARM && surprise.baseline < 22.0), "it lasts, and is not learned");
    assert!(run(20.0, 120).iter().skip(60).all(|surprise| surprise.value < 3.0), "it is over within a minute of the repair");
    let lasting = run(60.0, 1000);
    assert!(lasting[850].value >= ALARM && lasting[950].value < 3.0, "after 900 s it is the new usual");
    assert!(run(20.0, 10).iter().any(|surprise| surprise.value >= ALARM && !surprise.above), "and the old level is news");
}

#[test]
fn a_silence_is_no_proof_that_a_fault_has_lasted() {
    let (mut detector, mut dice) = (Detector::new(Settings::LATENCY), Dice(12));
    let mut observe = |at: u64, level: f64| detector.observe_latency(START + at, level * (0.1 * dice.normal()).exp(), 50);
    (0..3600).for_each(|second| assert!(observe(second, 20.0).value < ALARM));
    observe(3600, 80.0);
    let later = observe(3600 + 2 * Settings::LATENCY.relearn, 80.0);
    assert!(later.value >= ALARM && later.baseline < 22.0, "one slow second, a gap, and another one: {later:?}");
}

#[test]
fn the_more_requests_a_latency_is_of_the_more_it_says() {
    let after = |requests: u64| {
        let (mut detector, mut dice) = (Detector::new(Settings::LATENCY), Dice(5));
        for second in 0..1800 {
            let noise = 0.5 * dice.normal() / (requests as f64).sqrt();
            detector.observe_latency(START + second, 20.0 * noise.exp(), requests);
        }
        detector.observe_latency(START + 1800, 40.0, requests)
    };
    let (few, many) = (after(1), after(100));
    assert!(few.value < 3.0 && many.value > 5.0 && few.spread > many.spread, "{few:?} {many:?}");
}

#[test]
fn what_happens_every_day_at_the_same_time_is_no_news() {
    let settings = Settings { step: 60, memory: 60, season: Some(Period::DAY), ..Settings::RATE };
    let (mut detector, mut dice) = (Detector::new(settings), Dice(13));
    let start = START - START % 86_400;
    let mut of_day = [0; 6];
    for minute in 0..6 * 1440_u64 {
        let (day, of) = ((minute / 1440) as usize, minute % 1440);
        // A batch of an hour, each night at one; on the last day once more, at noon.
        let batch = (60..120).contains(&of) || day == 5 && (720..780).contains(&of);
        let rate = if batch { 900.0 } else { 100.0 };
        let surprise = detector.observe_count(start + minute * 60, dice.poisson(rate));
        of_day[day] += usize::from(surprise.ready && surprise.value >= ALARM && surprise.above);
    }
    assert!(of_day[0] + of_day[1] > 30, "at first it is: {of_day:?}");
    assert_eq!(of_day[3] + of_day[4], 0, "{of_day:?}");
    assert!(of_day[5] >= 30, "at another time it is: {of_day:?}");
}

#[test]
fn ten_thousand_series_that_all_jump_are_all_told() {
    let mut detectors: Vec<Detector> = (0..10_000).map(|_| Detector::new(Settings::SATURATION)).collect();
    for second in 0..60 {
        for (series, detector) in detectors.iter_mut().enumerate() {
            detector.observe(START + second, 100.0 + ((second * 7 + series as u64) % 5) as f64);
        }
    }
    let told = detectors.iter_mut().filter_map(|detector| {
        let surprise = detector.observe(START + 60, 1000.0);
        (surprise.value >= ALARM && surprise.above).then_some(())
    });
    assert_eq!(told.count(), 10_000);
    assert!(size_of::<Detector>() <= 450, "{} bytes each", size_of::<Detector>());
}

#[test]
fn a_detector_goes_on_after_a_restart_where_it_was() {
    let settings = Settings { season: Some(Period::DAY), ..Settings::RATE };
    let (mut before, mut dice) = (Detector::new(settings), Dice(17));
    for second in 0..4000 {
        before.observe_count(START + second, dice.poisson(30.0));
    }
    let mut after: Detector = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
    for (second, count) in (4000..4100).zip([30, 0, 10, 300].into_iter().cycle()) {
        let (a, b) = (before.observe_count(START + second, count), after.observe_count(START + second, count));
        assert!((a.value - b.value).abs() < 1e-6 && a.above == b.above, "{a:?} {b:?}");
    }
}

#[test]
fn gaps_and_clocks_that_jump_are_borne() {
    let (mut detector, mut dice) = (Detector::new(Settings::SATURATION), Dice(19));
    let mut told = Vec::new();
    let mut at = START;
    for second in 0..20_000_u64 {
        at = match second {
            5000 => at + 86_400,
            9000 => at - 200_000,
            12_000 => at + 1_000_000_000,
            _ => at + 1,
        };
        if second % 100 < 10 {
            detector.skip(at);
        } else if second % 777 == 0 {
            detector.observe(at, f64::NAN);
        } else {
            told.push(detector.observe(at, 50.0 + dice.normal()));
        }
    }
    assert_eq!(first_alarm(told), None);
}

#[test]
fn what_never_was_is_told_once_however_it_is_new() {
    let (mut dice, day) = (Dice(23), |minute: u64| 50.0 + 30.0 * (minute as f64 / 288.0 * std::f64::consts::TAU).sin());
    let mut run = |fault: &dyn Fn(u64, f64) -> f64| {
        let mut detector = Thorough::new(ThoroughSettings::default());
        let told = (0..3000).map(|step| {
            let value = day(step) + dice.normal();
            detector.observe(if step >= 2000 { fault(step, value) } else { value })
        });
        let told: Vec<usize> = told.enumerate().filter(|(_, surprise)| surprise.value > 8.0).map(|(step, _)| step).collect();
        (told.iter().filter(|step| (600..2000).contains(*step)).count(), told.iter().find(|step| **step >= 2000).copied(), told.len())
    };
    for (name, fault, within) in [
        ("a spike", (&|step, value| if step == 2100_u64 { 150.0 } else { value }) as &dyn Fn(u64, f64) -> f64, 2100),
        ("a lasting rise", &|step, value| if step >= 2000 { value + 90.0 } else { value }, 2010),
        ("restlessness", &|step, value| if step % 2 == 0 { value - 40.0 } else { value + 40.0 }, 2040),
    ] {
        let (before, first, all) = run(fault);
        assert!(before == 0 && first.is_some_and(|step| step <= within) && all < 20, "{name}: {before} before, first {first:?}, {all} in all");
    }
}

#[test]
fn a_thorough_detector_stays_small_and_goes_on_after_a_restart() {
    let (mut detector, mut dice) = (Thorough::new(ThoroughSettings::default()), Dice(29));
    for step in 0..30_000 {
        let surprise = detector.observe(if step % 1000 == 0 { f64::INFINITY } else { dice.normal() * 1e6 });
        assert!(surprise.value.is_finite() && surprise.spread.is_finite());
    }
    assert!(detector.bytes() < 80 << 10, "{} bytes", detector.bytes());
    let mut after: Thorough = serde_json::from_str(&serde_json::to_string(&detector).unwrap()).unwrap();
    assert!((detector.observe(2e7).value - after.observe(2e7).value).abs() < 1e-6);
}

#[derive(Clone, Debug)]
enum Step {
    Value(f64),
    Latency(f64, u64),
    Count(u64),
    Ratio(u64, u64),
    Skip,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || prop_oneof![any::<f64>(), Just(0.0), Just(f64::NAN), Just(f64::INFINITY), -1e3..1e3];
    let count = || prop_oneof![any::<u64>(), 0_u64..5, Just(u64::MAX)];
    prop_oneof![
        number().prop_map(Step::Value),
        (number(), count()).prop_map(|(value, requests)| Step::Latency(value, requests)),
        count().prop_map(Step::Count),
        (count(), count()).prop_map(|(bad, all)| Step::Ratio(bad, all)),
        Just(Step::Skip),
    ]
}

proptest! {
    /// Even what a detector is never fed with: all kinds of observations in turn, at any times.
    #[test]
    fn whatever_comes_the_answer_is_a_number(
        steps in prop::collection::vec((step(), prop_oneof![Just(None), any::<u64>().prop_map(Some)]), 0..300),
        step in any::<u64>(), memory in any::<u32>(), floor in 0.0..10.0, relearn in any::<u64>(), length in any::<u64>(), slots in 0_u16..100,
    ) {
        let mut detector = Detector::new(Settings { step, memory, floor, least: 0.0, relearn, season: Some(Period { length, slots }) });
        let mut at = START;
        for (step, jump) in steps {
            at = jump.unwrap_or(at.saturating_add(1));
            let surprise = match step {
                Step::Value(value) => detector.observe(at, value),
                Step::Latency(value, requests) => detector.observe_latency(at, value, requests),
                Step::Count(count) => detector.observe_count(at, count),
                Step::Ratio(bad, all) => detector.observe_ratio(at, bad, all),
                Step::Skip => { detector.skip(at); continue }
            };
            prop_assert!(surprise.value.is_finite() && surprise.value >= 0.0, "{surprise:?}");
            prop_assert!(surprise.baseline.is_finite() && !surprise.spread.is_nan(), "{surprise:?}");
        }
    }
}
