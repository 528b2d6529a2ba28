//! Incidents as resources: `kubectl get incidents` shows what the engine has found, across restarts.

use super::Shown;
use crate::signal_routes::text;
use crate::store::{Store, StoreError, Write};
use crate::translate::SUBJECT;
use crate::world::World;
use serde_json::{Value, json};
use taut_insight::incident::{Incident, Place};
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;

const MANAGER: &str = "tautline.dev";
/// Incidents that are kept; the oldest closed ones go first.
pub const MOST_KEPT: usize = 200;
/// Where incidents of what is in no namespace are.
const ELSEWHERE: &str = "default";

pub fn kind() -> Option<&'static Kind> {
    kinds::by_kind("tautline.dev/v1alpha1", "Incident")
}

/// Writes an incident as it is now.
pub fn write(store: &Store, world: &World, shown: &Shown) -> Result<(), StoreError> {
    let Some(kind) = kind() else { return Ok(()) };
    let (namespace, name) = place(&shown.incident);
    let status = status(shown);
    let says = says(world);
    if store.get(kind, &namespace, &name).is_none() {
        let value = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace, "labels": {SUBJECT: shown.incident.subject.name()}},
        });
        store.create(Object { kind, namespace: namespace.clone(), name: name.clone(), value, places: None }, &says)?;
    }
    // What is created has no status (as in Kubernetes).
    let edit = &mut |current: &Object| {
        let mut value = current.value.clone();
        value["status"] = status.clone();
        Ok(value)
    };
    store.update(kind, &namespace, &name, &Write { status_only: true, ..says }, edit).map(drop)
}

/// Deletes the oldest closed ones beyond what is kept.
pub fn prune(store: &Store) -> Result<(), StoreError> {
    let Some(kind) = kind() else { return Ok(()) };
    let (all, _) = store.list(kind);
    let mut closed: Vec<_> = all.iter().filter(|object| object.value["status"]["state"] == "Closed").collect();
    closed.sort_by_key(|object| object.value["status"]["closed"].as_str().map(str::to_owned));
    let surplus = all.len().saturating_sub(MOST_KEPT);
    closed.into_iter().take(surplus).try_for_each(|object| store.delete(kind, &object.namespace, &object.name, None).map(drop))
}

/// All that are kept, the newest first.
pub fn read(store: &Store) -> Vec<Incident> {
    let Some(kind) = kind() else { return Vec::new() };
    let (all, _) = store.list(kind);
    let read = |value: &Value| serde_json::from_value(value["status"]["incident"].clone()).ok();
    let mut incidents: Vec<Incident> = all.iter().filter_map(|object| read(&object.value)).collect();
    incidents.sort_by(|one, other| (other.opened, &other.id).cmp(&(one.opened, &one.id)));
    incidents
}

/// As it was kept last.
pub fn before(store: &Store, incident: &Incident) -> Option<Incident> {
    let (namespace, name) = place(incident);
    let object = store.get(kind()?, &namespace, &name)?;
    serde_json::from_value(object.value["status"]["incident"].clone()).ok()
}

/// Namespace and name of its object.
pub fn place(incident: &Incident) -> (String, String) {
    let namespace = Some(incident.subject.namespace()).filter(|namespace| !namespace.is_empty()).unwrap_or(ELSEWHERE);
    (namespace.to_owned(), name(&incident.id))
}

/// An id as Kubernetes lets objects be named (RFC 1123).
fn name(id: &str) -> String {
    let fitting = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' || letter == '.' { letter.to_ascii_lowercase() } else { '-' };
    let name: String = id.chars().map(fitting).collect();
    let name = name.trim_matches(['-', '.']);
    name[name.len().saturating_sub(200)..].trim_matches(['-', '.']).to_owned()
}

fn status(shown: &Shown) -> Value {
    let incident = &shown.incident;
    let first = incident.causes.first();
    json!({
        "state": if incident.closed.is_some() { "Closed" } else { "Open" },
        "subject": incident.subject.id(), "verdict": incident.verdict, "hurt": incident.hurt,
        "opened": text(incident.opened), "began": text(incident.began), "closed": incident.closed.map(text),
        "cause": first.map(|cause| format!("{} {}", where_is(&cause.place), word(&cause.kind))),
        "confidence": first.map(|cause| format!("{:.0}%", cause.confidence * 100.0)),
        "title": shown.story.title, "summary": shown.story.summary,
        "incident": incident,
    })
}

/// As tables show it: `default/ratings`, `default/reviews v2`, `default/a -> default/b`.
pub fn where_is(place: &Place) -> String {
    match place {
        Place::Service(node) => node.to_string(),
        Place::Part(node, part) => format!("{node} {}", part.version),
        Place::Link(source, destination) => format!("{source} -> {destination}"),
        Place::Outside(node) => format!("{node} (outside the mesh)"),
    }
}

/// The word that JSON has for it.
pub fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub fn says(world: &World) -> Write {
    Write { manager: MANAGER.to_owned(), now: world.wall_text(), uid_seed: world.unique(), places: None, status_only: false, author: None }
}
