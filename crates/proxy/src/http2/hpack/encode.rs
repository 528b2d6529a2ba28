//! Fields to blocks. What came before and comes again is said by its index; what changes each time or is secret is never kept.

use super::huffman;
use super::names::{self, Habit, Known};
use super::table::STATIC;
use super::{DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD};
use bytes::{BufMut, BytesMut};
use foldhash::fast::RandomState;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

/// How fields of a peer's requests were seen, by their hash.
const SLOTS: usize = 128;

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
    slots: Box<[Slot; SLOTS]>,
    /// The number of the last entry with each known name that the static table lacks.
    names: Box<[u32; names::MOST]>,
    hashes: RandomState,
    strings: Strings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strings {
    Plain,
    Huffman,
}

#[derive(Debug)]
struct Entry {
    /// The name and the value after it. Copied, so that no entry keeps a read buffer alive.
    text: Box<[u8]>,
    name_length: usize,
}

impl Entry {
    fn name(&self) -> &[u8] {
        &self.text[..self.name_length]
    }

    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        let (own_name, own_value) = self.text.split_at(self.name_length);
        own_name == name && own_value == value
    }

    fn size(&self) -> usize {
        self.text.len() + ENTRY_OVERHEAD
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
    /// It was seen before, and gets an entry, which this slot will lead to.
    Again(usize, u32),
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
            slots: Box::new([Slot::default(); SLOTS]),
            names: Box::new([0; names::MOST]),
            hashes: RandomState::default(),
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

    fn field(&mut self, out: &mut BytesMut, name: &[u8], value: &[u8], habit: Option<Habit>) {
        let known = names::find(name);
        match habit.unwrap_or(known.map_or(Habit::Repeats, |(_, known)| known.habit)) {
            Habit::Secret => self.literal(out, (0x10, 4), known, name, value),
            Habit::Changes => match self.name_index(known) {
                // The name alone is worth an entry.
                None if known.is_some() => {
                    self.insert(out, known, name, value);
                }
                _ => self.literal(out, (0, 4), known, name, value),
            },
            Habit::Repeats => match self.sight(name, value) {
                Sighting::Entry(index) => integer(out, 0x80, 7, index),
                Sighting::Again(slot, hash) => {
                    if let Some(number) = self.insert(out, known, name, value) {
                        self.slots[slot] = Slot { hash, number };
                    }
                }
                Sighting::First => self.literal(out, (0, 4), known, name, value),
            },
        }
    }

    /// Two slots may tell of a field. One that leads to an entry is left to it, so that what comes once cannot push out what repeats.
    fn sight(&mut self, name: &[u8], value: &[u8]) -> Sighting {
        let mut hasher = self.hashes.build_hasher();
        hasher.write(name);
        hasher.write(value);
        let hash = hasher.finish();
        let (slot, hash) = (hash as usize % SLOTS, (hash >> 32) as u32);
        for slot in [slot, slot ^ 1] {
            let seen = self.slots[slot];
            if seen.hash == hash {
                return match self.age(seen.number) {
                    Some(age) if self.entries[age].is(name, value) => Sighting::Entry(STATIC.len() + 1 + age),
                    _ => Sighting::Again(slot, hash),
                };
            }
        }
        if let Some(free) = [slot, slot ^ 1].into_iter().find(|slot| self.age(self.slots[*slot].number).is_none()) {
            self.slots[free] = Slot { hash, number: self.newest.wrapping_sub(u32::MAX / 2) };
        }
        Sighting::First
    }

    /// How many entries are newer than the one of this number, if it is still there.
    fn age(&self, number: u32) -> Option<usize> {
        let age = self.newest.wrapping_sub(number) as usize;
        (age < self.entries.len()).then_some(age)
    }

    fn name_index(&self, known: Option<(usize, Known)>) -> Option<usize> {
        let (place, known) = known?;
        if known.static_index != 0 {
            return Some(known.static_index);
        }
        let age = self.age(self.names[place])?;
        (self.entries[age].name() == known.name.as_bytes()).then_some(STATIC.len() + 1 + age)
    }

    fn literal(&self, out: &mut BytesMut, (pattern, bits): (u8, u32), known: Option<(usize, Known)>, name: &[u8], value: &[u8]) {
        out.reserve(name.len() + value.len() + 16);
        match self.name_index(known) {
            Some(index) => integer(out, pattern, bits, index),
            None => {
                out.put_u8(pattern);
                self.string(out, name);
            }
        }
        self.string(out, value);
    }

    /// Writes a field and keeps it, unless it would take the place of too much else.
    fn insert(&mut self, out: &mut BytesMut, known: Option<(usize, Known)>, name: &[u8], value: &[u8]) -> Option<u32> {
        let entry_size = name.len() + value.len() + ENTRY_OVERHEAD;
        if entry_size > self.most / 2 {
            self.literal(out, (0, 4), known, name, value);
            return None;
        }
        self.literal(out, (0x40, 6), known, name, value);
        self.evict(self.most - entry_size);
        self.size += entry_size;
        self.entries.push_front(Entry { text: [name, value].concat().into(), name_length: name.len() });
        self.newest = self.newest.wrapping_add(1);
        if let Some((place, _)) = known {
            self.names[place] = self.newest;
        }
        Some(self.newest)
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size();
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
    pub fn method(&mut self, method: &Method) {
        match *method {
            Method::GET => self.out.put_u8(0x82),
            Method::POST => self.out.put_u8(0x83),
            ref other => self.encoder.field(self.out, b":method", other.as_str().as_bytes(), None),
        }
    }

    pub fn scheme(&mut self, scheme: &Scheme) {
        if *scheme == Scheme::HTTPS {
            self.out.put_u8(0x87);
        } else if *scheme == Scheme::HTTP {
            self.out.put_u8(0x86);
        } else {
            self.encoder.field(self.out, b":scheme", scheme.as_str().as_bytes(), None);
        }
    }

    pub fn authority(&mut self, authority: &str) {
        self.encoder.field(self.out, b":authority", authority.as_bytes(), None);
    }

    pub fn path(&mut self, path: &str) {
        match path.as_bytes() {
            b"/" => self.out.put_u8(0x84),
            // What a client asks for differs more often than what it asks.
            path if memchr::memchr(b'?', path).is_some() => self.encoder.field(self.out, b":path", path, Some(Habit::Changes)),
            path => self.encoder.field(self.out, b":path", path, None),
        }
    }

    /// What an extended CONNECT asks for (RFC 8441).
    pub fn protocol(&mut self, protocol: &str) {
        self.encoder.field(self.out, b":protocol", protocol.as_bytes(), None);
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
            _ => return self.encoder.field(self.out, b":status", status.as_str().as_bytes(), None),
        };
        self.out.put_u8(0x80 | index);
    }

    /// A value that [is sensitive](HeaderValue::is_sensitive) enters no table, here or further on.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let habit = value.is_sensitive().then_some(Habit::Secret);
        self.encoder.field(self.out, name.as_str().as_bytes(), value.as_bytes(), habit);
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
