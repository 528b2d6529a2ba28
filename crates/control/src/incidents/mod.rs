//! Incidents: follows the signals of the mesh, keeps what the engine finds as resources, tells whoever asks, and whoever wants to be told.

mod autoscaling;
mod capacity;
mod changes;
mod cluster;
mod course;
mod endpoints;
mod event;
mod loads;
mod object;
mod objectives;
mod promised;
mod replay;
mod routes;
#[cfg(test)]
mod tests;
mod watcher;
mod webhook;

pub use autoscaling::external;
pub use object::word;
pub use replay::replay;
pub use routes::{router, view};

use crate::kubernetes::Kubernetes;
use crate::publish::Published;
use crate::signals;
use crate::store::Store;
use crate::world::World;
use capacity::Rooms;
use event::News;
use loads::Loads;
use parking_lot::Mutex;
use promised::History;
use serde_json::Value;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use taut_insight::engine::{Promise, Settings};
use taut_insight::incident::{Event, Incident};
use taut_insight::objective::Standing;
use taut_insight::tell::{self, Story};
use taut_model::signal::{Edge, Second, Signals};
use taut_observe::names;
use tokio::sync::{mpsc, watch};
use watcher::Watcher;

/// Seconds after the end of a step in which its forecasts are taken over.
const SETTLED: Second = 10;

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
    published: watch::Receiver<Arc<Published>>,
    latest: Arc<Mutex<Latest>>,
    history: Arc<Mutex<History>>,
    /// Where to tell of incidents.
    webhook: Option<mpsc::Sender<Value>>,
    /// Where to write Events to, beside the own store.
    cluster: Option<mpsc::Sender<Value>>,
}

#[derive(Clone, Debug, Default)]
struct Latest {
    open: u64,
    opened: u64,
    /// The newest second that was looked at.
    at: Second,
    services: u64,
    links: u64,
    standings: Vec<(Promise, Standing)>,
    loads: Arc<Loads>,
    rooms: Arc<Rooms>,
    /// Messages to the webhook that found no room.
    untold: u64,
}

impl Incidents {
    /// What is asked, and what follows the signals for it: to be spawned. `webhook`: a URL that is told of each incident that opens, has
    /// another cause, or closes. `cluster`: an API server that is given the Events, too.
    pub fn begin(
        signals: signals::Store,
        store: Store,
        published: watch::Receiver<Arc<Published>>,
        world: World,
        webhook: Option<String>,
        cluster: Option<Kubernetes>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, messages) = mpsc::channel(webhook::MOST_WAITING);
        let sender = webhook.is_some().then_some(sender);
        let (say, said) = mpsc::channel(cluster::MOST_WAITING);
        let say = cluster.is_some().then_some(say);
        let incidents =
            Self { signals, store, world: world.clone(), published, latest: Arc::default(), history: Arc::default(), webhook: sender, cluster: say };
        let watched = incidents.clone();
        let aside = world.clone();
        let telling = async move {
            if let Some(url) = webhook {
                webhook::send(url, messages, world).await;
            }
        };
        let writing = async move {
            if let Some(kubernetes) = cluster {
                cluster::send(kubernetes, said, aside).await;
            }
        };
        (incidents, async move {
            tokio::join!(watched.watch(), telling, writing);
        })
    }

    /// Those that are open, the newest first.
    pub fn open(&self) -> Vec<Shown> {
        self.all().into_iter().filter(|incident| incident.closed.is_none()).map(Shown::from).collect()
    }

    /// How it stands with each objective.
    pub fn standings(&self) -> Vec<(Promise, Standing)> {
        self.latest.lock().standings.clone()
    }

    /// What load comes, and what room there is for it.
    fn forecasts(&self) -> (Arc<Loads>, Arc<Rooms>) {
        let latest = self.latest.lock();
        (latest.loads.clone(), latest.rooms.clone())
    }

    /// The objectives that were in force in a window (of a namespace), as a recording carries them. May read from disk.
    pub fn recorded(&self, window: &Range<Second>, namespace: Option<&str>) -> Vec<Value> {
        // A copy, for to read takes a while.
        let history = self.history.lock().clone();
        history.recorded(window, namespace, &self.signals)
    }

    /// Those that are kept, the newest first.
    pub fn all(&self) -> Vec<Incident> {
        object::read(&self.store)
    }

    /// Follows the signals. Never ends.
    async fn watch(self) {
        let mut sealed = self.signals.sealed();
        let mut watcher = self.watcher();
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

    fn watcher(&self) -> Watcher {
        Watcher::new(self.signals.clone(), self.store.clone(), self.published.clone(), self.history.clone(), Settings::default())
    }

    async fn advance(&self, mut watcher: Watcher, latest: Second) -> (Watcher, Vec<Event>) {
        let looks = latest.is_multiple_of(capacity::EVERY);
        let (signals, now) = (self.signals.clone(), self.world.second());
        let advanced = self.world.aside(move || {
            let events = watcher.advance(latest);
            (watcher, events, looks.then(|| Rooms::look(&signals, now)))
        });
        let (watcher, events, rooms) = advanced.await.unwrap_or_else(|error| {
            tracing::error!(%error, "insight has failed, and begins anew");
            (self.watcher(), Vec::new(), None)
        });
        if let Some(rooms) = rooms {
            self.latest.lock().rooms = Arc::new(rooms);
        }
        (watcher, events)
    }

    /// Keeps what has changed. What is found in the past after a start is what was known before, unless it is open.
    fn take(&self, events: &[Event], watcher: &Watcher, latest: Second, fresh: bool) {
        for event in events {
            let (Event::Opened(incident) | Event::Updated(incident) | Event::Closed(incident)) = event;
            if matches!(event, Event::Opened(_)) {
                self.latest.lock().opened += u64::from(!fresh);
                tracing::warn!(incident = %incident.id, subject = %incident.subject, "an incident has opened");
            }
            let news = News::of(object::before(&self.store, incident).as_ref(), incident);
            self.keep(incident.clone());
            if !fresh {
                self.tell(incident);
                self.announce(news, incident, latest);
            }
        }
        if fresh {
            self.end_forgotten(watcher, latest);
        }
        let (services, links) = watcher.engine().size();
        let standings = watcher.engine().standings().map(|(promise, standing)| (promise.clone(), standing.clone())).collect();
        // Loads change with each step of theirs, and are looked at more seldom still.
        let loads = (fresh || latest % loads::STEP < SETTLED).then(|| Arc::new(watcher.loads().clone()));
        let mut known = self.latest.lock();
        (known.open, known.at) = (watcher.engine().open().count() as u64, latest);
        (known.services, known.links) = (services as u64, links as u64);
        known.standings = standings;
        known.loads = loads.unwrap_or_else(|| known.loads.clone());
    }

    fn tell(&self, incident: &Incident) {
        if let Some(webhook) = &self.webhook
            && webhook.try_send(webhook::message(&incident.clone().into())).is_err()
        {
            self.latest.lock().untold += 1;
        }
    }

    fn announce(&self, news: Option<News>, incident: &Incident, latest: Second) {
        let Some(news) = news else { return };
        match event::write(&self.store, &self.world, news, &incident.clone().into(), latest) {
            Ok(event) => {
                // What finds no room has been said in the own store.
                let _ = self.cluster.as_ref().map(|cluster| cluster.try_send(event));
            }
            Err(error) => tracing::warn!(%error, "an Event of an incident could not be kept"),
        }
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
        let counts = self.latest.lock();
        let rows = [
            (names::INCIDENTS_OPEN, "gauge", "Incidents that are open.", counts.open),
            (names::INCIDENTS, "counter", "Incidents that have opened since this control plane began.", counts.opened),
            (names::INSIGHT_LATEST, "gauge", "The newest second that was looked at for incidents.", counts.at),
            (names::INSIGHT_SERVICES, "gauge", "Services that are watched.", counts.services),
            (names::INCIDENTS_UNTOLD, "counter", "Messages to the webhook that found no room.", counts.untold),
            (names::INSIGHT_LINKS, "gauge", "Links between services, by part and reporter, that are watched.", counts.links),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text + &objectives::metrics(&counts.standings) + &counts.loads.metrics() + &counts.rooms.metrics(&counts.loads)
    }
}
