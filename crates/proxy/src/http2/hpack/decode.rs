//! Blocks to fields. The table is kept right whatever is wrong with a message, so that the next message is understood.

use super::DEFAULT_TABLE_BYTES;
use super::field::{Broken, Field, Name};
use super::huffman;
use super::table::{Entry, Table, size};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Strings that must not share a block's memory are gathered in pieces of memory of this size.
const PIECE: usize = 1024;
/// Larger strings get memory of their own, so that no piece grows for good.
const LARGE: usize = 4 * PIECE;

/// What is wrong with a block, and so who suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Both ends' tables may differ from here on: an error of the connection, COMPRESSION_ERROR (RFC 9113 section 4.3).
    Compression(&'static str),
    /// An error of the stream, PROTOCOL_ERROR (RFC 9113 section 8.1.1). The block was read to its end.
    Malformed(&'static str),
    /// The fields are more than the list may be. The block was read to its end.
    TooLarge,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression(why) => write!(f, "the peer's field block cannot be decoded: {why}"),
            Self::Malformed(why) => write!(f, "the peer's message is malformed: {why}"),
            Self::TooLarge => f.write_str("the fields of the peer's message are larger than was announced to be accepted"),
        }
    }
}
impl std::error::Error for DecodeError {}

#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What our settings allow the table to be.
    announced: usize,
    /// Most that a size update may ask for: more than `announced` until the peer has seen our settings.
    most: usize,
    /// The next block begins with a size update (RFC 7541 section 4.2).
    must_shrink: bool,
    /// Memory of the table's entries alone, so that none of them keeps a block alive.
    kept: BytesMut,
    /// Memory of other strings that were Huffman-coded.
    unpacked: BytesMut,
}

impl Decoder {
    /// `announced`: our SETTINGS_HEADER_TABLE_SIZE.
    pub fn new(announced: usize) -> Self {
        Self {
            table: Table::new(),
            announced,
            most: announced.max(DEFAULT_TABLE_BYTES),
            must_shrink: false,
            kept: BytesMut::new(),
            unpacked: BytesMut::new(),
        }
    }

    /// The peer has acknowledged our settings. Matters only where they announce less than the default.
    pub fn acknowledged(&mut self) {
        self.most = self.announced;
        self.must_shrink = self.table.most() > self.announced;
    }

    /// Hands each field of `block`, a whole one, to `take`, in order. Values share the block's memory where they can.
    ///
    /// `list_limit` is our SETTINGS_MAX_HEADER_LIST_SIZE. Pseudo-header fields come first, and each at most once; whether they are
    /// those that this message needs is for `take` to say. When it refuses a field it gets no more, and its answer is returned.
    ///
    /// # Errors
    /// See [`DecodeError`]. After `Compression` the decoder must not be used again.
    pub fn decode(&mut self, block: &Bytes, list_limit: usize, take: impl FnMut(Field) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        let mut reader = Reader { block, at: 0 };
        let mut section = Section { left: list_limit, pseudo: 0, verdict: Ok(()), take };
        self.size_updates(&mut reader)?;
        while let Some(first) = reader.peek() {
            if first & 0x80 != 0 {
                let index = reader.integer(7)?;
                section.add_entry(self.table.entry(index).ok_or(NO_ENTRY)?);
            } else if first & 0xe0 == 0x20 {
                return Err(DecodeError::Compression("the table's size changes after the first field"));
            } else {
                self.literal(first, &mut reader, &mut section)?;
            }
        }
        section.verdict
    }

    fn size_updates(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        while reader.peek().is_some_and(|first| first & 0xe0 == 0x20) {
            let most = reader.integer(5)?;
            if most > self.most {
                return Err(DecodeError::Compression("the table's size becomes more than our settings allow"));
            }
            self.table.resize(most);
            self.must_shrink &= most > self.announced;
        }
        if self.must_shrink { Err(DecodeError::Compression("the table's size does not follow our settings")) } else { Ok(()) }
    }

    fn literal(
        &mut self,
        first: u8,
        reader: &mut Reader<'_>,
        section: &mut Section<impl FnMut(Field) -> Result<(), DecodeError>>,
    ) -> Result<(), DecodeError> {
        let indexed = first & 0x40 != 0;
        let name = match reader.integer(if indexed { 6 } else { 4 })? {
            0 => self.name(reader.string()?)?,
            index => self.table.entry(index).ok_or(NO_ENTRY)?.name(),
        };
        let text = reader.string()?;
        if indexed {
            let value = keep(text, self.table.most(), &mut self.kept)?;
            let entry = Entry::new(name, value);
            section.add_entry(&entry);
            self.table.insert(entry);
        } else {
            let value = share(text, reader.block, &mut self.unpacked)?;
            let size = size(&name, &value);
            let mut field = name.field(value);
            if let (0x10, Ok(Field::Header(_, value))) = (first & 0x10, &mut field) {
                // Whoever passes it on must not index it either (section 6.2.3).
                value.set_sensitive(true);
            }
            section.add(size, field);
        }
        Ok(())
    }

    fn name(&mut self, text: Text<'_>) -> Result<Name, DecodeError> {
        match text {
            Text::Plain(name) => Ok(Name::read(name)),
            Text::Huffman(coded) => unpack(coded, &mut self.unpacked).map(|name| Name::read(&name)),
        }
    }
}

const NO_ENTRY: DecodeError = DecodeError::Compression("it refers to an entry that the table does not have");

/// A string for the table: copied, unless it is too large to enter anyway.
fn keep(text: Text<'_>, most: usize, kept: &mut BytesMut) -> Result<Bytes, DecodeError> {
    match text {
        Text::Plain([]) => Ok(Bytes::new()),
        Text::Plain(plain) if plain.len() > most => Ok(Bytes::copy_from_slice(plain)),
        Text::Plain(plain) => {
            room(kept, plain.len());
            kept.extend_from_slice(plain);
            Ok(kept.split().freeze())
        }
        Text::Huffman(coded) => unpack(coded, kept),
    }
}

fn share(text: Text<'_>, block: &Bytes, unpacked: &mut BytesMut) -> Result<Bytes, DecodeError> {
    match text {
        Text::Plain([]) => Ok(Bytes::new()),
        Text::Plain(plain) => Ok(block.slice_ref(plain)),
        Text::Huffman(coded) => unpack(coded, unpacked),
    }
}

fn unpack(coded: &[u8], memory: &mut BytesMut) -> Result<Bytes, DecodeError> {
    let most = huffman::most_decoded(coded.len());
    let mut own = BytesMut::new();
    let memory = if most > LARGE { &mut own } else { memory };
    room(memory, most);
    huffman::decode(coded, memory).map_err(DecodeError::Compression)?;
    Ok(memory.split().freeze())
}

/// Makes room for `more` bytes: in the same memory when nobody else uses it any more.
fn room(memory: &mut BytesMut, more: usize) {
    if memory.capacity() - memory.len() < more {
        memory.reserve(more.max(PIECE));
    }
}

/// One message's fields, as they are gathered.
struct Section<T> {
    left: usize,
    /// A bit for each pseudo-header field seen, and one more when there may be no other.
    pseudo: u8,
    verdict: Result<(), DecodeError>,
    take: T,
}

impl<T: FnMut(Field) -> Result<(), DecodeError>> Section<T> {
    const OVER: u8 = 0x80;

    fn add_entry(&mut self, entry: &Entry) {
        if self.verdict.is_ok() {
            self.verdict = match self.admit(entry.size, &entry.field) {
                Ok(field) => (self.take)(field.clone()),
                Err(error) => Err(error),
            };
        }
    }

    fn add(&mut self, size: usize, field: Result<Field, Broken>) {
        if self.verdict.is_ok() {
            self.verdict = match (self.admit(size, &field).map(|_| ()), field) {
                (Ok(()), Ok(field)) => (self.take)(field),
                (admitted, _) => admitted,
            };
        }
    }

    fn admit<'a>(&mut self, size: usize, field: &'a Result<Field, Broken>) -> Result<&'a Field, DecodeError> {
        self.left = self.left.checked_sub(size).ok_or(DecodeError::TooLarge)?;
        let field = field.as_ref().map_err(|broken| DecodeError::Malformed(broken.why))?;
        let bit = match field {
            Field::Header(..) => Self::OVER,
            Field::Method(_) => 1,
            Field::Scheme(_) => 2,
            Field::Authority(_) => 4,
            Field::Path(_) => 8,
            Field::Protocol(_) => 16,
            Field::Status(_) => 32,
        };
        if bit != Self::OVER && self.pseudo & (bit | Self::OVER) != 0 {
            return Err(DecodeError::Malformed("a pseudo-header field comes twice or after other fields"));
        }
        self.pseudo |= bit;
        Ok(field)
    }
}

#[derive(Clone, Copy)]
enum Text<'a> {
    Plain(&'a [u8]),
    Huffman(&'a [u8]),
}

struct Reader<'a> {
    block: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.block.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek().ok_or(DecodeError::Compression("it ends within a field"))?;
        self.at += 1;
        Ok(byte)
    }

    /// An integer whose first byte has `bits` of it (section 5.1). No length and no index needs more than 28 bits.
    fn integer(&mut self, bits: u32) -> Result<usize, DecodeError> {
        let full = (1_u8 << bits) - 1;
        let first = self.next()? & full;
        if first < full {
            return Ok(usize::from(first));
        }
        let mut value = usize::from(full);
        for shift in [0, 7, 14, 21] {
            let byte = self.next()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Compression("an integer is longer than any could be"))
    }

    fn string(&mut self) -> Result<Text<'a>, DecodeError> {
        let huffman = self.peek().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let rest = self.block.get(self.at..).unwrap_or_default();
        let text = rest.get(..length).ok_or(DecodeError::Compression("a string is longer than the block"))?;
        self.at += length;
        Ok(if huffman { Text::Huffman(text) } else { Text::Plain(text) })
    }
}
