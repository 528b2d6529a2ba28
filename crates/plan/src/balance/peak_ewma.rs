//! Peak-EWMA: an estimate of latency that jumps up at once and comes down slowly (Finagle's and Linkerd's balancer).

use std::time::Duration;

/// Linkerd's defaults.
const DEFAULT_RTT: f64 = 0.030;
const DECAY: f64 = 10.0;
/// A failure must not look fast: it counts as twice the estimate, within these bounds.
const FAILURE: (f64, f64) = (5.0 * DEFAULT_RTT, 10.0);

#[derive(Clone, Copy, Debug)]
pub(crate) struct PeakEwma {
    /// Seconds.
    estimate: f64,
    updated: Duration,
}

impl PeakEwma {
    pub(crate) fn new(now: Duration) -> Self {
        Self { estimate: DEFAULT_RTT, updated: now }
    }

    /// The estimate in seconds: without news it decays, so that an endpoint that was slow is tried again.
    pub(crate) fn estimate(&self, now: Duration) -> f64 {
        self.estimate * fade(now.saturating_sub(self.updated))
    }

    pub(crate) fn observe(&mut self, latency: Duration, now: Duration) {
        let latency = latency.as_secs_f64();
        let keep = fade(now.saturating_sub(self.updated));
        self.estimate = if latency > self.estimate * keep { latency } else { self.estimate * keep + latency * (1.0 - keep) };
        self.updated = self.updated.max(now);
    }

    pub(crate) fn observe_failure(&mut self, now: Duration) {
        let cost = (2.0 * self.estimate(now)).clamp(FAILURE.0, FAILURE.1);
        self.observe(Duration::from_secs_f64(cost), now);
    }
}

fn fade(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_at_once_and_decays() {
        let at = Duration::from_secs;
        let mut ewma = PeakEwma::new(at(0));
        assert_eq!(ewma.estimate(at(0)), 0.030);
        ewma.observe(Duration::from_millis(500), at(1));
        assert_eq!(ewma.estimate(at(1)), 0.5);
        let later = ewma.estimate(at(11));
        assert!((later - 0.5 / std::f64::consts::E).abs() < 1e-9);
        ewma.observe(Duration::from_millis(10), at(11));
        assert!(ewma.estimate(at(11)) < later + 0.01 && ewma.estimate(at(11)) > 0.1);
    }

    #[test]
    fn failing_fast_does_not_look_fast() {
        let mut ewma = PeakEwma::new(Duration::ZERO);
        for _ in 0..20 {
            ewma.observe_failure(Duration::from_millis(1));
        }
        assert!((0.15..=10.0).contains(&ewma.estimate(Duration::from_millis(1))));
    }
}
