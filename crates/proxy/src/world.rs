//! The one place where the proxy reaches clocks, dice, sockets and DNS, so that a simulation can replace them.

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use taut_wire::net::{Network, OsNetwork};
use tokio::time::Instant;

/// Everything outside the program. Cheap to clone; all clones agree.
#[derive(Clone)]
pub struct World {
    pub network: Arc<dyn Network>,
    start: Instant,
    wall: WallClock,
    seed: u64,
}

#[derive(Clone, Copy)]
enum WallClock {
    Os,
    /// Moves with the runtime's clock from this time on.
    Simulated(Timestamp),
}

impl World {
    pub fn os() -> Self {
        Self { network: Arc::new(OsNetwork), start: Instant::now(), wall: WallClock::Os, seed: fastrand::u64(..) }
    }

    /// A world where everything follows from `seed`, from the runtime's clock, and from `network`. To be called inside
    /// the runtime whose (paused) clock it follows.
    pub fn simulated(network: Arc<dyn Network>, seed: u64, wall_at_start: Timestamp) -> Self {
        Self { network, start: Instant::now(), wall: WallClock::Simulated(wall_at_start), seed }
    }

    pub fn is_simulated(&self) -> bool {
        matches!(self.wall, WallClock::Simulated(_))
    }

    /// Time since the start, monotonic.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn wall(&self) -> Timestamp {
        match self.wall {
            WallClock::Os => Timestamp::now(),
            // A simulation of some thousand years would overflow: it stays at its start then.
            WallClock::Simulated(start) => SignedDuration::try_from(self.now()).ok().and_then(|d| start.checked_add(d).ok()).unwrap_or(start),
        }
    }

    /// Random numbers that are not secrets. The same seed and salt give the same numbers; give each use its own salt.
    pub fn dice(&self, salt: u64) -> fastrand::Rng {
        // SplitMix64's increment spreads neighbouring salts over the seed space.
        fastrand::Rng::with_seed(self.seed ^ salt.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Dice for one of several workers. In a simulation as [`World::dice`]; else no two calls agree, so that workers do not
    /// make the same ids.
    pub fn worker_dice(&self, salt: u64) -> fastrand::Rng {
        match self.wall {
            WallClock::Os => fastrand::Rng::with_seed(fastrand::u64(..)),
            WallClock::Simulated(_) => self.dice(salt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_wall_clock_moves_with_the_runtime() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let world = World::simulated(Arc::new(OsNetwork), 7, start);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(world.wall().to_string(), "2026-01-01T00:01:30Z");
        assert_eq!(world.now(), Duration::from_secs(90));
    }

    #[tokio::test]
    async fn dice_follow_from_seed_and_salt() {
        let world = |seed| World::simulated(Arc::new(OsNetwork), seed, Timestamp::UNIX_EPOCH);
        assert_eq!(world(1).dice(5).u64(..), world(1).dice(5).u64(..));
        assert_ne!(world(1).dice(5).u64(..), world(1).dice(6).u64(..));
        assert_ne!(world(1).dice(5).u64(..), world(2).dice(5).u64(..));
    }
}
