//! Configuration from a directory of YAML and JSON files, watched: what the files say is what the store holds.
//!
//! A file is taken whole or not at all: while it has an error, its last good version stays live (also across a restart,
//! because the store remembers which file an object came from) and the report says what is wrong. Objects go away with
//! their file, or when their file no longer names them; what is in a file that cannot be read stays.
//!
//! The one thing that does not wait for a whole file is what keeps others out: a policy or a DestinationRule that has no last
//! good version holds as it is written, or, if it is the one with the error, by a stricter stand-in (`translate::stand_in`),
//! until the file is mended or no longer names it. In a text that is no YAML nothing can be read, so nothing stands in: then
//! the report alone says so.
//!
//! Of two files with the same object the first by path counts. The API may change and delete these objects too: the last
//! writer wins until the file changes or the control plane restarts, and then the file is applied again.

use super::file::{File, Key, is_stand_in, key, problem};
use crate::fault::Fault;
use crate::registry::PEER;
use crate::store::ledger::{Author, Occasion};
use crate::store::{Store, StoreError, Write};
use crate::world::World;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use tokio::sync::Notify;

/// `file:line` that an object was read from.
pub const SOURCE: &str = "tautline.dev/source";
const MANAGER: &str = "config-directory";
/// Editors write a file in several steps; wait until they are done.
const SETTLE: Duration = Duration::from_millis(50);
/// Looked through at least this often, for file systems that tell of no changes.
const RESCAN: Duration = Duration::from_secs(2);
/// Deeper directories are taken for a loop of links.
const DEEPEST: usize = 32;

/// What is wrong with the files now. Cheap to clone; all clones are one report.
#[derive(Clone, Default)]
pub struct Report(Arc<Mutex<Vec<Problem>>>);

impl Report {
    pub fn problems(&self) -> Vec<Problem> {
        self.0.lock().clone()
    }
}

pub struct Directory {
    root: PathBuf,
    store: Store,
    world: World,
    files: BTreeMap<PathBuf, File>,
    /// What was last written to the store, so that a change by somebody else is not undone at every scan.
    applied: BTreeMap<Key, Value>,
    report: Report,
    /// Of what is applied now.
    author: Arc<Author>,
}

impl Directory {
    /// Reads everything once and applies it.
    ///
    /// # Errors
    /// The directory is not there or cannot be read. Files that cannot be used are in the report instead.
    pub fn open(root: &Path, store: Store, world: World) -> Result<Self, Fault> {
        if let Err(error) = std::fs::read_dir(root) {
            return Err(Fault::new(
                format!("cannot read the configuration directory {}: {error}", root.display()),
                "Name a directory of YAML files that this user may read with --config",
            ));
        }
        let (files, applied) = (BTreeMap::new(), BTreeMap::new());
        let mut directory = Self { root: root.to_owned(), store, world, files, applied, report: Report::default(), author: Arc::default() };
        directory.refresh(true);
        Ok(directory)
    }

    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Follows the directory. Runs for ever.
    pub async fn watch(mut self) {
        let changed = Arc::new(Notify::new());
        let watcher = watcher(&self.root, changed.clone());
        if let Err(error) = &watcher {
            tracing::warn!(%error, directory = %self.root.display(), "changes are not announced here; looking every {RESCAN:?} instead");
        }
        loop {
            let announced = tokio::select! {
                biased;
                () = changed.notified() => true,
                () = tokio::time::sleep(RESCAN) => false,
            };
            if announced {
                tokio::time::sleep(SETTLE).await;
            }
            self.refresh(announced);
        }
    }

    /// Looks through the directory and brings the store to what it says. `thorough`: read files again that look the same.
    fn refresh(&mut self, thorough: bool) {
        let mut problems = Vec::new();
        let file = Some(self.root.display().to_string());
        self.author = Arc::new(Author { manager: MANAGER.to_owned(), file, occasion: Occasion::batch(), ..Author::default() });
        // A file that is moved while the directory is listed may be seen in neither place; the second look finds it.
        let moved = |paths: &BTreeSet<PathBuf>| self.files.keys().any(|known| !paths.contains(known));
        match listing(&self.root).and_then(|paths| if moved(&paths) { listing(&self.root) } else { Ok(paths) }) {
            Ok(paths) => self.read(&paths, thorough),
            // Nothing is taken away because it cannot be seen.
            Err(error) => problems.push(problem(&self.root, "UnreadableDirectory", format!("cannot read the directory: {error}"))),
        }
        self.apply(&mut problems);
        for file in self.files.values() {
            problems.extend(file.problems.iter().cloned());
        }
        let mut report = self.report.0.lock();
        for new in problems.iter().filter(|problem| !report.contains(problem)) {
            tracing::warn!("{new}");
        }
        *report = problems;
    }

    fn read(&mut self, paths: &BTreeSet<PathBuf>, thorough: bool) {
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            let file = self.files.entry(path.clone()).or_default();
            file.refresh(path, thorough);
        }
    }

    fn apply(&mut self, problems: &mut Vec<Problem>) {
        let mut applied = std::mem::take(&mut self.applied);
        let wanted = self.wanted(problems);
        applied.retain(|key, _| wanted.contains_key(key));
        for (key, (path, object)) in &wanted {
            let value = with_source(object, path);
            if applied.get(key) == Some(&value) {
                continue;
            }
            match self.write(object, &value) {
                Ok(()) => drop(applied.insert(key.clone(), value)),
                Err(error) => problems.push(problem(path, "NotStored", format!("{} could not be stored: {error}", object.reference()))),
            }
        }
        self.remove_vanished(&wanted.into_keys().collect(), problems);
        self.applied = applied;
    }

    /// What the store should hold, and the file that says so.
    fn wanted(&self, problems: &mut Vec<Problem>) -> BTreeMap<Key, (&PathBuf, &Object)> {
        let mut wanted: BTreeMap<Key, (&PathBuf, &Object)> = BTreeMap::new();
        for (path, file) in &self.files {
            for object in &file.objects {
                let first = wanted.entry(key(object)).or_insert((path, object));
                if !std::ptr::eq(first.1, object) {
                    let message = format!("{} is already written in {}; that one counts", object.reference(), first.0.display());
                    let mut twice = problem(path, "Duplicate", message);
                    (twice.object, twice.location) = (Some(object.reference()), object.location("metadata.name").or(twice.location));
                    problems.push(twice);
                }
            }
        }
        for (path, object) in self.files.iter().flat_map(|(path, file)| file.guards.iter().map(move |object| (path, object))) {
            let key = key(object);
            let stored = self.store.get(object.kind, &object.namespace, &object.name);
            // Whoever wrote it: what is good and stored is the last good version.
            if wanted.contains_key(&key) || stored.is_some_and(|stored| !is_stand_in(&stored)) {
                continue;
            }
            wanted.insert(key, (path, object));
            if is_stand_in(object) {
                problems.push(stands_in(path, object));
            }
        }
        wanted
    }

    fn write(&self, object: &Object, value: &Value) -> Result<(), StoreError> {
        let write = Write { places: object.places.clone(), ..self.own_write() };
        let replaced = self.store.update(object.kind, &object.namespace, &object.name, &write, &mut |known| {
            let mut value = value.clone();
            // Where the workload's proxy is, is not for the file to say.
            if let Some(peer) = known.value["metadata"]["annotations"].get(PEER) {
                value["metadata"]["annotations"][PEER] = peer.clone();
            }
            Ok(value)
        });
        match replaced {
            Err(StoreError::NotFound { .. }) => self.store.create(Object { value: value.clone(), ..object.clone() }, &write).map(drop),
            other => other.map(drop),
        }
    }

    fn own_write(&self) -> Write {
        let author = Some(self.author.clone());
        Write { manager: MANAGER.to_owned(), now: self.world.wall_text(), uid_seed: self.world.unique(), places: None, status_only: false, author }
    }

    /// Deletes what came from a file that is gone, or that is good and no longer says it.
    fn remove_vanished(&self, wanted: &BTreeSet<Key>, problems: &mut Vec<Problem>) {
        if problems.iter().any(|problem| problem.code == "UnreadableDirectory") {
            return;
        }
        let files: BTreeMap<_, _> = self.files.iter().map(|(path, file)| (path.display().to_string(), file)).collect();
        let claimed: BTreeSet<&Key> = self.files.values().flat_map(|file| &file.claimed).collect();
        for object in self.store.all().0 {
            let Some((file, _)) = object.value["metadata"]["annotations"][SOURCE].as_str().and_then(|source| source.rsplit_once(':')) else {
                continue;
            };
            let key = key(&object);
            let keeps = files.get(file).is_some_and(|file| file.keeps(&object));
            // A file that was renamed and broken at once has the last good version under its old name.
            let moved = claimed.contains(&key) && !is_stand_in(&object);
            if wanted.contains(&key) || keeps || moved {
                continue;
            }
            match self.store.delete_by((object.kind, &object.namespace, &object.name), None, &self.own_write()) {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => problems.push(problem(Path::new(file), "NotStored", format!("{} could not be deleted: {error}", object.reference()))),
            }
        }
    }
}

fn stands_in(path: &Path, object: &Object) -> Problem {
    let instead = match object.kind.kind {
        "AuthorizationPolicy" => "everything is denied to the workloads that it selects",
        "RateLimit" => "the workloads that it selects let nothing in",
        "RequestAuthentication" => "the workloads that it selects let no request in",
        "BackendTLSPolicy" => "its Services are reached over the mesh's own mutual TLS or not at all",
        "PeerAuthentication" => "the workloads that it selects take mutual TLS only",
        _ => "only its demand for TLS holds",
    };
    let message = format!("{} is not accepted and was never good, so {instead} until this file is mended", object.reference());
    let location = object.location("").or_else(|| problem(path, "", String::new()).location);
    Problem { severity: Severity::Warning, object: Some(object.reference()), location, ..problem(path, "StandsIn", message) }
}

/// The object as it is stored, with where it came from.
fn with_source(object: &Object, path: &Path) -> Value {
    let mut value = object.value.clone();
    let line = object.location("metadata.name").map_or(1, |location| location.line);
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    value["metadata"]["annotations"][SOURCE] = format!("{}:{line}", path.display()).into();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    value
}

/// Every YAML and JSON file below, but for hidden ones.
fn listing(root: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut pending = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if path.is_dir() {
                if depth < DEEPEST {
                    pending.push((path, depth + 1));
                }
            } else if path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json") {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

fn watcher(root: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too, and must not lead to reading it again.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests;
