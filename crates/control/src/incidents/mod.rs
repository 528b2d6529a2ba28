//! Incidents: follows the signals of the mesh, keeps what the engine finds as resources, tells whoever asks, and whoever wants to be told.

mod changes;
mod course;
mod object;
mod replay;
mod routes;
#[cfg(test)]
mod tests;
mod watcher;

pub use replay::replay;
pub use routes::{router, view};

use crate::signals;
use crate::store::Store;
use crate::world::World;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::sync::Arc;
use taut_insight::engine::Settings;
use taut_insight::incident::{Event, Incident};
use taut_insight::tell::{self, Story};
use taut_model::signal::{Edge, Second, Signals};
use taut_observe::names;
use watcher::Watcher;

/// What an edge carried in a bucket.
pub type Carried = (Arc<Edge>, Signals);

/// An incident, and how it is told.
#[derive(Clone, Debug)]
pub struct Shown {
    pub incident: Incident,
    pub story: Story,
}

impl From<Incident> for Shown {
    fn from(incident: Incident) -> Self {
        let story = tell::tell(&incident);
        Self { incident, story }
    }
}

/// What is known of incidents. Cheap to clone.
#[derive(Clone)]
pub struct Incidents {
    signals: signals::Store,
    store: Store,
    world: World,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    open: u64,
    opened: u64,
    /// The newest second that was looked at.
    at: Second,
    services: u64,
    links: u64,
}

impl Incidents {
    pub fn new(signals: signals::Store, store: Store, world: World) -> Self {
        Self { signals, store, world, counts: Arc::default() }
    }

    /// Those that are kept, the newest first.
    pub fn all(&self) -> Vec<Incident> {
        object::read(&self.store)
    }

    /// Follows the signals. Never ends.
    pub async fn watch(self) {
        let mut sealed = self.signals.sealed();
        let mut watcher = Watcher::new(self.signals.clone(), self.store.clone(), Settings::default());
        let mut fresh = true;
        loop {
            let latest = *sealed.borrow_and_update();
            let events;
            (watcher, events) = self.advance(watcher, latest).await;
            self.take(&events, &watcher, latest, std::mem::take(&mut fresh));
            if sealed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn advance(&self, mut watcher: Watcher, latest: Second) -> (Watcher, Vec<Event>) {
        if !self.signals.is_on_disk() {
            let events = watcher.advance(latest);
            return (watcher, events);
        }
        // A disk may take its time, and a large mesh its milliseconds.
        let (settings, signals, store) = (Settings::default(), self.signals.clone(), self.store.clone());
        let advanced = tokio::task::spawn_blocking(move || {
            let events = watcher.advance(latest);
            (watcher, events)
        });
        advanced.await.unwrap_or_else(|error| {
            tracing::error!(%error, "insight has failed, and begins anew");
            (Watcher::new(signals, store, settings), Vec::new())
        })
    }

    /// Keeps what has changed. What is found in the past after a start is what was known before, unless it is open.
    fn take(&self, events: &[Event], watcher: &Watcher, latest: Second, fresh: bool) {
        for event in events {
            let (Event::Opened(incident) | Event::Updated(incident) | Event::Closed(incident)) = event;
            if matches!(event, Event::Opened(_)) {
                self.counts.lock().opened += u64::from(!fresh);
                tracing::warn!(incident = %incident.id, subject = %incident.subject, "an incident has opened");
            }
            self.keep(incident.clone());
        }
        if fresh {
            self.end_forgotten(watcher, latest);
        }
        let (services, links) = watcher.engine().size();
        let mut counts = self.counts.lock();
        (counts.open, counts.at) = (watcher.engine().open().count() as u64, latest);
        (counts.services, counts.links) = (services as u64, links as u64);
    }

    fn keep(&self, incident: Incident) {
        let closed = incident.closed.is_some();
        let kept = object::write(&self.store, &self.world, &incident.into());
        let kept = if closed { kept.and_then(|()| object::prune(&self.store)) } else { kept };
        if let Err(error) = kept {
            tracing::warn!(%error, "an incident could not be kept; its next change is");
        }
    }

    /// Incidents that were open when the control plane ended, and of which the signals since say nothing, are over.
    fn end_forgotten(&self, watcher: &Watcher, latest: Second) {
        for mut incident in self.all().into_iter().filter(|incident| incident.closed.is_none()) {
            if latest > 0 && watcher.engine().open().all(|open| open.id != incident.id) {
                incident.closed = Some(latest.max(incident.opened));
                incident.revision += 1;
                self.keep(incident);
            }
        }
    }

    /// As Prometheus text.
    pub fn metrics(&self) -> String {
        let counts = *self.counts.lock();
        let rows = [
            (names::INCIDENTS_OPEN, "gauge", "Incidents that are open.", counts.open),
            (names::INCIDENTS, "counter", "Incidents that have opened since this control plane began.", counts.opened),
            (names::INSIGHT_LATEST, "gauge", "The newest second that was looked at for incidents.", counts.at),
            (names::INSIGHT_SERVICES, "gauge", "Services that are watched.", counts.services),
            (names::INSIGHT_LINKS, "gauge", "Links between services, by part and reporter, that are watched.", counts.links),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }
}
