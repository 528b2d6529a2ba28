//! Fields as they come out of a block: typed, and valid as RFC 9113 section 8 wants them; what is not says why.

use crate::http1::head::known_name;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    /// What an extended CONNECT asks for (RFC 8441).
    Protocol(HeaderValue),
    Status(StatusCode),
    Header(HeaderName, HeaderValue),
}

/// A field's name, kept for the fields that refer to it, even if no field of this name is taken.
#[derive(Clone, Debug)]
pub enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Header(HeaderName),
    Refused { why: &'static str, length: usize },
}

impl Name {
    pub fn read(name: &[u8]) -> Self {
        let refused = |why| Self::Refused { why, length: name.len() };
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            [b':', ..] => refused("it has a pseudo-header field that is not defined"),
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                refused("it has a field that is about a connection of HTTP/1 (RFC 9113 section 8.2.2)")
            }
            _ => match known_name(name).cloned().map_or_else(|| HeaderName::from_lowercase(name), Ok) {
                Ok(name) => Self::Header(name),
                Err(_) => refused("a field's name is not a token in lower case"),
            },
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Path => ":path".len(),
            Self::Method | Self::Scheme | Self::Status => ":method".len(),
            Self::Protocol => ":protocol".len(),
            Self::Authority => ":authority".len(),
            Self::Header(name) => name.as_str().len(),
            Self::Refused { length, .. } => *length,
        }
    }

    /// The field of this name and `value`, unless a message that has it is malformed.
    pub fn field(self, value: Bytes) -> Result<Field, Broken> {
        match self {
            Self::Header(name) => match header_value(&name, value) {
                Ok(value) => Ok(Field::Header(name, value)),
                Err(why) => Err(Broken { name: Self::Header(name), why }),
            },
            name => name.pseudo(value).map_err(|why| Broken { name, why }),
        }
    }

    fn pseudo(&self, value: Bytes) -> Result<Field, &'static str> {
        match self {
            Self::Method => Method::from_bytes(&value).map(Field::Method).map_err(|_| "its :method is not a token"),
            Self::Scheme if value.is_empty() => Err("its :scheme is empty"),
            Self::Scheme => Scheme::try_from(&*value).map(Field::Scheme).map_err(|_| "its :scheme is not one"),
            Self::Authority if value.contains(&b'@') => Err("its :authority names a user"),
            Self::Authority => Authority::from_maybe_shared(value).map(Field::Authority).map_err(|_| "its :authority is not one"),
            Self::Path => path(value).map(Field::Path),
            Self::Protocol if value.is_empty() => Err("its :protocol is empty"),
            Self::Protocol => plain_value(value).map(Field::Protocol),
            Self::Status => StatusCode::from_bytes(&value).map(Field::Status).map_err(|_| "its :status is not three digits"),
            Self::Header(_) => Err("a field is taken for a pseudo-header field"),
            Self::Refused { why, .. } => Err(why),
        }
    }
}

/// A field that no message may have; a valid one may still refer to its name.
#[derive(Debug)]
pub struct Broken {
    pub name: Name,
    pub why: &'static str,
}

impl Field {
    pub fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Protocol(_) => Name::Protocol,
            Self::Status(_) => Name::Status,
            Self::Header(name, _) => Name::Header(name.clone()),
        }
    }
}

fn header_value(name: &HeaderName, value: Bytes) -> Result<HeaderValue, &'static str> {
    if *name == header::TE && value != "trailers" {
        return Err("its TE field is not \"trailers\" (RFC 9113 section 8.2.2)");
    }
    plain_value(value)
}

fn plain_value(value: Bytes) -> Result<HeaderValue, &'static str> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err("a field's value begins or ends with white space");
    }
    HeaderValue::from_maybe_shared(value).map_err(|_| "a field's value has a control character")
}

/// `/` and what follows, or the `*` of OPTIONS; no fragment, which the `http` crate would only cut off.
fn path(value: Bytes) -> Result<PathAndQuery, &'static str> {
    let wrong = "its :path is not one";
    if (value.first() != Some(&b'/') && value != "*") || memchr::memchr(b'#', &value).is_some() {
        return Err(wrong);
    }
    PathAndQuery::from_maybe_shared(value).map_err(|_| wrong)
}
