//! One HTTP/2 connection: what its frames do to its streams and windows (RFC 9113). Both sides of a connection use it.

mod receive;

use super::flood::Flood;
use super::frame::{self, PREFACE};
use super::head::{Malformed, RequestHead, ResponseHead, write_response};
use super::hpack::{Decoder, Encoder};
use super::reason::Reason;
use super::settings::Settings;
use super::stream::{Failure, Stream};
use super::turns::Turns;
use super::{Dialect, FRAME_BYTES, Limits};
use crate::http1::{HEAD_BYTES, Wire};
use crate::io::Io;
use bytes::{Buf, Bytes, BytesMut};
use foldhash::fast::FixedState;
use http::{Method, Response, StatusCode};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// The windows before anybody says otherwise (RFC 9113 section 6.9.2).
const INITIAL_WINDOW: u32 = 65_535;
/// What the peer's fields are kept in (RFC 9113 section 6.5.2).
const TABLE_BYTES: usize = 4096;
/// More than this, or than so many frames, is written out before more data is taken.
const BACKLOG: usize = 64 * 1024;
const BACKLOG_FRAMES: usize = 4;
/// Frames about windows, and questions, that a peer may send for each frame of ours before they count as a flood: clients of gRPC ask
/// for the round trip's time as often as something comes.
const REMARKS: u32 = 10;
/// Streams that a peer is taken to allow before it has said so; one that is known for a proxy like this, as many as this one does.
const STREAMS_AT_FIRST: u32 = 100;
const LAST_STREAM: u32 = (1 << 31) - 1;
const PING: [u8; 8] = *b"tautline";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// What ends a connection.
#[derive(Debug)]
pub struct Broken(pub Reason, pub &'static str);

/// A request that has begun.
pub struct Begun {
    pub stream: u32,
    pub head: RequestHead,
}

/// What the other side has said about itself.
struct Peer {
    /// Its first SETTINGS have come.
    known: bool,
    streams: u32,
    window: u32,
    frame: usize,
    connect_protocol: bool,
}

/// A head that comes in several frames.
struct Block {
    stream: u32,
    end_stream: bool,
    bytes: BytesMut,
    frames: u32,
}

/// How far this side has got with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// Said that there will be no more streams, and waits until the peer has heard it.
    Announced,
    Said,
}

pub struct Session {
    pub wire: Wire,
    pub role: Role,
    pub dialect: Dialect,
    limits: Limits,
    decoder: Decoder,
    encoder: Encoder,
    pub streams: HashMap<u32, Stream, FixedState>,
    /// The last stream that was opened: by the peer at a server, from here at a client.
    last: u32,
    peer: Peer,
    /// What may be sent on the connection.
    window: i64,
    /// What the peer may send on the connection, and what it is not yet told that it may send again.
    credit: i64,
    unreleased: u32,
    block: Option<Block>,
    begun: VecDeque<Begun>,
    refused: Vec<Malformed>,
    /// Streams that wait for room on the connection.
    turns: Turns,
    /// Frames of the peer that are no flood: they may follow from ours.
    remarks: u32,
    greeted: bool,
    leaving: Leaving,
    /// The last stream of the peer that it may count on; what was once said only goes down (RFC 9113 section 6.8).
    promised: u32,
    /// The peer takes no more streams.
    pub dismissed: bool,
    over: Option<Rc<str>>,
    pub heard: bool,
    /// How often something has come.
    receipts: u64,
    /// A request was given up without a sign of the peer: nothing is sent this way until there is one.
    doubted: bool,
    pub flood: Flood,
    /// Bytes that the peer may have sent before it heard that a stream was ended from here, and a frame for each such stream.
    late: u64,
    pub used: Instant,
    /// Closed when the last stream has ended.
    pub unwanted: bool,
    runner: Option<Waker>,
    running: bool,
    /// Who waits for the peer's SETTINGS.
    asking: Vec<Waker>,
}

/// A connection, shared by its streams. All in one thread.
pub struct Line(RefCell<Session>);

impl Line {
    pub fn new(io: Io, role: Role, dialect: Dialect, limits: Limits) -> Rc<Self> {
        let streams_at_first = if limits.trusted { limits.streams } else { STREAMS_AT_FIRST };
        let mut session = Session {
            wire: Wire::new(io),
            role,
            dialect,
            limits,
            decoder: Decoder::new(TABLE_BYTES),
            encoder: Encoder::new(),
            streams: HashMap::default(),
            last: 0,
            peer: Peer { known: false, streams: streams_at_first, window: INITIAL_WINDOW, frame: FRAME_BYTES as usize, connect_protocol: false },
            window: INITIAL_WINDOW.into(),
            credit: limits.connection_window.max(INITIAL_WINDOW).into(),
            unreleased: 0,
            block: None,
            begun: VecDeque::new(),
            refused: Vec::new(),
            turns: Turns::default(),
            remarks: 0,
            greeted: role == Role::Client,
            leaving: Leaving::No,
            promised: LAST_STREAM,
            dismissed: false,
            over: None,
            heard: false,
            receipts: 0,
            doubted: false,
            // What an upstream sends was asked for.
            flood: Flood::new(limits.trusted || role == Role::Client),
            late: 0,
            used: Instant::now(),
            unwanted: false,
            runner: None,
            running: false,
            asking: Vec::new(),
        };
        session.greet();
        Rc::new(Self(RefCell::new(session)))
    }

    /// Does something to the session. What that leaves to be sent, is sent by whoever runs the connection.
    pub fn with<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.0.borrow_mut();
        let done = act(&mut session);
        if !session.running && session.wire.backlog() > 0 {
            session.kick();
        }
        done
    }

    /// As [`Line::with`], by whoever runs the connection.
    pub fn run<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl Session {
    fn greet(&mut self) {
        let mut settings =
            Settings { initial_window_size: Some(self.limits.stream_window), max_header_list_size: Some(HEAD_BYTES as u32), ..Settings::default() };
        settings.max_frame_size = Some(self.limits.frame).filter(|frame| *frame != FRAME_BYTES);
        match self.role {
            Role::Client => {
                self.wire.text().extend_from_slice(PREFACE);
                settings.enable_push = Some(false);
            }
            Role::Server => {
                settings.max_concurrent_streams = Some(self.limits.streams);
                settings.enable_connect_protocol = Some(true);
            }
        }
        frame::write_settings(self.wire.text(), &settings);
        let more = self.limits.connection_window.saturating_sub(INITIAL_WINDOW);
        if more > 0 {
            frame::write_window_update(self.wire.text(), 0, more);
        }
    }

    /// While it runs, nobody needs to be woken to send what is written.
    pub fn set_running(&mut self, cx: Option<&Context<'_>>) {
        self.running = cx.is_some();
        if let Some(cx) = cx
            && !self.runner.as_ref().is_some_and(|runner| runner.will_wake(cx.waker()))
        {
            self.runner = Some(cx.waker().clone());
        }
    }

    pub fn kick(&mut self) {
        if let Some(runner) = &self.runner {
            runner.wake_by_ref();
        }
    }

    /// The next request that has begun. What was reset at once, or with its connection, costs nobody anything (CVE-2023-44487).
    pub fn next_begun(&mut self) -> Option<Begun> {
        while let Some(begun) = self.begun.pop_front() {
            if self.streams.get(&begun.stream).is_some_and(|stream| stream.failure.is_none()) {
                return Some(begun);
            }
            self.forget(begun.stream);
        }
        None
    }

    /// Why requests were no requests, since this was last asked.
    pub fn take_refused(&mut self) -> Vec<Malformed> {
        std::mem::take(&mut self.refused)
    }

    /// Opens a stream. `None`: the connection takes no more.
    pub fn open(&mut self, method: &Method) -> Option<u32> {
        if !self.is_open() || self.room(u32::MAX) == 0 {
            return None;
        }
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let mut stream = Stream::new(self.peer.window.into(), self.limits.stream_window.into());
        stream.begins_at = self.wire.flushed() + self.wire.backlog() as u64;
        stream.bodiless = *method == Method::HEAD;
        stream.begun_after = self.receipts;
        self.streams.insert(id, stream);
        Some(id)
    }

    /// Whether streams may be opened on it.
    pub fn is_open(&self) -> bool {
        self.over.is_none() && !self.dismissed && self.leaving == Leaving::No && self.last < LAST_STREAM - 2
    }

    /// Streams that may be opened beside those that are.
    pub fn room(&self, most: u32) -> usize {
        if self.doubted {
            return 0;
        }
        (self.peer.streams.min(self.limits.streams).min(most) as usize).saturating_sub(self.streams.len())
    }

    /// Whether the peer takes extended CONNECT (RFC 8441). `None`: it has not said yet.
    pub fn takes_extended_connect(&self) -> Option<bool> {
        self.peer.known.then_some(self.peer.connect_protocol)
    }

    /// Has the task woken when the peer has said what it takes.
    pub fn ask(&mut self, cx: &Context<'_>) {
        if !self.asking.iter().any(|asking| asking.will_wake(cx.waker())) {
            self.asking.push(cx.waker().clone());
        }
    }

    fn tell_asking(&mut self) {
        self.asking.drain(..).for_each(Waker::wake);
    }

    /// Writes a head, in as many frames as it needs. Nothing, when the stream has ended.
    pub fn write_head(&mut self, id: u32, end: bool, fields: impl FnOnce(&mut Encoder, &mut BytesMut)) {
        if !self.streams.get(&id).is_some_and(Stream::can_send) {
            return;
        }
        self.write_fields(id, end, fields);
    }

    fn write_fields(&mut self, id: u32, end: bool, fields: impl FnOnce(&mut Encoder, &mut BytesMut)) {
        let (most, encoder) = (self.peer.frame, &mut self.encoder);
        frame::write_headers(self.wire.text(), id, end, most, |out| fields(encoder, out));
        self.remarks = self.remarks.saturating_add(REMARKS);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.moved = true;
            stream.awaited = false;
            stream.send_ended |= end;
        }
    }

    /// How many of `wanted` bytes of a body may be written now.
    pub fn poll_room(&mut self, id: u32, wanted: usize, cx: &Context<'_>) -> Poll<Result<usize, Failure>> {
        let has_room = self.has_room();
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Failure::Ended)) };
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        if stream.send_ended {
            return Poll::Ready(Err(Failure::Ended));
        }
        let shared = if has_room { self.window } else { 0 };
        let room = stream.window.min(shared).min(self.peer.frame as i64);
        if room > 0 || wanted == 0 {
            stream.stuck = false;
            return Poll::Ready(Ok(wanted.min(usize::try_from(room).unwrap_or(0))));
        }
        stream.stuck = true;
        stream.wait(cx);
        if shared <= 0 && !std::mem::replace(&mut stream.waits, true) {
            self.turns.wait(id, std::mem::take(&mut stream.served));
        }
        Poll::Pending
    }

    /// Whether more data may be written before some has left.
    fn has_room(&self) -> bool {
        self.wire.backlog() < BACKLOG.max(BACKLOG_FRAMES * self.limits.frame as usize)
    }

    /// Writes the first `length` bytes of a body's piece, for which there is room, and takes them off it. Nothing, when the stream has ended.
    pub fn write_data(&mut self, id: u32, piece: &mut Bytes, length: usize, end: bool) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.can_send()) else { return piece.advance(length) };
        stream.window -= length as i64;
        (stream.moved, stream.served, stream.send_ended) = (true, true, end);
        self.window -= length as i64;
        self.remarks = self.remarks.saturating_add(REMARKS);
        frame::write_data_head(self.wire.text(), id, length, end);
        self.wire.put_first(piece, length);
    }

    /// Says that a stream has no more data.
    pub fn write_end(&mut self, id: u32) {
        self.write_data(id, &mut Bytes::new(), 0, true);
    }

    /// The next piece of what comes in on a stream.
    pub fn poll_data(&mut self, id: u32, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Some(Err(Failure::Ended))) };
        let Some(data) = stream.next_data() else {
            if std::mem::take(&mut stream.awaited) && !stream.receive_ended {
                stream.wait(cx);
                self.write_continue(id);
                return Poll::Pending;
            }
            return match &stream.failure {
                _ if stream.receive_ended => Poll::Ready(None),
                Some(failure) => Poll::Ready(Some(Err(failure.clone()))),
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            };
        };
        let length = data.len() as u32;
        self.release_stream(id, length);
        if !self.limits.release_on_arrival {
            self.release_connection(length);
        }
        Poll::Ready(Some(Ok(data)))
    }

    /// Tells a client that waits for it to go on (RFC 9110 section 10.1.1).
    fn write_continue(&mut self, id: u32) {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = StatusCode::CONTINUE;
        self.write_head(id, false, |encoder, out| write_response(encoder, out, &head, None));
    }

    fn release_stream(&mut self, id: u32, bytes: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.receive_ended && stream.failure.is_none()) else { return };
        stream.unreleased += bytes;
        if stream.unreleased >= (self.limits.stream_window / 2).max(1) {
            let released = std::mem::take(&mut stream.unreleased);
            stream.credit += i64::from(released);
            frame::write_window_update(self.wire.text(), id, released);
        }
    }

    fn release_connection(&mut self, bytes: u32) {
        self.unreleased += bytes;
        if self.unreleased >= self.limits.connection_window.max(INITIAL_WINDOW) / 2 {
            let released = std::mem::take(&mut self.unreleased);
            self.credit += i64::from(released);
            frame::write_window_update(self.wire.text(), 0, released);
        }
    }

    /// Writes what there is to write.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire.poll_flush(cx) {
            Poll::Ready(Err(error)) => self.end(&error.to_string()),
            Poll::Ready(Ok(())) => {}
            Poll::Pending if !self.has_room() => return Poll::Pending,
            Poll::Pending => {
                self.wake_waiting();
                return Poll::Pending;
            }
        }
        self.wake_waiting();
        Poll::Ready(())
    }

    /// Nobody is woken for a window that is closed: they would only wait again, and the next flush wake them again.
    fn wake_waiting(&mut self) {
        if self.window <= 0 {
            return;
        }
        for id in self.turns.all() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.waits = false;
                stream.wake();
            }
        }
    }

    /// Whether no byte of a stream has left.
    pub fn is_unsent(&self, begins_at: u64) -> bool {
        self.wire.flushed() <= begins_at
    }

    /// Ends a stream from this side.
    pub fn fail_stream(&mut self, id: u32, reason: Reason, failure: Failure) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.failure.is_none() && self.over.is_none() {
            frame::write_reset(self.wire.text(), id, reason);
        }
        stream.fail(failure);
    }

    /// A byte stream that has not ended on both sides does not seem to have.
    pub fn cut_off(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(|stream| !(stream.send_ended && stream.receive_ended)) {
            self.fail_stream(id, Reason::Cancel, Failure::Ended);
        }
    }

    /// Nobody has to do with a stream any more.
    pub fn forget(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if stream.waits {
            self.turns.forget(id);
        }
        if !stream.receive_ended && !stream.was_reset_by_peer() {
            self.expect_late(stream.credit);
        }
        let unread: usize = stream.unread();
        if !self.limits.release_on_arrival && unread > 0 {
            self.release_connection(unread as u32);
        }
        if stream.failure.is_none() && self.over.is_none() {
            let reason = match (stream.send_ended, stream.receive_ended) {
                (true, true) => None,
                // RFC 9113 section 8.1: the response is whole, and the rest of the request need not come.
                (true, false) if self.role == Role::Server => Some(Reason::NoError),
                _ if self.role == Role::Server => Some(Reason::InternalError),
                _ => Some(Reason::Cancel),
            };
            if let Some(reason) = reason {
                frame::write_reset(self.wire.text(), id, reason);
            }
            if self.role == Role::Client && stream.begun_after == self.receipts {
                self.doubt();
            }
        }
        if self.streams.is_empty() {
            self.used = Instant::now();
            if self.leaving != Leaving::No || self.dismissed || self.unwanted {
                self.kick();
            }
        }
    }

    /// What the peer may send on a stream that has ended from here, it may have sent already.
    fn expect_late(&mut self, credit: i64) {
        self.late = self.late.saturating_add(1 + u64::try_from(credit).unwrap_or(0));
    }

    /// The peer may be out of reach, which TCP finds out much later: others must not wait for that too.
    fn doubt(&mut self) {
        if !std::mem::replace(&mut self.doubted, true) && self.may_ping() {
            self.ping();
        }
    }

    /// Lets go of memory that a connection without streams does not need.
    pub fn rest(&mut self) {
        self.wire.rest();
        self.streams.shrink_to_fit();
        (self.turns, self.begun) = Default::default();
    }

    /// Upstreams outside the mesh are not asked: servers of gRPC take questions within five minutes for an attack (`too_many_pings`),
    /// and the system notices when such a peer is gone.
    pub fn may_ping(&self) -> bool {
        self.role == Role::Server || self.limits.trusted
    }

    /// Asks the peer whether it is there.
    pub fn ping(&mut self) {
        frame::write_ping(self.wire.text(), false, PING);
    }

    /// Says that there will be no more streams; those that are on their way are still taken (RFC 9113 section 6.8).
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No && self.over.is_none() {
            self.leaving = Leaving::Announced;
            frame::write_go_away(self.wire.text(), LAST_STREAM, Reason::NoError, b"");
            self.ping();
        }
    }

    /// Whether a peer has been told to leave, and was not heard of since.
    pub fn is_announced(&self) -> bool {
        self.leaving == Leaving::Announced
    }

    pub fn say_last(&mut self) {
        self.leaving = Leaving::Said;
        self.write_last(Reason::NoError, b"");
    }

    fn write_last(&mut self, reason: Reason, why: &[u8]) {
        let last = if self.role == Role::Server { self.last } else { 0 };
        self.promised = self.promised.min(last);
        frame::write_go_away(self.wire.text(), self.promised, reason, why);
    }

    /// Whether the connection has nothing left to do.
    pub fn is_finished(&self) -> bool {
        self.over.is_some()
            || (self.streams.is_empty() && self.begun.is_empty() && (self.leaving == Leaving::Said || self.dismissed || self.unwanted))
    }

    /// Whether the connection broke off; nothing more can be said on it.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    fn fail(&mut self, Broken(reason, why): Broken) {
        self.write_last(reason, why.as_bytes());
        tracing::debug!(%reason, why, "HTTP/2: a peer's connection is closed");
        self.end(why);
    }

    /// The connection is over: its streams are told so.
    pub fn end(&mut self, why: &str) {
        if self.over.is_some() {
            return;
        }
        let why: Rc<str> = why.into();
        for stream in self.streams.values_mut() {
            stream.fail(Failure::Lost(why.clone()));
        }
        self.over = Some(why);
        self.tell_asking();
        self.kick();
    }
}

/// A response's head, when it has come.
pub fn poll_response(session: &mut Session, id: u32, cx: &Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
    let Some(stream) = session.streams.get_mut(&id) else { return Poll::Ready(Err(Failure::Ended)) };
    if let Some(head) = stream.head.take() {
        return Poll::Ready(Ok(head));
    }
    if let Some(failure) = &stream.failure {
        return Poll::Ready(Err(failure.clone()));
    }
    stream.wait(cx);
    Poll::Pending
}
