//! The static table of RFC 7541 appendix A, and the decoder's dynamic table, which holds fields already parsed and checked.

use super::field::{Broken, Field, Name};
use super::{DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::LazyLock;

/// The static table; its first entry has index 1.
#[rustfmt::skip]
pub const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

static STATIC_ENTRIES: LazyLock<[Entry; 61]> =
    LazyLock::new(|| STATIC.map(|(name, value)| Entry::new(Name::read(name.as_bytes()), Bytes::from_static(value.as_bytes()))));

#[derive(Debug)]
pub struct Entry {
    /// As section 4.1 counts it.
    pub size: usize,
    pub field: Result<Field, Broken>,
}

impl Entry {
    pub fn new(name: Name, value: Bytes) -> Self {
        let size = size(&name, &value);
        Self { size, field: name.field(value) }
    }

    pub fn name(&self) -> Name {
        match &self.field {
            Ok(field) => field.name(),
            Err(broken) => broken.name.clone(),
        }
    }
}

pub fn size(name: &Name, value: &[u8]) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD
}

#[derive(Debug)]
pub struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Table {
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: DEFAULT_TABLE_BYTES }
    }

    /// Most bytes it may hold now.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }

    /// The entry at an index of section 2.3.3, static ones first.
    pub fn entry(&self, index: usize) -> Option<&Entry> {
        match index.checked_sub(STATIC.len() + 1) {
            Some(newer) => self.entries.get(newer),
            None => STATIC_ENTRIES.get(index.checked_sub(1)?),
        }
    }

    /// An entry larger than the table empties it (section 4.4).
    pub fn insert(&mut self, entry: Entry) {
        self.evict(self.most.saturating_sub(entry.size));
        if entry.size <= self.most {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size;
        }
    }
}
