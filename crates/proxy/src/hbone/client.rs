//! The side that connects: keeps HBONE connections to peers and opens streams on them. One per worker.

use super::{LIMITS, STREAMS};
use crate::dial::{Dialer, Target, shown};
use crate::fault::{Fault, Kind};
use crate::http2::client::{self, Answered, Unanswered, Why};
use crate::http2::{Dialect, Failure};
use crate::identity::HeldIdentity;
use crate::io::Io;
use crate::metadata;
use crate::tls::Spoken;
use foldhash::quality::RandomState;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use taut_model::identity::Identity;
use taut_plan::cluster::{Dial, Transport};
use tokio::time::Instant;

/// For how long a peer that does not speak HBONE is not asked again.
const WITHOUT: Duration = Duration::from_secs(60);
/// No reason is longer.
const LONGEST_REASON: usize = 64;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: Dial,
    expect: Arc<Identity>,
    /// Of the identity that the connections were opened with.
    serial: u64,
}

pub struct Tunnels {
    dialer: Rc<Dialer>,
    slots: RefCell<HashMap<Key, Rc<Slot>, RandomState>>,
}

/// The connections to one peer.
struct Slot {
    idle_timeout: Duration,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// A connection that is being opened; all who need one wait for it.
    opening: RefCell<Option<Opening>>,
    /// Until then the peer is taken for one that does not speak HBONE.
    without_until: Cell<Option<Instant>>,
}

type Opening = Shared<LocalBoxFuture<'static, Result<Opened, Fault>>>;

#[derive(Clone)]
enum Opened {
    /// It is among the slot's.
    Pooled,
    /// The peer does not speak HBONE. The connection can carry what it was opened for.
    Direct(Rc<Cell<Option<Io>>>),
}

struct Connection {
    carrier: client::Connection,
    /// Whether a stream was ever opened on it.
    proven: Cell<bool>,
    /// Takes no more streams.
    retired: Cell<bool>,
}

/// Why a stream was not opened. The application's bytes are all still here.
enum Unopened {
    /// The connection has gone, or takes no more.
    Gone(Fault),
    Refused(Fault),
}

impl Tunnels {
    pub fn new(dialer: Rc<Dialer>) -> Self {
        Self { dialer, slots: RefCell::default() }
    }

    /// Opens a connection for a client's bytes to `target`: a stream to a peer that speaks HBONE, else a connection of its own.
    pub async fn open(&self, target: &Target, held: Option<Arc<HeldIdentity>>) -> Result<Io, Fault> {
        let (Transport::Mesh { expect, server_name }, Some(identity), None) = (&target.transport, &held, &target.preface) else {
            // Outside the mesh, or with a PROXY protocol header, which makes a connection one client's.
            return self.dialer.dial(target, held).await;
        };
        let key = Key { address: target.address.clone(), expect: expect.clone(), serial: identity.serial };
        let slot = self.slot(key, target.idle_timeout);
        let authority = authority(server_name)?;
        // Ends: a connection that does not take the stream is not asked again, and opening one fails or brings room.
        loop {
            let Some(connection) = slot.free() else {
                match self.opened(&slot, target, identity).await? {
                    None => continue,
                    Some(io) => return Ok(io),
                }
            };
            let fresh = !connection.proven.replace(true);
            match connection.open(&authority, target).await {
                Ok(io) => return Ok(io),
                Err(Unopened::Gone(_)) if !fresh => {}
                Err(Unopened::Gone(fault) | Unopened::Refused(fault)) => return Err(fault),
            }
        }
    }

    /// A direct connection, or `None` when there is room in the slot again.
    async fn opened(&self, slot: &Rc<Slot>, target: &Target, held: &Arc<HeldIdentity>) -> Result<Option<Io>, Fault> {
        if slot.without_until.get().is_some_and(|until| Instant::now() < until) {
            return self.dialer.dial(target, Some(held.clone())).await.map(Some);
        }
        let under_way = slot.opening.borrow().clone();
        let (mine, opening) = match under_way {
            Some(opening) => (false, opening),
            None => (true, self.start_opening(slot, target, held)),
        };
        match opening.await? {
            Opened::Pooled => Ok(None),
            // Whoever else waited may want another service, and the connection was opened for one.
            Opened::Direct(io) => match io.take().filter(|_| mine) {
                Some(io) => Ok(Some(io)),
                None => self.dialer.dial(target, Some(held.clone())).await.map(Some),
            },
        }
    }

    fn start_opening(&self, slot: &Rc<Slot>, target: &Target, held: &Arc<HeldIdentity>) -> Opening {
        let (dialer, filled) = (self.dialer.clone(), Rc::downgrade(slot));
        let (target, held) = (Target { spoken: Spoken::Hbone, ..target.clone() }, held.clone());
        let opening = async move {
            let opened = shake_hands(&dialer, &target, held).await;
            let slot = filled.upgrade();
            if let Some(slot) = &slot {
                slot.opening.borrow_mut().take();
            }
            match (opened?, slot) {
                (Connected::Hbone(connection), Some(slot)) => {
                    slot.without_until.set(None);
                    slot.connections.borrow_mut().push(connection);
                    Ok(Opened::Pooled)
                }
                // Nobody waits any more.
                (Connected::Hbone(_), None) => Ok(Opened::Pooled),
                (Connected::Direct(io), slot) => {
                    if let Some(slot) = slot {
                        slot.without_until.set(Some(Instant::now() + WITHOUT));
                    }
                    Ok(Opened::Direct(Rc::new(Cell::new(Some(io)))))
                }
            }
        };
        let opening = opening.boxed_local().shared();
        *slot.opening.borrow_mut() = Some(opening.clone());
        // Driven on its own, so that it ends also when everyone who waited has left.
        tokio::task::spawn_local(opening.clone());
        opening
    }

    fn slot(&self, key: Key, idle_timeout: Duration) -> Rc<Slot> {
        let new = || Rc::new(Slot { idle_timeout, connections: RefCell::default(), opening: RefCell::default(), without_until: Cell::default() });
        self.slots.borrow_mut().entry(key).or_insert_with(new).clone()
    }

    /// Closes what has been idle for too long or belongs to an identity that was renewed since. Called now and then.
    pub fn sweep(&self, serial: Option<u64>) {
        let now = Instant::now();
        self.slots.borrow_mut().retain(|key, slot| {
            // Who has it may be about to use it.
            if Rc::strong_count(slot) > 1 || slot.opening.borrow().is_some() {
                return true;
            }
            if serial.is_some_and(|serial| serial != key.serial) {
                return false;
            }
            slot.connections.borrow_mut().retain(|connection| {
                let idle = connection.carrier.idle_for().is_some_and(|idle| idle >= slot.idle_timeout);
                !idle && connection.is_open()
            });
            let waits = slot.without_until.get().is_some_and(|until| now < until);
            waits || !slot.connections.borrow().is_empty()
        });
    }
}

impl Slot {
    /// The first connection with room, so that those behind it become idle.
    fn free(&self) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_open());
        connections.iter().find(|connection| connection.carrier.room(STREAMS) > 0).cloned()
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        self.carrier.is_open() && !self.retired.get()
    }

    async fn open(&self, authority: &Uri, target: &Target) -> Result<Io, Unopened> {
        let limit = target.connect_timeout;
        match tokio::time::timeout(limit, self.carrier.send(&connect(authority), Empty::new().map_err(|never| match never {}))).await {
            Ok(Ok(Answered::Stream(_, io))) => Ok(io),
            Ok(Ok(Answered::Body(response))) => Err(Unopened::Refused(refused(response.status(), response.headers(), target))),
            Ok(Err(unanswered)) => Err(self.failed(&unanswered, target)),
            Err(_) => {
                // The application may be slow, or the peer gone without a word: others are better off with another connection.
                self.retired.set(true);
                let why = format!("{} did not answer CONNECT within {limit:?}", shown(&target.address));
                Err(Unopened::Refused(Fault::new(Kind::ConnectTimedOut, why)))
            }
        }
    }

    fn failed(&self, unanswered: &Unanswered, target: &Target) -> Unopened {
        let fault = Fault::new(Kind::ConnectFailed, format!("CONNECT to {}: {}", shown(&target.address), unanswered.why));
        match unanswered.why {
            Why::Stream(Failure::Reset(_) | Failure::Malformed(_)) => Unopened::Refused(fault),
            _ => {
                self.retired.set(true);
                Unopened::Gone(fault)
            }
        }
    }
}

fn connect(authority: &Uri) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri, head.version) = (Method::CONNECT, authority.clone(), Version::HTTP_2);
    head
}

/// What became of a handshake.
enum Connected {
    Hbone(Rc<Connection>),
    Direct(Io),
}

async fn shake_hands(dialer: &Dialer, target: &Target, held: Arc<HeldIdentity>) -> Result<Connected, Fault> {
    let io = dialer.dial(target, Some(held)).await?;
    if io.spoken() != Some(Spoken::Hbone) {
        return Ok(Connected::Direct(io));
    }
    let (carrier, running) = client::Connection::new(io, Dialect::Http2, LIMITS);
    // What ends the connection is told to its streams.
    tokio::task::spawn_local(running);
    Ok(Connected::Hbone(Rc::new(Connection { carrier, proven: Cell::new(false), retired: Cell::new(false) })))
}

/// `9080.reviews.default.svc.cluster.local`, which stands for a port of a service in TLS, as CONNECT names it.
fn authority(server_name: &str) -> Result<Uri, Fault> {
    let named = server_name.split_once('.').and_then(|(port, host)| format!("{host}:{port}").parse().ok());
    named.ok_or_else(|| Fault::new(Kind::ConnectFailed, format!("{server_name:?} does not name a port of a service")))
}

fn refused(status: StatusCode, headers: &HeaderMap, target: &Target) -> Fault {
    let said = headers.get(&metadata::REASON).and_then(|reason| reason.to_str().ok()).filter(|reason| !reason.is_empty());
    let reason = said.map_or_else(|| format!("connect_status_{}", status.as_u16()), |said| said.chars().take(LONGEST_REASON).collect());
    let detail = format!("the proxy at {} answered CONNECT with {status}", shown(&target.address));
    Fault::new(Kind::PeerRefused { status: status.as_u16(), reason }, detail)
}
