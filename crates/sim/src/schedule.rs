//! What goes wrong in a run, and when: drawn from the seed before the run starts.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The control plane's process dies and starts again with its state.
    RestartControl,
    /// A backend dies with its sidecar and starts again.
    RestartBackend(usize),
    /// Nothing passes between the client and the control plane.
    CutControl,
    /// Nothing passes between the client and a backend: bytes are lost, connections hang.
    CutBackend(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Since the first request.
    pub at: Duration,
    /// How long the trouble lasts; restarts are down so long.
    pub lasts: Duration,
    pub trouble: Trouble,
}

/// Up to four troubles, one after the other and never two at once, so that what must hold while one backend is away can be said.
pub fn draw(seed: u64) -> Vec<Event> {
    let mut dice = fastrand::Rng::with_seed(seed ^ 0x7461_7574);
    let mut at = Duration::from_millis(dice.u64(500..1500));
    (0..dice.usize(1..=4))
        .map(|_| {
            let trouble = match dice.u8(..6) {
                0 | 1 => Trouble::RestartControl,
                2 => Trouble::CutControl,
                n @ (3 | 4) => Trouble::RestartBackend(usize::from(n) - 3),
                _ => Trouble::CutBackend(dice.usize(..2)),
            };
            let event = Event { at, lasts: Duration::from_millis(dice.u64(200..2500)), trouble };
            at += event.lasts + Duration::from_millis(dice.u64(500..3000));
            event
        })
        .collect()
}
