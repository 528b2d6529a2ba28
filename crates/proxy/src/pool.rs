//! Connections to upstreams, kept and shared: idle HTTP/1 connections in a stack, HTTP/2 connections by free streams.
//! One per worker. Never retries what an upstream may have seen, except idempotent requests on a connection that turned
//! out to be dead when it was taken up again (RFC 9112 section 9.3.1, RFC 9110 section 9.2.2).

use crate::body::{RequestBody, Source};
use crate::dial::{Dialer, Target};
use crate::fault::{Fault, Kind};
use crate::gate::{Gate, Permit, Waiting};
use crate::identity::HeldIdentity;
use crate::io::Io;
use crate::proxy_protocol::Preface;
use crate::tls::Spoken;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_plan::cluster::{Dial, Transport};
use taut_plan::{Cluster, ClusterKey, Live};
use tokio::time::Instant;

/// Largest response head, as for requests.
pub const HEAD_BYTES: usize = 64 * 1024;
/// How often an HTTP/2 connection with open streams is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one connection before another is opened, whatever the peer allows.
const STREAMS: usize = 1000;
/// HTTP/2 flow control windows: a stream may run at 1 MiB per round trip.
pub const STREAM_WINDOW: u32 = 1 << 20;
pub const CONNECTION_WINDOW: u32 = 4 << 20;

/// Runs hyper's tasks on this thread.
#[derive(Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
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
    Mesh(Identity, Arc<str>),
    Tls(Arc<str>, Vec<String>),
    Plain,
}

pub struct Pool {
    dialer: Rc<Dialer>,
    live: Rc<RefCell<Live>>,
    workers: u32,
    gates: RefCell<HashMap<ClusterKey, Rc<Gate>>>,
    slots: RefCell<HashMap<Key, Rc<Slot>>>,
}

type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Http2>, Fault>>>;

/// The connections of one key.
struct Slot {
    idle_timeout: Duration,
    /// HTTP/1 connections, idle and busy.
    open: Cell<u32>,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Rc<Http2>>>,
    /// A connection that is being opened; all who need one wait for it.
    opening: RefCell<Option<Opening>>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
    served: u32,
}

struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    streams: Cell<usize>,
    /// Streams that the peer allows at the same time (its SETTINGS).
    allowed: Rc<Cell<usize>>,
    served: Cell<u32>,
    used: Cell<Instant>,
}

/// Holds the connection that a response comes from; dropped when the response has ended.
pub struct Lease(Held);

enum Held {
    Http1 { slot: Rc<Slot>, sender: Option<http1::SendRequest<RequestBody>>, served: u32, gate: Option<Rc<Gate>> },
    Http2(Rc<Http2>),
}

impl Lease {
    /// The connection has become something else (101): it does not come back.
    pub fn forget(mut self) {
        if let Held::Http1 { sender, .. } = &mut self.0 {
            sender.take();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.0 {
            Held::Http1 { slot, sender, served, gate } => {
                if let Some(sender) = sender.take().filter(|sender| !sender.is_closed()) {
                    slot.idle.borrow_mut().push(Idle { sender, since: Instant::now(), served: *served });
                    if let Some(gate) = gate {
                        gate.announce();
                    }
                }
            }
            Held::Http2(connection) => {
                connection.streams.set(connection.streams.get() - 1);
                connection.used.set(Instant::now());
            }
        }
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
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let slot = self.slot(target, held.as_deref());
        match target.spoken {
            Spoken::Http2 => self.send_http2(&slot, target, held, head, body, most_requests(cluster)).await,
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
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let most = most_requests(cluster);
        loop {
            let (reused, mut sender, served) = match self.room(slot, cluster).await? {
                Room::Idle(idle) => (true, idle.sender, idle.served + 1),
                Room::New(permit) => (false, self.open_http1(slot, target, held.clone(), permit).await?, 1),
            };
            let Some(body_now) = body.read() else { return Err(spent()) };
            let sent = sender.try_send_request(Request::from_parts(head.clone(), body_now)).await;
            let error = match sent {
                Ok(response) => {
                    let sender = (served < most).then_some(sender);
                    let gate = cluster.and_then(|cluster| self.gate(cluster));
                    return Ok((response, Lease(Held::Http1 { slot: slot.clone(), sender, served, gate })));
                }
                Err(error) => error,
            };
            let unsent = error.message().is_some();
            let fault = classify(&error, body);
            let again = unsent || (fault.kind == Kind::Reset && head.method.is_idempotent());
            if !(reused && again && body.can_be_read_again()) {
                return Err(fault);
            }
        }
    }

    async fn send_http2(
        &self,
        slot: &Rc<Slot>,
        target: &Target,
        held: Option<Arc<HeldIdentity>>,
        head: &http::request::Parts,
        body: &Source,
        most: u32,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        // A connection may be on its way out (GOAWAY) without having said so yet: one more try with another.
        for last in [false, true] {
            let connection = match slot.free_http2(most) {
                Some(connection) => connection,
                None => self.open_http2(slot, target, held.clone()).await?,
            };
            connection.streams.set(connection.streams.get() + 1);
            connection.served.set(connection.served.get().saturating_add(1));
            let lease = Lease(Held::Http2(connection.clone()));
            let Some(body_now) = body.read() else { return Err(spent()) };
            let sent = connection.sender.clone().try_send_request(Request::from_parts(head.clone(), body_now)).await;
            let error = match sent {
                Ok(response) => return Ok((response, lease)),
                Err(error) => error,
            };
            if last || error.message().is_none() || !body.can_be_read_again() {
                return Err(classify(&error, body));
            }
            slot.http2.borrow_mut().retain(|kept| !Rc::ptr_eq(kept, &connection));
        }
        Err(Fault::new(Kind::ResetBeforeRequest, "the connection went away before the request was sent"))
    }

    /// An idle connection, or leave to open one; waits while the cluster has as many as it may.
    async fn room(&self, slot: &Slot, cluster: Option<&Arc<Cluster>>) -> Result<Room, Fault> {
        if let Some(idle) = slot.take_idle() {
            return Ok(Room::Idle(idle));
        }
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
    ) -> Result<http1::SendRequest<RequestBody>, Fault> {
        let standing = Standing::new(slot);
        let io = self.dialer.dial(target, held).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|error| broken(&error))?;
        tokio::task::spawn_local(async move {
            // What ends the connection is told to whoever waits for a response on it.
            let _ = connection.with_upgrades().await;
            drop((standing, permit));
        });
        Ok(sender)
    }

    async fn open_http2(&self, slot: &Rc<Slot>, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Rc<Http2>, Fault> {
        let opening = slot.opening.borrow().clone();
        let opening = match opening {
            Some(opening) => opening,
            None => {
                let (dialer, target, slot_to_fill) = (self.dialer.clone(), target.clone(), Rc::downgrade(slot));
                let opening = async move {
                    let opened = open_shared(&dialer, &target, held).await;
                    if let Some(slot) = slot_to_fill.upgrade() {
                        slot.opening.borrow_mut().take();
                        if let Ok(connection) = &opened {
                            slot.http2.borrow_mut().push(connection.clone());
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
            Transport::Tls { server_name, subject_alt_names } => (Secured::Tls(server_name.clone(), subject_alt_names.clone()), 0),
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
            slot.idle.borrow_mut().retain(|idle| now - idle.since < limit && !idle.sender.is_closed());
            slot.http2.borrow_mut().retain(|connection| {
                let idle = connection.streams.get() == 0 && now - connection.used.get() >= limit;
                !idle && !connection.sender.is_closed()
            });
            // Whoever holds the slot still has something under way on it.
            let empty = slot.idle.borrow().is_empty() && slot.http2.borrow().is_empty();
            !empty || Rc::strong_count(slot) > 1 || slot.opening.borrow().is_some()
        });
    }
}

async fn open_shared(dialer: &Dialer, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Rc<Http2>, Fault> {
    let io: Io = dialer.dial(target, held).await?;
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_BYTES as u32)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| broken(&error))?;
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let (known, mut connection) = (allowed.clone(), connection);
    // What ends the connection is told to whoever waits for a response on it.
    tokio::task::spawn_local(poll_fn(move |cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() {
            known.set(connection.current_max_send_streams());
        }
        polled
    }));
    Ok(Rc::new(Http2 { sender, streams: Cell::new(0), allowed, served: Cell::new(0), used: Cell::new(Instant::now()) }))
}

impl Slot {
    fn new(idle_timeout: Duration) -> Self {
        Self { idle_timeout, open: Cell::new(0), idle: RefCell::default(), http2: RefCell::default(), opening: RefCell::default() }
    }

    /// The connection that was used last and still stands. One that is not ready still ends its last exchange.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < self.idle_timeout);
        let ready = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(idle.remove(ready))
    }

    fn free_http2(&self, most: u32) -> Option<Rc<Http2>> {
        let mut connections = self.http2.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed() && connection.served.get() < most);
        let room = |connection: &&Rc<Http2>| connection.streams.get() < connection.allowed.get().min(STREAMS);
        connections.iter().find(room).cloned()
    }
}

/// An HTTP/1 connection, from its opening to its end.
struct Standing(Rc<Slot>);

impl Standing {
    fn new(slot: &Rc<Slot>) -> Self {
        slot.open.set(slot.open.get() + 1);
        Self(slot.clone())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// What a request may go out on.
enum Room {
    Idle(Idle),
    New(Option<Permit>),
}

fn most_requests(cluster: Option<&Arc<Cluster>>) -> u32 {
    cluster.and_then(|cluster| cluster.limits.max_requests_per_connection).filter(|most| *most > 0).unwrap_or(u32::MAX)
}

fn spent() -> Fault {
    Fault::new(Kind::ClientBroke, "the request body cannot be read again")
}

fn broken(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Kind::ConnectFailed, format!("HTTP handshake: {error}"))
}

/// Why no response head came.
fn classify(error: &TrySendError<Request<RequestBody>>, body: &Source) -> Fault {
    let unsent = error.message().is_some();
    let error = error.error();
    let source = std::error::Error::source(error);
    let text = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    let reset = source.and_then(|source| source.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    let kind = match reset {
        _ if body.broken() => Kind::ClientBroke,
        Some(h2::Reason::REFUSED_STREAM) => Kind::RefusedStream,
        _ if unsent => Kind::ResetBeforeRequest,
        _ if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() => Kind::BadResponse,
        _ => Kind::Reset,
    };
    Fault::new(kind, text)
}
