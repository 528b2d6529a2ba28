//! What a VirtualService's HTTP rule does with a request that it matched: forward, redirect, respond, rewrite, retry, fault, mirror.

use super::api;
use super::parts::{authority_of, backend, header_change, weight};
use crate::translate::format::Of;
use crate::translate::reader::{Reader, code};
use crate::translate::retry_on;
use crate::translate::values;
use base64::Engine;
use std::time::Duration;
use taut_model::route::{
    AbortWith, Backend, DirectResponse, Fault, FaultAbort, FaultDelay, HttpAction, Mirror, PathRewrite, Redirect, RedirectPort, Retry,
    RetryEndpoints, Rewrite,
};

pub fn action(reader: &mut Reader<'_>, at: &str, rule: &mut api::HttpRoute) -> HttpAction {
    let route = std::mem::take(&mut rule.route);
    if rule.rewrite.is_some() && (rule.redirect.is_some() || rule.direct_response.is_some()) {
        reader.invalid(&format!("{at}.rewrite"), "has nothing to rewrite beside redirect or directResponse: nothing is forwarded");
    }
    if rule.delegate.is_some() {
        if !route.is_empty() || rule.redirect.is_some() || rule.direct_response.is_some() {
            reader.invalid(&format!("{at}.delegate"), "cannot stand beside route, redirect or directResponse: the delegate says those");
        }
        return HttpAction::Forward(Vec::new());
    }
    match (route.is_empty(), &rule.redirect, &rule.direct_response) {
        (false, None, None) => HttpAction::Forward(backends(reader, at, route)),
        (true, Some(redirect), None) => HttpAction::Redirect(redirect_to(reader, &format!("{at}.redirect"), redirect)),
        (true, None, Some(response)) => HttpAction::Respond(respond(reader, &format!("{at}.directResponse"), response)),
        (true, None, None) => {
            reader.invalid(at, "does nothing: write one of route, redirect, directResponse and delegate");
            HttpAction::Forward(Vec::new())
        }
        _ => {
            reader.invalid(at, "names more than one of route, redirect and directResponse: choose one");
            HttpAction::Forward(Vec::new())
        }
    }
}

fn backends(reader: &mut Reader<'_>, at: &str, route: Vec<api::HttpRouteDestination>) -> Vec<Backend> {
    let only = route.len() == 1;
    route
        .into_iter()
        .enumerate()
        .map(|(index, share)| {
            let at = format!("{at}.route[{index}]");
            let weight = weight(reader, &at, share.weight, only);
            let backend = backend(reader, &at, &format!("{at}.destination"), &share.destination, weight);
            let (set_authority, request) = authority_of(share.headers.request);
            let mut request_headers = header_change(reader, &format!("{at}.headers.request"), Of::Request, request);
            request_headers.set.extend(set_authority.map(|authority| ("host".to_owned(), authority)));
            let response_headers = header_change(reader, &format!("{at}.headers.response"), Of::Response, share.headers.response);
            Backend { request_headers, response_headers, ..backend }
        })
        .collect()
}

fn redirect_to(reader: &mut Reader<'_>, at: &str, redirect: &api::HttpRedirect) -> Redirect {
    let path = match (&redirect.uri, &redirect.prefix_rewrite) {
        (Some(uri), None) => Some(PathRewrite::Full(uri.clone())),
        (None, Some(prefix)) => Some(PathRewrite::Prefix(prefix.clone())),
        (None, None) => None,
        (Some(_), Some(_)) => {
            reader.invalid(at, "names both uri and prefixRewrite: choose one");
            None
        }
    };
    let status = redirect.redirect_code.unwrap_or(301);
    if ![301, 302, 303, 307, 308].contains(&status) {
        reader.invalid(&format!("{at}.redirectCode"), format_args!("{status} is not one of 301, 302, 303, 307 and 308"));
    }
    let (authority, written_port) = redirect.authority.as_deref().map_or((None, None), split_authority);
    Redirect {
        status: u16::try_from(status).unwrap_or(301),
        scheme: redirect.scheme.clone(),
        port: redirect_port(reader, at, redirect, written_port),
        authority,
        path,
    }
}

/// Envoy shows a new authority as it is written, port and all, unless a port is asked for.
fn split_authority(written: &str) -> (Option<String>, Option<u16>) {
    match written.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) if !host.ends_with(':') => (Some(host.to_owned()), Some(port)),
        _ => (Some(written.to_owned()), None),
    }
}

fn redirect_port(reader: &mut Reader<'_>, at: &str, redirect: &api::HttpRedirect, written: Option<u16>) -> RedirectPort {
    let number = reader.port(&format!("{at}.port"), redirect.port);
    match (number, redirect.derive_port.as_deref(), written, &redirect.authority) {
        (Some(_), Some(_), _, _) => {
            reader.invalid(at, "names both port and derivePort: choose one");
            RedirectPort::Keep
        }
        (Some(number), ..) => RedirectPort::Number(number),
        (None, Some("FROM_PROTOCOL_DEFAULT"), ..) => RedirectPort::FromScheme,
        (None, Some("FROM_REQUEST_PORT"), ..) => RedirectPort::Keep,
        (None, Some(other), ..) => {
            reader.invalid(&format!("{at}.derivePort"), format_args!("{other:?} is neither FROM_PROTOCOL_DEFAULT nor FROM_REQUEST_PORT"));
            RedirectPort::Keep
        }
        (None, None, Some(number), _) => RedirectPort::Number(number),
        (None, None, None, Some(_)) => RedirectPort::FromScheme,
        (None, None, None, None) => RedirectPort::Keep,
    }
}

fn respond(reader: &mut Reader<'_>, at: &str, response: &api::HttpDirectResponse) -> DirectResponse {
    let body = match response.body.as_ref().map(|body| (&body.string, &body.bytes)) {
        None | Some((None, None)) => Vec::new(),
        Some((Some(text), None)) => text.clone().into_bytes(),
        Some((None, Some(encoded))) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|error| format!("is not base64: {error}"));
            reader.taken(&format!("{at}.body.bytes"), decoded).unwrap_or_default()
        }
        Some((Some(_), Some(_))) => {
            reader.invalid(&format!("{at}.body"), "names both string and bytes: choose one");
            Vec::new()
        }
    };
    if body.len() > 1 << 20 {
        reader.invalid(&format!("{at}.body"), "is longer than 1 MiB");
    }
    DirectResponse { status: status(reader, &format!("{at}.status"), response.status), body }
}

fn status(reader: &mut Reader<'_>, at: &str, written: Option<i64>) -> u16 {
    match written.and_then(|status| u16::try_from(status).ok()).filter(|status| (200..=599).contains(status)) {
        Some(status) => status,
        None => {
            reader.invalid(at, "must be an HTTP status from 200 to 599");
            500
        }
    }
}

pub fn rewrite(reader: &mut Reader<'_>, at: &str, rewrite: Option<&api::HttpRewrite>) -> Option<Rewrite> {
    let rewrite = rewrite?;
    let path = match (&rewrite.uri, &rewrite.uri_regex_rewrite) {
        (Some(uri), None) => Some(PathRewrite::Prefix(uri.clone())),
        (None, Some(regex)) => {
            reader.taken(&format!("{at}.rewrite.uriRegexRewrite.match"), values::pattern(&regex.r#match));
            Some(PathRewrite::Regex { pattern: regex.r#match.clone(), substitution: regex.rewrite.clone() })
        }
        (None, None) => None,
        (Some(_), Some(_)) => {
            reader.invalid(&format!("{at}.rewrite"), "names both uri and uriRegexRewrite: choose one");
            None
        }
    };
    Some(Rewrite { path, authority: rewrite.authority.clone() })
}

pub fn retry(reader: &mut Reader<'_>, at: &str, retries: &api::HttpRetry) -> Retry {
    let on = match retries.retry_on.as_deref().filter(|on| !on.trim().is_empty()) {
        None => retry_on::built_in(),
        Some(written) => retry_on::parse(reader, &format!("{at}.retryOn"), written),
    };
    Retry {
        attempts: reader.count(&format!("{at}.attempts"), retries.attempts).unwrap_or(0),
        per_try_timeout: reader.positive_duration(&format!("{at}.perTryTimeout"), retries.per_try_timeout.as_deref()),
        on,
        backoff: reader.positive_duration(&format!("{at}.backoff"), retries.backoff.as_deref()).unwrap_or(retry_on::BACKOFF),
        endpoints: match retries.retry_ignore_previous_hosts {
            Some(false) => RetryEndpoints::Any,
            Some(true) | None => RetryEndpoints::Others,
        },
    }
}

pub fn fault(reader: &mut Reader<'_>, at: &str, fault: &api::HttpFaultInjection) -> Option<Fault> {
    let delay = fault.delay.as_ref().map(|delay| {
        let at = format!("{at}.delay");
        let whole = delay.percent.map(|percent| percent as f64);
        FaultDelay {
            percent: share(reader, &at, delay.percentage.as_ref().map(|percentage| percentage.value).or(whole)),
            duration: fixed_delay(reader, &at, delay),
        }
    });
    let abort = fault.abort.as_ref().map(|abort| {
        let at = format!("{at}.abort");
        FaultAbort { percent: share(reader, &at, abort.percentage.as_ref().map(|percentage| percentage.value)), with: abort_with(reader, &at, abort) }
    });
    (delay.is_some() || abort.is_some()).then(|| Fault { origin: reader.origin(at), delay, abort })
}

fn fixed_delay(reader: &mut Reader<'_>, at: &str, delay: &api::FaultDelay) -> Duration {
    let path = format!("{at}.fixedDelay");
    if delay.fixed_delay.is_none() {
        reader.invalid(&path, "is missing: write how long to delay, such as 7s");
    }
    reader.positive_duration(&path, delay.fixed_delay.as_deref()).unwrap_or_default()
}

/// Istio injects a fault without a percentage into no request.
fn share(reader: &mut Reader<'_>, at: &str, percent: Option<f64>) -> f64 {
    match percent {
        Some(percent) => reader.percent(&format!("{at}.percentage.value"), percent),
        None => {
            reader.warn(code::NO_EFFECT, at, "has no percentage, so no request gets it: write percentage.value, such as 100");
            0.0
        }
    }
}

fn abort_with(reader: &mut Reader<'_>, at: &str, abort: &api::FaultAbort) -> AbortWith {
    match (abort.http_status, abort.grpc_status.as_deref()) {
        (Some(written), None) => AbortWith::Http(status(reader, &format!("{at}.httpStatus"), Some(written))),
        (None, Some(written)) => {
            let known =
                retry_on::grpc_code(written).ok_or_else(|| format!("{written:?} is not a gRPC status: a name such as UNAVAILABLE, or 0 to 16"));
            AbortWith::Grpc(reader.taken(&format!("{at}.grpcStatus"), known).unwrap_or(2))
        }
        _ => {
            reader.invalid(at, "must name one of httpStatus and grpcStatus");
            AbortWith::Http(500)
        }
    }
}

pub fn mirrors(reader: &mut Reader<'_>, at: &str, rule: &api::HttpRoute) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    if let Some(destination) = &rule.mirror {
        let written = rule.mirror_percentage.as_ref().map(|percentage| percentage.value).or(rule.mirror_percent.map(|percent| percent as f64));
        let at_mirror = format!("{at}.mirror");
        mirrors.push(Mirror {
            backend: backend(reader, &at_mirror, &at_mirror, destination, 1),
            percent: reader.percent(&format!("{at}.mirrorPercentage.value"), written.unwrap_or(100.0)),
        });
        if !rule.mirrors.is_empty() {
            reader.invalid(&format!("{at}.mirrors"), "cannot stand beside mirror: move that one into the list");
        }
    } else if rule.mirror_percentage.is_some() || rule.mirror_percent.is_some() {
        reader.invalid(&format!("{at}.mirrorPercentage"), "has no mirror to be a percentage of");
    }
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let at = format!("{at}.mirrors[{index}]");
        let percent = mirror.percentage.as_ref().map_or(100.0, |percentage| percentage.value);
        mirrors.push(Mirror {
            backend: backend(reader, &at, &format!("{at}.destination"), &mirror.destination, 1),
            percent: reader.percent(&format!("{at}.percentage.value"), percent),
        });
    }
    mirrors
}
