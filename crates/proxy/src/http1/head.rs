//! Heads of HTTP/1 messages: read as strictly as RFC 9112 allows wherever another reader could understand something else, and written.

use super::framing::Framing;
use super::{HEAD_BYTES, MOST_FIELDS};
use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use std::cell::RefCell;
use std::fmt;
use std::mem::MaybeUninit;

/// Why a head is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    Syntax(&'static str),
    /// Two ways to read where the body ends, one of them an attacker's (RFC 9112 section 11.2).
    Ambiguous(&'static str),
    TooLarge,
    Version,
}

impl BadHead {
    /// What a client is told.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Syntax(_) | Self::Ambiguous(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) | Self::Ambiguous(why) => f.write_str(why),
            Self::TooLarge => write!(f, "the head is larger than {HEAD_BYTES} bytes or has more than {MOST_FIELDS} fields"),
            Self::Version => f.write_str("the version is neither HTTP/1.0 nor HTTP/1.1"),
        }
    }
}
impl std::error::Error for BadHead {}

/// Maps that are kept for the next heads of this thread, and how large one may be to be kept.
const SPARE_MAPS: usize = 64;
const SPARE_FIELDS: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// Takes back the memory of a head that is no longer needed.
pub fn recycle(mut headers: HeaderMap) {
    headers.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAPS && (1..=SPARE_FIELDS).contains(&headers.capacity()) {
            spare.push(headers);
        }
    });
}

pub(crate) fn spare() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub struct RequestHead {
    pub parts: http::request::Parts,
    pub framing: Framing,
    pub keep_alive: bool,
    /// RFC 9110 section 10.1.1: the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

pub struct ResponseHead {
    pub parts: http::response::Parts,
    pub framing: Framing,
    pub keep_alive: bool,
}

/// The next request's head, taken off `read` when it is there as a whole. `searched` is where an earlier call stopped.
pub fn request(read: &mut BytesMut, searched: &mut usize) -> Result<Option<RequestHead>, BadHead> {
    while read.starts_with(b"\r\n") {
        // RFC 9112 section 2.2: some clients send one after a body.
        read.advance(2);
        *searched = 0;
    }
    let first = *searched == 0;
    let Some(end) = end(read, searched)? else {
        // What can be no head is told at once, not when its sender has given up.
        return if first { early(read).map(|()| None) } else { Ok(None) };
    };
    let head = read.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    parsed.parse_with_uninit_headers(&head, &mut fields).map_err(|error| bad_request(error, &head))?;
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(BadHead::Syntax("the request line is not whole"));
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::Syntax("the method is not a token"))?;
    parts.uri = self::target(&head, target, &parts.method)?;
    parts.version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = spare();
    let told = read_fields(&head, parsed.headers, &mut parts.headers)?;
    let framing = told.framing(parts.version)?.unwrap_or(Framing::None);
    match told.hosts {
        0 if parts.version == Version::HTTP_11 => return Err(BadHead::Syntax("a request of HTTP/1.1 has a Host header")),
        0 | 1 => {}
        _ => return Err(BadHead::Ambiguous("the request has more than one Host header")),
    }
    let keep_alive = told.keep_alive(parts.version);
    let expects_continue = told.expects_continue && parts.version == Version::HTTP_11;
    Ok(Some(RequestHead { parts, framing, keep_alive, expects_continue }))
}

/// The head of the response to a request of `method`, as [`request`].
pub fn response(read: &mut BytesMut, searched: &mut usize, method: &Method) -> Result<Option<ResponseHead>, BadHead> {
    let Some(end) = end(read, searched)? else { return Ok(None) };
    let head = read.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &head, &mut fields).map_err(bad)?;
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(BadHead::Syntax("the status line is not whole")) };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(code).map_err(|_| BadHead::Syntax("the status is not one"))?;
    parts.version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = spare();
    let told = read_fields(&head, parsed.headers, &mut parts.headers)?;
    let announced = told.framing(parts.version)?;
    let bodiless = *method == Method::HEAD || parts.status.is_informational() || matches!(parts.status.as_u16(), 204 | 304);
    let framing = if bodiless { Framing::None } else { announced.unwrap_or(Framing::UntilClose) };
    let keep_alive = told.keep_alive(parts.version) && framing != Framing::UntilClose;
    Ok(Some(ResponseHead { parts, framing, keep_alive }))
}

/// Where the head ends. Each byte is looked at once, however many reads a head takes.
fn end(read: &[u8], searched: &mut usize) -> Result<Option<usize>, BadHead> {
    for end in memchr::memchr_iter(b'\n', &read[*searched..]).map(|at| *searched + at) {
        if end == 0 || read[end - 1] != b'\r' {
            return Err(BadHead::Syntax("a line of the head ends without CR"));
        }
        if end >= 3 && read[end - 2] == b'\n' {
            *searched = 0;
            return if end < HEAD_BYTES { Ok(Some(end + 1)) } else { Err(BadHead::TooLarge) };
        }
    }
    *searched = read.len();
    if read.len() >= HEAD_BYTES { Err(BadHead::TooLarge) } else { Ok(None) }
}

fn early(read: &[u8]) -> Result<(), BadHead> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MOST_FIELDS];
    httparse::Request::new(&mut []).parse_with_uninit_headers(read, &mut fields).map(|_| ()).map_err(|error| bad_request(error, read))
}

fn bad_request(error: httparse::Error, head: &[u8]) -> BadHead {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    match (bad(error), parts.next(), parts.next()) {
        (BadHead::Version, Some(version), None) if version.starts_with(b"HTTP/") => BadHead::Version,
        (BadHead::Version, ..) => BadHead::Syntax("the request line is not a method, a target and a version"),
        (other, ..) => other,
    }
}

fn bad(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge,
        httparse::Error::Version => BadHead::Version,
        httparse::Error::HeaderName => BadHead::Syntax("a field of the head has no valid name"),
        httparse::Error::HeaderValue => BadHead::Syntax("a field of the head has no valid value"),
        httparse::Error::Status => BadHead::Syntax("the status line is not valid"),
        httparse::Error::NewLine => BadHead::Syntax("a line of the head does not end as lines do"),
        httparse::Error::Token => BadHead::Syntax("the request line or a field's name is not valid"),
    }
}

/// Origin form, absolute form, `*`; authority form for CONNECT and nothing else (RFC 9112 section 3.2).
fn target(head: &Bytes, target: &str, method: &Method) -> Result<Uri, BadHead> {
    let no_target = BadHead::Syntax("the request's target is not one");
    if target.contains('#') {
        return Err(BadHead::Syntax("the request's target has a fragment"));
    }
    let uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes())).map_err(|_| no_target)?;
    let authority_form = uri.authority().is_some() && uri.scheme().is_none();
    if authority_form != (*method == Method::CONNECT) {
        return Err(no_target);
    }
    Ok(uri)
}

/// What the fields say about the message itself.
#[derive(Default)]
struct Told {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    hosts: u8,
    expects_continue: bool,
}

impl Told {
    /// `None`: it is not said.
    fn framing(&self, version: Version) -> Result<Option<Framing>, BadHead> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(BadHead::Ambiguous("the message has both Content-Length and Transfer-Encoding")),
            (true, None) if version == Version::HTTP_10 => Err(BadHead::Ambiguous("HTTP/1.0 has no Transfer-Encoding")),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, length) => Ok(length.map(Framing::Length)),
        }
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

fn read_fields(head: &Bytes, parsed: &[httparse::Header<'_>], into: &mut HeaderMap) -> Result<Told, BadHead> {
    let mut told = Told::default();
    // Room for what a proxy adds.
    into.reserve(parsed.len() + 6);
    for parsed in parsed {
        let (name, value) = field(head, parsed)?;
        if name == header::CONTENT_LENGTH {
            if told.length.replace(length(value.as_bytes())?).is_some() {
                return Err(BadHead::Ambiguous("the message has more than one Content-Length"));
            }
        } else if name == header::TRANSFER_ENCODING {
            if told.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(BadHead::Ambiguous("the only Transfer-Encoding is \"chunked\", once"));
            }
            told.chunked = true;
        } else if name == header::CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                told.close |= option.eq_ignore_ascii_case(b"close");
                told.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == header::HOST {
            told.hosts = told.hosts.saturating_add(1);
        } else if name == header::EXPECT {
            told.expects_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
        into.append(name, value);
    }
    Ok(told)
}

pub(crate) fn length(value: &[u8]) -> Result<u64, BadHead> {
    let bad = BadHead::Ambiguous("Content-Length is not one decimal number");
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Names that many requests of a mesh carry and the `http` crate does not know: kept here, they cost no allocation.
static KNOWN: [HeaderName; 13] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-taut-source"),
    HeaderName::from_static("x-taut-destination"),
    HeaderName::from_static("x-taut-reason"),
    HeaderName::from_static("x-taut-load"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("keep-alive"),
];

/// The kept copy of a name, in whatever case it came.
pub(crate) fn known_name(name: &[u8]) -> Option<&'static HeaderName> {
    KNOWN.iter().find(|known| known.as_str().len() == name.len() && known.as_str().as_bytes().eq_ignore_ascii_case(name))
}

/// A parsed field that shares the memory of the head it came in.
pub(super) fn field(head: &Bytes, parsed: &httparse::Header<'_>) -> Result<(HeaderName, HeaderValue), BadHead> {
    let name = match known_name(parsed.name.as_bytes()) {
        Some(known) => known.clone(),
        None => HeaderName::from_bytes(parsed.name.as_bytes()).map_err(|_| BadHead::Syntax("a field of the head has no valid name"))?,
    };
    let value = HeaderValue::from_maybe_shared(head.slice_ref(parsed.value));
    Ok((name, value.map_err(|_| BadHead::Syntax("a field of the head has no valid value"))?))
}

/// Writes a request in origin form.
pub fn write_request(out: &mut BytesMut, head: &http::request::Parts, framing: Framing) {
    out.reserve(512);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if target.starts_with('?') {
        // `http://host?query` has the path that was decided on, `/`, without writing it.
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(out, &head.headers);
    // RFC 9110 section 8.6: methods that usually have a body say so when there is none.
    let says_none = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    match framing {
        Framing::None if says_none => out.extend_from_slice(b"content-length: 0\r\n"),
        framing => write_framing(out, framing),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a response for a client of `version`. `length` stands for a body that is not sent (HEAD, 304).
pub fn write_response(out: &mut BytesMut, version: Version, head: &http::response::Parts, framing: Framing, close: bool) {
    out.reserve(512);
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(out, &head.headers);
    write_framing(out, framing);
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    } else if version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// All but what says where the body ends: only the one who writes the body knows that.
fn write_fields(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            write_field(out, name, value);
        }
    }
}

pub(super) fn write_field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_framing(out: &mut BytesMut, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(decimal(length, &mut [0; 20]));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A number's digits.
pub(crate) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

#[cfg(test)]
mod tests;
