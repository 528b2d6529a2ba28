//! Which responses of the application beside this proxy are compressed, and what their heads say then. Nothing is compressed twice, and what a
//! cache or a client concludes from the head stays true. The bodies are in `gzip`.

use crate::engine::Engine;
use crate::forward::Content;
use crate::gzip::Gzip;
use crate::incoming::Incoming;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use std::rc::Rc;
use taut_model::settings::Compression;

/// Responses of one worker that are compressed at a time: each takes about 300 KiB. Others go as they are.
const MOST: usize = 64;

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
