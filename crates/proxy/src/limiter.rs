//! Holds what comes in to the limits of its workload, in number and in size. The buckets are the whole proxy's: a limit is not a limit per thread. Only what
//! falls under a limit takes their lock.

use crate::engine::Engine;
use crate::facts::Exchange;
use crate::fault::{Exhausted, Fault, Kind};
use crate::forward::Content;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body;
use std::time::Duration;
use taut_model::origin::Origin;
use taut_plan::rate::{Full, Limit};
use taut_plan::verdict::Go;

/// Takes one request, or one connection, out of every bucket that it falls under.
///
/// # Errors
/// One of them is empty; then nothing was taken.
pub fn admit(engine: &Engine, go: &Go) -> Result<(), Fault> {
    if go.limits.is_empty() {
        return Ok(());
    }
    engine.current.take_from_buckets(&go.limits, engine.world.now()).map_err(|full| exhausted(&full))
}

fn exhausted(full: &Full) -> Fault {
    let Limit { origin, name, requests, interval, .. } = &*full.limit;
    let detail = format!("{name} lets in {}, and there is no room for {:?}", full.limit, full.wait);
    let exhausted = Exhausted { origin: origin.clone(), name: name.to_string(), requests: *requests, interval: *interval, wait: full.wait };
    Fault::new(Kind::RateLimited(Box::new(exhausted)), detail)
}

/// Holds the bodies of an exchange to their sizes.
///
/// # Errors
/// The request announces a body that is too large.
pub fn bound(exchange: &mut Exchange, go: &Go) -> Result<(), Fault> {
    exchange.largest_response.clone_from(&go.sizes.response);
    match &go.sizes.request {
        Some((most, origin)) if !exchange.body.bound(*most) => Err(request_too_large(*most, origin)),
        _ => Ok(()),
    }
}

/// What is the matter with an exchange that failed, if its request has turned out to be too large.
pub fn blame(exchange: &Exchange, go: &Go, fault: Fault) -> Fault {
    match &go.sizes.request {
        Some((most, origin)) if exchange.body.is_too_large() => request_too_large(*most, origin),
        _ => fault,
    }
}

/// # Errors
/// The response announces a body that is too large.
pub fn measure(response: &Response<Content>, go: &Go) -> Result<(), Fault> {
    let Some((most, origin)) = &go.sizes.response else { return Ok(()) };
    let announced = match response.body() {
        Content::Here(bytes) => bytes.len() as u64,
        Content::Upstream(incoming) => incoming.size_hint().lower(),
        Content::Compressed(_) => 0,
    };
    if announced > *most { Err(response_too_large(*most, origin.clone())) } else { Ok(()) }
}

fn request_too_large(most: u64, origin: &Origin) -> Fault {
    Fault::new(Kind::RequestTooLarge(Box::new(origin.clone())), format!("the request's body is longer than the {most} bytes that {origin} allows"))
}

pub fn response_too_large(most: u64, origin: Origin) -> Fault {
    let detail = format!("the response's body is longer than the {most} bytes that {origin} allows");
    Fault::new(Kind::ResponseTooLarge(Box::new(origin)), detail)
}

/// Tells the client how long to wait: `Retry-After`, and the fields of draft-ietf-httpapi-ratelimit-headers.
pub fn tell(headers: &mut HeaderMap, exhausted: &Exhausted) {
    let Exhausted { name, requests, interval, wait, .. } = exhausted;
    let seconds = |time: &Duration| time.as_millis().div_ceil(1000).max(1);
    let quoted: String = name.chars().filter(|letter| (' '..='~').contains(letter) && !matches!(letter, '"' | '\\')).collect();
    let policy = format!("\"{quoted}\";q={requests};w={}", seconds(interval));
    let left = format!("\"{quoted}\";r=0;t={}", seconds(wait));
    headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds(wait)).unwrap_or(u64::MAX)));
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (header::HeaderName::from_static(name), value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_how_long_to_wait() {
        let told = |wait| {
            let mut headers = HeaderMap::new();
            let name = "default/reviews \"each\" client".to_owned();
            tell(&mut headers, &Exhausted { origin: Origin::default(), name, requests: 5, interval: Duration::from_secs(60), wait });
            ["retry-after", "ratelimit", "ratelimit-policy"].map(|name| headers[name].to_str().unwrap().to_owned())
        };
        let policy = "\"default/reviews each client\";q=5;w=60";
        assert_eq!(told(Duration::from_millis(11_001)), ["12", "\"default/reviews each client\";r=0;t=12", policy]);
        assert_eq!(told(Duration::from_nanos(1)), ["1", "\"default/reviews each client\";r=0;t=1", policy]);
    }
}
