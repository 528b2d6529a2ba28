//! gRPC-Web, the form of gRPC that browsers can speak (grpc/doc/PROTOCOL-WEB.md): its content types, its text form, and its trailers,
//! which are the last frame of the body. Knows messages and no exchanges.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Marks the frame that holds trailers.
const TRAILERS: u8 = 0x80;
const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// How the bytes of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Binary,
    /// In Base64, for what can receive text only.
    Text,
}

impl Format {
    /// A content type's format and what follows it (`+proto`), if it is one of gRPC-Web's.
    fn of(kind: &str) -> Option<(Self, &str)> {
        let (format, rest) = match kind.strip_prefix(WEB_TEXT) {
            Some(rest) => (Self::Text, rest),
            None => (Self::Binary, kind.strip_prefix(WEB)?),
        };
        matches!(rest.bytes().next(), None | Some(b'+' | b';')).then_some((format, rest))
    }
}

/// What a request of gRPC-Web holds, and what its client wants to be answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub sent: Format,
    pub wanted: Format,
}

/// `None`: the request is not one of gRPC-Web.
pub fn asked(headers: &HeaderMap) -> Option<Asked> {
    let (sent, _) = Format::of(headers.get(header::CONTENT_TYPE)?.to_str().ok()?)?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wanted = accepted.into_iter().flat_map(|accept| accept.split(',')).find_map(|kind| Format::of(kind.trim()));
    Some(Asked { sent, wanted: wanted.map_or(sent, |(wanted, _)| wanted) })
}

/// Makes the head of a gRPC request of one of gRPC-Web.
pub fn request_head(headers: &mut HeaderMap) {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let suffix = kind.and_then(Format::of).map_or("", |(_, rest)| rest);
    // Parts of a header value make one.
    if let Ok(kind) = HeaderValue::from_str(&format!("{GRPC}{suffix}")) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT);
}

/// Makes the head of a gRPC-Web response of one of gRPC. `false`: the response is not gRPC, and is left as it is.
pub fn response_head(headers: &mut HeaderMap, wanted: Format) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let Some(rest) = kind.and_then(|kind| kind.strip_prefix(GRPC)) else { return false };
    let suffix = match rest.bytes().next() {
        Some(b'+' | b';') => rest,
        None => "+proto",
        Some(_) => return false,
    };
    let web = if wanted == Format::Text { WEB_TEXT } else { WEB };
    // Parts of a header value make one.
    if let Ok(kind) = HeaderValue::from_str(&format!("{web}{suffix}")) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.remove(header::CONTENT_LENGTH);
    true
}

/// A piece of a gRPC response as gRPC-Web writes it: data, or trailers as a frame of data.
pub fn written(frame: Frame<Bytes>, wanted: Format) -> Frame<Bytes> {
    let data = match frame.into_data() {
        Ok(data) => data,
        Err(frame) => trailer_frame(&frame.into_trailers().unwrap_or_default()),
    };
    Frame::data(match wanted {
        Format::Binary => data,
        // Each piece by itself, so that none waits for the next: readers take padding inside the stream.
        Format::Text => STANDARD.encode(&data).into(),
    })
}

fn trailer_frame(trailers: &HeaderMap) -> Bytes {
    let mut fields = BytesMut::new();
    for (name, value) in trailers {
        fields.put_slice(name.as_str().as_bytes());
        fields.put_slice(b": ");
        fields.put_slice(value.as_bytes());
        fields.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(5 + fields.len());
    frame.put_u8(TRAILERS);
    // Trailers of an HTTP/2 peer fit into the largest head.
    frame.put_u32(u32::try_from(fields.len()).unwrap_or(u32::MAX));
    frame.put(fields);
    frame.freeze()
}

/// The body of a request in text form, as the bytes it stands for.
pub struct Decoded<B> {
    inner: B,
    /// Fewer than four characters, which decode together with what follows.
    kept: BytesMut,
}

impl<B> Decoded<B> {
    pub fn new(inner: B) -> Self {
        Self { inner, kept: BytesMut::new() }
    }
}

impl<B> Body for Decoded<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = &mut *self;
        loop {
            let frame = match ready!(Pin::new(&mut body.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if body.kept.is_empty() => return Poll::Ready(None),
                None => {
                    body.kept.clear();
                    return Poll::Ready(Some(Err("the request's Base64 ends in the middle of a group of four".into())));
                }
            };
            match frame.into_data() {
                Ok(text) => {
                    body.kept.extend_from_slice(&text);
                    let whole = body.kept.len() / 4 * 4;
                    let groups = body.kept.split_to(whole);
                    let data = decode(&groups)?;
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data.into()))));
                    }
                }
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.kept.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Whole groups of four. Each piece that the client encoded by itself ends with its own padding.
fn decode(groups: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut data = Vec::with_capacity(groups.len() / 4 * 3);
    let mut rest = groups;
    while !rest.is_empty() {
        let end = memchr::memchr(b'=', rest).map_or(rest.len(), |padding| (padding / 4 + 1) * 4);
        let (piece, more) = rest.split_at(end);
        STANDARD.decode_vec(piece, &mut data).map_err(|error| format!("the request's body is not Base64: {error}"))?;
        rest = more;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, StreamBody};

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_request_says_what_it_sends_and_what_it_wants() {
        use Format::{Binary, Text};
        for (kind, accept, want) in [
            ("application/grpc-web", None, Some((Binary, Binary))),
            ("application/grpc-web+proto", None, Some((Binary, Binary))),
            ("application/grpc-web-text", None, Some((Text, Text))),
            ("application/grpc-web-text+proto", Some("application/grpc-web-text"), Some((Text, Text))),
            ("application/grpc-web+proto", Some("text/plain, application/grpc-web-text+proto"), Some((Binary, Text))),
            ("application/grpc-web-text", Some("*/*"), Some((Text, Text))),
            ("application/grpc", None, None),
            ("application/grpc-website", None, None),
            ("application/json", Some("application/grpc-web"), None),
        ] {
            let mut headers = map(&[("content-type", kind)]);
            headers.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(asked(&headers), want.map(|(sent, wanted)| Asked { sent, wanted }), "{kind} {accept:?}");
        }
    }

    #[test]
    fn heads_change_their_kind_and_keep_what_it_carries() {
        let mut headers = map(&[("content-type", "application/grpc-web-text+json"), ("content-length", "8"), ("x", "1")]);
        request_head(&mut headers);
        assert_eq!(headers, map(&[("content-type", "application/grpc+json"), ("te", "trailers"), ("x", "1")]));
        for (kind, wanted, want) in [
            ("application/grpc", Format::Binary, Some("application/grpc-web+proto")),
            ("application/grpc+json", Format::Text, Some("application/grpc-web-text+json")),
            ("text/plain", Format::Text, None),
        ] {
            let mut headers = map(&[("content-type", kind)]);
            assert_eq!(response_head(&mut headers, wanted), want.is_some());
            assert_eq!(headers, map(&[("content-type", want.unwrap_or(kind))]));
        }
    }

    #[test]
    fn trailers_are_the_last_frame_of_the_body() {
        let trailers = || Frame::trailers(map(&[("grpc-status", "5"), ("grpc-message", "no")]));
        let binary = written(trailers(), Format::Binary).into_data().unwrap();
        assert_eq!(&binary[..], b"\x80\0\0\0\x22grpc-status: 5\r\ngrpc-message: no\r\n");
        let text = written(trailers(), Format::Text).into_data().unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), binary);
    }

    fn decoded(pieces: &[&'static str]) -> Result<Bytes, String> {
        let frames: Vec<Result<_, BoxError>> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        let body = Decoded::new(StreamBody::new(futures_util::stream::iter(frames)));
        let collected = body.collect().now_or_never().unwrap();
        collected.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn text_is_decoded_however_it_is_cut() {
        for pieces in [&["aGVsbG8gd29ybGQ="][..], &["a", "GVs", "bG8gd29yb", "GQ", "="], &["aGVsbG8=IHdvcmxk"], &["aGVs", "bG8=", "", "IHdvcmxk"]] {
            assert_eq!(decoded(pieces).unwrap(), "hello world", "{pieces:?}");
        }
        assert_eq!(decoded(&[]).unwrap(), "");
        for bad in [&["aGVsb"][..], &["a==="], &["!!!!"], &["aGVs\r\nbG8="], &["aG=s"]] {
            assert!(decoded(bad).is_err(), "{bad:?}");
        }
    }
}
