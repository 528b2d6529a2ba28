//! Connections to upstreams, kept and shared: idle HTTP/1 connections in a stack, HTTP/2 connections by free streams.
//! One per worker. Never retries what an upstream may have seen, except idempotent requests on a connection that turned
//! out to be dead when it was taken up again (RFC 9112 section 9.3.1, RFC 9110 section 9.2.2).

use crate::body::Source;
use crate::dial::{Dialer, Target};
use crate::fault::{Fault, Kind};
use crate::gate::{Gate, Permit, Waiting};
use crate::http1::Wire;
use crate::http1::client::{self, Loan, Unanswered, Why};
use crate::http2::{self, Dialect, FRAME_BYTES, Failure, Limits};
use crate::identity::HeldIdentity;
use crate::incoming::Incoming;
use crate::io::Io;
use crate::proxy_protocol::Preface;
use crate::tls::Spoken;
use foldhash::quality::RandomState;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use http::Response;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::Origination;
use taut_model::identity::Identity;
use taut_plan::cluster::{Dial, Transport};
use taut_plan::{Cluster, ClusterKey, Live};
use tokio::time::Instant;

/// Streams on one connection before another is opened, whatever the peer allows.
const STREAMS: u32 = 1000;
/// The same where HTTP/1.1 is carried between two proxies.
const SHARED_STREAMS: u32 = 128;
/// HTTP/2 flow control windows: a stream may run at 1 MiB per round trip.
pub const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// An idle connection lets go of its buffers after this long.
const REST: Duration = Duration::from_secs(2);

/// What others may do on a connection that many requests share.
pub fn limits(dialect: Dialect, streams: u32, trusted: bool) -> Limits {
    let frame = FRAME_BYTES;
    match dialect {
        Dialect::Http2 => {
            Limits { stream_window: STREAM_WINDOW, connection_window: CONNECTION_WINDOW, streams, release_on_arrival: false, trusted, frame }
        }
        // Clients that know nothing of each other: one that does not read must not hold up the others.
        Dialect::Http1 => {
            let (stream_window, streams) = (STREAM_WINDOW / 2, streams.min(SHARED_STREAMS));
            Limits { stream_window, connection_window: stream_window * SHARED_STREAMS, streams, release_on_arrival: true, trusted, frame }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: Dial,
    secured: Secured,
    spoken: Spoken,
    /// Of the identity that the connection was opened with; 0 outside the mesh.
    serial: u64,
    /// A connection that was opened for one client is no other's.
    preface: Option<Preface>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Secured {
    Mesh(Arc<Identity>, Arc<str>),
    Tls(Arc<str>, Arc<Origination>),
    Plain,
}

pub struct Pool {
    dialer: Rc<Dialer>,
    live: Rc<RefCell<Live>>,
    workers: u32,
    gates: RefCell<HashMap<ClusterKey, Rc<Gate>, RandomState>>,
    slots: RefCell<HashMap<Key, Rc<Slot>, RandomState>>,
}

type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Shareable>, Fault>>>;

/// The connections of one key.
struct Slot {
    idle_timeout: Duration,
    /// HTTP/1 connections, idle and busy.
    open: Cell<u32>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shareable>>>,
    /// A connection that is being opened; all who need one wait for it.
    opening: RefCell<Option<Opening>>,
}

/// An HTTP/1 connection that carries nothing.
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// An HTTP/1 connection, from its opening to its end.
struct Connection {
    wire: Wire,
    standing: Standing,
    served: u32,
    opened: Instant,
    bounds: Bounds,
    permit: Option<Permit>,
}

/// A connection that many requests share.
struct Shareable {
    connection: http2::client::Connection,
    served: Cell<u32>,
    opened: Instant,
}

impl Loan for Connection {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn give_back(self: Box<Self>) {
        if self.served >= self.bounds.requests || self.opened.elapsed() >= self.bounds.age {
            return;
        }
        let Some(slot) = self.standing.0.upgrade() else { return };
        let gate = self.permit.as_ref().map(|permit| permit.gate().clone());
        slot.idle.borrow_mut().push(Idle { connection: self, since: Instant::now() });
        if let Some(gate) = gate {
            gate.announce();
        }
    }

    fn keep(self: Box<Self>) -> Io {
        self.wire.into_io()
    }
}

impl Pool {
    /// `live` counts who waits for a connection; each of `workers` has its part of a limit on connections.
    pub fn new(dialer: Rc<Dialer>, live: Rc<RefCell<Live>>, workers: u32) -> Self {
        Self { dialer, live, workers, gates: RefCell::default(), slots: RefCell::default() }
    }

    /// Sends one request to `target` as `held` and waits for the response head. The limits are those of `cluster`.
    pub async fn send(
        &self,
        target: &Target,
        held: Option<Arc<HeldIdentity>>,
        head: &http::request::Parts,
        body: &Source,
        cluster: Option<&Arc<Cluster>>,
    ) -> Result<Response<Incoming>, Fault> {
        let slot = self.slot(target, held.as_deref());
        match target.spoken {
            Spoken::Http2 | Spoken::Http1Shared => self.send_shared(&slot, target, held, head, body, Bounds::of(cluster)).await,
            _ => self.send_http1(&slot, target, held, head, body, cluster).await,
        }
    }

    async fn send_http1(
        &self,
        slot: &Rc<Slot>,
        target: &Target,
        held: Option<Arc<HeldIdentity>>,
        head: &http::request::Parts,
        body: &Source,
        cluster: Option<&Arc<Cluster>>,
    ) -> Result<Response<Incoming>, Fault> {
        loop {
            let (reused, mut connection) = match self.room_or_wait(slot, cluster).await? {
                Room::Idle(connection) => (true, connection),
                // Rare, and large: not part of every request's future.
                Room::New(permit) => (false, self.open_http1(slot, target, held.clone(), permit).boxed_local().await?),
            };
            let Some(body_now) = body.read() else { return Err(spent()) };
            connection.served = connection.served.saturating_add(1);
            connection.bounds = Bounds::of(cluster);
            let unanswered = match client::send(connection, head, body_now).await {
                Ok(response) => return Ok(response.map(Incoming::Http1Response)),
                Err(unanswered) => unanswered,
            };
            let unsent = unanswered.unsent;
            let fault = unanswered_fault(&unanswered, body);
            let again = unsent || (fault.kind == Kind::Reset && head.method.is_idempotent());
            if !(reused && again && body.can_be_read_again()) {
                return Err(fault);
            }
        }
    }

    async fn send_shared(
        &self,
        slot: &Rc<Slot>,
        target: &Target,
        held: Option<Arc<HeldIdentity>>,
        head: &http::request::Parts,
        body: &Source,
        bounds: Bounds,
    ) -> Result<Response<Incoming>, Fault> {
        // A connection may be on its way out (GOAWAY) without having said so yet: one more try with another.
        for last in [false, true] {
            let (reused, shared) = match slot.free_shared(bounds) {
                Some(shared) => (true, shared),
                None => (false, self.newly_shared(slot, target, held.clone(), bounds).boxed_local().await?),
            };
            shared.served.set(shared.served.get().saturating_add(1));
            let Some(body_now) = body.read() else { return Err(spent()) };
            let unanswered = match shared.connection.send(head, body_now).await {
                Ok(answered) => return Ok(Incoming::of_http2(answered)),
                Err(unanswered) => unanswered,
            };
            let lost = reused && matches!(unanswered.why, http2::client::Why::Stream(Failure::Lost(_))) && head.method.is_idempotent();
            if last || !(unanswered.unsent || lost) || !body.can_be_read_again() {
                return Err(unanswered_shared(&unanswered, body));
            }
            slot.shared.borrow_mut().retain(|kept| !Rc::ptr_eq(kept, &shared));
        }
        Err(Fault::new(Kind::ResetBeforeRequest, "the connection went away before the request was sent"))
    }

    /// A connection that was opened now. Others may have waited for it too, and have taken all its room.
    async fn newly_shared(&self, slot: &Rc<Slot>, target: &Target, held: Option<Arc<HeldIdentity>>, bounds: Bounds) -> Result<Rc<Shareable>, Fault> {
        loop {
            let opened = self.open_shared(slot, target, held.clone()).await?;
            let served = opened.served.get();
            // One that the peer ended at once, or that takes nothing, is for the first sender to find out.
            if served == 0 || (served < bounds.requests && opened.connection.room(bounds.streams) > 0) {
                return Ok(opened);
            }
            if let Some(free) = slot.free_shared(bounds) {
                return Ok(free);
            }
        }
    }

    /// An idle connection, or leave to open one; waits while the cluster has as many as it may.
    async fn room_or_wait(&self, slot: &Slot, cluster: Option<&Arc<Cluster>>) -> Result<Room, Fault> {
        match slot.take_idle() {
            Some(idle) => Ok(Room::Idle(idle)),
            None => self.room(slot, cluster).boxed_local().await,
        }
    }

    async fn room(&self, slot: &Slot, cluster: Option<&Arc<Cluster>>) -> Result<Room, Fault> {
        let Some(gate) = cluster.and_then(|cluster| self.gate(cluster)) else { return Ok(Room::New(None)) };
        if let Some(permit) = gate.enter(slot.open.get() == 0) {
            return Ok(Room::New(Some(permit)));
        }
        let _waiting = match cluster {
            Some(cluster) => Some(Waiting::begin(&self.live, cluster)?),
            None => None,
        };
        loop {
            gate.changed().await;
            if let Some(idle) = slot.take_idle() {
                return Ok(Room::Idle(idle));
            }
            if let Some(permit) = gate.enter(slot.open.get() == 0) {
                return Ok(Room::New(Some(permit)));
            }
        }
    }

    /// The gate of a cluster that limits its connections.
    pub fn gate(&self, cluster: &Cluster) -> Option<Rc<Gate>> {
        let most = cluster.limits.max_connections?.div_ceil(self.workers);
        let mut gates = self.gates.borrow_mut();
        let gate = gates.entry(cluster.key.clone()).or_default();
        gate.allow(most);
        Some(gate.clone())
    }

    async fn open_http1(
        &self,
        slot: &Rc<Slot>,
        target: &Target,
        held: Option<Arc<HeldIdentity>>,
        permit: Option<Permit>,
    ) -> Result<Box<Connection>, Fault> {
        // Counts from here, so that others see that one is on its way.
        let standing = Standing::new(slot);
        let io = self.dialer.dial(target, held).await?;
        Ok(Box::new(Connection { wire: Wire::new(io), standing, served: 0, opened: Instant::now(), bounds: Bounds::of(None), permit }))
    }

    async fn open_shared(&self, slot: &Rc<Slot>, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Rc<Shareable>, Fault> {
        let opening = slot.opening.borrow().clone();
        let opening = match opening {
            Some(opening) => opening,
            None => {
                let (dialer, target, slot_to_fill) = (self.dialer.clone(), target.clone(), Rc::downgrade(slot));
                let opening = async move {
                    let opened = open_shared(&dialer, &target, held).await;
                    if let Some(slot) = slot_to_fill.upgrade() {
                        slot.opening.borrow_mut().take();
                        if let Ok(shared) = &opened {
                            slot.shared.borrow_mut().push(shared.clone());
                        }
                    }
                    opened
                };
                let opening = opening.boxed_local().shared();
                *slot.opening.borrow_mut() = Some(opening.clone());
                // Driven on its own, so that it ends also when everyone who waited has left.
                tokio::task::spawn_local(opening.clone());
                opening
            }
        };
        opening.await
    }

    fn slot(&self, target: &Target, held: Option<&HeldIdentity>) -> Rc<Slot> {
        let (secured, serial) = match &target.transport {
            Transport::Mesh { expect, server_name } => (Secured::Mesh(expect.clone(), server_name.clone()), held.map_or(0, |held| held.serial)),
            Transport::Tls { server_name, origination } => (Secured::Tls(server_name.clone(), origination.clone()), 0),
            Transport::Plain => (Secured::Plain, 0),
        };
        let key = Key { address: target.address.clone(), secured, spoken: target.spoken, serial, preface: target.preface };
        let mut slots = self.slots.borrow_mut();
        slots.entry(key).or_insert_with(|| Rc::new(Slot::new(target.idle_timeout))).clone()
    }

    /// Closes what has been idle for too long or belongs to an identity that was renewed since. Called now and then.
    pub fn sweep(&self, serial: Option<u64>) {
        let now = Instant::now();
        self.slots.borrow_mut().retain(|key, slot| {
            let renewed = key.serial != 0 && serial.is_some_and(|serial| serial != key.serial);
            let limit = if renewed { Duration::ZERO } else { slot.idle_timeout };
            slot.idle.borrow_mut().retain_mut(|idle| {
                let stays = now - idle.since < limit && idle.connection.wire.is_quiet();
                if stays && now - idle.since >= REST {
                    idle.connection.wire.rest();
                }
                stays
            });
            // A limit of nothing is for those that carry nothing now.
            let idle = |shared: &Shareable| shared.connection.idle_for().is_some_and(|idle| idle >= limit);
            slot.shared.borrow_mut().retain(|shared| shared.connection.is_open() && !idle(shared));
            // Whoever holds the slot, or a connection of it, still has something under way on it.
            let empty = slot.open.get() == 0 && slot.shared.borrow().is_empty();
            !empty || Rc::strong_count(slot) > 1 || slot.opening.borrow().is_some()
        });
    }
}

async fn open_shared(dialer: &Dialer, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Rc<Shareable>, Fault> {
    let io: Io = dialer.dial(target, held).await?;
    let proven = matches!(target.transport, Transport::Mesh { .. });
    let dialect = if target.spoken == Spoken::Http1Shared { Dialect::Http1 } else { Dialect::Http2 };
    let (connection, running) = http2::client::Connection::new(io, dialect, limits(dialect, STREAMS, proven));
    // What ends the connection is told to whoever waits for a response on it.
    tokio::task::spawn_local(running);
    Ok(Rc::new(Shareable { connection, served: Cell::new(0), opened: Instant::now() }))
}

impl Slot {
    fn new(idle_timeout: Duration) -> Self {
        Self { idle_timeout, open: Cell::new(0), idle: RefCell::default(), shared: RefCell::default(), opening: RefCell::default() }
    }

    /// The connection that was used last and still stands.
    fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if since.elapsed() >= self.idle_timeout {
                // Those below have been idle for longer.
                idle.clear();
            } else if connection.wire.is_quiet() && connection.opened.elapsed() < connection.bounds.age {
                return Some(connection);
            }
        }
        None
    }

    fn free_shared(&self, bounds: Bounds) -> Option<Rc<Shareable>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| shared.connection.is_open() && shared.served.get() < bounds.requests && shared.opened.elapsed() < bounds.age);
        shared.iter().find(|shared| shared.connection.room(bounds.streams) > 0).cloned()
    }
}

/// Counts an HTTP/1 connection, from its opening to its end. Its slot may hold the connection, and is not held by it.
struct Standing(Weak<Slot>);

impl Standing {
    fn new(slot: &Rc<Slot>) -> Self {
        slot.open.set(slot.open.get() + 1);
        Self(Rc::downgrade(slot))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(slot) = self.0.upgrade() {
            slot.open.set(slot.open.get() - 1);
        }
    }
}

/// What a request may go out on.
enum Room {
    Idle(Box<Connection>),
    New(Option<Permit>),
}

/// What one connection of a cluster may be used for.
#[derive(Clone, Copy)]
struct Bounds {
    requests: u32,
    streams: u32,
    age: Duration,
}

impl Bounds {
    fn of(cluster: Option<&Arc<Cluster>>) -> Self {
        let limits = cluster.map(|cluster| &cluster.limits);
        let requests = limits.and_then(|limits| limits.max_requests_per_connection).filter(|most| *most > 0).unwrap_or(u32::MAX);
        let streams = limits.and_then(|limits| limits.max_streams).map_or(STREAMS, |most| most.clamp(1, STREAMS));
        Self { requests, streams, age: limits.and_then(|limits| limits.max_connection_age).unwrap_or(Duration::MAX) }
    }
}

fn spent() -> Fault {
    Fault::new(Kind::ClientBroke, "the request body cannot be read again")
}

/// Why no response head came over HTTP/1.
fn unanswered_fault(unanswered: &Unanswered, body: &Source) -> Fault {
    let kind = match &unanswered.why {
        _ if unanswered.unsent => Kind::ResetBeforeRequest,
        Why::NotHttp(_) => Kind::BadResponse,
        Why::Broken(_) | Why::Body(_) => Kind::Reset,
    };
    Fault::broken_off(body.broken().unwrap_or(kind), unanswered.why.to_string())
}

/// Why no response head came over a connection that others share.
fn unanswered_shared(unanswered: &http2::client::Unanswered, body: &Source) -> Fault {
    use http2::client::Why;
    let kind = match &unanswered.why {
        Why::Stream(Failure::Refused) => Kind::RefusedStream,
        _ if unanswered.unsent => Kind::ResetBeforeRequest,
        Why::Stream(Failure::Malformed(_)) | Why::NoExtendedConnect => Kind::BadResponse,
        Why::Stream(_) | Why::Body(_) => Kind::Reset,
    };
    Fault::broken_off(body.broken().unwrap_or(kind), unanswered.why.to_string())
}
