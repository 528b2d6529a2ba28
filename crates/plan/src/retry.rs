//! When a failed attempt is tried again, and after how long. Budgets are in `limits`.

use crate::dice::below;
use std::time::Duration;
use taut_model::route::{Retry, RetryEndpoints, RetryOn};

/// Why an attempt failed, as far as it matters for trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<'a> {
    /// No connection: nothing was sent.
    Connect,
    /// HTTP/2 REFUSED_STREAM or a graceful GOAWAY below this stream: the peer did not process the request (RFC 9113 8.7).
    RefusedStream,
    /// The connection ended before the request was sent.
    ResetBeforeRequest,
    /// The connection or stream ended after the request was sent (in part), before a response.
    Reset,
    PerTryTimeout,
    /// A response. `grpc`: the status of a trailers-only response.
    Status {
        status: u16,
        grpc: Option<u16>,
        marked: Marked,
    },
    /// Anything else, by name; never retried.
    Other(&'a str),
}

/// What the headers of a response say of retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// A rate limit refused it.
    pub rate_limited: RateLimited,
    /// It has a header that the request names in `x-envoy-retriable-header-names`.
    pub named: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimited {
    #[default]
    No,
    /// By one of the mesh.
    Mesh,
    /// With Envoy's `x-envoy-ratelimited`, which asks not to be retried unless that is configured.
    Envoy,
}

/// Istio's default for HTTP routes without a `retries` field: two retries, 25 ms base (istio `pilot/pkg/networking/core/route/retry`).
/// Unlike Istio's, 503 is bounded by [`safe_by_default`], and a connection that broke is a reason too: [`should_retry`] repeats only what is safe to repeat, so a lost replica
/// costs no idempotent request.
pub fn default_retry() -> Retry {
    let on = vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::Grpc(14), RetryOn::Grpc(1), RetryOn::Status(503)];
    Retry { attempts: 2, per_try_timeout: None, on, backoff: Duration::from_millis(25), endpoints: RetryEndpoints::Others }
}

/// No retries.
pub(crate) fn never() -> Retry {
    Retry { attempts: 0, per_try_timeout: None, on: Vec::new(), backoff: Duration::ZERO, endpoints: RetryEndpoints::Others }
}

/// Whether the policy names this failure and a second try is safe. Envoy's `5xx`, `gateway-error` and `reset` cover every
/// failure without a response, and so they do here, with one difference on purpose: when the request was sent and no
/// response came (`Reset`, `PerTryTimeout`), the peer may have acted on it, so only idempotent methods are tried again
/// (RFC 9110 section 9.2.2). How many attempts were made already is the caller's to count.
pub fn should_retry(retry: &Retry, failure: &Failure<'_>, method: &str) -> bool {
    use RetryOn::{Conflict, ConnectFailure, GatewayError, Grpc, NamedHeader, RefusedStream, Reset, ResetBeforeRequest, ServerError, Status};
    if retry.attempts == 0 {
        return false;
    }
    if let Failure::Status { marked: Marked { rate_limited: RateLimited::Envoy, .. }, .. } = failure {
        return retry.on.contains(&RetryOn::RateLimited);
    }
    let named = |on: &RetryOn| match failure {
        Failure::Connect => matches!(on, ConnectFailure | ServerError | GatewayError | Reset),
        Failure::RefusedStream => matches!(on, RefusedStream | ServerError | GatewayError | Reset),
        Failure::ResetBeforeRequest => matches!(on, ResetBeforeRequest | ServerError | GatewayError | Reset),
        Failure::Reset | Failure::PerTryTimeout => idempotent(method) && matches!(on, ServerError | GatewayError | Reset),
        Failure::Status { status, grpc, marked } => match on {
            RetryOn::RateLimited => marked.rate_limited == RateLimited::Mesh,
            NamedHeader => marked.named,
            ServerError => (500..=599).contains(status),
            GatewayError => (502..=504).contains(status),
            Conflict => *status == 409,
            Status(want) => want == status,
            Grpc(want) => *grpc == Some(*want),
            _ => false,
        },
        Failure::Other(_) => false,
    };
    retry.on.iter().any(named)
}

/// Whether the default retries may try again where their list of reasons would: Istio's default repeats any request after 503,
/// also a POST that the application may have worked on before it said so. Here it does so only for idempotent methods (RFC 9110
/// section 9.2.2), or when the peer's proxy gave a reason that proves that the application did not get the request. A list
/// that a user wrote is followed as written.
pub fn safe_by_default(failure: &Failure<'_>, method: &str, mesh_reason: Option<&str>) -> bool {
    match failure {
        Failure::Status { status: 503, .. } => idempotent(method) || mesh_reason.is_some_and(|reason| NOT_DELIVERED.contains(&reason)),
        _ => true,
    }
}

/// Reasons (`x-taut-reason`) of a proxy that did not hand the request to an application.
const NOT_DELIVERED: [&str; 8] =
    ["app_unreachable", "connect_failed", "connect_timeout", "draining", "no_endpoint", "overflow", "overloaded", "policies_not_received"];

/// RFC 9110 section 9.2.2.
fn idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// How long to wait before retry number `attempt` (the first retry is 1): uniform between nothing and
/// base x 2^(attempt - 1), which is at most 10 x base (full jitter; the bound is Envoy's default `max_interval`).
pub fn backoff(retry: &Retry, attempt: u32, roll: u64) -> Duration {
    let factor = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX).clamp(1, 10);
    let base = u64::try_from(retry.backoff.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(below(roll, base.saturating_mul(factor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retried() {
        let grpc = |code| Failure::Status { status: 200, grpc: Some(code), marked: Marked::default() };
        let on = |on: &[RetryOn]| Retry { on: on.to_vec(), ..default_retry() };
        let status = |status| Failure::Status { status, grpc: None, marked: Marked::default() };
        let limited = |rate_limited| Failure::Status { status: 429, grpc: None, marked: Marked { rate_limited, named: false } };
        let named = |named| Failure::Status { status: 404, grpc: None, marked: Marked { named, ..Marked::default() } };
        for (retry, failure, method, want) in [
            (on(&[RetryOn::RateLimited]), limited(RateLimited::Envoy), "POST", true),
            (on(&[RetryOn::RateLimited]), limited(RateLimited::Mesh), "GET", true),
            (on(&[RetryOn::RateLimited]), limited(RateLimited::No), "GET", false),
            (on(&[RetryOn::Status(429)]), limited(RateLimited::Mesh), "GET", true),
            (on(&[RetryOn::Status(429)]), limited(RateLimited::Envoy), "GET", false),
            (on(&[RetryOn::NamedHeader]), named(true), "GET", true),
            (on(&[RetryOn::NamedHeader]), named(false), "GET", false),
            (on(&[RetryOn::ServerError]), named(true), "GET", false),
            (default_retry(), Failure::Connect, "POST", true),
            (default_retry(), Failure::RefusedStream, "POST", true),
            (default_retry(), status(503), "POST", true),
            (default_retry(), status(500), "GET", false),
            (default_retry(), grpc(14), "POST", true),
            (default_retry(), grpc(13), "POST", false),
            (default_retry(), Failure::Reset, "GET", true),
            (default_retry(), Failure::Reset, "POST", false),
            (on(&[RetryOn::Reset]), Failure::Reset, "GET", true),
            (on(&[RetryOn::Reset]), Failure::Reset, "POST", false),
            (on(&[RetryOn::Reset]), Failure::ResetBeforeRequest, "POST", true),
            (on(&[RetryOn::ResetBeforeRequest]), Failure::Reset, "GET", false),
            (on(&[RetryOn::ServerError]), status(599), "POST", true),
            (on(&[RetryOn::ServerError]), status(499), "POST", false),
            (on(&[RetryOn::ServerError]), Failure::PerTryTimeout, "PUT", true),
            (on(&[RetryOn::ServerError]), Failure::PerTryTimeout, "POST", false),
            (on(&[RetryOn::GatewayError]), status(501), "GET", false),
            (on(&[RetryOn::GatewayError]), status(504), "GET", true),
            (on(&[RetryOn::Conflict]), status(409), "POST", true),
            (on(&[RetryOn::ServerError]), Failure::Other("cancelled"), "GET", false),
            (never(), Failure::Connect, "GET", false),
        ] {
            assert_eq!(should_retry(&retry, &failure, method), want, "{:?} {failure:?} {method}", retry.on);
        }
    }

    #[test]
    fn by_default_a_503_is_repeated_only_where_that_is_safe() {
        let status = |status| Failure::Status { status, grpc: None, marked: Marked::default() };
        let unavailable = Failure::Status { status: 200, grpc: Some(14), marked: Marked::default() };
        for (failure, method, reason, want) in [
            (status(503), "GET", None, true),
            (status(503), "DELETE", Some("reset"), true),
            (status(503), "POST", None, false),
            (status(503), "PATCH", Some("reset"), false),
            (status(503), "POST", Some("app_unreachable"), true),
            (status(503), "POST", Some("overflow"), true),
            (Failure::Connect, "POST", None, true),
            (unavailable, "POST", None, true),
        ] {
            assert_eq!(safe_by_default(&failure, method, reason), want, "{failure:?} {method} {reason:?}");
        }
    }

    #[test]
    fn back_off_grows_and_is_bounded() {
        let retry = default_retry();
        for (attempt, limit_ms) in [(0, 25), (1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (64, 250), (u32::MAX, 250)] {
            let longest = backoff(&retry, attempt, u64::MAX);
            assert!(longest <= Duration::from_millis(limit_ms) && longest > Duration::from_millis(limit_ms - 1), "{attempt} {longest:?}");
            assert_eq!(backoff(&retry, attempt, 0), Duration::ZERO);
        }
        assert_eq!(backoff(&never(), 3, u64::MAX), Duration::ZERO);
    }
}
