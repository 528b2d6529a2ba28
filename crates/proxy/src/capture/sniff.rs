//! Learns from the first bytes of a connection what is spoken on it, without taking them away.

use crate::io::Io;
use crate::tls::{Hello, hello};
use std::io;

/// RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method looked for (`UPDATEREDIRECTREF` is the longest registered one).
const LONGEST_METHOD: usize = 20;
/// A ClientHello with a large post-quantum key share still fits.
const CLIENT_HELLO: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Socks5,
    Http1,
    Http2,
    Tls,
    /// Something else, or nothing before the end.
    Other,
}

/// Waits for as many bytes as it takes to tell.
pub async fn opening(io: &mut Io) -> io::Result<Opening> {
    let bytes = io.peek(HTTP2_PREFACE.len(), |bytes| tell(bytes).is_some()).await?;
    Ok(tell(bytes).unwrap_or(Opening::Other))
}

/// Waits for a whole ClientHello; the server name in it.
pub async fn server_name(io: &mut Io) -> io::Result<Option<String>> {
    let bytes = io.peek(CLIENT_HELLO, |bytes| hello(bytes) != Hello::Incomplete).await?;
    Ok(match hello(bytes) {
        Hello::Name(name) => Some(name),
        Hello::Nameless | Hello::Incomplete => None,
    })
}

/// `None`: too early to tell.
pub fn tell(bytes: &[u8]) -> Option<Opening> {
    match bytes {
        [] => None,
        [0x05, ..] => Some(Opening::Socks5),
        // A handshake record (RFC 8446 section 5.1).
        [0x16] => None,
        [0x16, version, ..] => Some(if *version == 0x03 { Opening::Tls } else { Opening::Other }),
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Opening::Http2),
        _ if HTTP2_PREFACE.starts_with(bytes) => None,
        _ => method(bytes),
    }
}

/// A method and a space (RFC 9112 section 3): upper case, as all in use are, so that `EHLO host` in lower case is not one.
fn method(bytes: &[u8]) -> Option<Opening> {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match bytes.get(letters) {
        None if letters <= LONGEST_METHOD => None,
        Some(b' ') if (3..=LONGEST_METHOD).contains(&letters) => match bytes.get(letters + 1) {
            None => None,
            // The target: origin form, absolute form, authority form or `*`.
            Some(b'/' | b'*') => Some(Opening::Http1),
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'[' => Some(known_method(&bytes[..letters])),
            Some(_) => Some(Opening::Other),
        },
        _ => Some(Opening::Other),
    }
}

/// `EHLO mail.example.com` and `USER name` look like a request until one knows the verbs.
fn known_method(verb: &[u8]) -> Opening {
    let known: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
    if known.contains(&verb) { Opening::Http1 } else { Opening::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, want) in [
            (&b""[..], None),
            (b"\x05", Some(Opening::Socks5)),
            (b"G", None),
            (b"GET", None),
            (b"GET /", Some(Opening::Http1)),
            (b"GET http://reviews/", Some(Opening::Http1)),
            (b"CONNECT reviews:9080 HTTP/1.1", Some(Opening::Http1)),
            (b"PROPFIND /x", Some(Opening::Http1)),
            (b"OPTIONS * HTTP/1.1", Some(Opening::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM", None),
            (HTTP2_PREFACE, Some(Opening::Http2)),
            (b"\x16", None),
            (b"\x16\x03\x01", Some(Opening::Tls)),
            (b"EHLO mail.example.com", Some(Opening::Other)),
            (b"USER jason", Some(Opening::Other)),
            (b"set a 0 0 1", Some(Opening::Other)),
            (b"*1\r\n$4\r\nPING", Some(Opening::Other)),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAA", Some(Opening::Other)),
        ] {
            assert_eq!(tell(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
