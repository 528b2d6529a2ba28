//! The access log: one line per exchange or connection, as text or JSON, written by a thread of its own so that a slow disk
//! or terminal never holds up traffic: lines that do not fit the queue are dropped and counted.
//!
//! Text, in order (`-` where there is nothing; close to Envoy's default):
//!
//! ```text
//! [START] "METHOD PATH PROTOCOL" STATUS FLAGS REASON "DETAIL" RECEIVED SENT DURATION_MS UPSTREAM_MS
//!   "REQUEST_ID" "AUTHORITY" "UPSTREAM_ADDRESS" ROUTE REPORTER SOURCE -> DESTINATION
//! ```
//!
//! Bytes are of bodies; quoted parts are escaped, so that no client can forge a line.

use crate::flags;
use crate::labels::{protocol_name, reporter_name};
use crate::record::{ConnectionRecord, Edge, ExchangeRecord, Failure, Party};
use crate::text::{Id, Moment};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Takes records, never blocks. Dropping it writes out what waits.
pub struct AccessLog {
    format: Format,
    queue: Option<SyncSender<String>>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        let writer = std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&lines, out, &count))?;
        Ok(Self { format, queue: Some(queue), dropped, writer: Some(writer) })
    }

    pub fn exchange(&self, record: &ExchangeRecord) {
        self.put(match self.format {
            Format::Text => exchange_text(record),
            Format::Json => json(&ExchangeLine::of(record)),
        });
    }

    pub fn connection(&self, record: &ConnectionRecord) {
        self.put(match self.format {
            Format::Text => connection_text(record),
            Format::Json => json(&ConnectionLine::of(record)),
        });
    }

    /// Lines lost so far: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn put(&self, line: String) {
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(line).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has lost its lines already.
            let _ = writer.join();
        }
    }
}

/// Writes line by line and flushes whenever nothing waits.
fn write_all(lines: &Receiver<String>, out: impl Write, dropped: &AtomicU64) {
    let mut out = io::BufWriter::with_capacity(64 << 10, out);
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            if out.write_all(line.as_bytes()).is_err() {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            next = lines.try_recv().ok();
        }
        if out.flush().is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The line of an exchange, with its end.
pub fn exchange_text(record: &ExchangeRecord) -> String {
    let mut out = head(record.started, &record.method, &record.path, protocol_name(record.edge.protocol));
    let _ = write!(out, " {}", record.status);
    result(&mut out, record.failure.as_ref());
    let _ = write!(out, " {} {} {}", record.request_bytes, record.response_bytes, record.duration_us / 1000);
    match record.upstream_us {
        0 => out.push_str(" -"),
        us => {
            let _ = write!(out, " {}", us / 1000);
        }
    }
    let address = record.attempts.last().map_or("", |attempt| &*attempt.address);
    for part in [&*record.request_id.to_string(), &record.authority, address] {
        quoted(&mut out, part);
    }
    tail(&mut out, &record.route, &record.edge);
    out
}

/// The line of a connection, with its end.
pub fn connection_text(record: &ConnectionRecord) -> String {
    let mut out = head(record.started, "-", "-", protocol_name(record.edge.protocol));
    out.push_str(" 0");
    result(&mut out, record.failure.as_ref());
    let _ = write!(out, " {} {} {} -", record.received_bytes, record.sent_bytes, record.duration_us / 1000);
    for part in [&*record.connection_id.to_string(), &record.edge.service_host, &record.endpoint] {
        quoted(&mut out, part);
    }
    tail(&mut out, "", &record.edge);
    out
}

// Writing to a String cannot fail, so results of `write!` are dropped.

fn head(started: Moment, method: &str, path: &str, protocol: &str) -> String {
    let mut out = String::with_capacity(320);
    let _ = write!(out, "[{started}] \"");
    escaped(&mut out, method);
    out.push(' ');
    escaped(&mut out, path);
    let _ = write!(out, " {protocol}\"");
    out
}

fn result(out: &mut String, failure: Option<&Failure>) {
    let _ = write!(out, " {} ", flags::of(failure));
    escaped(out, failure.map_or("-", |failure| &failure.reason));
    quoted(out, failure.map_or("", |failure| &failure.detail));
}

fn tail(out: &mut String, route: &str, edge: &Edge) {
    out.push(' ');
    // A route's name may hold spaces in no API we take; escaping keeps it one word if it does.
    escaped(out, if route.is_empty() { "-" } else { route });
    let _ = write!(out, " {} ", reporter_name(edge.reporter));
    workload(out, &edge.source);
    out.push_str(" -> ");
    workload(out, &edge.destination);
    out.push('\n');
}

fn workload(out: &mut String, party: &Party) {
    escaped(out, &party.namespace);
    out.push('/');
    escaped(out, &party.workload);
}

fn quoted(out: &mut String, value: &str) {
    out.push_str(" \"");
    escaped(out, if value.is_empty() { "-" } else { value });
    out.push('"');
}

/// Control characters, quotes and backslashes as Rust escapes them.
fn escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
}

/// JSON keys are Istio's where it has one.
#[derive(Serialize)]
struct ExchangeLine<'a> {
    start_time: Moment,
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    response_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    response_flags: &'static str,
    response_code_details: Option<&'a str>,
    failure: Option<&'a Failure>,
    bytes_received: u64,
    bytes_sent: u64,
    /// Milliseconds, with fractions.
    duration: f64,
    upstream_service_time: Option<f64>,
    request_id: &'a Id,
    #[serde(skip_serializing_if = "Id::is_none")]
    trace_id: &'a Id,
    authority: &'a str,
    upstream_host: Option<&'a str>,
    attempts: usize,
    route_name: &'a str,
    plan: u64,
    #[serde(flatten)]
    edge: EdgeLine<'a>,
}

#[derive(Serialize)]
struct ConnectionLine<'a> {
    start_time: Moment,
    protocol: &'static str,
    response_flags: &'static str,
    connection_termination_details: Option<&'a str>,
    failure: Option<&'a Failure>,
    bytes_received: u64,
    bytes_sent: u64,
    duration: f64,
    connection_id: &'a Id,
    upstream_host: &'a str,
    plan: u64,
    #[serde(flatten)]
    edge: EdgeLine<'a>,
}

#[derive(Serialize)]
struct EdgeLine<'a> {
    reporter: &'static str,
    source_workload: &'a str,
    source_namespace: &'a str,
    source_principal: &'a str,
    destination_workload: &'a str,
    destination_namespace: &'a str,
    destination_principal: &'a str,
    destination_service: &'a str,
    mutual_tls: bool,
}

fn edge_line(edge: &Edge) -> EdgeLine<'_> {
    EdgeLine {
        reporter: reporter_name(edge.reporter),
        source_workload: &edge.source.workload,
        source_namespace: &edge.source.namespace,
        source_principal: &edge.source.principal,
        destination_workload: &edge.destination.workload,
        destination_namespace: &edge.destination.namespace,
        destination_principal: &edge.destination.principal,
        destination_service: &edge.service_host,
        mutual_tls: edge.mutual_tls,
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl<'a> ExchangeLine<'a> {
    fn of(record: &'a ExchangeRecord) -> Self {
        Self {
            start_time: record.started,
            method: &record.method,
            path: &record.path,
            protocol: protocol_name(record.edge.protocol),
            response_code: record.status,
            grpc_status: record.grpc_status,
            response_flags: flags::of(record.failure.as_ref()),
            response_code_details: record.failure.as_ref().map(|failure| failure.reason.as_str()),
            failure: record.failure.as_ref(),
            bytes_received: record.request_bytes,
            bytes_sent: record.response_bytes,
            duration: ms(record.duration_us),
            upstream_service_time: (record.upstream_us > 0).then(|| ms(record.upstream_us)),
            request_id: &record.request_id,
            trace_id: &record.trace_id,
            authority: &record.authority,
            upstream_host: record.attempts.last().map(|attempt| &*attempt.address),
            attempts: record.attempts.len(),
            route_name: &record.route,
            plan: record.plan,
            edge: edge_line(&record.edge),
        }
    }
}

impl<'a> ConnectionLine<'a> {
    fn of(record: &'a ConnectionRecord) -> Self {
        Self {
            start_time: record.started,
            protocol: protocol_name(record.edge.protocol),
            response_flags: flags::of(record.failure.as_ref()),
            connection_termination_details: record.failure.as_ref().map(|failure| failure.reason.as_str()),
            failure: record.failure.as_ref(),
            bytes_received: record.received_bytes,
            bytes_sent: record.sent_bytes,
            duration: ms(record.duration_us),
            connection_id: &record.connection_id,
            upstream_host: &record.endpoint,
            plan: record.plan,
            edge: edge_line(&record.edge),
        }
    }
}

fn json(line: &impl Serialize) -> String {
    // These structs hold nothing that JSON cannot say; an empty line would be dropped by every reader.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
