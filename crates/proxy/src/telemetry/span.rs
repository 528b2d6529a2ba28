//! A finished exchange as a span, by OpenTelemetry's semantic conventions for HTTP and RPC.

use super::Finished;
use super::resource::{Attributes, interval};
use http::uri::Authority;
use std::net::SocketAddr;
use taut_model::telemetry::Tag;
use taut_observe::names::attribute;
use taut_observe::record::{Edge, ExchangeRecord, Party, Protocol, Reporter};
use taut_wire::otlp::{Span, SpanKind, Status, StatusCode};

/// Others are `_OTHER` (HTTP conventions, `http.request.method`).
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
const OTHER_METHOD: &str = "_OTHER";

/// The low byte of the flags: W3C's `sampled`.
const SAMPLED: u32 = 1;

pub fn span(finished: &Finished) -> Span {
    let Finished { record, trail, .. } = finished;
    let (start_time_unix_nano, end_time_unix_nano) = interval(record.started, record.duration_us);
    let parent_span_id = if trail.parent == 0 { Vec::new() } else { trail.parent.to_be_bytes().to_vec() };
    let error = error_type(record);
    let status = error.as_ref().map(|_| {
        let message = record.failure.as_ref().map(|failure| failure.detail.clone()).unwrap_or_default();
        Status { message, code: StatusCode::Error.into() }
    });
    Span {
        trace_id: trail.trace.to_be_bytes().to_vec(),
        span_id: trail.span.to_be_bytes().to_vec(),
        trace_state: trail.extras.as_ref().map(|extras| extras.state.clone()).unwrap_or_default(),
        parent_span_id,
        name: name(record),
        kind: if is_client(record) { SpanKind::Client } else { SpanKind::Server }.into(),
        start_time_unix_nano,
        end_time_unix_nano,
        attributes: attributes(finished, error.as_deref()),
        status,
        flags: if trail.sampled { SAMPLED } else { 0 },
    }
}

fn is_client(record: &ExchangeRecord) -> bool {
    record.edge.reporter == Reporter::Source
}

fn method(record: &ExchangeRecord) -> &str {
    if METHODS.contains(&&*record.method) { &record.method } else { OTHER_METHOD }
}

/// Without a path: there may be a million of them.
fn name(record: &ExchangeRecord) -> String {
    match (record.edge.protocol, rpc(record)) {
        (Protocol::Grpc, Some((service, method))) => format!("{service}/{method}"),
        _ if method(record) == OTHER_METHOD => "HTTP".to_owned(),
        _ => method(record).to_owned(),
    }
}

/// `/bookstore.v1.Stock/Get`
fn rpc(record: &ExchangeRecord) -> Option<(&str, &str)> {
    record.path.strip_prefix('/')?.rsplit_once('/').filter(|(service, method)| !service.is_empty() && !method.is_empty())
}

fn attributes(finished: &Finished, error: Option<&str>) -> Vec<taut_wire::otlp::KeyValue> {
    let record = &finished.record;
    let mut all = Attributes::default();
    match (record.edge.protocol, rpc(record)) {
        (Protocol::Grpc, Some((service, method))) => {
            all.text(attribute::RPC_SYSTEM, "grpc");
            all.text(attribute::RPC_SERVICE, service);
            all.text(attribute::RPC_METHOD, method);
            if let Some(status) = record.grpc_status {
                all.number(attribute::RPC_STATUS, status);
            }
        }
        _ => http(record, &mut all),
    }
    ends(finished, &mut all);
    all.text(attribute::ERROR_TYPE, error.unwrap_or_default());
    if let Some(failure) = &record.failure {
        all.text(attribute::REASON, &failure.reason);
        all.text(attribute::SIDE, &failure.side);
    }
    all.text(attribute::ROUTE, &record.route);
    if let Some(rule) = &record.rule {
        all.text(attribute::RULE, &rule.to_string());
    }
    all.text(attribute::REQUEST_ID, &record.request_id.to_string());
    edge(&record.edge, &mut all);
    tags(finished, &mut all);
    all.0
}

fn http(record: &ExchangeRecord, all: &mut Attributes) {
    all.text(attribute::HTTP_METHOD, method(record));
    if method(record) == OTHER_METHOD {
        all.text(attribute::HTTP_METHOD_ORIGINAL, &record.method);
    }
    if record.status != 0 {
        all.number(attribute::HTTP_STATUS, record.status);
    }
    all.text(attribute::URL_PATH, &record.path);
    all.text(attribute::URL_SCHEME, "http");
    if is_client(record) {
        all.text(attribute::URL_FULL, &format!("http://{}{}", record.authority, record.path));
        let again = record.attempts.len().saturating_sub(1);
        if again > 0 {
            all.number(attribute::HTTP_RESEND, i64::try_from(again).unwrap_or(i64::MAX));
        }
    }
    all.number(attribute::HTTP_REQUEST_SIZE, record.request_bytes);
    all.number(attribute::HTTP_RESPONSE_SIZE, record.response_bytes);
}

/// Whom the request was for, and the other end of the connection as this proxy sees it.
fn ends(finished: &Finished, all: &mut Attributes) {
    let record = &finished.record;
    match record.authority.parse::<Authority>() {
        Ok(authority) => {
            all.text(attribute::SERVER_ADDRESS, authority.host());
            if let Some(port) = authority.port_u16() {
                all.number(attribute::SERVER_PORT, port);
            }
        }
        Err(_) => all.text(attribute::SERVER_ADDRESS, &record.authority),
    }
    if is_client(record) {
        let peer = record.attempts.last().and_then(|attempt| attempt.address.parse::<SocketAddr>().ok());
        if let Some(peer) = peer {
            all.text(attribute::PEER_ADDRESS, &peer.ip().to_string());
            all.number(attribute::PEER_PORT, peer.port());
        }
    } else {
        let text = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        all.text(attribute::PEER_ADDRESS, &text(finished.peer));
        all.text(attribute::CLIENT_ADDRESS, &text(finished.client));
    }
}

/// Who is on both sides, as far as that is known.
pub(super) fn edge(edge: &Edge, all: &mut Attributes) {
    let workload = |party: &Party| match (party.namespace.as_str(), party.workload.as_str()) {
        (_, taut_observe::names::UNKNOWN) => String::new(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    };
    all.text(attribute::SOURCE, &workload(&edge.source));
    all.text(attribute::SOURCE_PRINCIPAL, &edge.source.principal);
    all.text(attribute::DESTINATION, &workload(&edge.destination));
    all.text(attribute::DESTINATION_PRINCIPAL, &edge.destination.principal);
    all.text(attribute::DESTINATION_SERVICE, &edge.service_host);
    all.truth(attribute::MUTUAL_TLS, edge.mutual_tls);
}

fn tags(finished: &Finished, all: &mut Attributes) {
    let seen = finished.trail.extras.as_ref().map(|extras| extras.tags.as_slice()).unwrap_or_default();
    for (name, tag) in &finished.tracing.tags {
        match tag {
            Tag::Literal(value) => all.text(name, value),
            Tag::Environment { name: variable, default } => all.text(name, &std::env::var(variable).unwrap_or_else(|_| default.clone())),
            Tag::Header { default, .. } => {
                all.text(name, seen.iter().find(|(known, _)| known == name).map_or(default, |(_, value)| value));
            }
        }
    }
}

/// gRPC codes that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS (RPC conventions).
const SERVER_CODES: [u16; 6] = [2, 4, 12, 13, 14, 15];

/// `error.type`, and with it whether the span's status is an error: for a client 4xx and 5xx, for a server 5xx only, and whatever broke an
/// exchange without such a status. The same for gRPC, by its codes.
fn error_type(record: &ExchangeRecord) -> Option<String> {
    let reason = record.failure.as_ref().map(|failure| failure.reason.clone());
    let (client, status) = (is_client(record), record.status);
    match record.grpc_status {
        Some(0) => return reason,
        Some(code) if client || SERVER_CODES.contains(&code) => return Some(reason.unwrap_or_else(|| code.to_string())),
        Some(_) => return None,
        None => {}
    }
    match status {
        400..500 if !client => None,
        400.. => Some(reason.unwrap_or_else(|| status.to_string())),
        _ => reason,
    }
}

/// Whether an exchange went wrong by nobody's fault but the mesh's or the server's, so that it is worth a span of its own.
pub(super) fn failed(record: &ExchangeRecord) -> bool {
    record.failure.as_ref().is_some_and(|failure| failure.side != "client")
        || record.status >= 500
        || record.grpc_status.is_some_and(|code| SERVER_CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_observe::record::Failure;
    use taut_observe::text::{Id, Moment};

    fn record(reporter: Reporter, status: u16, grpc_status: Option<u16>, failure: Option<&str>) -> ExchangeRecord {
        let protocol = if grpc_status.is_some() { Protocol::Grpc } else { Protocol::Http };
        let edge = Edge {
            reporter,
            source: Party::nobody(),
            destination: Party::nobody(),
            service_host: "reviews".into(),
            service_name: "reviews".into(),
            service_namespace: "default".into(),
            mutual_tls: true,
            protocol,
        };
        let failure = failure.map(|reason| Failure {
            side: if reason == "client_left" { "client" } else { "mesh" }.into(),
            reason: reason.into(),
            retry_safe: false,
            detail: "because".into(),
            origin: None,
        });
        ExchangeRecord {
            edge,
            started: Moment(jiff::Timestamp::UNIX_EPOCH),
            request_id: Id::None,
            trace_id: Id::None,
            method: "GET".into(),
            authority: "reviews:9080".into(),
            path: "/bookstore.v1.Stock/Get".into(),
            status,
            grpc_status,
            failure,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 0,
            waited_us: 0,
            upstream_us: 0,
            attempts: Default::default(),
            plan: 1,
            rule: None,
            would_deny: None,
            route: "".into(),
        }
    }

    #[test]
    fn an_error_is_what_the_conventions_say_for_each_side() {
        use Reporter::{Destination as Server, Source as Client};
        for (reporter, status, grpc, failure, error, told) in [
            (Client, 200, None, None, None, false),
            (Client, 404, None, None, Some("404"), false),
            (Server, 404, None, None, None, false),
            (Client, 503, None, None, Some("503"), true),
            (Server, 500, None, None, Some("500"), true),
            (Client, 403, None, Some("authorization_denied"), Some("authorization_denied"), true),
            (Server, 403, None, Some("authorization_denied"), None, true),
            (Client, 503, None, Some("connect_failed"), Some("connect_failed"), true),
            (Server, 200, None, Some("response_broken"), Some("response_broken"), true),
            (Server, 0, None, Some("client_left"), Some("client_left"), false),
            (Client, 200, Some(0), None, None, false),
            (Client, 200, Some(5), None, Some("5"), false),
            (Server, 200, Some(5), None, None, false),
            (Server, 200, Some(14), None, Some("14"), true),
        ] {
            let record = record(reporter, status, grpc, failure);
            let seen = (error_type(&record), failed(&record));
            assert_eq!(seen, (error.map(str::to_owned), told), "{reporter:?} {status} {grpc:?} {failure:?}");
        }
    }

    #[test]
    fn names_hold_no_paths() {
        let mut one = record(Reporter::Source, 200, None, None);
        assert_eq!(name(&one), "GET");
        one.method = "BREW".into();
        assert_eq!((name(&one), method(&one)), ("HTTP".to_owned(), "_OTHER"));
        assert_eq!(name(&record(Reporter::Source, 200, Some(0), None)), "bookstore.v1.Stock/Get");
    }
}
