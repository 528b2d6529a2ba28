//! The one place of the control plane that reaches the clock, dice and the network, so that a simulation can replace them.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_wire::net::{Network, OsNetwork};

/// Clock, dice and network. Cheap to clone; clones draw from the same dice.
#[derive(Clone)]
pub struct World {
    pub network: Arc<dyn Network>,
    start: tokio::time::Instant,
    wall: WallClock,
    seed: u64,
    draws: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
enum WallClock {
    Os,
    /// What the wall clock showed at `start`; it then advances with the runtime's own clock.
    From(Timestamp),
}

impl World {
    /// The operating system's. Must be called inside a tokio runtime.
    pub fn os() -> Self {
        Self::new(Arc::new(OsNetwork), fastrand::u64(..), WallClock::Os)
    }

    /// Time starts at `wall_at_start` and advances with tokio's clock; the same seed draws the same numbers.
    pub fn simulated(network: Arc<dyn Network>, seed: u64, wall_at_start: Timestamp) -> Self {
        Self::new(network, seed, WallClock::From(wall_at_start))
    }

    fn new(network: Arc<dyn Network>, seed: u64, wall: WallClock) -> Self {
        Self { network, start: tokio::time::Instant::now(), wall, seed, draws: Arc::default() }
    }

    /// Does what may take a while, or waits for a disk, beside the threads that answer. An error when it panicked.
    /// A simulation does it at once: it must not have threads of its own timing.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, tokio::task::JoinError> {
        match self.wall {
            WallClock::Os => tokio::task::spawn_blocking(work).await,
            WallClock::From(_) => Ok(work()),
        }
    }

    /// Monotonic, since this world began.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn wall(&self) -> Timestamp {
        match self.wall {
            WallClock::Os => Timestamp::now(),
            WallClock::From(at_start) => at_start.checked_add(self.now()).unwrap_or(at_start),
        }
    }

    /// The wall clock in seconds since 1970.
    pub fn second(&self) -> u64 {
        u64::try_from(self.wall().as_second()).unwrap_or_default()
    }

    /// The wall clock as Kubernetes writes it: RFC 3339, UTC, whole seconds.
    pub fn wall_text(&self) -> String {
        let now = self.wall();
        Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
    }

    /// Dice of their own for a purpose: the same salt in a world of the same seed rolls the same numbers.
    pub fn dice(&self, salt: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Sixteen bytes that this world has not drawn before, for names that must be unique. Never for secrets.
    pub fn unique(&self) -> [u8; 16] {
        let mut dice = self.dice(self.draws.fetch_add(1, Ordering::Relaxed).wrapping_add(1 << 32));
        let mut bytes = [0; 16];
        dice.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_world_repeats_itself() {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let world = || World::simulated(Arc::new(OsNetwork), 7, start);
        let (a, b) = (world(), world());
        assert_eq!((a.unique(), a.dice(3).u64(..)), (b.unique(), b.dice(3).u64(..)));
        assert_ne!(a.unique(), a.unique());
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(a.wall_text(), "2026-01-02T03:04:06Z");
    }
}
