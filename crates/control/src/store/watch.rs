//! Following changes in the order of their versions.

use super::Store;
use std::sync::Arc;
use taut_model::object::Object;

pub type Event = Arc<StoreEvent>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug)]
pub struct StoreEvent {
    pub version: u64,
    pub kind: Change,
    /// As it is now; for `Deleted`, as it was last, with `version` as its `resourceVersion`.
    pub object: Arc<Object>,
    /// As it was before; `None` for `Added`.
    pub before: Option<Arc<Object>>,
}

/// The watcher asked for events that are not held (any more): it must list again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events after resourceVersion {from} are not held (held: after {oldest}, up to {newest}); list again and watch from there")]
pub struct Expired {
    pub from: u64,
    pub oldest: u64,
    pub newest: u64,
}

/// A place in the stream of events.
pub struct Watch {
    store: Store,
    seen: u64,
    newest: tokio::sync::watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(store: Store, seen: u64, newest: tokio::sync::watch::Receiver<u64>) -> Self {
        Watch { store, seen, newest }
    }

    /// The next event, when there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Expired` when this watch fell behind by more events than are kept.
    pub async fn next(&mut self) -> Result<Event, Expired> {
        loop {
            self.newest.borrow_and_update();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // The sender lives in `self.store`, so this cannot fail.
            let _ = self.newest.changed().await;
        }
    }

    /// The next event if it is there already.
    ///
    /// # Errors
    /// As `next`.
    pub fn try_next(&mut self) -> Result<Option<Event>, Expired> {
        let event = self.store.inner.memory.read().event_after(self.seen)?;
        if let Some(event) = &event {
            self.seen = event.version;
        }
        Ok(event)
    }
}
