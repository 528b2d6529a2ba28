//! A VirtualService's HTTP rules: what they match, and which headers they change. What they do then is in `http_action`.

use super::api;
use super::cors;
use super::http_action;
use super::parts::{authority_of, for_mesh, header_change, text_match};
use crate::translate::format::Of;
use crate::translate::meaning::Draft;
use crate::translate::reader::Reader;
use crate::translate::values;
use std::collections::BTreeMap;
use taut_model::origin::Origin;
use taut_model::route::{HttpAction, HttpMatch, HttpRule, NamedMatch, PathMatch, PathRewrite, Rewrite, TextMatch};

/// Fills in what follows from what is written.
pub fn finish(draft: Draft) -> HttpRule {
    let Draft { mut rule, set_authority } = draft;
    let redirect = match &rule.action {
        HttpAction::Redirect(redirect) => redirect.path.as_ref(),
        HttpAction::Forward(_) | HttpAction::Respond(_) => None,
    };
    if rule.rewrite.iter().filter_map(|rewrite| rewrite.path.as_ref()).chain(redirect).any(|path| matches!(path, PathRewrite::Prefix(_))) {
        say_root_prefix(&mut rule.matches, &rule.origin);
    }
    rule.rewrite = rewrite_with(rule.rewrite, set_authority);
    // Istio reads a timeout of zero as none.
    rule.timeout = rule.timeout.filter(|timeout| !timeout.is_zero());
    rule
}

/// `None` when the rule speaks of gateways only.
pub fn rule(reader: &mut Reader<'_>, index: usize, mut rule: api::HttpRoute) -> Option<Draft> {
    let at = format!("spec.http[{index}]");
    let matches = std::mem::take(&mut rule.r#match);
    let restricted = !matches.is_empty();
    let matches: Vec<HttpMatch> = matches
        .into_iter()
        .enumerate()
        .filter(|(_, matching)| for_mesh(&matching.gateways))
        .map(|(index, matching)| http_match(reader, &format!("{at}.match[{index}]"), matching))
        .collect();
    // A rule whose every match is for gateways must not turn into one that matches everything.
    if restricted && matches.is_empty() {
        return None;
    }
    let (set_authority, request) = authority_of(std::mem::take(&mut rule.headers.request));
    let rule = HttpRule {
        origin: reader.origin(&at),
        matches,
        rewrite: http_action::rewrite(reader, &at, rule.rewrite.as_ref()),
        request_headers: header_change(reader, &format!("{at}.headers.request"), Of::Request, request),
        response_headers: header_change(reader, &format!("{at}.headers.response"), Of::Response, std::mem::take(&mut rule.headers.response)),
        action: http_action::action(reader, &at, &mut rule),
        timeout: reader.duration(&format!("{at}.timeout"), rule.timeout.as_deref()),
        retry: rule.retries.as_ref().map(|retries| http_action::retry(reader, &format!("{at}.retries"), retries)),
        fault: rule.fault.as_ref().and_then(|fault| http_action::fault(reader, &format!("{at}.fault"), fault)),
        mirrors: http_action::mirrors(reader, &at, &rule),
        cors: rule.cors_policy.as_ref().map(|policy| cors::cors(reader, &format!("{at}.corsPolicy"), policy)),
        // Read once for the whole object.
        hedging: None,
        persistence: None,
        name: rule.name,
    };
    Some(Draft { rule, set_authority })
}

/// A prefix is only replaced where one was matched; without a path match Istio matches, and replaces, the prefix `/`.
fn say_root_prefix(matches: &mut Vec<HttpMatch>, origin: &Origin) {
    if matches.is_empty() {
        matches.push(HttpMatch { origin: origin.clone(), ..HttpMatch::default() });
    }
    for matching in matches.iter_mut().filter(|matching| matching.path.is_none()) {
        matching.path = Some(PathMatch::Prefix("/".to_owned()));
    }
}

fn http_match(reader: &mut Reader<'_>, at: &str, matching: api::HttpMatchRequest) -> HttpMatch {
    HttpMatch {
        origin: reader.origin(at),
        path: matching.uri.and_then(|uri| path(reader, &format!("{at}.uri"), uri)),
        ignore_path_case: matching.ignore_uri_case,
        method: matching.method.and_then(|method| required(reader, &format!("{at}.method"), method)),
        scheme: matching.scheme.and_then(|scheme| required(reader, &format!("{at}.scheme"), scheme)),
        authority: matching.authority.and_then(|authority| required(reader, &format!("{at}.authority"), authority)),
        headers: header_matches(reader, &format!("{at}.headers"), matching.headers),
        without_headers: header_matches(reader, &format!("{at}.withoutHeaders"), matching.without_headers),
        query: named(reader, &format!("{at}.queryParams"), matching.query_params),
        port: reader.port(&format!("{at}.port"), matching.port),
        source_labels: matching.source_labels,
        source_namespace: matching.source_namespace,
    }
}

fn path(reader: &mut Reader<'_>, at: &str, uri: api::StringMatch) -> Option<PathMatch> {
    Some(match required(reader, at, uri)? {
        TextMatch::Exact(path) => PathMatch::Exact(path),
        TextMatch::Prefix(prefix) => PathMatch::Prefix(prefix),
        TextMatch::Regex(pattern) => PathMatch::Regex(pattern),
        TextMatch::Present => return None,
    })
}

/// A match that must name a value: presence means nothing for a method, a scheme, an authority or a path.
fn required(reader: &mut Reader<'_>, at: &str, text: api::StringMatch) -> Option<TextMatch> {
    match text_match(reader, at, &text)? {
        TextMatch::Present => {
            reader.invalid(at, "names none of exact, prefix and regex");
            None
        }
        found => Some(found),
    }
}

fn header_matches(reader: &mut Reader<'_>, at: &str, matches: BTreeMap<String, api::StringMatch>) -> Vec<NamedMatch> {
    let mut usable = BTreeMap::new();
    for (name, text) in matches {
        let at = format!("{at}.{name}");
        if name.starts_with('@') {
            reader.unsupported_value(&at, "matching on JWT claims", "match on a header that the application sets");
        } else if matches!(name.as_str(), ":method" | ":scheme" | ":authority") {
            usable.insert(name, (at, text));
        } else if name.eq_ignore_ascii_case(":path") {
            reader.unsupported_value(&at, "matching the path with its query", "use uri and queryParams");
        } else if let Some(name) = reader.taken(&at, values::header_name(&name)) {
            usable.insert(name, (at, text));
        }
    }
    usable.into_iter().filter_map(|(name, (at, text))| Some(NamedMatch { name, value: text_match(reader, &at, &text)? })).collect()
}

fn named(reader: &mut Reader<'_>, at: &str, matches: BTreeMap<String, api::StringMatch>) -> Vec<NamedMatch> {
    matches
        .into_iter()
        .filter_map(|(name, text)| {
            let value = text_match(reader, &format!("{at}.{name}"), &text)?;
            Some(NamedMatch { name, value })
        })
        .collect()
}

fn rewrite_with(rewrite: Option<Rewrite>, set_authority: Option<String>) -> Option<Rewrite> {
    match (rewrite, set_authority) {
        (rewrite, None) => rewrite,
        (Some(rewrite), authority) => Some(Rewrite { authority: rewrite.authority.or(authority), ..rewrite }),
        (None, authority) => Some(Rewrite { path: None, authority }),
    }
}
