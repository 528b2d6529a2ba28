//! Slow start: which part of its share a new endpoint gets (Envoy, "Slow start mode").

use std::time::Duration;
use taut_model::destination::WarmUp;

/// Weights are counted in thousandths of an endpoint's own where endpoints warm up.
pub(crate) const WHOLE: u32 = 1000;

/// From the minimum to 1: `(age / duration)^(1 / aggression)`, where the first second counts as one.
pub(crate) fn part(policy: &WarmUp, age: Duration) -> f64 {
    if age >= policy.duration {
        return 1.0;
    }
    let grown = age.max(Duration::from_secs(1)).as_secs_f64() / policy.duration.as_secs_f64();
    let part = grown.min(1.0).powf(1.0 / policy.aggression);
    part.max(policy.minimum_percent / 100.0).clamp(0.0, 1.0)
}

/// A weight in [`WHOLE`]ths; never nothing, so that an endpoint is reached at all.
pub(crate) fn weight(own: u32, part: f64) -> u32 {
    let thousandths = f64::from(own) * part * f64::from(WHOLE);
    // The cast saturates.
    (thousandths.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_grows_into_its_share() {
        let policy = |minimum_percent, aggression| WarmUp { duration: Duration::from_secs(100), minimum_percent, aggression };
        for (policy, age, want) in [
            (policy(10.0, 1.0), 0, 0.1),
            (policy(0.0, 1.0), 0, 0.01),
            (policy(10.0, 1.0), 50, 0.5),
            (policy(10.0, 2.0), 25, 0.5),
            (policy(10.0, 0.5), 50, 0.25),
            (policy(10.0, 1.0), 100, 1.0),
            (policy(10.0, 1.0), 1000, 1.0),
            (policy(100.0, 1.0), 1, 1.0),
        ] {
            let got = part(&policy, Duration::from_secs(age));
            assert!((got - want).abs() < 1e-9, "{policy:?} {age} {got}");
        }
        assert_eq!([weight(1, 0.1), weight(3, 1.0), weight(1, 0.0), weight(u32::MAX, 1.0)], [100, 3000, 1, u32::MAX]);
    }
}
