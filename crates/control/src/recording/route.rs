//! `/taut/v1/signals/recording`: a recording as it is made, in pieces, with bounded memory however long its span is.

use super::columns::Row;
use super::write::{About, NotWritten, Writer};
use crate::changes;
use crate::signal_routes;
use crate::signals::{self, Filter};
use crate::store::Store;
use crate::store::ledger::Generation;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use taut_insight::change::Change;
use taut_model::signal::Second;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Recordings that are made at the same time: each holds a row group, and reads the disk as fast as its client listens.
const AT_ONCE: usize = 2;
/// Pieces that wait for a slow client.
const PIECES: usize = 4;
const DEFAULT_LAST: Second = 1800;
/// Text of all differences in a recording.
const MOST_DIFFERENCES: usize = 4 << 20;

/// What was promised in a window, of a namespace or of all, as [`About::objectives`] has it.
pub type Objectives = dyn Fn(&Range<Second>, Option<&str>) -> Vec<Value> + Send + Sync;

/// What the route stands on. Cheap to clone.
#[derive(Clone)]
pub struct Recordings {
    signals: signals::Store,
    store: Store,
    /// The trust domain.
    mesh: Arc<str>,
    /// The objectives in a window, of a namespace.
    objectives: Arc<Objectives>,
    slots: Arc<Semaphore>,
}

impl Recordings {
    pub fn new(signals: signals::Store, store: Store, mesh: &str, objectives: Arc<Objectives>) -> Self {
        Self { signals, store, mesh: mesh.into(), objectives, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// Whoever may not read is to be kept away by the caller.
pub fn router<S: Clone + Send + Sync + 'static>(recordings: Recordings) -> Router<S> {
    Router::new().route("/taut/v1/signals/recording", get(recording)).with_state(recordings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// As far back as this from `to`.
    #[serde(default)]
    last: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
}

impl Wanted {
    fn window(&self, signals: &signals::Store) -> Result<Range<Second>, String> {
        let known = signals.latest() + 1;
        // What is not over yet is not in it.
        let end = self.to.as_deref().map_or(Ok(known), signal_routes::time)?.min(known);
        let start = match (&self.from, &self.last) {
            (Some(_), Some(_)) => return Err("say from when, or how long it is ago, and not both".to_owned()),
            (Some(from), None) => signal_routes::time(from)?,
            (None, last) => end.saturating_sub(last.as_deref().map_or(Ok(DEFAULT_LAST), signal_routes::seconds)?),
        };
        match start < end {
            // What was before anything was known is not said to have been quiet.
            true => Ok(signals.oldest().filter(|oldest| *oldest < end).map_or(start, |oldest| start.max(oldest))..end),
            false => {
                Err(format!("there is nothing between {} and {}: it ends before it begins", signal_routes::text(start), signal_routes::text(end)))
            }
        }
    }
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({"error": why.into()}))).into_response()
}

async fn recording(State(recordings): State<Recordings>, Query(wanted): Query<Wanted>) -> Response {
    let window = match wanted.window(&recordings.signals) {
        Ok(window) => window,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Ok(slot) = recordings.slots.clone().try_acquire_owned() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, format!("{AT_ONCE} recordings are being made already; try again when one is done"));
    };
    let namespace = wanted.namespace.filter(|name| !name.is_empty());
    let (pieces, stream) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let broken = pieces.clone();
        if let Err(error) = write(&recordings, Pieces(pieces), window, namespace) {
            // The answer breaks off, so nobody takes it for whole; a client that has left needs no more.
            tracing::warn!(%error, "a recording was not finished");
            let _ = broken.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.apache.parquet"));
    let name = HeaderValue::from_static("attachment; filename=\"recording.parquet\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    response
}

fn write(recordings: &Recordings, to: impl Write + Send, window: Range<Second>, namespace: Option<String>) -> Result<u64, NotWritten> {
    let mut writer = Writer::new(to)?;
    let filter = Filter { namespace: namespace.clone(), ..Filter::everything() };
    recordings.signals.each_bucket(window.clone(), &filter, |bucket| {
        bucket.edges.into_iter().try_for_each(|(edge, signals)| writer.push(&Row { start: bucket.start, span: bucket.span, edge, signals }))
    })?;
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mesh: recordings.mesh.to_string(),
        gaps: recordings.signals.gaps(window.clone()),
        changes: changes_in(&recordings.store.generations(), &window),
        objectives: (recordings.objectives)(&window, namespace.as_deref()),
        endpoints: recordings.signals.endpoints(&window).into_iter().filter(|change| is_of(change, namespace.as_deref())).collect(),
        window,
        namespace,
    };
    writer.finish(&about)
}

fn is_of(change: &Change, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| change.nodes.iter().any(|node| node.namespace() == namespace))
}

/// The generations that were made in the window, the oldest first.
fn changes_in(all: &[Arc<Generation>], window: &Range<Second>) -> Vec<Value> {
    let second = |text: &str| text.parse::<Timestamp>().ok().and_then(|at| Second::try_from(at.as_second()).ok());
    let inside = |generation: &&Arc<Generation>| second(&generation.at).is_some_and(|at| window.contains(&at));
    let mut room = MOST_DIFFERENCES;
    all.iter().filter(inside).map(|generation| changes::told(generation, &mut room)).collect()
}

/// Hands pieces to the client; waits for it when it is slow.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has left"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
