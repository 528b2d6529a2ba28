//! The upstream's side of HTTP/2: one connection that many requests share.

use super::drive;
use super::duplex::Duplex;
use super::handle::{Handle, Received};
use super::head;
use super::send::{Sending, Unsent};
use super::session::{Line, Role, poll_response};
use super::stream::Failure;
use super::{Dialect, Limits, Patience, Protocol};
use crate::io::Io;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to an upstream. Dropped, it takes no more requests, and ends with the last.
pub struct Connection(Rc<Line>);

/// Why no response head came.
#[derive(Debug)]
pub struct Unanswered {
    pub why: Why,
    /// The upstream has not looked at it: no byte of it has left, or it was told so.
    pub unsent: bool,
}

#[derive(Debug)]
pub enum Why {
    Stream(Failure),
    /// The request's own body broke off.
    Body(BoxError),
    /// The upstream does not take extended CONNECT (RFC 8441).
    NoExtendedConnect,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(failure) => failure.fmt(f),
            Self::Body(error) => write!(f, "the request's body broke off: {error}"),
            Self::NoExtendedConnect => f.write_str("the upstream takes no WebSocket over HTTP/2 (RFC 8441)"),
        }
    }
}

/// What a response brings: a body, or after a granted CONNECT a byte stream.
pub enum Answered {
    Body(Response<Received>),
    Stream(Response<()>, Io),
}

impl Connection {
    /// The connection, and what runs it.
    pub fn new(io: Io, dialect: Dialect, limits: Limits) -> (Self, impl Future<Output = ()>) {
        let line = Line::new(io, Role::Client, dialect, limits);
        let patience = Patience { idle: Duration::MAX, stalled: Duration::MAX, body: false };
        (Self(line.clone()), drive::run(line, patience))
    }

    /// Requests that may be sent on it beside those that are, of `most` at the same time.
    pub fn room(&self, most: u32) -> usize {
        self.0.run(|session| if session.is_open() { session.room(most) } else { 0 })
    }

    pub fn is_open(&self) -> bool {
        self.0.run(|session| session.is_open())
    }

    /// For how long it has carried nothing. `None`: it carries something.
    pub fn idle_for(&self) -> Option<Duration> {
        self.0.run(|session| session.streams.is_empty().then(|| session.used.elapsed()))
    }

    /// Sends one request and waits for the head of its response. Interim responses are passed over.
    ///
    /// # Errors
    /// Before a response's head: the stream, the connection or the request's body broke off.
    pub async fn send<B>(&self, head: &Parts, body: B) -> Result<Answered, Unanswered>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
        let connect = head.method == Method::CONNECT;
        if connect && head.extensions.get::<Protocol>().is_some() && !self.takes_extended_connect().await {
            return Err(Unanswered { why: Why::NoExtendedConnect, unsent: false });
        }
        let closed = || Unanswered { why: Why::Stream(Failure::Refused), unsent: true };
        let Some(id) = self.0.run(|session| session.open(&head.method)) else { return Err(closed()) };
        let handle = Handle::new(self.0.clone(), id);
        let ended = !connect && body.is_end_stream();
        let size = (!ended && !connect).then(|| body.size_hint());
        self.0.with(|session| session.write_head(id, ended, |encoder, out| head::write_request(encoder, out, head, size.as_ref())));
        let mut sending = Sending::new((!ended && !connect).then_some(body));
        let answered = poll_fn(|cx| {
            if let Poll::Ready(Err(Unsent::Body(error))) = sending.poll(&handle, cx) {
                return Poll::Ready(Err(Why::Body(error)));
            }
            handle.line.run(|session| poll_response(session, id, cx)).map_err(Why::Stream)
        })
        .await;
        let head = match answered {
            Ok(head) => head.parts,
            Err(why) => {
                let unsent = matches!(why, Why::Stream(Failure::Refused)) || self.is_unsent(id, &why);
                return Err(Unanswered { why, unsent });
            }
        };
        if connect && head.status.is_success() {
            return Ok(Answered::Stream(Response::from_parts(head, ()), Io::over(Duplex::new(handle))));
        }
        if connect {
            // A tunnel that is refused: nothing more goes that way.
            handle.line.with(|session| session.write_end(id));
        }
        let mut received = Received::new(handle);
        if !sending.is_over() {
            received.rest = Some(Box::new(sending));
        }
        Ok(Answered::Body(Response::from_parts(head, received)))
    }

    fn is_unsent(&self, id: u32, why: &Why) -> bool {
        let lost = matches!(why, Why::Stream(Failure::Lost(_)));
        lost && self.0.run(|session| session.streams.get(&id).is_some_and(|stream| session.is_unsent(stream.begins_at)))
    }

    async fn takes_extended_connect(&self) -> bool {
        poll_fn(|cx| {
            self.0.run(|session| match session.takes_extended_connect() {
                Some(takes) => Poll::Ready(takes),
                None if !session.is_open() => Poll::Ready(false),
                None => {
                    session.ask(cx);
                    Poll::Pending
                }
            })
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.run(|session| {
            session.unwanted = true;
            session.kick();
        });
    }
}
