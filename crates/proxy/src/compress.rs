//! Compression of responses on their way from the application beside this proxy: which, and their bodies as gzip. Nothing is compressed twice,
//! nothing waits in here for more to come, and what a cache or a client concludes from the head stays true.

use crate::engine::Engine;
use crate::forward::Content;
use crate::incoming::{BoxError, Incoming};
use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use taut_model::settings::Compression;

/// Responses of one worker that are compressed at a time: each takes about 300 KiB. Others go as they are.
const MOST: usize = 64;
/// What one turn reads, so that a response that never ends takes turns with others.
const TURN: usize = 64 * 1024;
/// Enough to send on.
const CHUNK: usize = 16 * 1024;

/// Of bodies as they are, whose digest another coding would belie (RFC 9530, RFC 3230).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The response, compressed where that is wanted, worth it and understood.
pub fn response(engine: &Engine, asked: &Parts, response: Response<Content>, wanted: &Compression) -> Response<Content> {
    let status = response.status();
    let may = !(status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT));
    let (mut head, content) = response.into_parts();
    // A 304 says of the whole response what a 200 would have said (RFC 9110 section 15.4.5).
    if status == StatusCode::NOT_MODIFIED || may && is_wanted(&head.headers, wanted) {
        vary(&mut head.headers);
    }
    let concerned = may && status != StatusCode::NOT_MODIFIED && is_wanted(&head.headers, wanted);
    let takes = asked.method != Method::HEAD && !asked.headers.contains_key(header::RANGE) && takes_gzip(&asked.headers);
    let place = Some(engine.presses.clone()).filter(|presses| Rc::strong_count(presses) <= MOST + 1);
    let content = match (content, place) {
        (Content::Upstream(body), Some(place)) if concerned && takes && is_long(&body, wanted) => {
            encode(&mut head.headers);
            Content::Compressed(Box::new(Gzip::new(body, place)))
        }
        (content, _) => content,
    };
    Response::from_parts(head, content)
}

/// Whether a client that takes gzip gets this as gzip.
fn is_wanted(headers: &HeaderMap, wanted: &Compression) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let transformable = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .all(|directive| !directive.trim().eq_ignore_ascii_case("no-transform"));
    let media = text(&header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let streams = media == "text/event-stream" || media.starts_with("application/grpc");
    let listed = |pattern: &String| match pattern.strip_suffix('*') {
        Some(kind) => media.starts_with(kind),
        None => media == *pattern,
    };
    plain && transformable && !streams && wanted.content_types.iter().any(listed) && !DIGESTS.iter().any(|name| headers.contains_key(name))
}

fn is_long(body: &Incoming, wanted: &Compression) -> bool {
    let size = body.size_hint();
    !body.is_end_stream() && size.exact().is_none_or(|length| length >= wanted.min_length.max(1))
}

/// RFC 9110 section 12.5.3; a client that likes plain text better gets it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    let said = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for coding in said {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0));
        match name.as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => any = Some(weight),
            "identity" => identity = Some(weight),
            _ => {}
        }
    }
    let weight = gzip.or(any).unwrap_or(0.0);
    weight > 0.0 && identity.is_none_or(|identity| weight >= identity)
}

/// Says that other clients may get other bytes.
fn vary(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let said = lines.flat_map(|line| line.split(',')).any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("accept-encoding"));
    if !said {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The head of the same response in another coding: another length, no ranges of the plain bytes, and a tag that no longer promises the same
/// bytes (RFC 9110 section 8.8.1). A tag that is weak already stays as it is.
fn encode(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

/// A body as gzip. What has come is sent on as soon as nothing more is there.
pub struct Gzip {
    body: Incoming,
    encoder: Option<GzEncoder<Vec<u8>>>,
    trailers: Option<HeaderMap>,
    /// Bytes of the body that were read.
    read: u64,
    /// Something was written that is not sent on yet.
    unsent: bool,
    _place: Rc<()>,
}

impl Gzip {
    fn new(body: Incoming, place: Rc<()>) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Level::fast()));
        Self { body, encoder, trailers: None, read: 0, unsent: false, _place: place }
    }

    pub fn read(&self) -> u64 {
        self.read
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Frame<Bytes>, BoxError> {
        self.trailers = trailers;
        let rest = self.encoder.take().map(GzEncoder::finish).transpose()?;
        Ok(Frame::data(rest.unwrap_or_default().into()))
    }
}

impl Body for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let gzip = &mut *self;
        let mut turn = 0;
        loop {
            let Some(encoder) = &mut gzip.encoder else { return Poll::Ready(gzip.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))) };
            if encoder.get_ref().len() >= CHUNK {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(encoder.get_mut()).into()))));
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match Pin::new(&mut gzip.body).poll_frame(cx) {
                Poll::Pending if gzip.unsent => {
                    gzip.unsent = false;
                    encoder.flush()?;
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(encoder.get_mut()).into()))));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Some(gzip.end(None))),
                Poll::Ready(Some(Err(error))) => {
                    // Without its end, so that nobody takes it for whole.
                    gzip.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        encoder.write_all(&data)?;
                        gzip.read += data.len() as u64;
                        gzip.unsent = true;
                        turn += data.len();
                    }
                    Err(frame) => return Poll::Ready(Some(gzip.end(frame.into_trailers().ok()))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn who_takes_gzip() {
        for (accept, want) in [
            ("", false),
            ("gzip", true),
            ("br, GZIP;q=0.5, deflate", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("*", true),
            ("*, gzip;q=0", false),
            ("*;q=0, gzip", true),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip;q=0.8", true),
            ("gzip;q=much", false),
            ("br", false),
        ] {
            assert_eq!(takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, accept.parse().unwrap())])), want, "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_wanted() {
        let wanted = Compression { selector: Default::default(), content_types: vec!["text/*".into(), "application/json".into()], min_length: 1 };
        for (headers, want) in [
            (&[("content-type", "text/html; charset=utf-8")][..], true),
            (&[("content-type", "Application/JSON")], true),
            (&[("content-type", "application/json-seq")], false),
            (&[("content-type", "image/png")], false),
            (&[], false),
            (&[("content-type", "text/event-stream")], false),
            (&[("content-type", "text/html"), ("content-encoding", "br")], false),
            (&[("content-type", "text/html"), ("content-encoding", "identity")], true),
            (&[("content-type", "text/html"), ("cache-control", "public, No-Transform")], false),
            (&[("content-type", "text/html"), ("content-digest", "sha-256=:x:")], false),
        ] {
            assert_eq!(is_wanted(&map(headers), &wanted), want, "{headers:?}");
        }
    }

    #[test]
    fn the_head_stays_true() {
        for (tag, want) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\""), ("odd", "odd")] {
            let mut headers = map(&[("content-length", "5"), ("accept-ranges", "bytes"), ("x", "y")]);
            headers.insert(header::ETAG, tag.parse().unwrap());
            encode(&mut headers);
            let mut left = map(&[("x", "y"), ("content-encoding", "gzip")]);
            left.insert(header::ETAG, want.parse().unwrap());
            assert_eq!(headers, left);
        }
        for (before, after) in [
            (&[][..], &["accept-encoding"][..]),
            (&[("vary", "Origin")], &["Origin", "accept-encoding"]),
            (&[("vary", "origin, Accept-Encoding")], &["origin, Accept-Encoding"]),
            (&[("vary", "*")], &["*"]),
        ] {
            let mut headers = map(before);
            vary(&mut headers);
            assert_eq!(headers.get_all(header::VARY).iter().collect::<Vec<_>>(), after);
        }
    }
}
