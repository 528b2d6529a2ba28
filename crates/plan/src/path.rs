//! Paths of requests: normalising them before authorization, and rewriting them. Owns no matching of routes.

use std::borrow::Cow;
use std::str::Split;

/// What Istio calls `BASE` normalisation, the default before authorization: backslashes become slashes, percent-encoded
/// unreserved characters are decoded (RFC 3986 section 6.2.2.2), dot segments are removed (sections 5.2.4 and 6.2.2.3), and an
/// empty path is `/` (section 6.2.3). Slashes are not merged and `%2F` stays. The query is not part of `path`. Normalising
/// twice changes nothing more. A caller that authorizes the result must forward the result.
pub fn normalise(path: &str) -> Cow<'_, str> {
    if path.is_empty() {
        return Cow::Borrowed("/");
    }
    let escaped = |path: &str| path.as_bytes().windows(3).any(|three| matches!(three, [b'%', high, low] if unreserved(*high, *low).is_some()));
    let touched = path.contains('\\') || (path.contains('%') && escaped(path)) || (path.contains('.') && path.split('/').any(is_dots));
    if !touched {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(&path.replace('\\', "/"));
    if !decoded.starts_with('/') {
        return Cow::Owned(decoded);
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = decoded.split('/').skip(1).collect();
    for (position, segment) in segments.iter().enumerate() {
        let last = position + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// Whether a reader of `path` would find dot segments in it, encoded or behind backslashes too.
pub(crate) fn has_dot_segments(path: &str) -> bool {
    // Most paths hold nothing that dots could be written with.
    path.bytes().any(|byte| matches!(byte, b'.' | b'%'))
        && path.split(['/', '\\']).any(|segment| is_dots(segment) || (could_be_dots(segment) && is_dots(&decode_unreserved(segment))))
}

/// Whether a segment is all escapes and dots, so that it is worth decoding.
fn could_be_dots(segment: &str) -> bool {
    segment.contains('%') && segment.bytes().all(|byte| matches!(byte, b'.' | b'%') || byte.is_ascii_hexdigit())
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Decodes the unreserved characters of RFC 3986 section 2.3. A malformed escape that decoding completes (`%%32e`) is decoded
/// too, so that nobody who decodes the result finds another path in it.
fn decode_unreserved(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        out.push(byte);
        while let [.., b'%', high, low] = out[..] {
            let Some(value) = unreserved(high, low) else { break };
            out.truncate(out.len() - 3);
            out.push(value);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The unreserved character that two hexadecimal digits stand for.
fn unreserved(high: u8, low: u8) -> Option<u8> {
    let value = hex(high)? << 4 | hex(low)?;
    (value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~')).then_some(value)
}

/// Decodes everything that is percent-encoded.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let value = (*byte == b'%').then(|| Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?)).flatten();
        match value {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// The first value of a query parameter, percent-decoded (`+` stays, as in Envoy).
pub(crate) fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let unescape = |text: &'a str| match text.contains('%') {
        true => Cow::Owned(decode(text)),
        false => Cow::Borrowed(text),
    };
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(key, _)| unescape(key) == name).map(|(_, value)| unescape(value))
}

/// Gateway API `ReplacePrefixMatch`: whole segments are replaced, and slashes between prefix and rest are never doubled or
/// lost (the table in HTTPRoute's `HTTPPathModifier`).
pub(crate) fn replace_segments(path: &str, prefix: &str, replacement: &str) -> String {
    let rest = path.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(path);
    match format!("{}{rest}", replacement.trim_end_matches('/')) {
        whole if whole.starts_with('/') => whole,
        whole => format!("/{whole}"),
    }
}

/// Istio `rewrite.uri` for a prefix match: the matched text is replaced, nothing is added.
pub(crate) fn replace_prefix(path: &str, prefix: &str, replacement: &str) -> String {
    // The prefix matched, perhaps ignoring case, so it has the same length in bytes.
    format!("{replacement}{}", path.get(prefix.len()..).unwrap_or_default())
}

/// Whether `path` fits a template of AuthorizationPolicy: `{*}` is one non-empty segment, `{**}` is one or more segments
/// (the last may be empty, so `/a/{**}` covers `/a/`, not `/a`).
pub(crate) fn fits_template(template: &str, path: &str) -> bool {
    fits(template.split('/'), path.split('/'))
}

fn fits(mut template: Split<'_, char>, mut path: Split<'_, char>) -> bool {
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            // Istio allows one `{**}`, so this does not explode.
            (Some("{**}"), Some(_)) => {
                while !fits(template.clone(), path.clone()) {
                    if path.next().is_none() {
                        return false;
                    }
                }
                return true;
            }
            (Some("{*}"), Some(have)) if !have.is_empty() => {}
            (Some(want), Some(have)) if want == have && want != "{*}" => {}
            _ => return false,
        }
    }
}

/// Host and port of an authority; the port is empty when there is none. IPv6 literals keep their brackets.
pub(crate) fn split_authority(authority: &str) -> (&str, &str) {
    let after_literal = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_literal..].rfind(':') {
        Some(colon) => (&authority[..after_literal + colon], &authority[after_literal + colon + 1..]),
        None => (authority, ""),
    }
}

/// The authority without the dots that end a fully qualified name: `reviews.:9080` and `reviews:9080` are one host.
pub fn undotted(authority: &str) -> Cow<'_, str> {
    match split_authority(authority) {
        (host, _) if !host.ends_with('.') => Cow::Borrowed(authority),
        (host, _) => Cow::Owned(format!("{}{}", host.trim_end_matches('.'), &authority[host.len()..])),
    }
}

/// The host of an authority, as hosts are compared: without its port and without the root's dot, in lower case.
pub(crate) fn host_name(authority: &str) -> Cow<'_, str> {
    lower(split_authority(authority).0.trim_end_matches('.'))
}

/// In lower case (ASCII letters).
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_normalisation() {
        for (path, want) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../etc", "/etc"),
            ("/admin\\..\\x", "/x"),
            ("/%61dmin", "/admin"),
            ("/public/%2e%2E/admin", "/admin"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2Fb/./c", "/a%2Fb/c"),
            ("/a//b", "/a//b"),
            ("/%", "/%"),
            ("/%zz", "/%zz"),
            ("/secret/%2e./public", "/public"),
            ("/secret\\..\\public", "/public"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/a/%%32e%%32e/b", "/b"),
            ("/a/%2%65%2%65/b", "/b"),
            ("/é/..", "/"),
            ("", "/"),
            ("*", "*"),
        ] {
            assert_eq!(normalise(path), want, "{path}");
            assert_eq!(normalise(want), want, "{path} twice");
        }
    }

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for (path, want) in [
            ("/a/../b", true),
            ("/a/.", true),
            ("/a\\..\\b", true),
            ("/a/%2e%2E/b", true),
            ("/a/.%%32e/b", true),
            ("/a/...", false),
            ("/a/.b", false),
            ("/a%2F..%2Fb", false),
            ("/%41", false),
            ("/", false),
        ] {
            assert_eq!(has_dot_segments(path), want, "{path}");
        }
    }

    #[test]
    fn the_table_of_replace_prefix_match() {
        for (path, prefix, replacement, want) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
        ] {
            assert_eq!(replace_segments(path, prefix, replacement), want, "{path} {prefix} {replacement}");
        }
        assert_eq!(replace_prefix("/foobar", "/foo", "/x"), "/xbar");
    }

    #[test]
    fn templates() {
        for (template, path, want) in [
            ("/a/{*}", "/a/b", true),
            ("/a/{*}", "/a/b/c", false),
            ("/a/{*}", "/a/", false),
            ("/a/{*}/c", "/a/b/c", true),
            ("/a/{**}", "/a/b/c", true),
            ("/a/{**}", "/a/", true),
            ("/a/{**}", "/a", false),
            ("/{**}/end", "/x/y/end", true),
            ("/{**}/end", "/end", false),
            ("/{**}/b/{*}", "/a/b/b/c", true),
            ("/{**}/b/{*}", "/a/b/c/d", false),
            ("/{*}", "/{*}", true),
            ("/a/{**}/", "/a/b/", true),
            ("/a/{**}/", "/a/b", false),
        ] {
            assert_eq!(fits_template(template, path), want, "{template} {path}");
        }
    }

    #[test]
    fn queries_and_authorities() {
        assert_eq!(query_value("a=1&b=x%20y&a=2", "b").as_deref(), Some("x y"));
        assert_eq!(query_value("a=1&a=2", "a").as_deref(), Some("1"));
        assert_eq!(query_value("flag", "flag").as_deref(), Some(""));
        assert_eq!(query_value("", "a"), None);
        for (authority, want) in
            [("reviews:9080", ("reviews", "9080")), ("reviews", ("reviews", "")), ("[::1]:80", ("[::1]", "80")), ("[::1]", ("[::1]", ""))]
        {
            assert_eq!(split_authority(authority), want);
        }
        for (authority, want) in [("a.:80", "a:80"), ("a..", "a"), ("a.b", "a.b"), (".", ""), ("[::1]:80", "[::1]:80"), ("", "")] {
            assert_eq!(undotted(authority), want);
        }
        for (authority, want) in
            [("Reviews.:80", "reviews"), ("reviews:80", "reviews"), ("a..", "a"), ("[::A.].:80", "[::a.]"), (".:80", ""), ("a:.", "a")]
        {
            assert_eq!(host_name(authority), want);
            assert_eq!(split_authority(&undotted(authority).to_ascii_lowercase()).0, want);
        }
        // What needs no change is not copied.
        for path in ["/a%2Fb/c.d", "/%zz", "/"] {
            assert!(matches!(normalise(path), Cow::Borrowed(_)), "{path}");
        }
    }
}
