//! A simulated application: cores that all its requests share evenly (processor sharing), with another tenant on the machine that
//! takes most of them away at times. It knows requests by number and time in seconds; it draws nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Requests at which switching between them costs as much as the work itself.
const THRASHING: f64 = 400.0;

pub struct Application {
    cores: f64,
    /// 1, or less while it is antagonised.
    speed: f64,
    /// Work that each request that was there all the time has been given, in seconds of one core.
    given: f64,
    /// Until when `given` is counted.
    counted: f64,
    /// When `given` reaches this, the request is done. The bits of a float that is not negative sort as it does.
    jobs: BinaryHeap<Reverse<(u64, usize)>>,
    /// Of the last change: events of before are stale.
    pub changes: u64,
}

impl Application {
    pub fn new(cores: f64) -> Self {
        Self { cores, speed: 1.0, given: 0.0, counted: 0.0, jobs: BinaryHeap::new(), changes: 0 }
    }

    pub fn start(&mut self, now: f64, request: usize, work: f64) {
        self.count(now);
        self.jobs.push(Reverse(((self.given + work).to_bits(), request)));
    }

    pub fn set_speed(&mut self, now: f64, speed: f64) {
        self.count(now);
        self.speed = speed;
    }

    /// The next request to be done, if it is done by now.
    pub fn done(&mut self, now: f64) -> Option<usize> {
        self.count(now);
        let Reverse((at, _)) = self.jobs.peek()?;
        if f64::from_bits(*at) > self.given + 1e-12 {
            return None;
        }
        self.jobs.pop().map(|Reverse((_, request))| request)
    }

    /// When the next request is done if nothing changes, and the number of this change.
    pub fn next(&mut self) -> Option<(f64, u64)> {
        self.changes += 1;
        let Reverse((at, _)) = self.jobs.peek()?;
        Some((self.counted + (f64::from_bits(*at) - self.given).max(0.0) / self.rate(), self.changes))
    }

    fn count(&mut self, now: f64) {
        self.given += (now - self.counted).max(0.0) * self.rate();
        self.counted = self.counted.max(now);
    }

    /// Work per second for each request.
    fn rate(&self) -> f64 {
        let many = self.jobs.len().max(1) as f64;
        self.speed * (self.cores / many).min(1.0) / (1.0 + (many - self.cores).max(0.0) / THRASHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_the_cores_evenly() {
        let mut app = Application::new(2.0);
        for request in 0..4 {
            app.start(0.0, request, 1.0);
        }
        // Four on two cores take twice as long, and a little for switching.
        let (first, _) = app.next().unwrap();
        assert!((first - 2.01).abs() < 1e-9, "{first}");
        assert_eq!(app.done(1.0), None);
        assert_eq!((0..5).map(|_| app.done(first)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(3), None]);
        app.set_speed(first, 0.5);
        app.start(first, 9, 1.0);
        assert!((app.next().unwrap().0 - first - 2.0).abs() < 1e-9);
    }
}
