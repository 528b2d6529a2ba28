//! What gRPC's statuses mean to those who count in HTTP's.

use http::HeaderMap;

/// The status of a trailers-only response, or of trailers.
pub fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The HTTP status that says of a server what a gRPC status says (google/rpc/code.proto). What is none of them is the server's fault.
pub fn http_status(code: u16) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
