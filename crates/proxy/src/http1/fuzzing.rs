//! The parsers of this module as fuzzers see them: bytes in, in pieces, and all that was understood out.

use super::chunks::{self, Chunks};
use super::framing::{Decoded, Framing};
use super::head;
use bytes::BytesMut;
use http::{HeaderMap, Method, Version};

/// Data, trailers, and how many bytes were left over; `None` when it is not a whole body.
pub fn decode_chunked(bytes: &[u8], step: usize) -> Option<(Vec<u8>, Option<HeaderMap>, usize)> {
    let (mut chunks, mut read, mut data, mut taken) = (Chunks::default(), BytesMut::new(), Vec::new(), 0);
    loop {
        match chunks.decode(&mut read).ok()? {
            Decoded::Data(piece) => data.extend_from_slice(&piece),
            Decoded::Trailers(trailers) => return Some((data, Some(trailers), read.len() + bytes.len() - taken)),
            Decoded::End => return Some((data, None, read.len() + bytes.len() - taken)),
            Decoded::More if taken == bytes.len() => return None,
            Decoded::More => {
                let end = (taken + step).min(bytes.len());
                read.extend_from_slice(&bytes[taken..end]);
                taken = end;
            }
        }
    }
}

pub fn encode_chunked(data: &[u8], trailers: Option<&HeaderMap>) -> Vec<u8> {
    let mut out = BytesMut::new();
    if !data.is_empty() {
        chunks::begin(&mut out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    chunks::end(&mut out, trailers);
    out.to_vec()
}

/// A request as it was understood, and as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub what: (Method, String, HeaderMap, String),
    pub written: Vec<u8>,
    /// A head that is as full as one may be has no room for `host` and the framing, and would be refused for that alone.
    pub is_full: bool,
}

/// `None`: refused, or not whole.
pub fn read_request(bytes: &[u8], step: usize) -> Option<Told> {
    let (mut read, mut searched) = (BytesMut::new(), 0);
    for piece in bytes.chunks(step) {
        read.extend_from_slice(piece);
        if let Some(head) = head::request(&mut read, &mut searched).ok()? {
            let mut parts = head.parts;
            if parts.method == Method::CONNECT || parts.uri.path() == "*" {
                return None;
            }
            // As the proxy makes it origin form, of HTTP/1.1 and with a host. `http://host?query` has the path `/`.
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
            let is_full = parts.headers.len() + 2 > super::MOST_FIELDS;
            parts.headers.entry("host").or_insert(http::HeaderValue::from_static("a"));
            parts.headers.remove("connection");
            parts.version = Version::HTTP_11;
            let mut written = BytesMut::new();
            head::write_request(&mut written, &parts, head.framing);
            let mut headers = parts.headers;
            // Written anew, with the framing.
            for name in ["content-length", "transfer-encoding"] {
                headers.remove(name);
            }
            let framing = if head.framing == Framing::Length(0) { Framing::None } else { head.framing };
            return Some(Told { what: (parts.method, path, headers, format!("{framing:?}")), written: written.to_vec(), is_full });
        }
    }
    None
}

/// Status, fields and framing of the response to a GET; `None`: refused, or not whole.
pub fn read_response(bytes: &[u8], step: usize) -> Option<(u16, HeaderMap, String)> {
    let (mut read, mut searched) = (BytesMut::new(), 0);
    for piece in bytes.chunks(step) {
        read.extend_from_slice(piece);
        if let Some(head) = head::response(&mut read, &mut searched, &Method::GET).ok()? {
            return Some((head.parts.status.as_u16(), head.parts.headers, format!("{:?}", head.framing)));
        }
    }
    None
}
