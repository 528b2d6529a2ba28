//! HPACK (RFC 7541), the field compression of HTTP/2: bytes to validated fields and back. Does no I/O and knows no streams.
//!
//! It is made for two proxies that say nearly the same thing many times: a field that either side has seen costs the decoder
//! no parse and no allocation, and the encoder one hash and one comparison.

mod decode;
mod encode;
mod field;
mod huffman;
mod names;
mod table;

pub use decode::{DecodeError, Decoder};
pub use encode::{Block, Encoder};
pub use field::Field;

/// What an entry costs besides its bytes (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;
/// How large a dynamic table is until its settings say otherwise (RFC 9113 section 6.5.2).
const DEFAULT_TABLE_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
