//! The record of an exchange or a connection while it is under way. Whatever way it ends, exactly one record is emitted.

use crate::bequest::Story;
use crate::body::Source;
use crate::engine::Engine;
use crate::evidence::Evidence;
use crate::fault::{Fault, Kind};
use crate::trace::{Trail, new_id};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_observe::record::{Attempt, ConnectionRecord, Edge, ExchangeRecord};
use taut_observe::text::{Came, Id, Moment, Text};
use tokio::time::Instant;

/// Bytes carried by a tunnel so far. An exchange that opens none has nowhere to count them.
#[derive(Clone, Debug, Default)]
pub struct Carried(Option<Rc<Counts>>);

#[derive(Debug, Default)]
pub struct Counts {
    /// From the client.
    pub received: Cell<u64>,
    /// To the client.
    pub sent: Cell<u64>,
}

impl Carried {
    /// Where a tunnel counts.
    pub fn counts(&mut self) -> Rc<Counts> {
        self.0.get_or_insert_default().clone()
    }

    pub fn received(&self) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts.received.get())
    }

    pub fn sent(&self) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts.sent.get())
    }
}

/// An exchange that has not ended. Dropped without [`Open::close`], the client has left.
pub struct Open {
    engine: Rc<Engine>,
    pub started: Instant,
    pub record: Arc<ExchangeRecord>,
    pub evidence: Option<Evidence>,
    body: Source,
    pub trail: Trail,
    /// After a change of protocol.
    pub carried: Carried,
}

impl Open {
    pub fn new(engine: &Rc<Engine>, record: ExchangeRecord, trail: Trail, evidence: Evidence, body: Source) -> Self {
        Self {
            engine: engine.clone(),
            started: Instant::now(),
            record: Arc::new(record),
            evidence: Some(evidence),
            body,
            trail,
            carried: Carried::default(),
        }
    }

    /// To be written to: nobody else has it before it is emitted.
    pub fn record(&mut self) -> &mut ExchangeRecord {
        Arc::make_mut(&mut self.record)
    }

    pub fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    pub fn fail(&mut self, fault: &Fault) {
        // The first failure is the cause of what follows.
        self.record().failure.get_or_insert_with(|| fault.as_record());
    }

    /// The exchange has ended as the record says.
    pub fn close(mut self) {
        self.emit();
    }

    fn emit(&mut self) {
        let Some(evidence) = self.evidence.take() else { return };
        let (elapsed, received, sent) = (self.started.elapsed(), self.body.bytes() + self.carried.received(), self.carried.sent());
        let record = self.record();
        record.duration_us = micros(elapsed);
        record.request_bytes += received;
        record.response_bytes += sent;
        let (engine, trail) = (&self.engine, std::mem::take(&mut self.trail));
        engine.sink.telemetry().exchange(&self.record, trail, &evidence, || (engine.world.now(), engine.dice().u64(1..)));
        engine.sink.exchange(self.record.clone(), evidence);
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
            started: Moment(engine.world.wall()),
            connection_id: new_id(&mut engine.dice()),
            failure: None,
            received_bytes: 0,
            sent_bytes: 0,
            duration_us: 0,
            endpoint: Text::default(),
            plan,
            rule: None,
        };
        Self { engine: engine.clone(), started: Instant::now(), record, evidence: None, carried: Carried::default(), closed: false }
    }

    /// One that began in the proxy before this one, which does not record it.
    pub fn resume(engine: &Rc<Engine>, edge: Edge, plan: u64, story: &Story) -> Self {
        let mut open = Self::new(engine, edge, plan);
        open.started = Instant::now().checked_sub(Duration::from_micros(story.age_us)).unwrap_or(open.started);
        open.record.started = story.started.parse().unwrap_or(open.record.started);
        open.record.connection_id = Id::read(&story.connection_id);
        open.record.endpoint = story.endpoint.as_str().into();
        let carried = open.carried.counts();
        carried.received.set(story.received_bytes);
        carried.sent.set(story.sent_bytes);
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
        (self.record.received_bytes, self.record.sent_bytes) = (self.carried.received(), self.carried.sent());
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

pub fn attempt(endpoint: Text, address: Text, result: Came, took: Duration) -> Attempt {
    Attempt { endpoint, address, result, duration_us: micros(took) }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
