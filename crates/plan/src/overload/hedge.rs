//! When a second copy of a request pays, and how many may be sent: a request that is slower than nearly all others is sent to
//! another endpoint too, and the first answer wins (Dean and Barroso, "The Tail at Scale", 2013). Only for requests that are safe
//! to send twice, which is the caller's to know.

use std::time::Duration;

/// Buckets per doubling of latency, from a quarter of a millisecond on.
const PER_DOUBLING: f64 = 4.0;
const FIRST: f64 = 0.000_25;
const BUCKETS: usize = 80;
/// The share of requests that are faster than the delay before the second copy.
const QUANTILE: f64 = 0.95;
/// Answers that must have been seen before a delay is known; each half is forgotten when twice [`KEPT`] are counted.
const ENOUGH: f64 = 50.0;
const KEPT: f64 = 1000.0;
/// Copies that may be saved up.
const SAVED: f64 = 10.0;

/// Of one cluster.
#[derive(Clone, Debug)]
pub struct Hedge {
    latencies: Box<[f64; BUCKETS]>,
    count: f64,
    copies: f64,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { latencies: Box::new([0.0; BUCKETS]), count: 0.0, copies: 0.0 }
    }
}

impl Hedge {
    /// A request has been answered (by its first copy or by its second). It earns `percent` of a copy.
    pub fn answered(&mut self, latency: Duration, percent: f64) {
        self.copies = (self.copies + percent.clamp(0.0, 100.0) / 100.0).min(SAVED);
        let bucket = ((latency.as_secs_f64() / FIRST).max(1.0).log2() * PER_DOUBLING) as usize;
        if let Some(count) = self.latencies.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1.0;
            self.count += 1.0;
        }
        if self.count >= 2.0 * KEPT {
            self.latencies.iter_mut().for_each(|count| *count /= 2.0);
            self.count /= 2.0;
        }
    }

    /// How long to wait for the first copy's answer. `None`: too little is known.
    pub fn delay(&self) -> Option<Duration> {
        if self.count < ENOUGH {
            return None;
        }
        let mut seen = 0.0;
        let bucket = self.latencies.iter().position(|count| {
            seen += count;
            seen >= QUANTILE * self.count
        })?;
        // The upper end of the bucket.
        Some(Duration::from_secs_f64(FIRST * ((bucket as f64 + 1.0) / PER_DOUBLING).exp2()))
    }

    /// A request was sent away by an endpoint that has enough to do: no copies until new ones are earned.
    pub fn sent_away(&mut self) {
        self.copies = 0.0;
    }

    /// Whether a copy may be sent now; if so it is paid for.
    pub fn spend(&mut self) -> bool {
        let may = self.copies >= 1.0;
        if may {
            self.copies -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_near_the_slowest_twentieth() {
        let mut hedge = Hedge::default();
        assert_eq!(hedge.delay(), None);
        for number in 0..1000_u64 {
            hedge.answered(Duration::from_millis(if number % 50 == 0 { 900 } else { 10 + number % 10 }), 5.0);
        }
        let delay = hedge.delay().unwrap();
        assert!(delay >= Duration::from_millis(18) && delay < Duration::from_millis(26), "{delay:?}");
        // It follows what changes, and never leaves the scale.
        for _ in 0..5000 {
            hedge.answered(Duration::from_secs(100_000), 5.0);
        }
        assert!(hedge.delay().unwrap() > Duration::from_secs(100));
        (0..5000).for_each(|_| hedge.answered(Duration::ZERO, 5.0));
        assert!(hedge.delay().unwrap() < Duration::from_millis(1));
    }

    #[test]
    fn copies_are_a_share_of_the_requests() {
        let mut hedge = Hedge::default();
        assert!(!hedge.spend());
        let sent = (0..10_000).filter(|_| {
            hedge.answered(Duration::from_millis(1), 5.0);
            hedge.spend()
        });
        let sent = sent.count();
        assert!((495..=500).contains(&sent), "{sent}");
        (0..10_000).for_each(|_| hedge.answered(Duration::from_millis(1), 5.0));
        assert_eq!((0..100).filter(|_| hedge.spend()).count(), 10);
        (0..100).for_each(|_| hedge.answered(Duration::from_millis(1), 5.0));
        hedge.sent_away();
        assert!(!hedge.spend());
        let mut off = Hedge::default();
        (0..1000).for_each(|_| off.answered(Duration::from_millis(1), 0.0));
        assert!(!off.spend());
    }
}
