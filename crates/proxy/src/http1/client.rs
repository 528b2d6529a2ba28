//! The upstream's side of HTTP/1: one request out, its response in, on a connection on loan. Runs in the task that awaits it.

use super::chunks;
use super::framing::{BadBody, Decoded, Decoder, Framing, of_body};
use super::head::{self, BadHead, ResponseHead};
use super::wire::Wire;
use crate::io::Io;
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection on loan from whoever keeps it. Dropped, it is closed.
pub trait Loan {
    fn wire(&mut self) -> &mut Wire;
    /// It has carried its exchange and may carry another.
    fn give_back(self: Box<Self>);
    /// It has become something else.
    fn keep(self: Box<Self>) -> Io;
}

/// Why no response head came.
#[derive(Debug)]
pub struct Unanswered {
    pub why: Why,
    /// No byte of the request has left.
    pub unsent: bool,
}

#[derive(Debug)]
pub enum Why {
    /// The peer closed the connection, or the system did.
    Broken(Option<io::Error>),
    NotHttp(BadHead),
    /// The request's own body broke off.
    Body(BoxError),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(None) => f.write_str("the connection was closed before a response came"),
            Self::Broken(Some(error)) => write!(f, "the connection broke before a response came: {error}"),
            Self::NotHttp(why) => write!(f, "the response is not HTTP: {why}"),
            Self::Body(error) => write!(f, "the request's body broke off: {error}"),
        }
    }
}

/// Sends one request and waits for the head of its response. `100 Continue` and other interim responses are passed over.
///
/// # Errors
/// Before a response's head: the connection or the request's body broke off, or what came is not HTTP/1.
pub async fn send<B>(mut loan: Box<dyn Loan>, request: &Parts, body: B) -> Result<Response<ResponseBody>, Unanswered>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
{
    let mut sending = Sending::new(loan.wire(), request, body);
    let answered = poll_fn(|cx| {
        let wire = loan.wire();
        let written = sending.poll(wire, cx);
        loop {
            match head::response(&mut wire.inbound, &mut wire.searched, &request.method) {
                Err(bad) => return Poll::Ready(Err(Why::NotHttp(bad))),
                Ok(Some(head)) if head.parts.status.is_informational() && head.parts.status != StatusCode::SWITCHING_PROTOCOLS => continue,
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(sending.broken(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(sending.broken(Some(error)))),
                // A peer may answer, and close, before it has read all: its answer is waited for even when writing fails.
                Poll::Pending => match written {
                    Poll::Ready(Err(why @ Why::Body(_))) => return Poll::Ready(Err(why)),
                    _ => return Poll::Pending,
                },
            }
        }
    });
    match answered.await {
        Ok(head) => Ok(ResponseBody::of(head, loan, sending)),
        Err(why) => Err(Unanswered { unsent: !loan.wire().wrote && !matches!(why, Why::NotHttp(_)), why }),
    }
}

/// The part of a request that has not been written.
struct Sending<B> {
    body: Option<B>,
    framing: Framing,
    /// Of the length that was announced.
    left: u64,
    failed: Option<io::Error>,
    over: bool,
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    fn new(wire: &mut Wire, request: &Parts, body: B) -> Self {
        let framing = of_body(body.is_end_stream(), &body.size_hint());
        head::write_request(wire.text(), request, framing);
        wire.wrote = false;
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { body: (framing != Framing::None).then_some(body), framing, left, failed: None, over: false }
    }

    /// Writes as much as there is and fits. Ready when all is written, or the body or the connection broke off.
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Why>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        if self.failed.is_some() {
            return Poll::Ready(Err(Why::Broken(None)));
        }
        loop {
            let mut waits = false;
            while !waits && wire.has_room() && self.body.is_some() {
                match self.poll_frame(wire, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Why::Body(error))),
                    Poll::Pending => waits = true,
                }
            }
            if let Err(error) = ready!(wire.poll_flush(cx)) {
                self.failed = Some(error);
                return Poll::Ready(Err(Why::Broken(None)));
            }
            if self.body.is_none() {
                self.over = true;
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    fn poll_frame(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose()?;
        let chunked = self.framing == Framing::Chunked;
        let (mut trailers, last) = (None, frame.is_none());
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if chunked && !data.is_empty() => {
                chunks::begin(wire.text(), data.len());
                wire.put(data, b"\r\n");
            }
            Some(Ok(data)) if !chunked => {
                let longer = "the body is longer than its Content-Length";
                self.left = self.left.checked_sub(data.len() as u64).ok_or(longer)?;
                wire.put(data, b"");
            }
            Some(Ok(_)) => {}
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
            None if self.left > 0 => return Poll::Ready(Err("the body is shorter than its Content-Length".into())),
            None => {}
        }
        // Trailers come behind data that may still wait for room: they are text.
        let ended = last || trailers.is_some() || body.is_end_stream() || (!chunked && self.left == 0);
        if ended && wire.has_room() {
            if chunked {
                chunks::end(wire.text(), trailers.as_ref());
            }
            self.body = None;
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&mut self, error: Option<io::Error>) -> Why {
        Why::Broken(self.failed.take().or(error))
    }
}

/// What is left of a request whose response came early.
trait Rest {
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Why>>;
}

impl<B> Rest for Sending<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Why>> {
        Sending::poll(self, wire, cx)
    }
}

/// The body of a response, read from the connection as it is asked for. When it has ended the connection goes back.
pub struct ResponseBody {
    loan: Option<Box<dyn Loan>>,
    decoder: Decoder,
    reusable: bool,
    rest: Option<Box<dyn Rest>>,
}

impl ResponseBody {
    fn of<B>(head: ResponseHead, loan: Box<dyn Loan>, sending: Sending<B>) -> Response<Self>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
        let switching = head.parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let rest: Option<Box<dyn Rest>> = if sending.over { None } else { Some(Box::new(sending)) };
        let decoder = Decoder::new(head.framing);
        let mut body = Self { loan: Some(loan), decoder, reusable: head.keep_alive, rest };
        if !switching && body.decoder.has_ended() {
            body.end();
        }
        Response::from_parts(head.parts, body)
    }

    /// After `101 Switching Protocols`: the connection, for another protocol.
    pub fn into_io(mut self) -> Option<Io> {
        self.loan.take().map(Loan::keep)
    }

    /// The response is over: the connection goes back if it can carry another exchange.
    fn end(&mut self) {
        let Some(mut loan) = self.loan.take() else { return };
        if self.reusable && self.rest.is_none() && loan.wire().inbound.is_empty() {
            loan.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = &mut *self;
        let Some(loan) = &mut body.loan else { return Poll::Ready(None) };
        let wire = loan.wire();
        if let Some(rest) = &mut body.rest
            && let Poll::Ready(sent) = rest.poll(wire, cx)
        {
            // What cannot be sent any more does not end the response; it ends with the connection.
            (body.rest, body.reusable) = (None, body.reusable && sent.is_ok());
        }
        let decoded = loop {
            match body.decoder.decode(&mut wire.inbound) {
                Ok(Decoded::More) => match ready!(wire.poll_fill(cx)) {
                    Ok(0) => break body.decoder.at_close(),
                    Ok(_) => {}
                    Err(error) => {
                        body.loan = None;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                },
                decoded => break decoded,
            }
        };
        let frame = match decoded {
            Ok(Decoded::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Decoded::End | Decoded::More) => None,
            Err(bad) => {
                body.loan = None;
                Some(Err(bad.into()))
            }
        };
        if body.decoder.has_ended() {
            body.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.loan.is_none() || self.decoder.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }
}

impl From<BadBody> for Why {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad.into())
    }
}
