//! Interned series: what a set of labels has counted. Finding one is a hash and a comparison, without formatting.

use crate::labels::{DESTINATION, SOURCE, known, of_edge, reporter_name, service};
use crate::names::OTHER;
use crate::names::label::*;
use crate::record::{Edge, Reporter};
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What tells one series from another. `code`: status and gRPC status of an exchange; `None` for a connection.
pub(crate) struct Labels<'a> {
    pub edge: &'a Edge,
    pub code: Option<(u16, Option<u16>)>,
    pub flags: &'static str,
}

struct Interned<V> {
    edge: Edge,
    code: Option<(u16, Option<u16>)>,
    flags: &'static str,
    /// `reporter="source",…`, escaped.
    text: Box<str>,
    /// Second of the last change.
    changed: u64,
    value: V,
}

impl<V> Interned<V> {
    fn is(&self, labels: &Labels<'_>) -> bool {
        self.code == labels.code && self.flags == labels.flags && same_edge(&self.edge, labels.edge)
    }
}

const SHARDS: usize = 8;

/// The series of one family by their labels, at most `limit`; what comes beyond it goes to one series per reporter.
pub(crate) struct Family<V> {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Vec<Interned<V>>>>; SHARDS],
    count: AtomicUsize,
    /// The second of the last [`Family::expire`].
    now: AtomicU64,
    limit: usize,
    overflow: [Mutex<Option<V>>; 2],
    with_code: bool,
}

impl<V: Default> Family<V> {
    pub fn new(limit: usize, with_code: bool) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: Default::default(),
            count: AtomicUsize::new(0),
            now: AtomicU64::new(0),
            limit,
            overflow: Default::default(),
            with_code,
        }
    }

    /// Changes the series of these labels. `false`: the family is full, and the overflow series was changed instead.
    pub fn update(&self, labels: &Labels<'_>, change: impl FnOnce(&mut V)) -> bool {
        let hash = self.hasher.hash_one(Hashed(labels));
        let mut shard = self.shards[hash as usize % SHARDS].lock();
        if let Some(found) = shard.get_mut(&hash).and_then(|bucket| bucket.iter_mut().find(|series| series.is(labels))) {
            change(&mut found.value);
            found.changed = self.now.load(Ordering::Relaxed);
            return true;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.count.fetch_sub(1, Ordering::Relaxed);
            drop(shard);
            change(self.overflow[labels.edge.reporter as usize].lock().get_or_insert_default());
            return false;
        }
        let mut value = V::default();
        change(&mut value);
        let Labels { edge, code, flags } = *labels;
        let changed = self.now.load(Ordering::Relaxed);
        shard.entry(hash).or_default().push(Interned { edge: edge.clone(), code, flags, text: text(labels).into(), changed, value });
        true
    }

    /// Forgets every series without a change for `age`, at a time since any start. Times are told apart by this call only.
    pub fn expire(&self, now: Duration, age: Duration) {
        let now = now.as_secs();
        self.now.store(now, Ordering::Relaxed);
        for shard in &self.shards {
            let mut gone = 0;
            shard.lock().retain(|_, bucket| {
                let before = bucket.len();
                bucket.retain(|series| now < series.changed + age.as_secs());
                gone += before - bucket.len();
                !bucket.is_empty()
            });
            self.count.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// Every series with its label text, sorted by it, the overflow series last.
    pub fn read<R>(&self, mut look: impl FnMut(&V) -> R) -> Vec<(Box<str>, R)> {
        let mut all = Vec::with_capacity(self.count.load(Ordering::Relaxed));
        for shard in &self.shards {
            all.extend(shard.lock().values().flatten().map(|series| (series.text.clone(), look(&series.value))));
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (reporter, overflow) in [Reporter::Source, Reporter::Destination].into_iter().zip(&self.overflow) {
            if let Some(value) = overflow.lock().as_ref() {
                all.push((overflow_text(reporter, self.with_code).into(), look(value)));
            }
        }
        all
    }
}

/// Hashes what [`Interned::is`] compares.
struct Hashed<'a, 'b>(&'a Labels<'b>);

impl Hash for Hashed<'_, '_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let edge = self.0.edge;
        (self.0.code, self.0.flags, edge.reporter, edge.mutual_tls, edge.protocol).hash(state);
        (service(edge), &edge.destination, &edge.source).hash(state);
    }
}

fn same_edge(a: &Edge, b: &Edge) -> bool {
    (a.reporter, a.mutual_tls, a.protocol) == (b.reporter, b.mutual_tls, b.protocol)
        && service(a) == service(b)
        && (Arc::ptr_eq(&a.destination, &b.destination) || a.destination == b.destination)
        && (Arc::ptr_eq(&a.source, &b.source) || a.source == b.source)
}

fn text(labels: &Labels<'_>) -> String {
    let mut out = String::with_capacity(900);
    of_edge(labels.edge, labels.code, labels.flags, &mut |name, value| raw_pair(&mut out, name, value));
    out
}

fn overflow_text(reporter: Reporter, with_code: bool) -> String {
    let mut out = String::new();
    pair(&mut out, REPORTER, reporter_name(reporter));
    for name in SOURCE.iter().chain(&DESTINATION) {
        pair(&mut out, name, OTHER);
    }
    for name in [DESTINATION_SERVICE, DESTINATION_SERVICE_NAME, DESTINATION_SERVICE_NAMESPACE, REQUEST_PROTOCOL] {
        pair(&mut out, name, OTHER);
    }
    if with_code {
        pair(&mut out, RESPONSE_CODE, OTHER);
        pair(&mut out, GRPC_RESPONSE_STATUS, OTHER);
    }
    pair(&mut out, RESPONSE_FLAGS, OTHER);
    pair(&mut out, CONNECTION_SECURITY_POLICY, OTHER);
    out
}

/// Appends `name="value"`, an empty value as `unknown`.
pub(crate) fn pair(out: &mut String, name: &str, value: &str) {
    raw_pair(out, name, known(value));
}

/// Escapes as the text format asks: backslash, quote and line feed.
pub fn raw_pair(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}
