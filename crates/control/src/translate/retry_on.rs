//! The names of retry conditions and gRPC codes (Envoy's `retry-on` tokens, gRPC's status names), for every dialect.

use super::reader::Reader;
use super::values;
use std::time::Duration;
use taut_model::route::RetryOn;

/// Base of the back-off when none is written (Istio's).
pub const BACKOFF: Duration = Duration::from_millis(25);

const CANCELLED: u16 = 1;
const UNAVAILABLE: u16 = 14;

/// In the order of their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const TOKENS: &[(&str, &[RetryOn])] = &[
    ("5xx", &[RetryOn::ServerError]),
    ("gateway-error", &[RetryOn::GatewayError]),
    ("reset", &[RetryOn::Reset]),
    ("reset-before-request", &[RetryOn::ResetBeforeRequest]),
    ("connect-failure", &[RetryOn::ConnectFailure]),
    ("refused-stream", &[RetryOn::RefusedStream]),
    ("retriable-4xx", &[RetryOn::Conflict]),
    ("envoy-ratelimited", &[RetryOn::RateLimited]),
    ("retriable-headers", &[RetryOn::NamedHeader]),
    // Says only that the numbers in the same list count.
    ("retriable-status-codes", &[]),
    ("cancelled", &[RetryOn::Grpc(CANCELLED)]),
    ("deadline-exceeded", &[RetryOn::Grpc(4)]),
    ("resource-exhausted", &[RetryOn::Grpc(8)]),
    ("internal", &[RetryOn::Grpc(13)]),
    ("unavailable", &[RetryOn::Grpc(UNAVAILABLE)]),
];

/// Istio's default conditions, for a rule that asks for retries and does not say on what.
pub fn built_in() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Grpc(UNAVAILABLE), RetryOn::Grpc(CANCELLED)]
}

/// A comma-separated list of tokens and HTTP statuses.
pub fn parse(reader: &mut Reader<'_>, at: &str, written: &str) -> Vec<RetryOn> {
    let mut on = Vec::new();
    for token in written.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        if let Some((_, meant)) = TOKENS.iter().find(|(name, _)| *name == token) {
            on.extend_from_slice(meant);
        } else if let Some(status) = token.parse::<u16>().ok().filter(|status| (100..=599).contains(status)) {
            on.push(RetryOn::Status(status));
        } else {
            let near = values::nearest(token, TOKENS.iter().map(|(name, _)| *name));
            let instead = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => "use 5xx, gateway-error, reset, connect-failure, refused-stream, a gRPC code or an HTTP status".to_owned(),
            };
            reader.unsupported_value(at, format_args!("the condition {token:?}"), &instead);
        }
    }
    on
}

/// A gRPC status by name (`UNAVAILABLE`, `unavailable`) or number.
pub fn grpc_code(written: &str) -> Option<u16> {
    let by_name = GRPC_CODES.iter().position(|name| name.eq_ignore_ascii_case(&written.replace('-', "_")));
    let by_number = || written.parse::<usize>().ok().filter(|number| *number < GRPC_CODES.len());
    by_name.or_else(by_number).and_then(|code| u16::try_from(code).ok())
}
