//! What an HTTP/2 connection knows of one of its streams.

use super::head::{Malformed, ResponseHead};
use super::reason::Reason;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::SizeHint;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};

/// Pieces smaller than this are gathered into ones of about [`GATHERED`]: a peer that sends byte by byte is not to have each of them kept
/// with the memory that it came in.
const SMALL: usize = 512;
const GATHERED: usize = 4096;

/// What ended a stream before its time.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The peer reset it.
    Reset(Reason),
    /// The peer has not looked at it, and says so.
    Refused,
    /// The connection broke off.
    Lost(Rc<str>),
    /// What the peer sent is not HTTP; it was reset from here.
    Malformed(Malformed),
    /// The peer sent nothing, or took nothing, for too long.
    Stalled,
    /// It has ended already.
    Ended,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(reason) => write!(f, "the peer reset the stream ({reason})"),
            Self::Refused => f.write_str("the peer did not take the stream"),
            Self::Lost(why) => write!(f, "the connection broke off: {why}"),
            Self::Malformed(why) => write!(f, "not HTTP/2: {why}"),
            Self::Stalled => f.write_str("the peer kept the stream waiting for too long"),
            Self::Ended => f.write_str("the stream has ended"),
        }
    }
}

/// What the connection knows of a stream.
#[derive(Default)]
pub struct Stream {
    /// What may be sent, and what the peer may send.
    pub window: i64,
    pub credit: i64,
    /// Taken, and the peer is not told yet that it may send as much again.
    pub unreleased: u32,
    pub send_ended: bool,
    pub receive_ended: bool,
    /// The head of the response, until it is asked for.
    pub head: Option<ResponseHead>,
    /// The client waits for `100 Continue` before it sends the request's body.
    pub awaited: bool,
    /// The head has come: data and trailers may follow.
    pub headed: bool,
    /// A response to HEAD has a length, and no body.
    pub bodiless: bool,
    data: VecDeque<Bytes>,
    /// What has come behind that, in small pieces.
    crumbs: BytesMut,
    pub trailers: Option<HeaderMap>,
    /// Of the length that the head announced, what has not come.
    left: Option<u64>,
    pub failure: Option<Failure>,
    waker: Option<Waker>,
    /// Waits for room that all streams share; has written since it last did.
    pub waits: bool,
    pub served: bool,
    /// There is something to send, and no room.
    pub stuck: bool,
    /// Something has come or gone since it was last looked at; and how often nothing had.
    pub moved: bool,
    pub still: u32,
    /// How much had been written to the connection before it.
    pub begins_at: u64,
    /// How often the connection had heard of its peer before it.
    pub begun_after: u64,
    /// Who has to do with it.
    pub holders: u32,
}

impl Stream {
    pub fn new(window: i64, credit: i64) -> Self {
        Self { window, credit, moved: true, ..Self::default() }
    }

    pub fn can_send(&self) -> bool {
        !self.send_ended && self.failure.is_none()
    }

    pub fn wait(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// After a head that says how long the body is.
    pub fn expect(&mut self, length: Option<u64>, end: bool) -> Result<(), Malformed> {
        self.left = length;
        if end { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Malformed> {
        if self.left.is_some_and(|left| left > 0) {
            return Err("the body is shorter than its Content-Length");
        }
        self.receive_ended = true;
        Ok(())
    }

    pub fn take_response(&mut self, head: ResponseHead, end: bool) -> Result<(), Malformed> {
        if head.parts.status.is_informational() {
            return if end { Err("an interim response ends the stream") } else { Ok(()) };
        }
        self.bodiless |= matches!(head.parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.expect(if self.bodiless { Some(0) } else { head.length }, end)?;
        (self.head, self.headed, self.moved) = (Some(head), true, true);
        self.wake();
        Ok(())
    }

    pub fn take_trailers(&mut self, trailers: HeaderMap, end: bool) -> Result<(), Malformed> {
        if !end {
            return Err("a second head does not end the stream");
        }
        self.end()?;
        (self.trailers, self.moved) = (Some(trailers), true);
        self.wake();
        Ok(())
    }

    /// Whether it is kept, to be read.
    pub fn take_data(&mut self, data: Bytes, flow_bytes: u32, end: bool) -> Result<bool, (Reason, Malformed)> {
        if self.was_reset_by_peer() {
            return Err((Reason::StreamClosed, "data after a reset"));
        }
        if self.failure.is_some() {
            // It was reset while this was on its way. Nobody reads it.
            return Ok(false);
        }
        if !self.headed {
            return Err((Reason::ProtocolError, "data before the response's head"));
        }
        if self.receive_ended {
            return Err((Reason::StreamClosed, "data after the end of the stream"));
        }
        self.credit -= i64::from(flow_bytes);
        if self.credit < 0 {
            return Err((Reason::FlowControlError, "the peer sends more than the stream's window holds"));
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or((Reason::ProtocolError, "the body is longer than its Content-Length"))?;
        }
        (self.moved, self.awaited) = (true, false);
        if end {
            self.end().map_err(|why| (Reason::ProtocolError, why))?;
        }
        self.keep(data);
        self.wake();
        Ok(true)
    }

    fn keep(&mut self, data: Bytes) {
        if data.len() < SMALL && !self.is_drained() {
            self.crumbs.extend_from_slice(&data);
            if self.crumbs.len() >= GATHERED {
                self.data.push_back(self.crumbs.split().freeze());
            }
        } else if !data.is_empty() {
            if !self.crumbs.is_empty() {
                self.data.push_back(self.crumbs.split().freeze());
            }
            self.data.push_back(data);
        }
    }

    /// `by_server`: it may be content with what it has of the request (RFC 9113 section 8.1).
    pub fn take_reset(&mut self, reason: Reason, by_server: bool) {
        // The whole response has come; the peer does not want the rest of the request.
        if by_server && self.receive_ended && reason == Reason::NoError {
            self.send_ended = true;
            self.wake();
            return;
        }
        self.fail(if reason == Reason::RefusedStream { Failure::Refused } else { Failure::Reset(reason) });
    }

    pub fn was_reset_by_peer(&self) -> bool {
        matches!(self.failure, Some(Failure::Reset(_) | Failure::Refused))
    }

    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.wake();
    }

    pub fn next_data(&mut self) -> Option<Bytes> {
        let whole = self.data.pop_front();
        whole.or_else(|| (!self.crumbs.is_empty()).then(|| std::mem::take(&mut self.crumbs).freeze()))
    }

    pub fn unread(&self) -> usize {
        self.data.iter().map(Bytes::len).sum::<usize>() + self.crumbs.len()
    }

    fn is_drained(&self) -> bool {
        self.data.is_empty() && self.crumbs.is_empty()
    }

    pub fn is_read(&self) -> bool {
        self.receive_ended && self.is_drained() && self.trailers.is_none()
    }

    pub fn size_hint(&self) -> SizeHint {
        let there = self.unread() as u64;
        match self.left {
            _ if self.receive_ended && self.trailers.is_none() => SizeHint::with_exact(there),
            Some(left) if self.trailers.is_none() => SizeHint::with_exact(there + left),
            // A length would leave no room for trailers in HTTP/1.
            _ => {
                let mut hint = SizeHint::new();
                hint.set_lower(there);
                hint
            }
        }
    }
}

/// Whether a stream keeps this side waiting: `true` when it is to be given up. Looked at now and then.
/// `body`: also when what is to come does not.
pub fn has_stalled(stream: &mut Stream, body: bool, most: u32) -> bool {
    let waits = stream.stuck || (body && !stream.receive_ended && !stream.send_ended && stream.is_drained());
    stream.still = if std::mem::take(&mut stream.moved) || !waits { 0 } else { stream.still + 1 };
    stream.still >= most && stream.failure.is_none()
}
