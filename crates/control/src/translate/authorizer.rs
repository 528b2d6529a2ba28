//! Servers that CUSTOM policies ask, as MeshSettings declares them with Istio's words (envoyExtAuthzGrpc, envoyExtAuthzHttp).

use super::reader::Reader;
use super::values;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use taut_model::authorizer::{Authorizer, AuthorizerHttp, AuthorizerProtocol, BodySent};
use taut_model::host;

/// Istio waits ten minutes, which no client does.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a proxy keeps of a body.
const MOST_BODY: u32 = 64 << 10;
/// Of a service that is written without one.
const DEFAULT_NAMESPACE: &str = "default";
/// Envoy's, of a refusal that nobody has given a status.
const STATUS: u16 = 403;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizerSpec {
    service: String,
    port: Option<i64>,
    timeout: Option<String>,
    fail_open: bool,
    clear_route_cache: bool,
    status_on_error: Option<String>,
    include_request_body_in_check: Option<BodySpec>,
    path_prefix: Option<String>,
    include_headers_in_check: Vec<String>,
    include_request_headers_in_check: Vec<String>,
    include_additional_headers_in_check: BTreeMap<String, String>,
    headers_to_upstream_on_allow: Vec<String>,
    headers_to_downstream_on_deny: Vec<String>,
    headers_to_downstream_on_allow: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BodySpec {
    max_request_bytes: Option<i64>,
    allow_partial_message: bool,
    pack_as_bytes: bool,
}

pub fn grpc(reader: &mut Reader<'_>, at: &str, written: AuthorizerSpec) -> Option<Authorizer> {
    let lists = [
        ("includeHeadersInCheck", !written.include_headers_in_check.is_empty()),
        ("includeRequestHeadersInCheck", !written.include_request_headers_in_check.is_empty()),
        ("includeAdditionalHeadersInCheck", !written.include_additional_headers_in_check.is_empty()),
        ("headersToUpstreamOnAllow", !written.headers_to_upstream_on_allow.is_empty()),
        ("headersToDownstreamOnDeny", !written.headers_to_downstream_on_deny.is_empty()),
        ("headersToDownstreamOnAllow", !written.headers_to_downstream_on_allow.is_empty()),
        ("pathPrefix", written.path_prefix.is_some()),
    ];
    for (field, _) in lists.into_iter().filter(|(_, there)| *there) {
        reader.invalid(&format!("{at}.{field}"), "is of envoyExtAuthzHttp: over gRPC the authorizer sees all headers, and says itself what changes");
    }
    authorizer(reader, at, written, |_, _| AuthorizerProtocol::Grpc)
}

pub fn http(reader: &mut Reader<'_>, at: &str, written: AuthorizerSpec) -> Option<Authorizer> {
    authorizer(reader, at, written, |reader, written| {
        let prefix = written.path_prefix.clone().unwrap_or_default();
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.contains(['?', '#', ' '])) {
            reader.invalid(&format!("{at}.pathPrefix"), format_args!("{prefix:?} is not the beginning of a path"));
        }
        let older = names(reader, &format!("{at}.includeHeadersInCheck"), &written.include_headers_in_check);
        let shown = names(reader, &format!("{at}.includeRequestHeadersInCheck"), &written.include_request_headers_in_check);
        let added = written.include_additional_headers_in_check.iter().filter_map(|(name, value)| {
            let at = format!("{at}.includeAdditionalHeadersInCheck.{name}");
            let name = reader.taken(&at, values::header_name(name))?;
            reader.taken(&at, values::header_value(value))?;
            Some((name, value.clone()))
        });
        let added_headers = added.collect();
        AuthorizerProtocol::Http(AuthorizerHttp {
            path_prefix: prefix.trim_end_matches('/').to_owned(),
            request_headers: [older, shown].concat(),
            added_headers,
            to_upstream: names(reader, &format!("{at}.headersToUpstreamOnAllow"), &written.headers_to_upstream_on_allow),
            to_client_on_deny: names(reader, &format!("{at}.headersToDownstreamOnDeny"), &written.headers_to_downstream_on_deny),
            to_client_on_allow: names(reader, &format!("{at}.headersToDownstreamOnAllow"), &written.headers_to_downstream_on_allow),
        })
    })
}

fn authorizer(
    reader: &mut Reader<'_>,
    at: &str,
    written: AuthorizerSpec,
    protocol: impl FnOnce(&mut Reader<'_>, &AuthorizerSpec) -> AuthorizerProtocol,
) -> Option<Authorizer> {
    let protocol = protocol(reader, &written);
    let service = &written.service;
    // Istio writes `namespace/host` where a host alone could be of several namespaces.
    let (namespace, named) = service.split_once('/').unwrap_or((DEFAULT_NAMESPACE, service));
    if named.is_empty() || named.contains([' ', '/']) || (named.contains(':') && named.parse::<std::net::Ipv6Addr>().is_err()) {
        reader.invalid(&format!("{at}.service"), format_args!("{service:?} is neither a name nor an address; the port stands beside it"));
    }
    if written.clear_route_cache {
        let instead = "routes are chosen by the caller's proxy, before the authorizer is asked: leave it out";
        reader.unsupported_value(&format!("{at}.clearRouteCache"), true, instead);
    }
    let status = written.status_on_error.as_deref().map(|text| (text, text.parse().ok().filter(|status| (200..=599).contains(status))));
    if let Some((text, None)) = status {
        reader.invalid(&format!("{at}.statusOnError"), format_args!("{text:?} is not an HTTP status"));
    }
    let body = written.include_request_body_in_check.and_then(|body| sent(reader, &format!("{at}.includeRequestBodyInCheck"), &body));
    if written.port.is_none() {
        reader.invalid(&format!("{at}.port"), "is missing");
    }
    let is_address = named.parse::<std::net::IpAddr>().is_ok();
    Some(Authorizer {
        host: if is_address { named.to_owned() } else { host::resolve(named, namespace) },
        port: reader.port(&format!("{at}.port"), written.port)?,
        timeout: reader.positive_duration(&format!("{at}.timeout"), written.timeout.as_deref()).unwrap_or(TIMEOUT),
        fail_open: written.fail_open,
        status_on_error: status.and_then(|(_, status)| status).unwrap_or(STATUS),
        body,
        protocol,
    })
}

/// `packAsBytes` makes no difference: bodies are bytes.
fn sent(reader: &mut Reader<'_>, at: &str, written: &BodySpec) -> Option<BodySent> {
    let _ = written.pack_as_bytes;
    let at = format!("{at}.maxRequestBytes");
    let Some(most) = reader.count(&at, written.max_request_bytes).filter(|most| *most > 0) else {
        reader.invalid(&at, "is missing: the most bytes of a body that are shown");
        return None;
    };
    if most > MOST_BODY {
        reader.unsupported_value(&at, most, "use at most 65536");
    }
    Some(BodySent { most, partly: written.allow_partial_message })
}

/// Names of headers: exact, `prefix*`, `*suffix` or `*`.
fn names(reader: &mut Reader<'_>, at: &str, written: &[String]) -> Vec<String> {
    let name = |(index, text): (usize, &String)| {
        let bare = text.strip_suffix('*').or_else(|| text.strip_prefix('*')).unwrap_or(text);
        if text != "*" {
            reader.taken(&format!("{at}[{index}]"), values::header_name(bare))?;
        }
        Some(text.to_ascii_lowercase())
    };
    written.iter().enumerate().filter_map(name).collect()
}
