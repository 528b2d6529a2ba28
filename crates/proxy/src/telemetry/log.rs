//! Records as OTLP log records, and what an access log's filter may ask of them.

use super::resource::{Attributes, nanos};
use super::span;
use taut_model::expression::{Attribute, Value};
use taut_observe::access_log::{connection_text, exchange_text};
use taut_observe::flags;
use taut_observe::names::attribute;
use taut_observe::record::{ConnectionRecord, ExchangeRecord, Failure};
use taut_observe::text::{Id, Moment};
use taut_wire::otlp::{AnyValue, LogRecord, any_value};

/// OpenTelemetry's severities.
const INFORMATION: (i32, &str) = (9, "INFO");
const ERROR: (i32, &str) = (17, "ERROR");

pub fn exchange(record: &ExchangeRecord, span: u64, sampled: bool) -> LogRecord {
    let mut all = Attributes::default();
    all.text(attribute::HTTP_METHOD, &record.method);
    all.number(attribute::HTTP_STATUS, record.status);
    if let Some(code) = record.grpc_status {
        all.number(attribute::RPC_STATUS, code);
    }
    all.text(attribute::URL_PATH, &record.path);
    all.text(attribute::SERVER_ADDRESS, &record.authority);
    all.number(attribute::HTTP_REQUEST_SIZE, record.request_bytes);
    all.number(attribute::HTTP_RESPONSE_SIZE, record.response_bytes);
    all.text(attribute::ROUTE, &record.route);
    all.text(attribute::REQUEST_ID, &record.request_id.to_string());
    failure(record.failure.as_ref(), &mut all);
    span::edge(&record.edge, &mut all);
    let trace = match record.trace_id {
        Id::Trace(number) => number.to_be_bytes().to_vec(),
        Id::None | Id::Uuid(_) | Id::Said(_) => Vec::new(),
    };
    let severity = if span::failed(record) { ERROR } else { INFORMATION };
    let line = line(record.started, record.duration_us, severity, exchange_text(record), all);
    let span_id = if sampled { span.to_be_bytes().to_vec() } else { Vec::new() };
    LogRecord { trace_id: trace, span_id, flags: u32::from(sampled), ..line }
}

pub fn connection(record: &ConnectionRecord) -> LogRecord {
    let mut all = Attributes::default();
    all.text(attribute::REQUEST_ID, &record.connection_id.to_string());
    failure(record.failure.as_ref(), &mut all);
    span::edge(&record.edge, &mut all);
    let severity = if record.failure.is_some() { ERROR } else { INFORMATION };
    line(record.started, record.duration_us, severity, connection_text(record), all)
}

fn failure(failure: Option<&Failure>, all: &mut Attributes) {
    if let Some(failure) = failure {
        all.text(attribute::REASON, &failure.reason);
        all.text(attribute::SIDE, &failure.side);
        all.text(attribute::FLAGS, flags::of(Some(failure)));
    }
}

/// The text of the access log's line as the body.
fn line(started: Moment, duration_us: u64, severity: (i32, &str), text: String, attributes: Attributes) -> LogRecord {
    let end = nanos(started.0).saturating_add(duration_us.saturating_mul(1000));
    LogRecord {
        time_unix_nano: end,
        observed_time_unix_nano: end,
        severity_number: severity.0,
        severity_text: severity.1.to_owned(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(text.trim_end().to_owned())) }),
        attributes: attributes.0,
        ..LogRecord::default()
    }
}

/// What is known of an exchange.
pub fn of_exchange<'a>(record: &'a ExchangeRecord) -> impl Fn(Attribute) -> Value<'a> {
    move |attribute| match attribute {
        Attribute::ResponseCode => number(record.status),
        Attribute::ResponseGrpcStatus => record.grpc_status.map_or(Value::Missing, number),
        Attribute::ResponseSize => Value::Number(record.response_bytes as f64),
        Attribute::RequestMethod => Value::Text(&record.method),
        Attribute::RequestHost => Value::Text(&record.authority),
        Attribute::RequestUrlPath => Value::Text(&record.path),
        Attribute::RequestSize => Value::Number(record.request_bytes as f64),
        Attribute::ConnectionMtls => Value::Truth(record.edge.mutual_tls),
        Attribute::UpstreamAddress => record.attempts.last().map_or(Value::Missing, |attempt| Value::Text(&attempt.address)),
        Attribute::RouteName => Value::Text(&record.route),
        Attribute::Reason => reason(record.failure.as_ref()),
    }
}

/// What is known of a connection.
pub fn of_connection<'a>(record: &'a ConnectionRecord) -> impl Fn(Attribute) -> Value<'a> {
    move |attribute| match attribute {
        Attribute::ResponseSize => Value::Number(record.sent_bytes as f64),
        Attribute::RequestSize => Value::Number(record.received_bytes as f64),
        Attribute::ConnectionMtls => Value::Truth(record.edge.mutual_tls),
        Attribute::Reason => reason(record.failure.as_ref()),
        Attribute::ResponseCode
        | Attribute::ResponseGrpcStatus
        | Attribute::RequestMethod
        | Attribute::RequestHost
        | Attribute::RequestUrlPath
        | Attribute::UpstreamAddress
        | Attribute::RouteName => Value::Missing,
    }
}

fn number(number: u16) -> Value<'static> {
    Value::Number(number.into())
}

fn reason(failure: Option<&Failure>) -> Value<'_> {
    failure.map_or(Value::Missing, |failure| Value::Text(&failure.reason))
}
