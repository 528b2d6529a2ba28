//! What becomes of a request on its way: new paths, places to redirect to, and the key that hashing balancers go by.

use crate::cluster::Cluster;
use crate::dice::stable_hash;
use crate::facts::{Facts, HttpFacts};
use crate::matching::Matcher;
use crate::path::{lower, query_value, replace_prefix, replace_segments, split_authority};
use crate::pattern::Path;
use crate::table::PathChange;
use std::net::IpAddr;
use taut_model::destination::{Balancer, HashKey};
use taut_model::route::{Dialect, Redirect, RedirectPort};
use taut_model::workload::Workload;

/// The new path. A prefix rewrite replaces what the path match matched: text with Istio's prefix, whole segments with
/// Gateway API's, and the whole path with any other match. A rule without a path match matches the prefix `/`, as Envoy has it.
/// A regular expression replaces every part of the path that it matches (Istio `uriRegexRewrite`, Envoy `regex_rewrite`).
pub(crate) fn new_path(change: &PathChange, matcher: Option<&Matcher>, dialect: Dialect, path: &str) -> String {
    let matched = matcher.and_then(|matcher| matcher.path.as_ref());
    match (change, matched) {
        (PathChange::Full(new), _) => new.clone(),
        (PathChange::Regex(regex, substitution), _) => regex.replace_all(path, substitution.as_str()).into_owned(),
        (PathChange::Prefix(new), Some(Path::Segments(prefix))) => replace_segments(path, prefix, new),
        (PathChange::Prefix(new), Some(Path::Prefix(prefix))) => replace_prefix(path, prefix, new),
        (PathChange::Prefix(new), Some(Path::Exact(_) | Path::Regex(..) | Path::Grpc(_))) => new.clone(),
        (PathChange::Prefix(new), None) => match dialect {
            Dialect::Istio => replace_prefix(path, "/", new),
            Dialect::GatewayApi => replace_segments(path, "/", new),
        },
    }
}

/// Puts the request's query behind a path, unless the path brings its own.
pub(crate) fn with_query(path: String, query: &str) -> String {
    if query.is_empty() || path.contains('?') { path } else { format!("{path}?{query}") }
}

/// The `Location` of a redirect. Ports that are well known for the scheme are not shown. A port that is to be kept is the
/// request's; with Istio a new authority brings its own port or none, and a port that is the old scheme's own goes with it, as in
/// Envoy (`scheme_redirect`).
pub(crate) fn location(
    redirect: &Redirect,
    change: Option<&PathChange>,
    matcher: Option<&Matcher>,
    dialect: Dialect,
    http: &HttpFacts<'_>,
) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(if http.scheme.is_empty() { "http" } else { http.scheme });
    let (asked_host, asked_port) = split_authority(http.authority);
    let (host, own_port) = redirect.authority.as_deref().map_or((asked_host, asked_port), split_authority);
    let port = match redirect.port {
        RedirectPort::Number(port) => port.to_string(),
        RedirectPort::FromScheme => String::new(),
        RedirectPort::Keep if redirect.authority.is_none() && well_known(http.scheme, asked_port) => String::new(),
        RedirectPort::Keep if own_port.is_empty() && dialect == Dialect::GatewayApi => asked_port.to_owned(),
        RedirectPort::Keep => own_port.to_owned(),
    };
    let hidden = port.is_empty() || well_known(scheme, &port);
    let authority = if hidden { host.to_owned() } else { format!("{host}:{port}") };
    let path = change.map_or_else(|| http.path.to_owned(), |change| new_path(change, matcher, dialect, http.path));
    format!("{scheme}://{authority}{}", with_query(path, http.query))
}

fn well_known(scheme: &str, port: &str) -> bool {
    matches!((scheme, port), ("http", "80") | ("https", "443"))
}

/// The hash to balance by, and the cookie to set when the client should get one.
#[derive(Default)]
pub(crate) struct Affinity {
    pub(crate) hash: Option<u64>,
    pub(crate) set_cookie: Option<String>,
}

/// `roll` becomes the value of a new cookie. `own`: the client when the facts name none.
pub(crate) fn affinity(cluster: &Cluster, facts: &Facts<'_>, own: Option<&Workload>, roll: u64) -> Affinity {
    let (Balancer::RingHash { key, .. } | Balancer::Maglev { key, .. }) = &cluster.balancer else { return Affinity::default() };
    let of_text = |text: &str| stable_hash(text.as_bytes());
    let hash = match (key, &facts.http) {
        (HashKey::SourceIp, _) => {
            let own = || own.and_then(|own| own.address.parse::<IpAddr>().ok());
            facts.peer.client.or(facts.peer.address).or_else(own).map(|address| of_text(&address.to_canonical().to_string()))
        }
        (HashKey::Header(name), Some(http)) => http.header(&lower(name)).map(|value| of_text(&value)),
        (HashKey::Query(name), Some(http)) => query_value(http.query, name).map(|value| of_text(&value)),
        (HashKey::Cookie { name, path, ttl, attributes }, Some(http)) => match (http.cookie(name), ttl) {
            // A cookie of ours holds the hash itself.
            (Some(value), _) if value.len() == 16 => Some(u64::from_str_radix(&value, 16).unwrap_or_else(|_| of_text(&value))),
            (Some(value), _) => Some(of_text(&value)),
            (None, None) => None,
            (None, Some(ttl)) => {
                let path = if path.is_empty() { String::new() } else { format!("; Path={path}") };
                let age = if ttl.is_zero() { String::new() } else { format!("; Max-Age={}", ttl.as_secs()) };
                let mut cookie = format!("{name}={roll:016x}{age}{path}; HttpOnly");
                for (attribute, value) in attributes {
                    cookie.push_str("; ");
                    cookie.push_str(attribute);
                    if !value.is_empty() {
                        cookie.push('=');
                        cookie.push_str(value);
                    }
                }
                return Affinity { hash: Some(roll), set_cookie: Some(cookie) };
            }
        },
        (_, None) => None,
    };
    Affinity { hash, set_cookie: None }
}
