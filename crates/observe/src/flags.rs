//! Envoy's short response flags for our failure reasons, so that dashboards and Kiali read them as they always did.

use crate::record::Failure;

/// `-` in metrics and logs: nothing to flag.
pub const NONE: &str = "-";

/// Failure reason, Envoy's flag (Envoy documentation, "Access logging", `%RESPONSE_FLAGS%`). A reason that is missing here has
/// no flag: as in Envoy, a request that a policy denies is told by its status and details alone.
const TABLE: &[(&str, &str)] = &[
    // UF: upstream connection failure.
    ("connect_failed", "UF"),
    ("connect_timeout", "UF"),
    ("peer_untrusted", "UF"),
    ("app_unreachable", "UF"),
    ("no_identity", "UF"),
    ("no_system_roots", "UF"),
    // DF: DNS resolution failed.
    ("name_not_found", "DF"),
    // UH: no healthy upstream.
    ("no_endpoint", "UH"),
    // NR: no route configured, or no filter chain for this kind of connection.
    ("no_route_matched", "NR"),
    ("unknown_service", "NR"),
    ("unknown_port", "NR"),
    ("service_not_learned", "NR"),
    ("not_served_here", "NR"),
    ("mutual_tls_required", "NR"),
    // NC: the route's cluster is not there.
    ("subset_undefined", "NC"),
    ("backend_unresolved", "NC"),
    // UT: upstream request timeout.
    ("timeout", "UT"),
    ("per_try_timeout", "UT"),
    ("deadline_over", "UT"),
    // UC: upstream connection termination.
    ("reset", "UC"),
    ("reset_before_request", "UC"),
    ("response_broken", "UC"),
    ("peer_disowned", "UC"),
    // UR: upstream remote reset.
    ("refused_stream", "UR"),
    // UPE: upstream protocol error.
    ("bad_response", "UPE"),
    // OM: the overload manager terminated the request.
    ("overloaded", "OM"),
    // UO: upstream overflow (circuit breaking).
    ("overflow", "UO"),
    // RL: rate limited locally.
    ("rate_limited", "RL"),
    // FI: fault injected. DI: delay injected.
    ("fault_injected", "FI"),
    ("delay_injected", "DI"),
    // DC: downstream connection termination.
    ("client_left", "DC"),
    ("client_body_broken", "DC"),
    // SI: stream idle timeout.
    ("client_body_stalled", "SI"),
    // DPE: downstream protocol error.
    ("bad_request", "DPE"),
    // LR: connection local reset.
    ("closed", "LR"),
];

/// The flag of a failure, [`NONE`] for none.
pub fn of(failure: Option<&Failure>) -> &'static str {
    failure.map_or(NONE, |failure| of_reason(&failure.reason))
}

/// The flag of a failure's reason, [`NONE`] for none.
pub fn of_reason(reason: &str) -> &'static str {
    TABLE.iter().find(|(known, _)| *known == reason).map_or(NONE, |(_, flag)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str) -> Failure {
        Failure { side: "mesh".into(), reason: reason.into(), retry_safe: true, detail: String::new(), origin: None }
    }

    #[test]
    fn failures_carry_envoys_flags() {
        for (reason, flag) in [("connect_failed", "UF"), ("no_endpoint", "UH"), ("timeout", "UT"), ("overflow", "UO"), ("client_left", "DC")] {
            assert_eq!(of(Some(&failure(reason))), flag);
        }
        assert_eq!(of(Some(&failure("authorization_denied"))), NONE);
        assert_eq!(of(None), NONE);
    }

    #[test]
    fn each_reason_has_one_flag() {
        let mut reasons: Vec<_> = TABLE.iter().map(|(reason, _)| reason).collect();
        reasons.sort();
        reasons.dedup();
        assert_eq!(reasons.len(), TABLE.len());
    }
}
