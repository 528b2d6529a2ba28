//! Waiting between tries: exponential, with full jitter above a floor, without end.

use fastrand::Rng;
use std::time::Duration;

pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    dice: Rng,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration, dice: Rng) -> Self {
        Self { first, most, next: first, dice }
    }

    /// Between half of the present step and the whole of it; the step doubles up to the most.
    pub fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step / 2 + (step / 2).mul_f64(self.dice.f64())
    }

    /// A try worked out: the next failure waits little again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(5000), Rng::with_seed(1));
        for step in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = backoff.next();
            assert!(wait >= ms(step) / 2 && wait <= ms(step), "{wait:?} of {step}");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(100));
    }
}
