//! All objects in memory, for reading, and the last events, for watches.

use super::{Change, Event, Expired, Key, StoreEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use taut_model::kinds::Kind;
use taut_model::object::Object;

/// A watcher that falls behind by more events than this lists again.
pub(super) const EVENTS_KEPT: usize = 4096;

/// Group and kind.
type KindKey = (&'static str, &'static str);

pub(super) struct Memory {
    /// Kind -> (namespace, name) -> object.
    objects: BTreeMap<KindKey, BTreeMap<(String, String), Arc<Object>>>,
    version: u64,
    /// In order of version. Every event after `forgotten` is here.
    events: VecDeque<Event>,
    forgotten: u64,
}

impl Default for Memory {
    /// Version 1, since 0 means "any version" to clients of the Kubernetes API.
    fn default() -> Self {
        Memory { objects: BTreeMap::new(), version: 1, events: VecDeque::new(), forgotten: 1 }
    }
}

impl Memory {
    pub fn loaded(version: u64, objects: Vec<Object>) -> Self {
        let mut memory = Memory { version: version.max(1), forgotten: version.max(1), ..Self::default() };
        for object in objects {
            memory.put(Arc::new(object));
        }
        memory
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, (kind, namespace, name): Key<'_>) -> Option<Arc<Object>> {
        self.objects.get(&kind_key(kind))?.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn list(&self, kind: &'static Kind) -> Vec<Arc<Object>> {
        self.objects.get(&kind_key(kind)).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    pub fn all(&self) -> Vec<Arc<Object>> {
        self.objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub fn publish(&mut self, event: StoreEvent) {
        self.version = event.version;
        match event.kind {
            Change::Added | Change::Modified => self.put(event.object.clone()),
            Change::Deleted => self.remove(&event.object),
        }
        self.events.push_back(Arc::new(event));
        while self.events.len() > EVENTS_KEPT {
            self.forgotten = self.events.pop_front().map_or(self.forgotten, |event| event.version);
        }
    }

    pub fn holds_events_after(&self, from: u64) -> Result<(), Expired> {
        match from >= self.forgotten && from <= self.version {
            true => Ok(()),
            false => Err(Expired { from, oldest: self.forgotten, newest: self.version }),
        }
    }

    /// The first event after `from`, if there is one yet.
    pub fn event_after(&self, from: u64) -> Result<Option<Event>, Expired> {
        self.holds_events_after(from)?;
        let at = self.events.partition_point(|event| event.version <= from);
        Ok(self.events.get(at).cloned())
    }

    fn put(&mut self, object: Arc<Object>) {
        let key = (object.namespace.clone(), object.name.clone());
        self.objects.entry(kind_key(object.kind)).or_default().insert(key, object);
    }

    fn remove(&mut self, object: &Object) {
        if let Some(of_kind) = self.objects.get_mut(&kind_key(object.kind)) {
            of_kind.remove(&(object.namespace.clone(), object.name.clone()));
        }
    }
}

fn kind_key(kind: &'static Kind) -> KindKey {
    (kind.group, kind.kind)
}
