//! Where a message's body ends (RFC 9112 section 6): taken off what was read, and written around what is sent.

use super::chunks::Chunks;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;
use std::fmt;

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Responses only.
    UntilClose,
}

/// Takes one body out of what was read.
#[derive(Debug)]
pub enum Decoder {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Ended,
}

#[derive(Debug, PartialEq)]
pub enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// What was read does not tell yet.
    More,
}

/// A body that is not what its head announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// RFC 9112 section 7.1.
    Chunk(&'static str),
    TooLarge(&'static str),
    /// The stream ended inside the body.
    Cut,
    /// Nothing more of it came.
    Stalled,
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk(why) | Self::TooLarge(why) => f.write_str(why),
            Self::Cut => f.write_str("the connection ended before the body did"),
            Self::Stalled => f.write_str("no more of the body came, for longer than an exchange may stand still"),
        }
    }
}
impl std::error::Error for BadBody {}

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// The next piece of the body. After trailers comes the end.
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, BadBody> {
        match self {
            Self::Ended => Ok(Decoded::End),
            _ if read.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(read.split().freeze())),
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= take as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Decoded::Data(read.split_to(take).freeze()))
            }
            Self::Chunked(chunks) => {
                let decoded = chunks.decode(read)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Ended;
                }
                Ok(decoded)
            }
        }
    }

    /// The stream has ended: whether the body has too.
    pub fn at_close(&mut self) -> Result<Decoded, BadBody> {
        match self {
            Self::Ended | Self::UntilClose => {
                *self = Self::Ended;
                Ok(Decoded::End)
            }
            Self::Length(_) | Self::Chunked(_) => Err(BadBody::Cut),
        }
    }

    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::new(),
        }
    }
}

/// Announced for a body of that size.
pub fn of_body(ended: bool, size: &SizeHint) -> Framing {
    match size.exact() {
        _ if ended => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}
