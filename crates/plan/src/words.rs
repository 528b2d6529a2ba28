//! Words for what explanations mention: balancers, retry conditions, aborts, lists of objects.

use taut_model::destination::Balancer;
use taut_model::origin::Origin;
use taut_model::route::{AbortWith, RetryOn};

pub(crate) fn balancer(balancer: &Balancer) -> &'static str {
    match balancer {
        Balancer::LeastRequest => "least requests (two choices)",
        Balancer::PeakEwma => "peak EWMA latency (two choices)",
        Balancer::RoundRobin => "round robin",
        Balancer::Random => "chance",
        Balancer::RingHash { .. } => "ring hash",
        Balancer::Maglev { .. } => "Maglev hash",
    }
}

pub fn retry_on(conditions: &[RetryOn]) -> String {
    let word = |on: &RetryOn| match on {
        RetryOn::ConnectFailure => "connect failure".to_owned(),
        RetryOn::RefusedStream => "refused stream".to_owned(),
        RetryOn::Reset => "reset".to_owned(),
        RetryOn::ResetBeforeRequest => "reset before request".to_owned(),
        RetryOn::ServerError => "5xx".to_owned(),
        RetryOn::GatewayError => "502-504".to_owned(),
        RetryOn::Conflict => "409".to_owned(),
        RetryOn::Status(status) => status.to_string(),
        RetryOn::Grpc(code) => format!("gRPC {code}"),
    };
    conditions.iter().map(word).collect::<Vec<_>>().join(", ")
}

pub(crate) fn abort(with: AbortWith) -> String {
    match with {
        AbortWith::Http(status) => status.to_string(),
        AbortWith::Grpc(code) => format!("gRPC {code}"),
    }
}

/// The objects by name, as many as a sentence holds: a refusal must not cost more the more of them there are.
pub(crate) fn names<'a>(origins: impl ExactSizeIterator<Item = &'a Origin>) -> String {
    const MOST: usize = 20;
    let more = origins.len().saturating_sub(MOST);
    let names = origins.take(MOST).map(|origin| origin.object.to_string()).collect::<Vec<_>>().join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_objects_says_how_many_it_leaves_out() {
        let origins = |count: usize| (0..count).map(|number| Origin::built_in(&number.to_string())).collect::<Vec<_>>();
        assert_eq!(names(origins(0).iter()), "");
        assert!(names(origins(20).iter()).ends_with("19"));
        assert_eq!(names(origins(23).iter()), format!("{} and 3 more", names(origins(20).iter())));
    }
}
