//! Fields to blocks. What came before and comes again is said by its index; what changes each time or is secret is never kept.

use super::huffman;
use super::names::{self, Habit, Known};
use super::table::STATIC;
use super::{DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD};
use bytes::{BufMut, BytesMut};
use foldhash::fast::FixedState;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

/// Which fields were seen, by their hash: so many buckets of so many slots. A full table has about a hundred entries.
const BUCKETS: usize = 64;
const SLOTS: usize = 4;

#[derive(Debug)]
pub struct Encoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    /// The least and the last size since the peer was told of one (RFC 7541 section 4.2).
    resized: Option<(usize, usize)>,
    /// The number of the newest entry; its index is one more than the static table's last.
    newest: u32,
    seen: Box<[[Slot; SLOTS]; BUCKETS]>,
    /// The number of the last entry with each known name that the static table lacks.
    names: Box<[u32; names::MOST]>,
    strings: Strings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strings {
    Plain,
    Huffman,
}

#[derive(Debug)]
struct Entry {
    /// Its place, if it is a known one.
    known: Option<usize>,
    /// The name, unless it is a known one, and the value after it. Copied, so that no entry keeps a read buffer alive.
    text: Box<[u8]>,
    size: usize,
}

impl Entry {
    fn is(&self, name: Name<'_>, value: &[u8]) -> bool {
        self.known == name.place() && {
            let unknown = if name.known.is_some() { &[] } else { name.text };
            self.text.strip_prefix(unknown).is_some_and(|own| own == value)
        }
    }
}

#[derive(Clone, Copy)]
struct Name<'a> {
    text: &'a [u8],
    known: Option<&'static Known>,
}

impl<'a> Name<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, known: names::find(text) }
    }

    fn place(&self) -> Option<usize> {
        self.known.map(|known| known.place)
    }

    fn habit(&self) -> Habit {
        self.known.map_or(Habit::Repeats, |known| known.habit)
    }
}

/// A field that was seen: `number` is that of its entry, which may be gone or never have been.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    number: u32,
}

/// What to do with a field whose values come again.
enum Sighting {
    Entry(usize),
    /// It was seen before, and gets an entry, which the slot will lead to.
    Again {
        bucket: usize,
        slot: usize,
    },
    First,
}

impl Encoder {
    /// Strings go plain: between neighbours a byte is cheaper than the work to save it.
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: DEFAULT_TABLE_BYTES,
            resized: None,
            newest: 0,
            seen: Box::new([[Slot::default(); SLOTS]; BUCKETS]),
            names: Box::new([0; names::MOST]),
            strings: Strings::Plain,
        }
    }

    /// Strings are Huffman-coded where that is shorter: for peers far away.
    pub fn compressing() -> Self {
        Self { strings: Strings::Huffman, ..Self::new() }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. No more than the default is used of it.
    pub fn set_max_size(&mut self, announced: usize) {
        let most = announced.min(DEFAULT_TABLE_BYTES);
        if most != self.most {
            self.most = most;
            self.evict(most);
            self.resized = Some((most.min(self.resized.map_or(most, |(least, _)| least)), most));
        }
    }

    /// Begins a block at the end of `out`. The peer must get it, and get blocks in the order in which they were begun.
    pub fn block<'a>(&'a mut self, out: &'a mut BytesMut) -> Block<'a> {
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                integer(out, 0x20, 5, least);
            }
            integer(out, 0x20, 5, last);
        }
        Block { encoder: self, out }
    }

    fn field(&mut self, out: &mut BytesMut, name: Name<'_>, value: &[u8], habit: Habit) {
        match habit {
            Habit::Secret => self.literal(out, (0x10, 4), name, value),
            // The name alone is worth an entry.
            Habit::Changes if name.known.is_some() && self.name_index(name).is_none() => _ = self.insert(out, name, value),
            Habit::Changes => self.literal(out, (0, 4), name, value),
            Habit::Repeats => match self.sight(name, value) {
                Sighting::Entry(index) => integer(out, 0x80, 7, index),
                Sighting::Again { bucket, slot } => {
                    if let Some(number) = self.insert(out, name, value) {
                        self.seen[bucket][slot].number = number;
                    }
                }
                Sighting::First => self.literal(out, (0, 4), name, value),
            },
        }
    }

    /// A slot that leads to an entry is left to it, so that what comes once cannot push out what repeats. The others stand newest
    /// first, so that two fields of one bucket cannot push out each other for ever. A hash that someone else can foresee is good
    /// enough: whoever makes fields collide only gets them written out.
    fn sight(&mut self, name: Name<'_>, value: &[u8]) -> Sighting {
        let mut hasher = FixedState::default().build_hasher();
        match name.known {
            Some(known) => hasher.write_usize(known.place),
            None => hasher.write(name.text),
        }
        hasher.write(value);
        let hash = hasher.finish();
        let (bucket, hash) = (hash as usize % BUCKETS, (hash >> 32) as u32);
        let seen = self.seen[bucket];
        if let Some(slot) = seen.iter().position(|slot| slot.hash == hash) {
            return match self.age(seen[slot].number) {
                Some(age) if self.entries[age].is(name, value) => Sighting::Entry(STATIC.len() + 1 + age),
                _ => Sighting::Again { bucket, slot },
            };
        }
        if let Some(oldest) = seen.iter().rposition(|slot| self.age(slot.number).is_none()) {
            self.seen[bucket][..=oldest].rotate_right(1);
            // A number that no entry has.
            self.seen[bucket][0] = Slot { hash, number: self.newest.wrapping_sub(u32::MAX / 2) };
        }
        Sighting::First
    }

    /// How many entries are newer than the one of this number, if it is still there.
    fn age(&self, number: u32) -> Option<usize> {
        let age = self.newest.wrapping_sub(number) as usize;
        (age < self.entries.len()).then_some(age)
    }

    fn name_index(&self, name: Name<'_>) -> Option<usize> {
        let known = name.known?;
        if known.static_index != 0 {
            return Some(known.static_index);
        }
        let age = self.age(self.names[known.place])?;
        (self.entries[age].known == Some(known.place)).then_some(STATIC.len() + 1 + age)
    }

    fn literal(&self, out: &mut BytesMut, (pattern, bits): (u8, u32), name: Name<'_>, value: &[u8]) {
        out.reserve(name.text.len() + value.len() + 16);
        match self.name_index(name) {
            Some(index) => integer(out, pattern, bits, index),
            None => {
                out.put_u8(pattern);
                self.string(out, name.text);
            }
        }
        self.string(out, value);
    }

    /// Writes a field and keeps it, unless it would take the place of too much else.
    fn insert(&mut self, out: &mut BytesMut, name: Name<'_>, value: &[u8]) -> Option<u32> {
        let size = name.text.len() + value.len() + ENTRY_OVERHEAD;
        if size > self.most / 2 {
            self.literal(out, (0, 4), name, value);
            return None;
        }
        self.literal(out, (0x40, 6), name, value);
        self.evict(self.most - size);
        self.size += size;
        self.newest = self.newest.wrapping_add(1);
        let known = name.place();
        if let Some(place) = known {
            self.names[place] = self.newest;
        }
        let text = if known.is_some() { value.into() } else { [name.text, value].concat().into() };
        self.entries.push_front(Entry { known, text, size });
        Some(self.newest)
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size;
        }
    }

    fn string(&self, out: &mut BytesMut, text: &[u8]) {
        if self.strings == Strings::Huffman {
            let length = huffman::encoded_length(text);
            if length < text.len() {
                integer(out, 0x80, 7, length);
                return huffman::encode(text, out);
            }
        }
        integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// A block that is being written: pseudo-header fields first.
#[must_use]
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut BytesMut,
}

impl Block<'_> {
    fn field(&mut self, name: &str, value: &[u8]) {
        let name = Name::new(name.as_bytes());
        self.encoder.field(self.out, name, value, name.habit());
    }

    pub fn method(&mut self, method: &Method) {
        match *method {
            Method::GET => self.out.put_u8(0x82),
            Method::POST => self.out.put_u8(0x83),
            ref other => self.field(":method", other.as_str().as_bytes()),
        }
    }

    pub fn scheme(&mut self, scheme: &Scheme) {
        if *scheme == Scheme::HTTPS {
            self.out.put_u8(0x87);
        } else if *scheme == Scheme::HTTP {
            self.out.put_u8(0x86);
        } else {
            self.field(":scheme", scheme.as_str().as_bytes());
        }
    }

    pub fn authority(&mut self, authority: &str) {
        self.field(":authority", authority.as_bytes());
    }

    pub fn path(&mut self, path: &str) {
        match path.as_bytes() {
            b"/" => self.out.put_u8(0x84),
            // What a client asks for differs more often than what it asks.
            path if memchr::memchr(b'?', path).is_some() => self.encoder.field(self.out, Name::new(b":path"), path, Habit::Changes),
            path => self.field(":path", path),
        }
    }

    /// What an extended CONNECT asks for (RFC 8441).
    pub fn protocol(&mut self, protocol: &str) {
        self.field(":protocol", protocol.as_bytes());
    }

    pub fn status(&mut self, status: StatusCode) {
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => return self.field(":status", status.as_str().as_bytes()),
        };
        self.out.put_u8(0x80 | index);
    }

    /// A value that [is sensitive](HeaderValue::is_sensitive) enters no table, here or further on.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let name = Name::new(name.as_str().as_bytes());
        let habit = if value.is_sensitive() { Habit::Secret } else { name.habit() };
        self.encoder.field(self.out, name, value.as_bytes(), habit);
    }

    /// `content-length`, as digits.
    pub fn length(&mut self, digits: &[u8]) {
        self.field("content-length", digits);
    }

    pub fn headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            self.header(name, value);
        }
    }
}

/// An integer after `pattern`, whose first byte has `bits` of it (RFC 7541 section 5.1).
fn integer(out: &mut BytesMut, pattern: u8, bits: u32, value: usize) {
    let full = (1_usize << bits) - 1;
    if value < full {
        return out.put_u8(pattern | value as u8);
    }
    out.put_u8(pattern | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
