//! Words for what explanations mention: balancers, retry conditions, aborts, lists of objects.

use crate::locality::{Place, Places};
use taut_model::destination::{Balancer, HealthCheck, Probe, RetryBudget};
use taut_model::origin::Origin;
use taut_model::route::{AbortWith, HeaderChange, HowChanged, Retry, RetryEndpoints, RetryOn};

pub(crate) fn balancer(balancer: &Balancer) -> &'static str {
    match balancer {
        Balancer::LeastRequest => "least requests (two choices)",
        Balancer::LoadAware => "reported load (hot ones avoided)",
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
        RetryOn::RateLimited => "rate limited".to_owned(),
        RetryOn::NamedHeader => "headers that the request names".to_owned(),
        RetryOn::Grpc(code) => format!("gRPC {code}"),
    };
    conditions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What else is said about retries, to go behind their conditions.
pub(crate) fn retry_limits(retry: &Retry) -> String {
    let per_try = retry.per_try_timeout.map(|limit| format!(", each try within {limit:?}"));
    let anywhere = (retry.endpoints == RetryEndpoints::Any).then_some(", also at endpoints tried before");
    format!("{}{}", per_try.unwrap_or_default(), anywhere.unwrap_or_default())
}

/// `retries are at most 20 % of the requests of the last 10s, and 10 in 1s in any case`
pub(crate) fn retry_budget(budget: &RetryBudget) -> String {
    let RetryBudget { percent, min_concurrency, interval, min_rate } = budget;
    let of = if interval.is_zero() { "in flight".to_owned() } else { format!("of the last {interval:?}") };
    let at_a_time = (*min_concurrency > 0).then(|| format!(", {min_concurrency} at a time in any case"));
    let rate = min_rate.map(|rate| format!(", {} in {:?} in any case", rate.count, rate.interval));
    format!("retries are at most {percent} % of the requests {of}{}{}", at_a_time.unwrap_or_default(), rate.unwrap_or_default())
}

/// `x-a removed, x-b set, x-c added`
pub(crate) fn header_change(change: &HeaderChange) -> String {
    let removed = change.remove.iter().map(|name| format!("{name} removed"));
    let set = change.set.iter().map(|(name, _)| format!("{name} set"));
    let added = change.add.iter().map(|(name, _)| format!("{name} added"));
    let computed = change.computed.iter().map(|header| match header.how {
        HowChanged::Set => format!("{} set", header.name),
        HowChanged::Add => format!("{} added", header.name),
    });
    removed.chain(set).chain(added).chain(computed).collect::<Vec<_>>().join(", ")
}

pub(crate) fn abort(with: AbortWith) -> String {
    match with {
        AbortWith::Http(status) => status.to_string(),
        AbortWith::Grpc(code) => format!("gRPC {code}"),
    }
}

/// `nearest first: 2 in the same zone, 1 in other regions`
pub(crate) fn places(places: &Places) -> String {
    let counted = |(weight, place): (Option<u32>, &Place)| {
        let weight = weight.map_or_else(String::new, |weight| format!(" (weight {weight})"));
        format!("{} in {}{weight}", place.positions.len(), place.name)
    };
    let list = |all: Vec<String>| if all.is_empty() { "no endpoint".to_owned() } else { all.join(", ") };
    match places {
        Places::Alike => "all alike".to_owned(),
        Places::Ranked(places) => format!("nearest first: {}", list(places.iter().map(|place| counted((None, place))).collect())),
        Places::Shared(places) => format!("shared out to {}", list(places.iter().map(|(weight, place)| counted((Some(*weight), place))).collect())),
    }
}

pub(crate) fn health_check(check: &HealthCheck) -> String {
    let probe = match &check.probe {
        Probe::Tcp => "a TCP connection".to_owned(),
        Probe::Http { path, .. } => format!("GET {path}"),
        Probe::Grpc { service } if service.is_empty() => "gRPC health of the server".to_owned(),
        Probe::Grpc { service } => format!("gRPC health of {service}"),
    };
    format!("by {probe} every {:?}; left out after {} failures", check.interval, check.unhealthy_after)
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
