//! What a failure's reason says about where to look: in the service's own words, too late, not reached, refused, or no room.

/// Kinds of failures, by where their cause may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// The service itself said so: it failed, or somebody it called did.
    Words,
    /// Not done in time: whoever was too slow is at fault, here or further down.
    Late,
    /// The caller has left, which services do when they lose patience.
    Left,
    /// Nobody was reached.
    Unreachable,
    /// The connection or the response broke.
    Broken,
    /// A policy, a certificate, or the configuration is against it.
    Refused,
    /// There was no room.
    Limited,
}

pub(super) const CLASSES: usize = 7;
pub(super) const ALL: [Class; CLASSES] = [Class::Words, Class::Late, Class::Left, Class::Unreachable, Class::Broken, Class::Refused, Class::Limited];

/// gRPC's CANCELLED and DEADLINE_EXCEEDED (google.golang.org/grpc/codes), which say that time ran out, not that something broke.
const GRPC_CANCELLED: &str = "grpc_1";
const GRPC_DEADLINE_EXCEEDED: &str = "grpc_4";

/// `None`: the client's own mistake, which hurts nobody else. A reason that is not known is taken for the service's own words: peers and
/// applications choose theirs.
pub(super) fn class(reason: &str) -> Option<Class> {
    Some(match reason {
        "timeout" | "per_try_timeout" | "deadline_over" | GRPC_DEADLINE_EXCEEDED => Class::Late,
        "client_left" | GRPC_CANCELLED => Class::Left,
        "connect_failed" | "connect_timeout" | "no_endpoint" | "app_unreachable" | "name_not_found" => Class::Unreachable,
        "reset" | "reset_before_request" | "response_broken" | "refused_stream" | "bad_response" | "closed" => Class::Broken,
        "overloaded" | "overflow" | "rate_limited" => Class::Limited,
        "bad_request" | "method_not_allowed" | "client_body_broken" | "client_body_stalled" | "late_http" => return None,
        "authorization_denied" | "authorizer_denied" | "authorizer_failed" | "policies_not_received" | "mutual_tls_required" => Class::Refused,
        "peer_untrusted" | "peer_disowned" | "handshake_failed" | "no_identity" | "no_system_roots" => Class::Refused,
        "no_route_matched" | "origin_not_allowed" | "backend_unresolved" | "subset_undefined" | "loop_detected" => Class::Refused,
        "unknown_service" | "unknown_port" | "not_of_the_mesh" | "not_served_here" | "service_not_learned" => Class::Refused,
        "fault_injected" | "request_too_large" | "response_too_large" => Class::Refused,
        token if token.starts_with("token_") => Class::Refused,
        _ => Class::Words,
    })
}
