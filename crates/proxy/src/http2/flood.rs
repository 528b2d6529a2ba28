//! Frames that cost work and carry nothing: how many a peer may send.

use std::time::Duration;
use tokio::time::Instant;

/// At once, and for each second that has passed, from anybody and from proven peers. Rapid resets (CVE-2023-44487) are of this kind:
/// a peer that carries many clients resets a stream for each that leaves.
const ANYBODY: (u32, u32) = (1_000, 33);
const PROVEN: (u32, u32) = (20_000, 5_000);

pub struct Flood {
    left: u32,
    most: u32,
    each_second: u32,
    since: Option<Instant>,
}

impl Flood {
    pub fn new(proven: bool) -> Self {
        let (most, each_second) = if proven { PROVEN } else { ANYBODY };
        Self { left: most, most, each_second, since: None }
    }

    /// Takes one frame; `false` when it is one too many.
    pub fn spend(&mut self, now: Instant) -> bool {
        let passed = self.since.map_or(Duration::ZERO, |since| now - since);
        let again = (passed.as_secs_f64() * f64::from(self.each_second)) as u32;
        if again > 0 || self.since.is_none() {
            self.left = self.left.saturating_add(again).min(self.most);
            self.since = Some(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_suffered_and_a_flood_is_not() {
        let start = Instant::now();
        let mut flood = Flood::new(false);
        assert!((0..1_000).all(|_| flood.spend(start)));
        assert!(!flood.spend(start));
        assert!((0..33).all(|_| flood.spend(start + Duration::from_secs(1))));
        assert!(!flood.spend(start + Duration::from_secs(1)));
        let slow = (1..=10_000).all(|number| flood.spend(start + Duration::from_secs(1) + Duration::from_millis(40 * number)));
        assert!(slow, "25 a second for 400 s");
    }
}
