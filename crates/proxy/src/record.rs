//! The record of an exchange or a connection while it is under way. Whatever way it ends, exactly one record is emitted.

use crate::bequest::Story;
use crate::body::Source;
use crate::engine::Engine;
use crate::evidence::Evidence;
use crate::fault::{Fault, Kind};
use jiff::Timestamp;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use taut_observe::record::{Attempt, ConnectionRecord, Edge, ExchangeRecord, Party, Protocol, Reporter};
use tokio::time::Instant;

/// Bytes carried by a tunnel so far.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// From the client.
    pub received: Rc<Cell<u64>>,
    /// To the client.
    pub sent: Rc<Cell<u64>>,
}

/// An exchange that has not ended. Dropped without [`Open::close`], the client has left.
pub struct Open {
    engine: Rc<Engine>,
    pub started: Instant,
    pub record: Box<ExchangeRecord>,
    pub evidence: Option<Evidence>,
    body: Source,
    /// After a change of protocol.
    pub carried: Carried,
}

impl Open {
    pub fn new(engine: &Rc<Engine>, record: ExchangeRecord, evidence: Evidence, body: Source) -> Self {
        Self {
            engine: engine.clone(),
            started: Instant::now(),
            record: Box::new(record),
            evidence: Some(evidence),
            body,
            carried: Carried::default(),
        }
    }

    pub fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    pub fn fail(&mut self, fault: &Fault) {
        // The first failure is the cause of what follows.
        self.record.failure.get_or_insert_with(|| fault.as_record());
    }

    /// The exchange has ended as the record says.
    pub fn close(mut self) {
        self.emit();
    }

    fn emit(&mut self) {
        let Some(evidence) = self.evidence.take() else { return };
        self.record.duration_us = micros(self.started.elapsed());
        self.record.request_bytes += self.body.bytes() + self.carried.received.get();
        self.record.response_bytes += self.carried.sent.get();
        let record = std::mem::replace(&mut *self.record, nothing());
        self.engine.sink.exchange(record, evidence);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.evidence.is_some() {
            self.fail(&match self.engine.closing() {
                true => drain_over(),
                false => Fault::new(Kind::ClientLeft, "the client closed the connection or reset the stream before the response ended"),
            });
            self.emit();
        }
    }
}

/// A connection that has not ended. Dropped without [`OpenConnection::close`], this proxy has closed it.
pub struct OpenConnection {
    engine: Rc<Engine>,
    started: Instant,
    pub record: ConnectionRecord,
    pub evidence: Option<Evidence>,
    pub carried: Carried,
    closed: bool,
}

impl OpenConnection {
    pub fn new(engine: &Rc<Engine>, edge: Edge, plan: u64) -> Self {
        let record = ConnectionRecord {
            edge,
            started: rfc3339(engine.world.wall()),
            connection_id: crate::trace::new_id(&mut engine.dice()),
            failure: None,
            received_bytes: 0,
            sent_bytes: 0,
            duration_us: 0,
            endpoint: String::new(),
            plan,
            rule: None,
        };
        Self { engine: engine.clone(), started: Instant::now(), record, evidence: None, carried: Carried::default(), closed: false }
    }

    /// One that began in the proxy before this one, which does not record it.
    pub fn resume(engine: &Rc<Engine>, edge: Edge, plan: u64, story: &Story) -> Self {
        let mut open = Self::new(engine, edge, plan);
        open.started = Instant::now().checked_sub(Duration::from_micros(story.age_us)).unwrap_or(open.started);
        open.record.started.clone_from(&story.started);
        open.record.connection_id.clone_from(&story.connection_id);
        open.record.endpoint.clone_from(&story.endpoint);
        open.carried.received.set(story.received_bytes);
        open.carried.sent.set(story.sent_bytes);
        open
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// It goes on in another process, which records it.
    pub fn moved(mut self) {
        self.closed = true;
    }

    pub fn close(mut self, fault: Option<&Fault>) {
        self.record.failure = fault.map(Fault::as_record);
        self.emit();
    }

    fn emit(&mut self) {
        self.closed = true;
        (self.record.received_bytes, self.record.sent_bytes) = (self.carried.received.get(), self.carried.sent.get());
        self.record.duration_us = micros(self.started.elapsed());
        self.engine.sink.connection(self.record.clone(), self.evidence.take());
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if !self.closed {
            self.record.failure = Some(drain_over().as_record());
            self.emit();
        }
    }
}

fn drain_over() -> Fault {
    Fault::new(Kind::Closed, "closed by this proxy: its drain time was over")
}

/// What is left of a record that was handed on. Allocates nothing.
fn nothing() -> ExchangeRecord {
    let party = || Party { workload: String::new(), namespace: String::new(), app: String::new(), version: String::new(), principal: String::new() };
    let edge = Edge {
        reporter: Reporter::Source,
        source: party(),
        destination: party(),
        service_host: String::new(),
        service_name: String::new(),
        service_namespace: String::new(),
        mutual_tls: false,
        protocol: Protocol::Http,
    };
    ExchangeRecord {
        edge,
        started: String::new(),
        request_id: String::new(),
        trace_id: String::new(),
        method: String::new(),
        authority: String::new(),
        path: String::new(),
        status: 0,
        grpc_status: None,
        failure: None,
        request_bytes: 0,
        response_bytes: 0,
        duration_us: 0,
        upstream_us: 0,
        attempts: Vec::new(),
        plan: 0,
        rule: None,
        route: String::new(),
    }
}

pub fn attempt(endpoint: &str, address: String, result: String, started: Instant) -> Attempt {
    Attempt { endpoint: endpoint.to_owned(), address, result, duration_us: micros(started.elapsed()) }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 with microseconds, UTC.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}
