//! Following a list: what is there, then every change, one JSON document per line.

use super::accept::View;
use super::answer::{Answer, at_version};
use super::asked::Asked;
use super::refusal::Refusal;
use super::target::Address;
use super::{Api, look, table};
use crate::store::{Change, Expired, StoreEvent, Watch};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use taut_model::object::Object;
use tokio::time::Instant;

/// A watch without `timeoutSeconds` ends after this; clients start a new one from where it ended.
const LASTS_AT_MOST: Duration = Duration::from_secs(30 * 60);
/// How often a client that allows bookmarks hears of the newest version while nothing changes for it.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

pub(super) fn start(api: &Arc<Api>, asked: &Asked, address: &Address) -> Result<Answer, Refusal> {
    let view = asked.accept.view().ok_or_else(Refusal::not_acceptable)?;
    look::check_fields(asked, address)?;
    let (waiting, from) = match asked.options.resource_version.as_deref() {
        None | Some("0") => {
            let (objects, version) = api.store.list(address.kind);
            (objects.into_iter().map(|object| ("ADDED", object)).collect(), version)
        }
        Some(given) => {
            (VecDeque::new(), given.parse().map_err(|_| Refusal::bad_request(format!("resourceVersion: {given:?} is not one of this server's")))?)
        }
    };
    let events = api.store.watch(from).map_err(|expired| Refusal::expired(&expired))?;
    let lasts = asked.options.timeout_seconds.map_or(LASTS_AT_MOST, Duration::from_secs).min(LASTS_AT_MOST);
    let follower = Follower {
        filter: Filter { labels: asked.options.labels.clone(), fields: asked.options.fields.clone(), address: address.clone() },
        api: api.clone(),
        view,
        rows: asked.options.rows,
        bookmarks: asked.options.bookmarks && view != View::Table,
        events,
        waiting,
        seen: from,
        said_columns: false,
        ends: Instant::now() + lasts,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
    };
    let lines = stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        let (line, goes_on) = match follower.next().await {
            Next::Line(line) => (line, true),
            Next::Last(line) => (line, false),
            Next::End => return None,
        };
        Some((Ok::<_, Infallible>(Bytes::from(line)), goes_on.then_some(follower)))
    });
    Ok(Answer::new("application/json", Body::from_stream(lines)))
}

/// One client that follows.
struct Follower {
    api: Arc<Api>,
    filter: Filter,
    view: View,
    rows: super::asked::RowObject,
    bookmarks: bool,
    events: Watch,
    /// To be sent before anything new.
    waiting: VecDeque<(&'static str, Arc<Object>)>,
    /// Every event up to this version was sent or did not concern the client.
    seen: u64,
    said_columns: bool,
    ends: Instant,
    next_bookmark: Instant,
}

struct Filter {
    labels: super::selector::Selector,
    fields: super::selector::Selector,
    address: Address,
}

enum Next {
    Line(String),
    Last(String),
    End,
}

impl Follower {
    async fn next(&mut self) -> Next {
        loop {
            while let Some((sort, object)) = self.waiting.pop_front() {
                if sort != "ADDED" || self.filter.covers(&object) {
                    return Next::Line(self.line(sort, &object));
                }
            }
            let wakes = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            match tokio::time::timeout_at(wakes, self.events.next()).await {
                Ok(Ok(event)) => {
                    self.seen = event.version;
                    self.waiting.extend(self.filter.told(&event).map(|sort| (sort, event.object.clone())));
                }
                Ok(Err(expired)) => return Next::Last(expired_line(&expired)),
                Err(_) if Instant::now() >= self.ends => return Next::End,
                Err(_) => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Next::Line(self.bookmark());
                }
            }
        }
    }

    fn line(&mut self, sort: &str, object: &Arc<Object>) -> String {
        let address = &self.filter.address;
        let shown = match self.view {
            View::Whole => at_version(object, address.version),
            View::Metadata => look::metadata_only(object),
            View::Table => {
                let version = object.value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                let first = !std::mem::replace(&mut self.said_columns, true);
                table::of(&self.api, address, std::slice::from_ref(object), self.rows, version, first)
            }
        };
        line(sort, &shown)
    }

    fn bookmark(&self) -> String {
        let address = &self.filter.address;
        let metadata = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        line("BOOKMARK", &json!({"kind": address.kind.kind, "apiVersion": address.api_version(), "metadata": metadata}))
    }
}

impl Filter {
    fn covers(&self, object: &Object) -> bool {
        let here = self.address.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace);
        here && std::ptr::eq(object.kind, self.address.kind) && self.labels.accepts_labels_of(object) && self.fields.accepts_fields_of(object)
    }

    /// What an event is to a client that sees only part of the objects: one that leaves the part is deleted for it.
    fn told(&self, event: &StoreEvent) -> Option<&'static str> {
        let was = event.before.as_ref().is_some_and(|before| self.covers(before));
        let is = event.kind != Change::Deleted && self.covers(&event.object);
        match (was, is) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }
}

fn expired_line(expired: &Expired) -> String {
    line("ERROR", &Refusal::expired(expired).status())
}

fn line(sort: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": sort, "object": object}))
}
