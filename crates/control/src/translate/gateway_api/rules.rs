//! One rule of a route: its action, its backends, its timeouts and retries.

use super::api;
use super::backend::backend;
use super::filters::{self, Filters};
use super::persistence::persistence;
use crate::translate::reader::Reader;
use crate::translate::retry_on;
use std::time::Duration;
use taut_model::route::{Backend, HttpAction, HttpMatch, HttpRule, PathRewrite, Redirect, Retry, RetryEndpoints, RetryOn};

/// Retries when a route asks for them and does not say how many; the API leaves it open, this is the mesh's own default.
const ATTEMPTS: u32 = 2;

pub fn rule<Match: Default>(
    reader: &mut Reader<'_>,
    index: usize,
    mut rule: api::Rule<Match>,
    read: impl Fn(&mut Reader<'_>, &str, Match) -> HttpMatch,
) -> HttpRule {
    let at = format!("spec.rules[{index}]");
    let mut matches: Vec<HttpMatch> = std::mem::take(&mut rule.matches)
        .into_iter()
        .enumerate()
        .map(|(index, matching)| read(reader, &format!("{at}.matches[{index}]"), matching))
        .collect();
    if matches.is_empty() {
        matches.push(HttpMatch { origin: reader.origin(&at), ..read(reader, &at, Match::default()) });
    }
    let filters = filters::on_rule(reader, &at, std::mem::take(&mut rule.filters));
    check_prefixes(reader, &at, &filters, &matches);
    let timeouts = rule.timeouts.as_ref();
    let (whole, per_try) =
        (timeouts.and_then(|timeouts| timeouts.request.as_deref()), timeouts.and_then(|timeouts| timeouts.backend_request.as_deref()));
    // Zero switches a timeout off (GEP-1742).
    let timeout = reader.duration(&format!("{at}.timeouts.request"), whole).filter(|timeout| !timeout.is_zero());
    let per_try = reader.duration(&format!("{at}.timeouts.backendRequest"), per_try).filter(|timeout| !timeout.is_zero());
    if timeout.is_some_and(|timeout| per_try.is_some_and(|per_try| per_try > timeout)) {
        reader.invalid(&format!("{at}.timeouts.backendRequest"), "is longer than timeouts.request, which holds for all tries together");
    }
    let backends = backends(reader, &at, std::mem::take(&mut rule.backend_refs));
    let persistence = rule.session_persistence.take().and_then(|written| persistence(reader, &format!("{at}.sessionPersistence"), written));
    HttpRule {
        origin: reader.origin(&at),
        action: action(reader, &at, filters.redirect, backends),
        matches,
        rewrite: filters.rewrite,
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        timeout,
        retry: retry(reader, &at, rule.retry.as_ref(), per_try),
        fault: None,
        mirrors: filters.mirrors,
        cors: filters.cors,
        persistence,
        // Read once for the whole object.
        hedging: None,
        name: rule.name,
    }
}

fn action(reader: &mut Reader<'_>, at: &str, redirect: Option<Redirect>, backends: Vec<Backend>) -> HttpAction {
    match redirect {
        None => HttpAction::Forward(backends),
        Some(redirect) => {
            if !backends.is_empty() {
                reader.invalid(&format!("{at}.backendRefs"), "cannot stand beside a RequestRedirect filter: nothing is forwarded");
            }
            HttpAction::Redirect(redirect)
        }
    }
}

/// Only a matched prefix can be replaced (the API's own rule for ReplacePrefixMatch).
fn check_prefixes(reader: &mut Reader<'_>, at: &str, filters: &Filters, matches: &[HttpMatch]) {
    let rewrite = filters.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
    let redirect = filters.redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
    let replaces = [rewrite, redirect].into_iter().flatten().any(|path| matches!(path, PathRewrite::Prefix(_)));
    let prefixes = matches.iter().all(|matching| matches!(matching.path, Some(taut_model::route::PathMatch::Segments(_))));
    if replaces && !prefixes {
        reader.invalid(&format!("{at}.filters"), "ReplacePrefixMatch needs a PathPrefix in every match of the rule");
    }
}

fn backends(reader: &mut Reader<'_>, at: &str, references: Vec<api::BackendRef>) -> Vec<Backend> {
    references
        .into_iter()
        .enumerate()
        .map(|(index, mut reference)| {
            let at = format!("{at}.backendRefs[{index}]");
            let filters = filters::on_backend(reader, &at, std::mem::take(&mut reference.filters));
            let backend = backend(reader, &at, &reference);
            Backend { request_headers: filters.request_headers, response_headers: filters.response_headers, ..backend }
        })
        .collect()
}

/// `timeouts.backendRequest` bounds one try, so it needs a retry policy to stand in: the mesh's default one.
fn retry(reader: &mut Reader<'_>, at: &str, written: Option<&api::Retry>, per_try_timeout: Option<Duration>) -> Option<Retry> {
    let Some(written) = written else {
        per_try_timeout?;
        let (on, backoff, endpoints) = (retry_on::built_in(), retry_on::BACKOFF, RetryEndpoints::Others);
        return Some(Retry { attempts: ATTEMPTS, per_try_timeout, on, backoff, endpoints });
    };
    let at = format!("{at}.retry");
    // "Implementations should retry on connection errors" whatever the codes (GEP-1731).
    let mut on = vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset];
    for (index, code) in written.codes.iter().enumerate() {
        let at = format!("{at}.codes[{index}]");
        let status = u16::try_from(*code).ok().filter(|status| (400..=599).contains(status));
        on.extend(reader.taken(&at, status.ok_or_else(|| format!("{code} is not a status from 400 to 599"))).map(RetryOn::Status));
    }
    let backoff = written.backoff.as_deref();
    Some(Retry {
        attempts: reader.count(&format!("{at}.attempts"), written.attempts).unwrap_or(ATTEMPTS),
        per_try_timeout,
        on,
        backoff: reader.positive_duration(&format!("{at}.backoff"), backoff).unwrap_or(retry_on::BACKOFF),
        endpoints: RetryEndpoints::Others,
    })
}
