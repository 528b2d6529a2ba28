//! What happened in the last while, counted in a few slots; and a bucket that fills evenly. For retry budgets over time.

use std::time::Duration;

const SLOTS: u32 = 10;

/// Requests and retries of the last interval, a tenth of it more or less.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    slots: [(u32, u32); SLOTS as usize],
    /// Of the last slot that was used, counted from the beginning of time.
    last: u64,
    /// Of one slot, in nanoseconds.
    length: u128,
}

impl Recent {
    pub(crate) fn request(&mut self, now: Duration, interval: Duration) {
        let slot = self.slot(now, interval);
        slot.0 = slot.0.saturating_add(1);
    }

    pub(crate) fn retry(&mut self, now: Duration, interval: Duration) {
        let slot = self.slot(now, interval);
        slot.1 = slot.1.saturating_add(1);
    }

    pub(crate) fn counted(&mut self, now: Duration, interval: Duration) -> (u32, u32) {
        self.slot(now, interval);
        self.slots.iter().fold((0, 0), |sum: (u32, u32), slot| (sum.0.saturating_add(slot.0), sum.1.saturating_add(slot.1)))
    }

    /// The slot of this moment; those that time has passed over are empty.
    fn slot(&mut self, now: Duration, interval: Duration) -> &mut (u32, u32) {
        let length = (interval / SLOTS).as_nanos().max(1);
        let number = u64::try_from(now.as_nanos() / length).unwrap_or(u64::MAX);
        let passed = number.saturating_sub(self.last);
        if self.length != length || passed >= u64::from(SLOTS) {
            *self = Self { slots: Default::default(), last: number, length };
        }
        while self.last < number {
            self.last += 1;
            self.slots[(self.last % u64::from(SLOTS)) as usize] = (0, 0);
        }
        &mut self.slots[(self.last % u64::from(SLOTS)) as usize]
    }
}

#[derive(Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Duration,
}

impl Bucket {
    pub(crate) fn full(count: u32, now: Duration) -> Self {
        Self { left: f64::from(count), at: now }
    }

    /// One of `count` per `interval`, if there is one.
    pub(crate) fn take(&mut self, count: u32, interval: Duration, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64() / interval.as_secs_f64().max(f64::MIN_POSITIVE);
        self.left = (self.left + passed * f64::from(count)).min(f64::from(count));
        self.at = now;
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_interval_is_forgotten() {
        let (mut recent, interval) = (Recent::default(), Duration::from_secs(10));
        let at = Duration::from_secs;
        for second in 100..110 {
            (0..5).for_each(|_| recent.request(at(second), interval));
            recent.retry(at(second), interval);
        }
        assert_eq!(recent.counted(at(109), interval), (50, 10));
        assert_eq!(recent.counted(at(114), interval), (25, 5));
        assert_eq!(recent.counted(at(119), interval), (0, 0));
        recent.request(at(1_000_000), interval);
        assert_eq!(recent.counted(at(1_000_000), interval), (1, 0));
        // Another interval counts from the beginning.
        recent.request(at(1_000_000), Duration::from_secs(3600));
        assert_eq!(recent.counted(at(1_000_000), Duration::from_secs(3600)), (1, 0));
        assert_eq!(recent.counted(at(1_000_000), Duration::from_nanos(1)), (0, 0));
    }

    #[test]
    fn a_bucket_fills_evenly_and_never_over() {
        let mut bucket = Bucket::full(2, Duration::ZERO);
        let mut take = |ms| bucket.take(2, Duration::from_secs(1), Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 499, 500, 500, 60_000, 60_000, 60_000].map(&mut take), [true, true, false, false, true, false, true, true, false]);
    }
}
