//! Heads of HTTP/2 messages (RFC 9113 section 8): from fields to what the rest of the proxy reads, and back.

use super::hpack::{Block, Encoder, Field};
use super::{Dialect, Protocol};
use crate::http1::head::{decimal, length, spare};
use bytes::BytesMut;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, response};
use http_body::SizeHint;

/// What is wrong with a message, whose stream is reset for it (RFC 9113 section 8.1.1).
pub type Malformed = &'static str;

/// Fields that are about one connection of HTTP/1 (RFC 9113 section 8.2.2).
static OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The fields of one head, as they come.
#[derive(Default)]
pub struct Heard {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<HeaderValue>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    length: Option<u64>,
}

pub struct RequestHead {
    pub parts: request::Parts,
    pub length: Option<u64>,
}

impl RequestHead {
    /// Whether the client is to be told to go on before it sends the body.
    pub fn waits(&self) -> bool {
        self.parts.headers.get(header::EXPECT).is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }
}

pub struct ResponseHead {
    pub parts: response::Parts,
    pub length: Option<u64>,
}

impl Heard {
    pub fn new() -> Self {
        Self { headers: spare(), ..Self::default() }
    }

    pub fn take(&mut self, field: Field) -> Result<(), Malformed> {
        let (name, value) = match field {
            Field::Header(name, value) => (name, value),
            Field::Method(method) => return once(&mut self.method, method),
            Field::Scheme(scheme) => return once(&mut self.scheme, scheme),
            Field::Authority(authority) => return once(&mut self.authority, authority),
            Field::Path(path) => return once(&mut self.path, path),
            Field::Protocol(protocol) => return once(&mut self.protocol, protocol),
            Field::Status(status) => return once(&mut self.status, status),
        };
        if name == header::CONTENT_LENGTH {
            let said = length(value.as_bytes()).map_err(|_| "its Content-Length is not one decimal number")?;
            if self.length.replace(said).is_some() {
                return Err("it has more than one Content-Length");
            }
        }
        self.headers.try_append(name, value).map_err(|_| "it has too many fields")?;
        Ok(())
    }

    fn has_pseudo(&self) -> bool {
        self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some() || self.protocol.is_some()
    }

    pub fn into_request(mut self, dialect: Dialect) -> Result<RequestHead, Malformed> {
        if self.status.is_some() {
            return Err("a request has no :status");
        }
        let method = self.method.take().ok_or("the request has no :method")?;
        let (mut parts, ()) = Request::new(()).into_parts();
        if dialect == Dialect::Http2 {
            join_cookies(&mut self.headers);
        }
        let authority = self.authority.take();
        if authority.is_some() {
            // RFC 9113 section 8.3.1: it stands for `Host`.
            self.headers.remove(header::HOST);
        }
        if self.headers.get_all(header::HOST).iter().nth(1).is_some() {
            return Err("the request has more than one Host header");
        }
        parts.uri = match (method == Method::CONNECT, self.protocol.take()) {
            (true, None) => tunnel_target(authority, &self)?,
            (extended, protocol) => {
                if protocol.is_some() != extended {
                    return Err(":protocol belongs to CONNECT");
                }
                parts.extensions.extend(protocol.map(Protocol).map(extension).unwrap_or_default());
                self.target(authority, &method)?
            }
        };
        parts.method = method;
        parts.version = if dialect == Dialect::Http1 { Version::HTTP_11 } else { Version::HTTP_2 };
        parts.headers = self.headers;
        Ok(RequestHead { parts, length: self.length })
    }

    fn target(&mut self, authority: Option<Authority>, method: &Method) -> Result<Uri, Malformed> {
        let (Some(scheme), Some(path)) = (self.scheme.take(), self.path.take()) else { return Err("the request has no :scheme or no :path") };
        if path.as_str() == "*" && *method != Method::OPTIONS {
            return Err("the request's :path is not one");
        }
        let mut target = http::uri::Parts::default();
        target.path_and_query = Some(path);
        if let Some(authority) = authority {
            (target.scheme, target.authority) = (Some(scheme), Some(authority));
        }
        Uri::from_parts(target).map_err(|_| "the request's target is not one")
    }

    pub fn into_response(self, dialect: Dialect) -> Result<ResponseHead, Malformed> {
        if self.has_pseudo() {
            return Err("a response has no pseudo-header but :status");
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = self.status.ok_or("the response has no :status")?;
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("HTTP/2 has no status 101");
        }
        parts.version = if dialect == Dialect::Http1 { Version::HTTP_11 } else { Version::HTTP_2 };
        parts.headers = self.headers;
        Ok(ResponseHead { parts, length: self.length })
    }

    pub fn into_trailers(self) -> Result<HeaderMap, Malformed> {
        if self.has_pseudo() || self.status.is_some() {
            return Err("trailers have no pseudo-headers");
        }
        Ok(self.headers)
    }
}

/// RFC 9113 section 8.2.3: what HTTP/2 may send in pieces is one field to whoever reads it, be it a policy, a route or HTTP/1.1.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let whole: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes).collect();
        if let Ok(mut whole) = HeaderValue::from_bytes(&whole.join(&b"; "[..])) {
            whole.set_sensitive(true);
            headers.insert(header::COOKIE, whole);
        }
    }
}

fn extension(protocol: Protocol) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(protocol);
    extensions
}

/// RFC 9113 section 8.5: CONNECT names an authority, and nothing else.
fn tunnel_target(authority: Option<Authority>, heard: &Heard) -> Result<Uri, Malformed> {
    if heard.scheme.is_some() || heard.path.is_some() {
        return Err("CONNECT has neither :scheme nor :path");
    }
    let mut target = http::uri::Parts::default();
    target.authority = Some(authority.ok_or("CONNECT has no :authority")?);
    Uri::from_parts(target).map_err(|_| "the request's target is not one")
}

/// A pseudo-header is said once.
fn once<T>(place: &mut Option<T>, said: T) -> Result<(), Malformed> {
    match place.replace(said) {
        None => Ok(()),
        Some(_) => Err("a pseudo-header comes twice"),
    }
}

/// Writes the fields of a request whose body has this size; `None`: it has no body.
pub fn write_request(encoder: &mut Encoder, out: &mut BytesMut, head: &request::Parts, size: Option<&SizeHint>) {
    let mut block = encoder.block(out);
    block.method(&head.method);
    let protocol = head.extensions.get::<Protocol>();
    if head.method != Method::CONNECT || protocol.is_some() {
        block.scheme(head.uri.scheme().unwrap_or(&Scheme::HTTP));
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        match path.starts_with('?') {
            true => block.path(&format!("/{path}")),
            false => block.path(path),
        }
    }
    // What an HTTP/1.1 client said of the host goes on as it said it.
    let as_said = head.version != Version::HTTP_2;
    let host = || head.headers.get(header::HOST).filter(|_| !as_said).and_then(|host| host.to_str().ok());
    if let Some(authority) = head.uri.authority().map(Authority::as_str).or_else(host) {
        block.authority(authority);
    }
    if let Some(protocol) = protocol.and_then(|Protocol(protocol)| protocol.to_str().ok()) {
        block.protocol(protocol);
    }
    write_fields(&mut block, &head.headers);
    if let Some(host) = head.headers.get(header::HOST).filter(|_| as_said) {
        block.header(&header::HOST, host);
    }
    let says_none = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    match size.map(SizeHint::exact) {
        Some(Some(length)) => write_length(&mut block, length),
        None if says_none => write_length(&mut block, 0),
        _ => {}
    }
}

/// Writes the fields of a response. `size` is that of its body; `None` when it has none, and what its head says stands for one.
pub fn write_response(encoder: &mut Encoder, out: &mut BytesMut, head: &response::Parts, size: Option<&SizeHint>) {
    let mut block = encoder.block(out);
    block.status(head.status);
    write_fields(&mut block, &head.headers);
    match size {
        Some(size) => {
            if let Some(length) = size.exact() {
                write_length(&mut block, length);
            }
        }
        None => {
            if let Some(length) = head.headers.get(header::CONTENT_LENGTH) {
                block.header(&header::CONTENT_LENGTH, length);
            }
        }
    }
}

pub fn write_trailers(encoder: &mut Encoder, out: &mut BytesMut, trailers: &HeaderMap) {
    write_fields(&mut encoder.block(out), trailers);
}

/// All but what HTTP/2 says otherwise, and the length of the body: only the one who writes the body knows that.
fn write_fields(block: &mut Block<'_>, headers: &HeaderMap) {
    for (name, value) in headers {
        if *name != header::HOST && *name != header::CONTENT_LENGTH && !OF_CONNECTIONS.contains(name) {
            block.header(name, value);
        }
    }
}

fn write_length(block: &mut Block<'_>, length: u64) {
    block.length(decimal(length, &mut [0; 20]));
}
