//! Step 5 of 7: what changes on the way. Hop-by-hop headers, header changes, rewrites and the mesh's own headers.

use crate::computed::{Value, values};
use crate::doors::LOAD;
use crate::engine::Engine;
use crate::facts::{Exchange, connection_options};
use crate::fault::{Fault, Kind};
use crate::metadata;
use http::header::{self, Entry};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use taut_model::route::{HeaderChange, HowChanged};
use taut_plan::verdict::{Action, Go};

/// RFC 9110 section 7.6.1, with the older names that some still send.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // Goes with `Upgrade: h2c` (RFC 7540 section 3.2.1).
    HeaderName::from_static("http2-settings"),
];

/// Changes the head of the request to what the upstream is to see, whatever endpoint it will be.
///
/// # Errors
/// The path that was authorized cannot be sent; then none is.
pub fn request(engine: &Engine, exchange: &mut Exchange, go: &Go) -> Result<(), Fault> {
    strip_hop_by_hop(&mut exchange.head.headers);
    if exchange.upgrade.is_some() && exchange.head.version != Version::HTTP_2 {
        exchange.head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        exchange.head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let mut authority = None;
    change_request(exchange, &go.rule.request_headers, &mut authority);
    let mut path = authorized_path(exchange, go)?;
    if let Action::Forward(forward) = &go.action {
        change_request(exchange, &forward.backend.request_headers, &mut authority);
        authority = forward.authority.clone().or(authority);
        path = forward.path_and_query.as_deref().and_then(|path| PathAndQuery::try_from(path).ok());
    }
    if exchange.inbound() {
        present_client_certificate(engine, exchange);
    }
    readdress(exchange, authority, path);
    Ok(())
}

fn change_request(exchange: &mut Exchange, said: &HeaderChange, authority: &mut Option<String>) {
    let computed = values(&said.computed, exchange, None);
    change(&mut exchange.head.headers, said, computed, authority);
}

/// Inbound: the path that the policies allowed, with the query as it came, where another one was sent.
fn authorized_path(exchange: &Exchange, go: &Go) -> Result<Option<PathAndQuery>, Fault> {
    let Action::Local { path: Some(path), .. } = &go.action else { return Ok(None) };
    let whole = exchange.head.uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let parsed = PathAndQuery::try_from(whole);
    parsed.map(Some).map_err(|error| Fault::new(Kind::BadRequest, format!("the request's path, once normalised, is none: {error}")))
}

/// Says on whose behalf the request comes, as Envoy's `x-forwarded-client-cert` does.
fn present_client_certificate(engine: &Engine, exchange: &mut Exchange) {
    let Some(held) = engine.current.identity() else { return };
    if let Some(value) = exchange.arrival.certificate(&held) {
        exchange.head.headers.insert(metadata::CLIENT_CERTIFICATE.clone(), value);
    }
}

/// Gives the request the target form of its version: origin form and `Host` for HTTP/1.1, `:authority` for HTTP/2.
fn readdress(exchange: &mut Exchange, authority: Option<String>, path: Option<PathAndQuery>) {
    let head = &mut exchange.head;
    let named = authority.as_deref().unwrap_or(&exchange.authority);
    let path = path.or_else(|| head.uri.path_and_query().cloned()).unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    if head.version == Version::HTTP_2 {
        if let Ok(authority) = Authority::try_from(named) {
            parts.scheme = Some(head.uri.scheme().cloned().unwrap_or(Scheme::HTTP));
            parts.authority = Some(authority);
        }
        // `*` (OPTIONS) stands alone in HTTP/1 only.
        head.headers.remove(header::HOST);
    } else {
        head.version = Version::HTTP_11;
        let is_named = head.headers.get(header::HOST).is_some_and(|host| host.as_bytes() == named.as_bytes());
        if !is_named && let Ok(host) = HeaderValue::from_str(named) {
            head.headers.insert(header::HOST, host);
        }
    }
    parts.path_and_query = Some(path);
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

/// Changes the head of the upstream's response to what the client is to see.
pub fn response(engine: &Engine, exchange: &mut Exchange, go: &Go, headers: &mut HeaderMap, switching: bool, from_mesh: bool) {
    let upgrade = if switching { headers.get(header::UPGRADE).cloned() } else { None };
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let destination = headers.remove(&metadata::DESTINATION);
    headers.remove(&LOAD);
    if from_mesh {
        if let Some(said) = &destination {
            let edge = &mut exchange.open.record().edge;
            edge.destination = engine.names().introduced(&edge.destination, said.as_bytes());
        }
    } else {
        // Only the mesh gives the mesh's reasons.
        headers.remove(&metadata::REASON);
    }
    if exchange.inbound() && exchange.arrival.peer.is_some() {
        headers.extend(engine.introduction.clone().map(|introduction| (metadata::DESTINATION.clone(), introduction)));
        headers.extend(engine.doors.report().map(|load| (LOAD.clone(), load)));
    }
    let mut ignored = None;
    if let Action::Forward(forward) = &go.action {
        let said = &forward.backend.response_headers;
        let computed = values(&said.computed, exchange, Some(headers));
        change(headers, said, computed, &mut ignored);
        let cookie = forward.set_cookie.as_deref().and_then(|cookie| HeaderValue::from_str(cookie).ok());
        if let Some(cookie) = cookie {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    let said = &go.rule.response_headers;
    let computed = values(&said.computed, exchange, Some(headers));
    change(headers, said, computed, &mut ignored);
    across_origins(exchange, headers);
}

/// Lets a page of another origin read the response, if it may; what the application itself says of that is replaced.
pub fn across_origins(exchange: &Exchange, headers: &mut HeaderMap) {
    if let Some(cors) = &exchange.cors {
        change(headers, cors, Vec::new(), &mut None);
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none of them.
    let concerned = |name: &HeaderName| *name == header::TE || HOP_BY_HOP.contains(name);
    if !headers.keys().any(concerned) {
        return;
    }
    // `te: trailers` is the one that HTTP/2 keeps, and gRPC asks for (RFC 9113 section 8.2.2).
    let wants_trailers = headers.get_all(header::TE).iter().any(|te| te.to_str().is_ok_and(|te| te.split(',').any(|t| t.trim() == "trailers")));
    let named: Vec<HeaderName> = connection_options(headers).filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(header::TE);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes, then sets, then adds, as Envoy does. `host` and `:authority` change the authority.
fn change(headers: &mut HeaderMap, change: &HeaderChange, computed: Vec<Value>, authority: &mut Option<String>) {
    for name in &change.remove {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.remove(name);
        }
    }
    for (name, value) in &change.set {
        if name.eq_ignore_ascii_case("host") || name == ":authority" {
            *authority = Some(value.clone());
        } else if let Some((name, value)) = parse(name, value) {
            headers.insert(name, value);
        }
    }
    let (set, add): (Vec<Value>, Vec<Value>) = computed.into_iter().partition(|value| value.how == HowChanged::Set);
    set.into_iter().for_each(|value| drop(headers.insert(value.name, value.value)));
    let added = change.add.iter().filter_map(|(name, value)| parse(name, value));
    for (name, value) in added.chain(add.into_iter().map(|value| (value.name, value.value))) {
        match headers.entry(name) {
            Entry::Occupied(mut entry) => entry.append(value),
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
        }
    }
}

/// The control plane refuses names and values that cannot stand in a header; one that slips through is left out.
fn parse(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_concerns_one_hop_stays_there() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers, deflate"),
            ("proxy-authorization", "secret"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*"), ("te", "trailers")]));
    }

    #[test]
    fn headers_are_removed_then_set_then_added() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let wanted = HeaderChange {
            set: vec![pair("a", "1"), pair("Host", "other"), pair("bad name", "x")],
            add: vec![pair("a", "2"), pair("b", "3")],
            remove: vec!["c".to_owned(), "a".to_owned()],
            computed: vec![],
        };
        let mut headers = map(&[("a", "0"), ("c", "0")]);
        let mut authority = None;
        let computed = |how, value: &'static str| Value { name: HeaderName::from_static("a"), how, value: HeaderValue::from_static(value) };
        change(&mut headers, &wanted, vec![computed(HowChanged::Add, "4"), computed(HowChanged::Set, "1.5")], &mut authority);
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1.5", "2", "4"]);
        assert_eq!((headers.len(), authority.as_deref()), (4, Some("other")));
    }
}
