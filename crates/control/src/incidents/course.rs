//! The course of time through the engine: buckets of signals and changes as they come, live or from a recording, and each quiet second
//! between them.

use super::Carried;
use super::loads::Loads;
use super::promised::Promised;
use std::collections::VecDeque;
use taut_insight::change::{Change, What};
use taut_insight::engine::{Engine, Settings};
use taut_insight::feed::Feed;
use taut_insight::incident::Event;
use taut_model::signal::Second;

/// Quiet seconds in a row that are gone through; what is longer is a gap.
const MOST_QUIET: Second = 3600;

pub struct Course {
    feed: Feed,
    engine: Engine,
    loads: Loads,
    /// Those whose second has not come.
    coming: Vec<Change>,
    promised: VecDeque<Promised>,
    /// The second that follows.
    next: Second,
}

impl Course {
    pub fn new(settings: Settings) -> Self {
        Self { feed: Feed::default(), engine: Engine::new(settings), loads: Loads::default(), coming: Vec::new(), promised: VecDeque::new(), next: 0 }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub fn loads(&self) -> &Loads {
        &self.loads
    }

    pub fn loads_mut(&mut self) -> &mut Loads {
        &mut self.loads
    }

    /// The first second that was not gone through; 0 before the first.
    pub fn next(&self) -> Second {
        self.next
    }

    pub fn announce(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.coming.extend(changes);
        // Of one second in an order that does not depend on who told first.
        self.coming.sort_by_key(|change| (change.at, !matches!(change.what, What::Configuration { .. })));
    }

    /// Objectives that come into force, the first first.
    pub fn promise(&mut self, promised: Vec<Promised>) {
        self.promised = promised.into();
    }

    /// What edges carried in a bucket. Those of one bucket come together.
    pub fn bucket(&mut self, start: Second, span: Second, incomplete: bool, edges: Vec<Carried>) -> Vec<Event> {
        let mut events = self.quiet_to(start);
        events.extend(self.step(start, span.max(1), incomplete, edges));
        events
    }

    /// Nothing came before this second.
    pub fn quiet_to(&mut self, end: Second) -> Vec<Event> {
        let first = if self.next == 0 { end } else { self.next.max(end.saturating_sub(MOST_QUIET)) };
        (first..end).flat_map(|second| self.step(second, 1, false, Vec::new())).collect()
    }

    fn step(&mut self, at: Second, span: Second, incomplete: bool, edges: Vec<Carried>) -> Vec<Event> {
        let tick = self.feed.tick(at, span, incomplete, edges);
        self.loads.observe(&tick);
        self.next = at.saturating_add(span);
        let due = self.coming.iter().take_while(|change| change.at < self.next).count();
        let due: Vec<Change> = self.coming.drain(..due).collect();
        while let Some(promised) = self.promised.pop_front_if(|promised| promised.at < self.next) {
            promised.tell(&mut self.engine);
        }
        self.engine.step(&tick, &due)
    }
}
