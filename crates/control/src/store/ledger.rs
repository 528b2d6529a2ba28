//! The ledger: which configuration changes were made, by whom and when, and what each object was before and after. Bounded in
//! count and bytes; the oldest goes first. What the mesh itself writes (status, registered workloads) is no change of configuration.

use super::{Change, StoreEvent, metadata};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;

/// Generations that are kept.
pub const MOST_GENERATIONS: usize = 1000;
/// Bytes of objects, as JSON, that are kept for all generations.
pub const MOST_BYTES: usize = 16 << 20;
/// Of one generation: what comes beyond is told by name only.
const MOST_BYTES_OF_ONE: usize = 8 << 20;
/// Objects of one generation.
const MOST_OBJECTS: usize = 1000;
/// Stands where the content of a Secret was.
const HIDDEN: &str = "(hidden)";
const HIDDEN_CHANGED: &str = "(hidden, changed)";

/// Who makes a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Empty for files.
    pub user: String,
    /// The program: `kubectl-client-side-apply`, `taut`, `config-directory`.
    pub manager: String,
    /// The directory of configuration that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What a person should know besides: `rolls back generation 7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip)]
    pub occasion: Occasion,
}

/// Which writes belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occasion {
    /// This one alone.
    #[default]
    Alone,
    /// Those of one batch of the control plane's.
    Batch(u64),
    /// Those that a client calls one change: `taut apply -f DIR` sends a request for each object.
    Named(u64),
}

impl Occasion {
    pub fn batch() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::Batch(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Create,
    Update,
    Delete,
}

/// One object of a generation.
#[derive(Clone, Debug)]
pub struct Entry {
    pub verb: Verb,
    pub kind: &'static Kind,
    pub namespace: String,
    pub name: String,
    /// `metadata.generation` after the change; that of the object that went, for `Delete`.
    pub generation: i64,
    /// JSON without what the store itself adds; `None`: there was none, or it was not kept.
    pub before: Option<Arc<str>>,
    pub after: Option<Arc<str>>,
    /// Whether `before` and `after` are all there was: not of Secrets, and not of what is too large.
    pub whole: bool,
}

impl Entry {
    pub fn is_about(&self, kind: &Kind, namespace: &str, name: &str) -> bool {
        self.kind.group == kind.group && self.kind.kind == kind.kind && self.namespace == namespace && self.name == name
    }

    fn bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_deref().map_or(0, str::len);
        text(&self.before) + text(&self.after) + self.name.len() + self.namespace.len() + 128
    }
}

/// What was changed together.
#[derive(Clone, Debug)]
pub struct Generation {
    pub number: u64,
    /// RFC 3339: of the first write and of the last.
    pub at: String,
    pub until: String,
    pub author: Arc<Author>,
    pub entries: Vec<Arc<Entry>>,
}

impl Generation {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes()).sum()
    }

    pub fn touches(&self, entry: &Entry) -> bool {
        self.entries.iter().any(|own| own.is_about(entry.kind, &entry.namespace, &entry.name))
    }
}

/// As a row of the database.
#[derive(Serialize, Deserialize)]
struct Row {
    at: String,
    author: Author,
    verb: Verb,
    group: String,
    kind: String,
    namespace: String,
    name: String,
    generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    whole: bool,
}

/// Generation and place in it.
pub(super) type RowKey = (u64, u32);

/// What a write adds to the ledger, and what has to make room for it.
pub(super) struct Noted {
    pub key: RowKey,
    pub row: Vec<u8>,
    pub forgotten: Vec<RowKey>,
    entry: Entry,
    at: String,
    author: Arc<Author>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    generations: VecDeque<Arc<Generation>>,
    bytes: usize,
    /// The number of the newest generation.
    newest: u64,
}

impl Ledger {
    /// From the rows of a database, in order. A row that cannot be read (of a kind that is no more) is passed over: it is history.
    pub fn loaded(rows: impl Iterator<Item = (RowKey, Vec<u8>)>) -> Self {
        let mut ledger = Self::default();
        for ((number, _), bytes) in rows {
            ledger.newest = ledger.newest.max(number);
            let Ok(row) = serde_json::from_slice::<Row>(&bytes) else { continue };
            let Some(kind) = kinds::KINDS.iter().find(|kind| kind.group == row.group && kind.kind == row.kind) else { continue };
            let text = |text: Option<String>| text.map(Arc::from);
            let entry = Entry {
                verb: row.verb,
                kind,
                namespace: row.namespace,
                name: row.name,
                generation: row.generation,
                before: text(row.before),
                after: text(row.after),
                whole: row.whole,
            };
            ledger.push(number, entry, row.at, Arc::new(row.author));
        }
        ledger
    }

    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Generation>> {
        self.generations.iter()
    }

    /// `None` when nothing was changed that a user says.
    pub fn note(&self, step: &StoreEvent, author: &Arc<Author>, now: &str) -> Option<Noted> {
        let mut entry = entry(step)?;
        let joined = self.generations.back().filter(|last| joins(last, author, &entry));
        let number = joined.map_or(self.newest + 1, |last| last.number);
        let place = joined.map_or(0, |last| u32::try_from(last.entries.len()).unwrap_or(u32::MAX));
        if joined.map_or(0, |last| last.bytes()) + entry.bytes() > MOST_BYTES_OF_ONE {
            (entry.before, entry.after, entry.whole) = (None, None, false);
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let row = Row {
            at: now.to_owned(),
            author: Author::clone(author),
            verb: entry.verb,
            group: entry.kind.group.to_owned(),
            kind: entry.kind.kind.to_owned(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
            generation: entry.generation,
            before: text(&entry.before),
            after: text(&entry.after),
            whole: entry.whole,
        };
        let forgotten = self.surplus(entry.bytes(), joined.is_none());
        let row = serde_json::to_vec(&row).unwrap_or_default();
        Some(Noted { key: (number, place), row, forgotten, entry, at: now.to_owned(), author: author.clone() })
    }

    /// The rows of the oldest generations that leave when `bytes` more come, and perhaps a generation. Never the newest.
    fn surplus(&self, bytes: usize, new_generation: bool) -> Vec<RowKey> {
        let (mut held, mut count) = (self.bytes + bytes, self.generations.len() + usize::from(new_generation));
        let mut forgotten = Vec::new();
        let others = self.generations.len().saturating_sub(usize::from(!new_generation));
        for generation in self.generations.iter().take(others) {
            if held <= MOST_BYTES && count <= MOST_GENERATIONS {
                break;
            }
            held -= generation.bytes();
            count -= 1;
            forgotten.extend((0..generation.entries.len()).map(|place| (generation.number, place as u32)));
        }
        forgotten
    }

    /// After it is on disk.
    pub fn take(&mut self, noted: Noted) {
        while let Some(oldest) = self.generations.front()
            && noted.forgotten.iter().any(|(number, _)| *number == oldest.number)
        {
            self.bytes -= oldest.bytes();
            self.generations.pop_front();
        }
        self.push(noted.key.0, noted.entry, noted.at, noted.author);
    }

    fn push(&mut self, number: u64, entry: Entry, at: String, author: Arc<Author>) {
        self.bytes += entry.bytes();
        self.newest = self.newest.max(number);
        match self.generations.back_mut().filter(|last| last.number == number) {
            Some(last) => {
                let last = Arc::make_mut(last);
                last.until = at;
                last.entries.push(Arc::new(entry));
            }
            None => {
                let generation = Generation { number, until: at.clone(), at, author, entries: vec![Arc::new(entry)] };
                self.generations.push_back(Arc::new(generation));
            }
        }
    }
}

/// The author's occasion is part of who it is, so that two commands are never one change.
fn joins(last: &Generation, author: &Author, entry: &Entry) -> bool {
    author.occasion != Occasion::Alone && *last.author == *author && !last.touches(entry) && last.entries.len() < MOST_OBJECTS
}

fn entry(step: &StoreEvent) -> Option<Entry> {
    let object = &step.object;
    let before = step.before.as_deref();
    let (verb, before, after) = match (step.kind, before) {
        (Change::Added, _) => (Verb::Create, None, Some(object.as_ref())),
        (Change::Deleted, before) => (Verb::Delete, Some(before.unwrap_or(object)), None),
        (Change::Modified, Some(before)) if says_the_same(before, object) => return None,
        (Change::Modified, before) => (Verb::Update, before, Some(object.as_ref())),
    };
    let secret = is_secret(object.kind);
    let (mut before, mut after) = (before.map(essence), after.map(essence));
    if secret {
        hide(before.as_mut(), after.as_mut());
    }
    let text = |value: Option<Value>| value.map(|value| Arc::from(value.to_string()));
    Some(Entry {
        verb,
        kind: object.kind,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        generation: object.generation(),
        before: text(before),
        after: text(after),
        whole: !secret,
    })
}

fn is_secret(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Secret"
}

fn says_the_same(before: &Object, after: &Object) -> bool {
    let of = |object: &Object, field: &str| object.value["metadata"][field].clone();
    metadata::same_specification(&before.value, &after.value)
        && of(before, "labels") == of(after, "labels")
        && noted_annotations(before) == noted_annotations(after)
}

/// Without the copy that `kubectl apply` keeps for itself.
fn noted_annotations(object: &Object) -> Map<String, Value> {
    let mut annotations = object.value["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations
}

/// Where `kubectl apply` keeps what was applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a user said: the object without its status and without what the store writes.
pub fn essence(object: &Object) -> Value {
    let mut value = object.value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for own in [
            "managedFields",
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "generation",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(own);
        }
    }
    value
}

/// Of a Secret's content only that it changed may be known.
pub fn hide(before: Option<&mut Value>, after: Option<&mut Value>) {
    let old = before.as_deref().cloned().unwrap_or_default();
    for (value, is_new) in before.map(|value| (value, false)).into_iter().chain(after.map(|value| (value, true))) {
        if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        for part in ["data", "stringData"] {
            for (key, content) in value.get_mut(part).and_then(Value::as_object_mut).into_iter().flatten() {
                let changed = is_new && !old.is_null() && old[part][key.as_str()] != *content;
                *content = json!(if changed { HIDDEN_CHANGED } else { HIDDEN });
            }
        }
    }
}
