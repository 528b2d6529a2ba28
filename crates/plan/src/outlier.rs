//! Outlier ejection of one endpoint: counting failures in a row, and for how long it is left out. Which share of a cluster may be
//! out at a time is `may_eject`'s and `panics`' to say.

use std::time::Duration;
use taut_model::destination::OutlierPolicy;

/// Envoy's `max_ejection_time`; a longer base wins.
const MAX_EJECTION: Duration = Duration::from_secs(300);

/// How an attempt ended, as far as ejection cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Good,
    /// 5xx that is not a gateway error.
    ServerError,
    /// 502, 503, 504: counts as both.
    GatewayError,
    /// No connection, reset, timeout: counts as a gateway error, or apart if the policy splits them.
    NoAnswer,
    /// Says nothing, as when the client left.
    Neutral,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outlier {
    server_errors: u32,
    gateway_errors: u32,
    without_answer: u32,
    /// Times ejected, less one for every healthy interval since.
    times: u32,
    until: Option<Duration>,
}

impl Outlier {
    /// Counts; returns whether a limit is reached, so that the endpoint should be ejected.
    pub(crate) fn count(&mut self, sign: Sign, policy: &OutlierPolicy) -> bool {
        let reached = |count: u32, limit: u32| limit > 0 && count >= limit;
        match sign {
            Sign::Neutral => return false,
            Sign::NoAnswer if policy.local_origin_failures.is_some() => {
                self.without_answer = self.without_answer.saturating_add(1);
                return reached(self.without_answer, policy.local_origin_failures.unwrap_or(0));
            }
            Sign::Good => {
                (self.server_errors, self.gateway_errors, self.without_answer) = (0, 0, 0);
                return false;
            }
            Sign::ServerError => {
                self.server_errors = self.server_errors.saturating_add(1);
                (self.gateway_errors, self.without_answer) = (0, 0);
            }
            Sign::GatewayError => {
                self.server_errors = self.server_errors.saturating_add(1);
                self.gateway_errors = self.gateway_errors.saturating_add(1);
                self.without_answer = 0;
            }
            Sign::NoAnswer => {
                self.server_errors = self.server_errors.saturating_add(1);
                self.gateway_errors = self.gateway_errors.saturating_add(1);
            }
        }
        reached(self.server_errors, policy.consecutive_5xx) || reached(self.gateway_errors, policy.consecutive_gateway_errors)
    }

    /// Ejects for base x times ejected, at most 300 s (or base, if that is longer). Every whole interval without an ejection since
    /// the last one ended takes one off the times, as in Envoy.
    pub(crate) fn eject(&mut self, policy: &OutlierPolicy, now: Duration) -> Duration {
        let healthy = now.saturating_sub(self.until.unwrap_or(now)).as_nanos();
        let intervals = healthy.checked_div(policy.interval.as_nanos()).unwrap_or(0);
        self.times = self.times.saturating_sub(u32::try_from(intervals).unwrap_or(u32::MAX)).saturating_add(1);
        let time = policy.base_ejection.saturating_mul(self.times).min(MAX_EJECTION.max(policy.base_ejection));
        let until = now.saturating_add(time);
        *self = Self { times: self.times, until: Some(until), ..Self::default() };
        until
    }

    /// Until when it is out, if it is.
    pub(crate) fn ejected(&self, now: Duration) -> Option<Duration> {
        self.until.filter(|until| now < *until)
    }
}

/// Whether one more of `total` endpoints may go when `out` are out: never above `max_ejection_percent`, but one always may,
/// unless that is 0 (Envoy).
pub(crate) fn may_eject(policy: &OutlierPolicy, out: usize, total: usize) -> bool {
    let percent = u64::from(policy.max_ejection_percent);
    percent > 0 && (out == 0 || (out as u64 + 1) * 100 <= percent * total as u64)
}

/// Whether so few endpoints are left that ejections are to be ignored.
pub(crate) fn panics(policy: &OutlierPolicy, healthy: usize, total: usize) -> bool {
    (healthy as u64) * 100 < u64::from(policy.min_health_percent) * total as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_a_row() {
        let policy = OutlierPolicy { consecutive_5xx: 3, consecutive_gateway_errors: 2, ..OutlierPolicy::default() };
        use Sign::{GatewayError, Good, Neutral, NoAnswer, ServerError};
        for (signs, want) in [
            (&[ServerError, ServerError, ServerError][..], true),
            (&[ServerError, ServerError, Good, ServerError], false),
            (&[ServerError, Neutral, ServerError, ServerError], true),
            (&[GatewayError, NoAnswer], true),
            (&[GatewayError, ServerError], false),
            (&[GatewayError, ServerError, GatewayError], true),
        ] {
            let mut outlier = Outlier::default();
            assert_eq!(signs.iter().map(|sign| outlier.count(*sign, &policy)).last(), Some(want), "{signs:?}");
        }
        let split = OutlierPolicy { local_origin_failures: Some(2), consecutive_gateway_errors: 1, ..policy.clone() };
        for (signs, want) in [
            (&[NoAnswer, NoAnswer][..], true),
            (&[NoAnswer, Good, NoAnswer], false),
            (&[NoAnswer, ServerError, NoAnswer], false),
            (&[NoAnswer, GatewayError], true),
        ] {
            let mut outlier = Outlier::default();
            assert_eq!(signs.iter().map(|sign| outlier.count(*sign, &split)).last(), Some(want), "{signs:?}");
        }
        let off = OutlierPolicy { consecutive_5xx: 0, ..OutlierPolicy::default() };
        let mut outlier = Outlier::default();
        assert!(!(0..100).any(|_| outlier.count(GatewayError, &off)));
    }

    #[test]
    fn ejections_grow_and_shrink() {
        let policy = OutlierPolicy::default();
        let at = Duration::from_secs;
        let mut outlier = Outlier::default();
        assert_eq!(outlier.eject(&policy, at(0)), at(30));
        assert_eq!((outlier.ejected(at(29)), outlier.ejected(at(30))), (Some(at(30)), None));
        assert_eq!(outlier.eject(&policy, at(31)), at(31 + 60));
        // Two healthy intervals of 10 s take two off.
        assert_eq!(outlier.eject(&policy, at(91 + 25)), at(116 + 30));
        for _ in 0..50 {
            outlier.eject(&policy, at(200));
        }
        assert_eq!(outlier.eject(&policy, at(200)), at(500));
    }

    #[test]
    fn how_many_may_go() {
        let policy =
            |max_ejection_percent, min_health_percent| OutlierPolicy { max_ejection_percent, min_health_percent, ..OutlierPolicy::default() };
        for (percent, out, total, want) in
            [(10, 0, 1, true), (10, 0, 5, true), (10, 1, 5, false), (10, 1, 20, true), (50, 1, 4, true), (50, 2, 4, false), (0, 0, 9, false)]
        {
            assert_eq!(may_eject(&policy(percent, 0), out, total), want, "{percent} {out} {total}");
        }
        assert!(!panics(&policy(100, 0), 0, 3) && panics(&policy(100, 50), 1, 3) && !panics(&policy(100, 50), 2, 3));
    }
}
