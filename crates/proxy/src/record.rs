//! The record of an exchange or a connection while it is under way. Whatever way it ends, exactly one record is emitted.

use crate::bequest::Story;
use crate::body::Source;
use crate::engine::Engine;
use crate::evidence::Evidence;
use crate::fault::{Fault, Kind};
use crate::flows::{Carried, Counts};
use crate::trace::{Trail, new_id};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_observe::record::{Attempt, ConnectionRecord, Edge, ExchangeRecord};
use taut_observe::tally::Place;
use taut_observe::text::{Came, Id, Moment, Text};
use tokio::time::Instant;

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
    /// Where the tally counts it while it is under way.
    place: Option<Place>,
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
            place: None,
        }
    }

    /// It is on its way over the edge that the record names now.
    pub fn set_out(&mut self) {
        let Some(tally) = self.engine.sink.tally() else { return };
        if let Some(before) = self.place.take() {
            tally.left(before);
        }
        self.place = Some(tally.under_way(&self.record.edge, &self.record.route));
    }

    /// Where a tunnel counts; its bytes are told while it goes on.
    pub fn tunnel(&mut self) -> Rc<Counts> {
        let counts = self.carried.counts();
        if let Some(place) = self.place {
            self.engine.flows.watch(place, &counts);
        }
        counts
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
        if let Some(tally) = self.engine.sink.tally() {
            tally.exchange(&self.record, self.carried.told());
            if let Some(place) = self.place.take() {
                tally.left(place);
            }
        }
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
    /// Where the tally counts it, once it has reached its destination.
    place: Option<Place>,
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
        Self { engine: engine.clone(), started: Instant::now(), record, evidence: None, carried: Carried::default(), place: None, closed: false }
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
        // The proxy before this one has told these.
        carried.skip_news();
        open
    }

    /// It has reached its destination. `new`: here, and not in the proxy before this one.
    pub fn reached(&mut self, new: bool) {
        self.engine.sink.connection_opened(&self.record.edge);
        let Some(tally) = self.engine.sink.tally() else { return };
        let place = tally.opened(&self.record.edge, new);
        self.place = Some(place);
        self.engine.flows.watch(place, &self.carried.counts());
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// It goes on in another process, which records it.
    pub fn moved(mut self) {
        self.closed = true;
        self.tell_news();
        if let (Some(tally), Some(place)) = (self.engine.sink.tally(), self.place) {
            tally.moved(place);
        }
    }

    pub fn close(mut self, fault: Option<&Fault>) {
        self.record.failure = fault.map(Fault::as_record);
        self.emit();
    }

    fn emit(&mut self) {
        self.closed = true;
        (self.record.received_bytes, self.record.sent_bytes) = (self.carried.received(), self.carried.sent());
        self.record.duration_us = micros(self.started.elapsed());
        self.tell_news();
        if let Some(tally) = self.engine.sink.tally() {
            tally.closed(&self.record, self.place);
        }
        self.engine.sink.connection(self.record.clone(), self.evidence.take());
    }
}

impl OpenConnection {
    /// The bytes since the last time.
    fn tell_news(&mut self) {
        if let (Some(tally), Some(place)) = (self.engine.sink.tally(), self.place) {
            let (received, sent) = self.carried.counts().news();
            tally.carried(place, received, sent);
        }
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
