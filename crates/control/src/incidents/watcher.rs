//! Follows the store of signals second by second, and asks the engine what each means.

use super::changes::change;
use super::course::Course;
use super::endpoints::Endpoints;
use super::loads::Loads;
use super::objectives::promises;
use super::promised::{History, Promised};
use crate::changes::told;
use crate::publish::Published;
use crate::signals::{self, Filter};
use crate::store::Store;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use taut_insight::engine::{Engine, Settings};
use taut_insight::incident::Event;
use taut_model::signal::Second;
use tokio::sync::watch;

/// After a start, so much of the past is gone through first: what is usual is learnt from it, and incidents that are open are found again.
const WARM_UP: Second = 900;
/// A control plane that slept longer than this does not catch up on all of it.
const MOST_BEHIND: Second = 900;

/// Text of the differences of one generation.
const MOST_DIFFERENCES: usize = 64 << 10;

pub struct Watcher {
    signals: signals::Store,
    store: Store,
    published: watch::Receiver<Arc<Published>>,
    course: Course,
    history: Arc<Mutex<History>>,
    endpoints: Endpoints,
    /// Up to which generation of the configuration, and version of the store, is known.
    generation: u64,
    version: u64,
}

impl Watcher {
    /// `history` is told which objectives come into force; what it knows of a watcher before this one is not of this one's.
    pub fn new(
        signals: signals::Store,
        store: Store,
        published: watch::Receiver<Arc<Published>>,
        history: Arc<Mutex<History>>,
        settings: Settings,
    ) -> Self {
        *history.lock() = History::default();
        Self { signals, store, published, course: Course::new(settings), history, endpoints: Endpoints::default(), generation: 0, version: 0 }
    }

    pub fn engine(&self) -> &Engine {
        self.course.engine()
    }

    pub fn loads(&self) -> &Loads {
        self.course.loads()
    }

    /// Goes on to the newest second. May read from disk.
    pub fn advance(&mut self, latest: Second) -> Vec<Event> {
        let first = match self.course.next() {
            0 => latest.saturating_sub(WARM_UP).max(self.signals.oldest().unwrap_or(latest)),
            next => next.max(latest.saturating_sub(MOST_BEHIND)),
        };
        if latest < first || latest == 0 {
            return Vec::new();
        }
        if self.course.next() == 0 {
            self.course.loads_mut().learn_past(&self.signals, first);
        }
        self.learn_of_changes();
        self.learn_of_endpoints(latest);
        self.learn_of_promises(first);
        let gaps = self.signals.gaps(first..latest + 1);
        let mut events = Vec::new();
        let course = &mut self.course;
        let Ok(()) = self.signals.each_bucket::<Infallible>(first..latest + 1, &Filter::everything(), |bucket| {
            let end = bucket.start + bucket.span;
            let incomplete = gaps.iter().any(|gap| gap.from < end && gap.to > bucket.start);
            events.extend(course.bucket(bucket.start, bucket.span, incomplete, bucket.edges));
            Ok(())
        });
        events.extend(course.quiet_to(latest + 1));
        events
    }

    /// Objectives that are new are told their past.
    fn learn_of_promises(&mut self, first: Second) {
        let mesh = self.published.borrow_and_update().clone();
        let objectives = promises(&mesh.translation);
        if self.history.lock().latest() == objectives {
            return;
        }
        let new = self.course.engine_mut().promise(objectives.clone());
        let promised = Promised::new(first, objectives, &new, &self.signals);
        promised.tell(self.course.engine_mut());
        self.history.lock().push(promised);
    }

    /// What is seen now belongs to the next second: those before are over. Recordings are told the same.
    fn learn_of_endpoints(&mut self, latest: Second) {
        let mesh = self.published.borrow().clone();
        let changes = self.endpoints.look(latest + 1, &mesh);
        self.signals.note_endpoints(&changes);
        self.course.announce(changes);
    }

    fn learn_of_changes(&mut self) {
        let version = self.store.version();
        if version == self.version {
            return;
        }
        self.version = version;
        let all = self.store.generations();
        let new = all.iter().filter(|generation| generation.number > self.generation);
        self.course.announce(new.filter_map(|generation| change(&told(generation, &mut MOST_DIFFERENCES.clone()))));
        self.generation = all.last().map_or(self.generation, |newest| newest.number);
    }
}
