//! WebSocket over HTTP/2 (RFC 8441) and over HTTP/1.1 (RFC 6455), as heads. Inside, it is always what HTTP/1.1 says: GET and 101, so that
//! routes and policies see one thing.

use crate::http2::Protocol;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, StatusCode, Version, header, request, response};

const WEBSOCKET: &str = "websocket";

/// Whether a request is an extended CONNECT, which opens no tunnel.
pub fn is_extended(head: &request::Parts) -> bool {
    head.extensions.get::<Protocol>().is_some()
}

/// Takes an extended CONNECT for the GET that it stands for. `false`: it asks for no WebSocket, and is left as it is.
pub fn take(head: &mut request::Parts) -> bool {
    if head.method != Method::CONNECT || head.extensions.get::<Protocol>().is_none_or(|protocol| protocol.0 != WEBSOCKET) {
        return false;
    }
    head.extensions.remove::<Protocol>();
    head.method = Method::GET;
    true
}

/// To an upstream that speaks HTTP/1.1. What says that it is an upgrade is added with the other headers of one hop.
pub fn to_http1(head: &mut request::Parts, key: [u8; 16]) {
    head.version = Version::HTTP_11;
    if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
        head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    head.headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
}

/// To an upstream that speaks HTTP/2.
pub fn to_http2(head: &mut request::Parts) {
    head.method = Method::CONNECT;
    head.extensions.insert(Protocol(HeaderValue::from_static(WEBSOCKET)));
    head.headers.remove(header::SEC_WEBSOCKET_KEY);
}

/// `101 Switching Protocols` for a client of HTTP/2, which has another word for it.
pub fn accept_over_http2(head: &mut response::Parts) {
    head.status = StatusCode::OK;
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
        head.headers.remove(name);
    }
}
