//! Tests of [`Forecaster`] on series from a small generator.

use super::{Capacity, Expert, Forecaster, Settings};
use crate::series::dice::Dice;
use proptest::prelude::*;

/// A day of 288 steps with a busy afternoon, and noise.
fn load(step: usize, dice: &mut Dice) -> f64 {
    let day = (step as f64 / 288.0 * std::f64::consts::TAU).sin();
    (1000.0 + 600.0 * day) * (0.05 * dice.normal()).exp()
}

#[test]
fn a_day_like_the_day_before_is_foreseen_and_the_intervals_hold() {
    let (mut forecaster, mut dice) = (Forecaster::new(&Settings::default()), Dice(31));
    let values: Vec<f64> = (0..14 * 288).map(|step| load(step, &mut dice)).collect();
    let (mut error, mut last_error, mut likely, mut certain, mut tried) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (step, value) in values.iter().enumerate() {
        forecaster.observe(Some(*value));
        let next = values.get(step + 1..step + 13).filter(|_| step > 2 * 288);
        if let (Some(next), Some(hour)) = (next, forecaster.forecasts().nth(2)) {
            let actual = next.iter().sum::<f64>() / 12.0;
            error += (hour.mean - actual).abs();
            last_error += (value - actual).abs();
            likely += f64::from(u8::from((hour.likely.low..=hour.likely.high).contains(&actual)));
            certain += f64::from(u8::from((hour.certain.low..=hour.certain.high).contains(&actual)));
            tried += 1.0;
        }
    }
    assert!(error < 0.4 * last_error, "{error} against {last_error}");
    assert!((likely / tried - 0.8_f64).abs() < 0.03, "{}", likely / tried);
    assert!((certain / tried - 0.95_f64).abs() < 0.02, "{}", certain / tried);
    assert!(forecaster.bytes() < 32 << 10, "{} bytes", forecaster.bytes());
}

#[test]
fn whoever_was_right_of_late_is_trusted() {
    let (mut forecaster, mut dice) = (Forecaster::new(&Settings::default()), Dice(37));
    let weight = |forecaster: &Forecaster, of: Expert| forecaster.experts(0).iter().find(|(expert, ..)| *expert == of).map_or(0.0, |it| it.2);
    // A walk: nothing but the last value says anything.
    let mut value = 1e6;
    for _ in 0..2000 {
        value += 1000.0 * dice.normal();
        forecaster.observe(Some(value));
    }
    assert!(weight(&forecaster, Expert::Last) > 5.0 * weight(&forecaster, Expert::DayAgo));
    let sum: f64 = forecaster.experts(0).iter().map(|(.., weight)| weight).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn steps_that_are_not_told_teach_nothing() {
    let (mut forecaster, mut dice) = (Forecaster::new(&Settings::default()), Dice(41));
    for step in 0..600 {
        forecaster.observe(Some(load(step, &mut dice)));
    }
    let tried = forecaster.forecasts().map(|forecast| forecast.tried).collect::<Vec<_>>();
    for _ in 0..50 {
        forecaster.observe(None);
    }
    let after = forecaster.forecasts().map(|forecast| forecast.tried).collect::<Vec<_>>();
    assert_eq!(tried, after);
}

#[test]
fn a_service_that_cannot_do_what_comes_is_named_before_it_comes() {
    let mut forecaster = Forecaster::new(&Settings::default());
    for _ in 0..400 {
        forecaster.observe(Some(500.0));
    }
    let forecast = forecaster.forecasts().next().unwrap();
    let demand = Capacity { limit: 20.0, latency: 0.05 }.demand(&forecast, 0.7).unwrap();
    assert!((demand.expected - 25.0).abs() < 0.1 && demand.share > 1.2 && demand.scale > demand.share, "{demand:?}");
    assert_eq!(Capacity { limit: 0.0, latency: 0.05 }.demand(&forecast, 0.7), None);
}

proptest! {
    #[test]
    fn whatever_comes_forecasts_are_numbers(
        values in prop::collection::vec(prop_oneof![any::<f64>().prop_map(Some), Just(None), (0.0..1e3).prop_map(Some)], 0..300),
        day in 0_usize..50, horizons in prop::collection::vec(0_usize..60, 0..4),
    ) {
        let mut forecaster = Forecaster::new(&Settings { day, horizons });
        for value in values {
            forecaster.observe(value);
            for forecast in forecaster.forecasts() {
                let order = [forecast.certain.low, forecast.likely.low, forecast.likely.high, forecast.certain.high];
                prop_assert!(order.iter().all(|value| value.is_finite()) && forecast.mean.is_finite() && forecast.error.is_finite(), "{forecast:?}");
            }
        }
    }
}
