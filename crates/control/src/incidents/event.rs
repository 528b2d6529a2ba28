//! Incidents as Events of Kubernetes: `kubectl get events` and `kubectl describe service` tell that one opened, found another cause, closed.

use super::Shown;
use super::object::{self, where_is, word};
use crate::signal_routes::{text, time};
use crate::store::{Store, StoreError};
use crate::translate::SUBJECT;
use crate::world::World;
use serde_json::{Value, json};
use taut_insight::incident::Incident;
use taut_model::kinds::{self, Kind};
use taut_model::object::Object;
use taut_model::signal::Second;

/// Who writes them.
const COMPONENT: &str = "tautline.dev/control-plane";
/// Events of incidents that are kept, and for how long after they came last; the oldest go first.
pub const MOST_KEPT: usize = 500;
pub const KEPT_FOR: Second = 24 * 3600;
/// Bytes of a message (as much as Kubernetes takes).
const LONGEST: usize = 1024;

/// What has become of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Opened,
    /// Another cause is the likeliest.
    Cause,
    Closed,
}

impl News {
    /// What is new in an incident since it was kept last.
    pub fn of(before: Option<&Incident>, now: &Incident) -> Option<Self> {
        let first = |incident: &Incident| incident.causes.first().map(|cause| (cause.place.clone(), cause.kind));
        let was_closed = before.is_none_or(|before| before.closed.is_some());
        match (was_closed, now.closed.is_some()) {
            (true, false) => Some(Self::Opened),
            (false, true) => Some(Self::Closed),
            (true, true) => None,
            (false, false) => (first(now).is_some() && before.and_then(first) != first(now)).then_some(Self::Cause),
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Opened => "IncidentOpened",
            Self::Cause => "IncidentCauseFound",
            Self::Closed => "IncidentClosed",
        }
    }
}

pub fn kind() -> Option<&'static Kind> {
    kinds::by_kind("v1", "Event")
}

/// Writes what is new at a second, and returns the Event. What was said before of the same incident counts up.
pub fn write(store: &Store, world: &World, news: News, shown: &Shown, at: Second) -> Result<Value, StoreError> {
    let Some(kind) = kind() else { return Ok(Value::Null) };
    let incident = &shown.incident;
    let (namespace, of) = object::place(incident);
    let about = match news {
        News::Cause => incident.causes.first().map_or_else(String::new, |cause| format!("{} {}", where_is(&cause.place), word(&cause.kind))),
        News::Opened | News::Closed => String::new(),
    };
    let name = format!("{of}.{:08x}", crc32fast::hash(format!("{} {about}", news.reason()).as_bytes()));
    let says = object::says(world);
    let message = match news {
        News::Opened => shown.story.summary.clone(),
        News::Cause => format!("{}; the likeliest cause now: {about}", shown.story.title),
        News::Closed => format!("over: {}", shown.story.summary),
    };
    let message = cut(message);
    if store.get(kind, &namespace, &name).is_some() {
        let edit = &mut |current: &Object| {
            let mut value = current.value.clone();
            let count = value["count"].as_u64().unwrap_or(1).saturating_add(1);
            (value["count"], value["lastTimestamp"], value["message"]) = (count.into(), text(at).into(), message.as_str().into());
            Ok(value)
        };
        let written = store.update(kind, &namespace, &name, &says, edit)?;
        return prune(store, at).map(|()| written.value.clone());
    }
    let value = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "labels": {SUBJECT: incident.subject.name()}},
        "involvedObject": regarding(store, incident), "related": reference(store, object::kind(), &namespace, &of),
        "type": if news == News::Closed { "Normal" } else { "Warning" }, "reason": news.reason(), "message": message, "action": "Observe",
        "source": {"component": COMPONENT}, "reportingComponent": COMPONENT, "reportingInstance": COMPONENT,
        "firstTimestamp": text(at), "lastTimestamp": text(at), "count": 1,
    });
    let written = store.create(Object { kind, namespace, name, value, places: None }, &says)?;
    prune(store, at).map(|()| written.value.clone())
}

/// The Service that is hurt; the incident where there is no such object.
fn regarding(store: &Store, incident: &Incident) -> Value {
    let service = kinds::by_kind("v1", "Service").filter(|kind| store.get(kind, incident.subject.namespace(), incident.subject.name()).is_some());
    let (namespace, name) = object::place(incident);
    match service {
        Some(_) => reference(store, service, incident.subject.namespace(), incident.subject.name()),
        None => reference(store, object::kind(), &namespace, &name),
    }
}

/// An ObjectReference.
fn reference(store: &Store, kind: Option<&'static Kind>, namespace: &str, name: &str) -> Value {
    let Some(kind) = kind else { return Value::Null };
    let uid = store.get(kind, namespace, name).map(|object| object.value["metadata"]["uid"].clone());
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "namespace": namespace, "name": name, "uid": uid})
}

/// Deletes those that are too old, and the oldest of too many. Events that others have written are none of ours.
pub fn prune(store: &Store, now: Second) -> Result<(), StoreError> {
    let Some(kind) = kind() else { return Ok(()) };
    let (all, _) = store.list(kind);
    let last = |object: &Object| object.value["lastTimestamp"].as_str().and_then(|at| time(at).ok()).unwrap_or_default();
    let mut own: Vec<_> = all.iter().filter(|object| object.value["reportingComponent"] == COMPONENT).map(|object| (last(object), object)).collect();
    own.sort_by_key(|(at, object)| (*at, object.name.clone()));
    let surplus = own.len().saturating_sub(MOST_KEPT);
    let gone = own.into_iter().enumerate().filter(|(place, (at, _))| *place < surplus || at.saturating_add(KEPT_FOR) < now);
    gone.map(|(_, (_, object))| object).try_for_each(|object| store.delete(kind, &object.namespace, &object.name, None).map(drop))
}

fn cut(message: String) -> String {
    match message.len() > LONGEST {
        true => message[..message.floor_char_boundary(LONGEST - 3)].to_owned() + "...",
        false => message,
    }
}
