//! Every object of the mesh, versioned and watchable, in one database file or in memory. Says nothing about who may write what.
//!
//! Reads never wait for the disk: all objects are also held in memory. Writers take turns; each write is one durable
//! transaction, and is seen by readers and watchers only after it is on disk. Semantics of `uid`, `generation`,
//! `resourceVersion` and `deletionTimestamp` are those of the Kubernetes API (API conventions, "Metadata").

mod disk;
mod error;
pub mod ledger;
mod memory;
mod metadata;
#[cfg(test)]
mod tests;
mod watch;

pub use error::StoreError;
pub use watch::{Change, Event, Expired, StoreEvent, Watch};

use disk::{Disk, Row};
use ledger::{Author, Generation, Ledger};
use memory::Memory;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use taut_model::kinds::Kind;
use taut_model::object::{Object, Places};
use taut_model::origin::ObjectRef;

/// Cheap to clone; all clones are one store. Calls block: reads for microseconds, writes for one disk flush.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held for the whole of a write, so that versions, the disk and the events have one order.
    writer: Mutex<Option<Disk>>,
    memory: RwLock<Memory>,
    ledger: RwLock<Ledger>,
    /// The newest version, for watches to wait on.
    newest: tokio::sync::watch::Sender<u64>,
    durable: bool,
}

/// Who writes, when, and with what chance.
#[derive(Clone, Debug)]
pub struct Write {
    /// Who owns the fields that this write changes, in `metadata.managedFields`. Empty: `managedFields` are stored as
    /// given, because the writer has worked them out (server-side apply does).
    pub manager: String,
    /// RFC 3339, seconds.
    pub now: String,
    /// Fresh random bytes, for the `uid` of a new object.
    pub uid_seed: [u8; 16],
    /// Where each field stood in a file, if the object was read from one. `None` keeps what is known while the
    /// specification stays as it is.
    pub places: Option<Arc<Places>>,
    /// Writes `status` and nothing else; without it `status` is left as it is, for kinds that have the subresource.
    pub status_only: bool,
    /// Whose change of configuration it is, for the ledger; `None`: the mesh's own doing.
    pub author: Option<Arc<Author>>,
}

/// Makes the new value of an object out of the stored one.
type Edit<'a> = &'a mut dyn FnMut(&Object) -> Result<Value, StoreError>;

/// An object by its key.
type Key<'a> = (&'static Kind, &'a str, &'a str);

impl Store {
    /// Opens or creates the database file at `path`; `None` keeps everything in memory.
    ///
    /// # Errors
    /// `InUse` when another process has the file, `Unusable` when it cannot be read or is not ours.
    pub fn open(path: Option<&Path>) -> Result<Store, StoreError> {
        let (disk, memory, ledger) = match path {
            None => (None, Memory::default(), Ledger::default()),
            Some(path) => {
                let (disk, loaded) = Disk::open(path)?;
                (Some(disk), Memory::loaded(loaded.version, loaded.objects), loaded.ledger)
            }
        };
        let newest = tokio::sync::watch::Sender::new(memory.version());
        let durable = disk.is_some();
        Ok(Store { inner: Arc::new(Inner { writer: Mutex::new(disk), memory: RwLock::new(memory), ledger: RwLock::new(ledger), newest, durable }) })
    }

    /// The newest `resourceVersion`; at least 1.
    pub fn version(&self) -> u64 {
        self.inner.memory.read().version()
    }

    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.inner.memory.read().get((kind, namespace, name))
    }

    /// All objects of a kind, ordered by namespace and name, with the version at which the list is consistent.
    pub fn list(&self, kind: &'static Kind) -> (Vec<Arc<Object>>, u64) {
        let memory = self.inner.memory.read();
        (memory.list(kind), memory.version())
    }

    /// All objects, ordered by group, kind, namespace and name.
    pub fn all(&self) -> (Vec<Arc<Object>>, u64) {
        let memory = self.inner.memory.read();
        (memory.all(), memory.version())
    }

    /// Stores a new object with a fresh `uid`, `creationTimestamp`, generation 1 and `resourceVersion`. `status` is
    /// dropped for kinds that have the subresource, unless the write is `status_only`, which here means "with its status".
    ///
    /// # Errors
    /// `AlreadyExists`; `Disk` when it could not be made durable, and then nothing has changed.
    pub fn create(&self, object: Object, write: &Write) -> Result<Arc<Object>, StoreError> {
        let mut writer = self.inner.writer.lock();
        let step = self.creation(object, write)?;
        self.commit(&mut writer, step, Some(write))
    }

    /// What `create` would answer; nothing is stored.
    ///
    /// # Errors
    /// As `create`.
    pub fn preview_create(&self, object: Object, write: &Write) -> Result<Arc<Object>, StoreError> {
        let step = self.creation(object, write)?;
        Ok(metadata::as_preview(&step.object, None))
    }

    /// Stores what `change` makes of the object. It is called once, and no other write comes in between; it must not
    /// itself write to this store. A value that carries another `metadata.resourceVersion` than the stored one is a
    /// conflict; a value that carries none replaces whatever is there. `generation` grows when anything outside
    /// `metadata` and `status` changed. A value that changes nothing writes nothing. An object that is being deleted
    /// (`deletionTimestamp`) goes away with its last finalizer.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Disk`, or whatever `change` returns.
    pub fn update(&self, kind: &'static Kind, namespace: &str, name: &str, write: &Write, change: Edit<'_>) -> Result<Arc<Object>, StoreError> {
        let mut writer = self.inner.writer.lock();
        match self.modification((kind, namespace, name), write, change)? {
            Modification::Nothing(old) => Ok(old),
            Modification::Step(step) => self.commit(&mut writer, step, Some(write)),
        }
    }

    /// What `update` would answer; nothing is stored.
    ///
    /// # Errors
    /// As `update`.
    pub fn preview_update(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        write: &Write,
        change: Edit<'_>,
    ) -> Result<Arc<Object>, StoreError> {
        match self.modification((kind, namespace, name), write, change)? {
            Modification::Nothing(old) => Ok(old),
            Modification::Step(step) => Ok(metadata::as_preview(&step.object, step.before.as_deref())),
        }
    }

    /// Removes the object at once, finalizers or not, and returns it as it was, with the version of its deletion.
    ///
    /// # Errors
    /// `NotFound`, `Disk`; `Conflict` when `precondition` is not its `resourceVersion`.
    pub fn delete(&self, kind: &'static Kind, namespace: &str, name: &str, precondition: Option<&str>) -> Result<Arc<Object>, StoreError> {
        self.delete_as((kind, namespace, name), precondition, None)
    }

    /// The same, on behalf of the write's author.
    ///
    /// # Errors
    /// As `delete`.
    pub fn delete_by(&self, key: Key<'_>, precondition: Option<&str>, write: &Write) -> Result<Arc<Object>, StoreError> {
        self.delete_as(key, precondition, Some(write))
    }

    fn delete_as(&self, key: Key<'_>, precondition: Option<&str>, write: Option<&Write>) -> Result<Arc<Object>, StoreError> {
        let mut writer = self.inner.writer.lock();
        let old = self.stored(key)?;
        metadata::same_version(&old, precondition)?;
        let version = self.version() + 1;
        let mut last = Object::clone(&old);
        metadata::stamp(&mut last.value, version, old.generation());
        self.commit(&mut writer, StoreEvent { version, kind: Change::Deleted, object: Arc::new(last), before: Some(old) }, write)
    }

    /// Events after version `from`, exclusive.
    ///
    /// # Errors
    /// `Expired` when events after `from` are no longer held, or `from` is of another store's future: list again.
    pub fn watch(&self, from: u64) -> Result<Watch, Expired> {
        self.inner.memory.read().holds_events_after(from)?;
        Ok(Watch::new(self.clone(), from, self.inner.newest.subscribe()))
    }

    /// The changes of configuration that are kept, oldest first.
    pub fn generations(&self) -> Vec<Arc<Generation>> {
        self.inner.ledger.read().all().cloned().collect()
    }

    /// Whether writes go to a disk, and so take milliseconds.
    pub fn is_durable(&self) -> bool {
        self.inner.durable
    }

    fn stored(&self, key: Key<'_>) -> Result<Arc<Object>, StoreError> {
        self.inner.memory.read().get(key).ok_or_else(|| StoreError::NotFound { object: ObjectRef::new(key.0.kind, key.1, key.2) })
    }

    fn creation(&self, object: Object, write: &Write) -> Result<StoreEvent, StoreError> {
        if self.get(object.kind, &object.namespace, &object.name).is_some() {
            return Err(StoreError::AlreadyExists { object: object.reference() });
        }
        let version = self.version() + 1;
        let value = metadata::created(&object, write, version);
        let object = Arc::new(Object { value, places: write.places.clone().or(object.places), ..object });
        Ok(StoreEvent { version, kind: Change::Added, object, before: None })
    }

    fn modification(&self, key: Key<'_>, write: &Write, change: Edit<'_>) -> Result<Modification, StoreError> {
        let old = self.stored(key)?;
        let wanted = change(&old)?;
        metadata::same_version(&old, wanted["metadata"]["resourceVersion"].as_str())?;
        let mut value = metadata::updated(&old, wanted, write);
        let same_specification = metadata::same_specification(&old.value, &value);
        let places = write.places.clone().or_else(|| if same_specification { old.places.clone() } else { None });
        if metadata::same_but_for_times(&old.value, &value) && places == old.places {
            return Ok(Modification::Nothing(old));
        }
        let version = self.version() + 1;
        metadata::stamp(&mut value, version, old.generation() + i64::from(!same_specification));
        let kind = if metadata::is_finished(&value) { Change::Deleted } else { Change::Modified };
        let object = Arc::new(Object { kind: key.0, namespace: key.1.to_owned(), name: key.2.to_owned(), value, places });
        Ok(Modification::Step(StoreEvent { version, kind, object, before: Some(old) }))
    }

    /// The disk first: what readers have seen is never lost.
    fn commit(&self, disk: &mut Option<Disk>, step: StoreEvent, write: Option<&Write>) -> Result<Arc<Object>, StoreError> {
        let signed = write.and_then(|write| Some((write.author.as_ref()?, &write.now)));
        let noted = signed.and_then(|(author, now)| self.inner.ledger.read().note(&step, author, now));
        let object = step.object.clone();
        let version = step.version;
        if let Some(disk) = disk {
            let row = if step.kind == Change::Deleted { Row::Gone } else { Row::Is(&object) };
            disk.write(version, (object.kind, &object.namespace, &object.name), row, noted.as_ref())?;
        }
        if let Some(noted) = noted {
            self.inner.ledger.write().take(noted);
        }
        self.inner.memory.write().publish(step);
        self.inner.newest.send_replace(version);
        Ok(object)
    }
}

/// What comes of a change.
enum Modification {
    Nothing(Arc<Object>),
    Step(StoreEvent),
}
