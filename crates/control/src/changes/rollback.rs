//! Taking a generation back: each of its objects becomes what it was before. Nothing is written when one of them cannot.

use super::shown;
use crate::source::directory::SOURCE;
use crate::store::ledger::{Author, Entry, Generation, Occasion, essence};
use crate::store::{Store, StoreError, Write};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use taut_model::kinds;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;

/// The program that writes, in the ledger and in `managedFields`.
const MANAGER: &str = "taut-rollback";
/// How often the status of one object may be written while it is taken back.
const MOST_STATUS_WRITES: usize = 10;

/// Why a generation is not taken back.
#[derive(Debug)]
pub enum Refused {
    /// It never was, or is too old.
    Unknown(u64),
    /// Later generations that change the same objects.
    Overtaken(Vec<Arc<Generation>>),
    /// What stood before was not kept.
    NotKept(ObjectRef),
    /// A namespace that is gone.
    NoNamespace(ObjectRef),
    /// It has been taken back already, or the later change came to the same.
    Nothing,
    Store(StoreError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(number) => write!(f, "there is no generation {number}, or it is too old to be kept; `taut changes` lists them"),
            Self::Overtaken(later) => {
                let numbers: Vec<String> = later.iter().map(|generation| generation.number.to_string()).collect();
                write!(f, "later changes touch the same objects: {}; roll those back first, or say --force to lose them", numbers.join(", "))
            }
            Self::NotKept(object) => write!(f, "what {object} was before is not kept (Secrets never are, nor what is very large); apply it again"),
            Self::NoNamespace(object) => write!(f, "{object} cannot come back: its namespace is gone; create that first"),
            Self::Nothing => write!(f, "everything is already as it was before that generation"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

/// What a rollback does, or would do.
#[derive(Debug, Default)]
pub struct Restored {
    /// The generation that it makes; `None` in a dry run.
    pub generation: Option<u64>,
    pub objects: Vec<Step>,
    /// What people should know: files that say otherwise.
    pub warnings: Vec<String>,
}

/// One object on its way back.
#[derive(Debug)]
pub struct Step {
    pub verb: &'static str,
    pub object: ObjectRef,
    pub diff: String,
    entry: Arc<Entry>,
    /// As it is now.
    now: Option<Arc<Object>>,
    /// As it will be.
    then: Option<Value>,
}

/// How a rollback is asked for.
pub struct Request<'a> {
    pub number: u64,
    /// Also when later changes are lost by it.
    pub force: bool,
    pub dry_run: bool,
    pub user: &'a str,
    pub now: &'a str,
    pub dice: &'a dyn Fn() -> [u8; 16],
}

/// Takes a generation back, as a new generation.
///
/// # Errors
/// See [`Refused`]. A disk that fails half way leaves what was written before, and the ledger says what that was.
pub fn rollback(store: &Store, request: &Request<'_>) -> Result<Restored, Refused> {
    let generations = store.generations();
    let target = generations.iter().find(|generation| generation.number == request.number).ok_or(Refused::Unknown(request.number))?;
    let mut restored = prepare(store, target)?;
    let later: Vec<_> =
        generations.iter().filter(|later| later.number > target.number && target.entries.iter().any(|entry| later.touches(entry))).cloned().collect();
    if !later.is_empty() && !request.force {
        return Err(Refused::Overtaken(later));
    }
    if restored.objects.is_empty() {
        return Err(Refused::Nothing);
    }
    if !request.dry_run {
        let note = format!("rolls back generation {}", target.number);
        let author = Author { user: request.user.to_owned(), manager: MANAGER.to_owned(), file: None, note, occasion: Occasion::batch() };
        let author = Arc::new(author);
        for step in &restored.objects {
            carry_out_as_seen(store, step, request, &author).map_err(Refused::Store)?;
        }
        restored.generation = store.generations().last().map(|generation| generation.number);
    }
    Ok(restored)
}

fn prepare(store: &Store, target: &Generation) -> Result<Restored, Refused> {
    let mut restored = Restored::default();
    for entry in &target.entries {
        let object = ObjectRef::new(entry.kind.kind, entry.namespace.clone(), entry.name.clone());
        if !entry.whole {
            return Err(Refused::NotKept(object));
        }
        let then = entry.before.as_deref().map(serde_json::from_str::<Value>).transpose().map_err(|_| Refused::NotKept(object.clone()))?;
        let now = store.get(entry.kind, &entry.namespace, &entry.name);
        let gone = |namespace: &str| kinds::by_plural("", "namespaces").is_some_and(|kind| store.get(kind, "", namespace).is_none());
        if then.is_some() && now.is_none() && entry.kind.namespaced && gone(&entry.namespace) {
            return Err(Refused::NoNamespace(object));
        }
        let text = |value: &Value| shown::yaml(value);
        let (before, after) = (now.as_deref().map(|now| text(&essence(now))), then.as_ref().map(text));
        let verb = match (&before, &after) {
            (None, None) => continue,
            (Some(before), Some(after)) if before == after => continue,
            (None, Some(_)) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        };
        if let Some(file) = now.as_deref().and_then(|now| now.value["metadata"]["annotations"][SOURCE].as_str()) {
            let until = "it is applied again when it changes or the control plane restarts: change it too";
            restored.warnings.push(format!("{object} comes from {file}, which says otherwise; {until}"));
        }
        let diff = shown::diff(before.as_deref(), after.as_deref());
        restored.objects.push(Step { verb, object, diff, entry: entry.clone(), now, then });
    }
    Ok(restored)
}

/// A status that is written meanwhile is nobody's change of configuration, and no conflict.
fn carry_out_as_seen(store: &Store, step: &Step, request: &Request<'_>, author: &Arc<Author>) -> Result<(), StoreError> {
    let Entry { kind, namespace, name, .. } = &*step.entry;
    let mut now = step.now.clone();
    for _ in 0..MOST_STATUS_WRITES {
        let outcome = carry_out(store, step, now.as_deref(), request, author);
        if !matches!(outcome, Err(StoreError::Conflict { .. })) {
            return outcome;
        }
        let seen = store.get(kind, namespace, name);
        match (&seen, &step.now) {
            (Some(seen), Some(then)) if essence(seen) == essence(then) => now = Some(seen.clone()),
            _ => return outcome,
        }
    }
    carry_out(store, step, now.as_deref(), request, author)
}

fn carry_out(store: &Store, step: &Step, now: Option<&Object>, request: &Request<'_>, author: &Arc<Author>) -> Result<(), StoreError> {
    let Entry { kind, namespace, name, .. } = &*step.entry;
    let write = Write {
        manager: MANAGER.to_owned(),
        now: request.now.to_owned(),
        uid_seed: (request.dice)(),
        places: None,
        status_only: false,
        author: Some(author.clone()),
    };
    match (now, &step.then) {
        (Some(now), None) => store.delete_by((kind, namespace, name), now.value["metadata"]["resourceVersion"].as_str(), &write).map(drop),
        (None, Some(then)) => {
            let object = Object { kind, namespace: namespace.clone(), name: name.clone(), value: then.clone(), places: None };
            store.create(object, &write).map(drop)
        }
        // What somebody changed since it was looked at is not lost: that is a conflict.
        (Some(now), Some(then)) => store.update(kind, namespace, name, &write, &mut |_| Ok(with_identity(then, now))).map(drop),
        (None, None) => Ok(()),
    }
}

/// What was said then, about the object as it is now.
fn with_identity(then: &Value, now: &Object) -> Value {
    let mut value = then.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let kept: Map<String, Value> = now.value["metadata"].as_object().cloned().unwrap_or_default();
        for (name, value) in kept {
            if !matches!(name.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences") {
                metadata.entry(name).or_insert(value);
            }
        }
    }
    value
}
