//! The client's side of HTTP/1: serves the requests of one connection, one after the other, in one task.

use super::framing::{Decoded, Decoder, Framing, of_body};
use super::head::{self, BadHead, RequestHead};
use super::stall::Stall;
use super::wire::Wire;
use super::{BadBody, chunks};
use crate::io::Io;
use crate::upgrade::Upgrade;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a next request that are read while one is under way.
const AHEAD: usize = 16 * 1024;
/// What is read over of a request that nobody wants to hear, so that its connection can go on.
const READ_OVER: usize = 256 * 1024;
/// How long it may take, or a client that is being left to stop sending, so that its connection ends without a reset.
const READ_OVER_TIME: Duration = Duration::from_secs(1);
/// An idle connection lets go of its buffers after this long.
const REST: Duration = Duration::from_secs(2);

/// How long a connection may keep us waiting.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Between requests.
    pub idle: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// For the client to take more of a response.
    pub stalled: Duration,
    /// For the client to send more of a request's body, while nothing of the response comes either.
    pub unsent: Duration,
}

/// What serves requests.
pub trait Service {
    type Body: Timed + Unpin;

    fn call(&self, head: Parts, body: RequestBody, upgrade: Option<Upgrade>) -> impl Future<Output = Response<Self::Body>>;
    /// Whether the request under way is the last.
    fn last(&self) -> bool;
    /// Resolves when an idle connection is to be closed.
    fn drained(&self) -> impl Future<Output = ()>;
    /// Whether a request may end the exchange of messages on this connection.
    fn may_upgrade(&self, head: &Parts) -> bool;
    fn refused(&self, bad: BadHead);
}

/// A response's body that may take its time, and no more.
pub trait Timed: Body<Data = Bytes, Error: Into<BoxError>> {
    /// Resolves when the time is over, also while nobody asks for a frame because the client does not take the last one.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Serves `line` until either side ends it. An idle connection is little more than what this holds, so ends are boxed.
pub async fn serve<S: Service>(line: Rc<Line>, service: &S) {
    let mut drained = pin!(service.drained());
    let mut clock = pin!(tokio::time::sleep(REST));
    // Where exchanges live, one after the other. An idle connection lets go of it, so that it is small.
    let mut room = None;
    loop {
        let head = match next_head(&line, drained.as_mut(), clock.as_mut(), || room = None).await {
            Next::Head(head) => head,
            Next::Bad(bad) => {
                service.refused(bad);
                return Box::pin(refuse(line, bad)).await;
            }
            Next::Ended => return Box::pin(close(line)).await,
        };
        let room = room.get_or_insert_with(|| Box::pin(None));
        room.set(Some(exchange(line.clone(), head, service)));
        let after = match room.as_mut().as_pin_mut() {
            Some(exchange) => exchange.await,
            None => After::Close,
        };
        room.set(None);
        match after {
            After::Next => {}
            After::Close => return Box::pin(close(line)).await,
            After::Gone => return,
            After::Cut => return line.wire.borrow_mut().cut(),
            After::Upgraded(to) => {
                if let Ok(line) = Rc::try_unwrap(line) {
                    // Nobody waits for it when the exchange was given up.
                    let _ = to.send(line.wire.into_inner().into_io());
                }
                return;
            }
        }
    }
}

/// One connection, shared by its server and the body of the request under way. All in one task.
pub struct Line {
    wire: RefCell<Wire>,
    reading: RefCell<Reading>,
    patience: Patience,
}

/// The request that is being read.
struct Reading {
    decoder: Decoder,
    /// The client waits for `100 Continue`.
    awaited: bool,
    /// It was answered without having been told to go on: whether it sends its body, only it knows.
    unheard: bool,
    /// The response has begun; whoever writes it flushes.
    answered: bool,
    /// Which request; bodies of earlier ones read nothing.
    number: u64,
    /// Runs while more is waited for.
    stall: Stall,
    /// That took too long: the request is over, and so is its connection.
    stalled: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { decoder: Decoder::Ended, awaited: false, unheard: false, answered: false, number: 0, stall: Stall::default(), stalled: false }
    }
}

#[allow(clippy::large_enum_variant, reason = "most are the large one, and a box would cost every request an allocation")]
enum Next {
    Head(RequestHead),
    Bad(BadHead),
    /// By the client, by the clock, or by a drain.
    Ended,
}

/// Writes what is left to write, and waits for a request.
async fn next_head(line: &Line, mut drained: Pin<&mut impl Future<Output = ()>>, mut clock: Pin<&mut Sleep>, mut rest: impl FnMut()) -> Next {
    let mut since = Instant::now();
    let (mut begun, mut resting) = (false, false);
    poll_fn(|cx| {
        let mut wire = line.wire.borrow_mut();
        let wire = &mut *wire;
        loop {
            match head::request(&mut wire.inbound, &mut wire.searched) {
                Ok(Some(head)) => return Poll::Ready(Next::Head(head)),
                Err(bad) => return Poll::Ready(Next::Bad(bad)),
                Ok(None) => {}
            }
            match wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Ended),
                Poll::Pending => break,
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Ended),
                Poll::Ready(Ok(_)) if !begun => (begun, since) = (true, Instant::now()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        let idle = wire.inbound.is_empty();
        if idle && drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Next::Ended);
        }
        loop {
            let limit = if idle { line.patience.idle } else { line.patience.head };
            let due = if idle && !resting { REST.min(limit) } else { limit };
            // Set forward only when it fires: a busy connection does not touch its timer.
            if clock.deadline() > since + due {
                clock.as_mut().reset(since + due);
            }
            if clock.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let waited = since.elapsed();
            if waited >= limit {
                return Poll::Ready(Next::Ended);
            }
            if waited >= REST && idle {
                wire.rest();
                line.reading.borrow_mut().stall.rest();
                rest();
                resting = true;
            }
            let due = if idle && !resting { REST } else { limit };
            clock.as_mut().reset(since + due);
        }
    })
    .await
}

enum After {
    Next,
    Close,
    /// There is nobody to say anything to.
    Gone,
    /// The response broke off, and only the end of the connection can tell.
    Cut,
    Upgraded(oneshot::Sender<Io>),
}

async fn exchange<S: Service>(line: Rc<Line>, head: RequestHead, service: &S) -> After {
    let RequestHead { parts, framing, keep_alive, expects_continue } = head;
    let (version, method) = (parts.version, parts.method.clone());
    let number = line.begin(framing, expects_continue);
    let (give, upgrade) = match framing == Framing::None && service.may_upgrade(&parts) {
        true => {
            let (give, take) = oneshot::channel();
            (Some(give), Some(Upgrade::given(take)))
        }
        false => (None, None),
    };
    let body = RequestBody { line: (framing != Framing::None).then(|| line.clone()), number };
    let response = {
        let mut serving = pin!(service.call(parts, body, upgrade));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => line.poll_gone(cx).map(|()| None),
        })
        .await
    };
    let Some(response) = response else { return After::Gone };
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && response.status().is_success());
    if let Some(give) = give.filter(|_| upgraded) {
        let (head, _) = response.into_parts();
        head::write_response(line.wire.borrow_mut().text(), version, &head, Framing::None, false);
        return match poll_fn(|cx| line.wire.borrow_mut().poll_flush(cx)).await {
            Ok(()) => After::Upgraded(give),
            Err(_) => After::Gone,
        };
    }
    let last = !keep_alive || service.last() || line.reading.borrow().stalled;
    match respond(&line, response, version, &method, last, line.patience.stalled).await {
        Written::Whole if last || !line.can_go_on().await => After::Close,
        Written::Whole => After::Next,
        Written::UntilClose => After::Close,
        Written::Broken => After::Gone,
        Written::CutShort => After::Cut,
    }
}

enum Written {
    Whole,
    UntilClose,
    /// What its head announced has not come.
    Broken,
    /// Its head announced nothing.
    CutShort,
}

/// Writes a response as its body comes.
async fn respond<B>(line: &Line, response: Response<B>, version: Version, method: &Method, last: bool, stalled: Duration) -> Written
where
    B: Timed + Unpin,
{
    let (head, body) = response.into_parts();
    let bodiless = *method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
    let framing = match () {
        () if bodiless => announced(&head.headers, head.status),
        // A response says that it has no body.
        () if body.is_end_stream() => Framing::Length(0),
        () => match of_body(false, &body.size_hint()) {
            Framing::Chunked if version == Version::HTTP_10 => Framing::UntilClose,
            framing => framing,
        },
    };
    let close = last || framing == Framing::UntilClose;
    line.answer();
    head::write_response(line.wire.borrow_mut().text(), version, &head, framing, close);
    head::recycle(head.headers);
    let mut writing = Writing { body: (!bodiless && !body.is_end_stream()).then_some(body), framing, broken: false, overdue: false, stuck: false };
    // Runs only while the client does not take what is there for it.
    let mut stall = Stall::default();
    let whole = poll_fn(|cx| {
        match writing.poll(line, cx) {
            Poll::Ready(whole) => return Poll::Ready(whole),
            Poll::Pending => {}
        }
        if line.poll_gone(cx).is_ready() || line.reading.borrow().stalled {
            return Poll::Ready(false);
        }
        if !writing.stuck {
            stall.over();
            return Poll::Pending;
        }
        stall.poll(stalled, cx).map(|()| false)
    })
    .await;
    match framing {
        Framing::UntilClose if !whole => Written::CutShort,
        _ if !whole => Written::Broken,
        Framing::UntilClose => Written::UntilClose,
        _ => Written::Whole,
    }
}

/// The length that a response without its body speaks of.
fn announced(headers: &HeaderMap, status: StatusCode) -> Framing {
    if status == StatusCode::NO_CONTENT {
        return Framing::None;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    length.map_or(Framing::None, Framing::Length)
}

struct Writing<B> {
    body: Option<B>,
    framing: Framing,
    broken: bool,
    /// Its time was over, so nobody waits for the client to take the rest.
    overdue: bool,
    /// The client has not taken what is there for it.
    stuck: bool,
}

impl<B> Writing<B>
where
    B: Timed + Unpin,
{
    /// Ready when the response is in the buffers as a whole and the last of it needs no waiting for room. `false`: it broke off.
    fn poll(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let mut waits = false;
            while !waits && self.body.is_some() && line.wire.borrow().has_room() {
                waits = self.poll_frame(line, cx).is_pending();
            }
            // The last bytes leave with the search for the next request, or with the close.
            if self.body.is_none() && !self.broken && line.wire.borrow().has_room() {
                return Poll::Ready(true);
            }
            self.stuck = true;
            let flushed = line.wire.borrow_mut().poll_flush(cx);
            if flushed.is_pending() && (self.overdue || self.body.as_mut().is_some_and(|body| body.poll_overdue(cx).is_ready())) {
                return Poll::Ready(false);
            }
            if ready!(flushed).is_err() || self.broken {
                return Poll::Ready(false);
            }
            self.stuck = false;
            if waits {
                return Poll::Pending;
            }
        }
    }

    fn poll_frame(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<()> {
        let Some(body) = &mut self.body else { return Poll::Ready(()) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        line.moved();
        let mut wire = line.wire.borrow_mut();
        let chunked = self.framing == Framing::Chunked;
        let mut ended = frame.is_none();
        let mut trailers = None;
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) if chunked => {
                    chunks::begin(wire.text(), data.len());
                    wire.put(data, b"\r\n");
                }
                Ok(data) => wire.put(data, b""),
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    ended = true;
                }
            },
            Some(Err(_)) => {
                // The client sees that it is cut: by its length, by the missing last chunk, or by how the connection ends.
                self.broken = true;
                self.overdue = body.poll_overdue(cx).is_ready();
                self.body = None;
                return Poll::Ready(());
            }
            None => {}
        }
        // The last chunk is text, which waits for large data to be written.
        if ended || (body.is_end_stream() && wire.has_room()) {
            if chunked {
                chunks::end(wire.text(), trailers.as_ref());
            }
            self.body = None;
        }
        Poll::Ready(())
    }
}

impl Line {
    pub fn new(io: Io, patience: Patience) -> Rc<Self> {
        Rc::new(Self { wire: RefCell::new(Wire::new(io)), reading: RefCell::default(), patience })
    }

    fn begin(&self, framing: Framing, expects_continue: bool) -> u64 {
        let mut reading = self.reading.borrow_mut();
        reading.number += 1;
        reading.decoder = Decoder::new(framing);
        reading.awaited = expects_continue && !reading.decoder.has_ended();
        (reading.unheard, reading.answered, reading.stalled) = (false, false, false);
        reading.stall.over();
        reading.number
    }

    /// From here on no interim response can be sent.
    fn answer(&self) {
        let mut reading = self.reading.borrow_mut();
        reading.answered = true;
        if std::mem::take(&mut reading.awaited) {
            reading.unheard = true;
            reading.number += 1;
        }
    }

    /// An exchange that moves in either direction does not stand still.
    fn moved(&self) {
        self.reading.borrow_mut().stall.over();
    }

    /// Resolves when the client has left, which shows once its request has been read.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire.borrow_mut();
        if matches!(wire.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        if !self.reading.borrow().decoder.has_ended() {
            return Poll::Pending;
        }
        while wire.inbound.len() < AHEAD {
            match ready!(wire.poll_fill_behind(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Whether the next request can be found: reads over what is left of the last one, if that is little.
    async fn can_go_on(&self) -> bool {
        let unread = {
            let mut reading = self.reading.borrow_mut();
            // Bodies of this request read nothing from here on.
            reading.number += 1;
            !reading.decoder.has_ended()
        };
        if !unread {
            return true;
        }
        if self.reading.borrow().unheard {
            return false;
        }
        let mut left = READ_OVER;
        let rest = poll_fn(|cx| {
            loop {
                match ready!(self.poll_piece(cx)) {
                    Some(Ok(frame)) => {
                        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return Poll::Ready(false) };
                        left = rest;
                    }
                    Some(Err(_)) => return Poll::Ready(false),
                    None => return Poll::Ready(true),
                }
            }
        });
        tokio::time::timeout(READ_OVER_TIME, rest).await.unwrap_or(false)
    }

    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (mut wire, mut reading) = (self.wire.borrow_mut(), self.reading.borrow_mut());
        if std::mem::take(&mut reading.awaited) && wire.inbound.is_empty() {
            wire.text().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            match reading.decoder.decode(&mut wire.inbound) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(bad) => return Poll::Ready(Some(Err(bad.into()))),
            }
            // What the client waits for, if anything, before it sends more. Its failing shows in the reading.
            if !reading.answered {
                let _ = wire.poll_flush(cx);
            }
            let Poll::Ready(filled) = wire.poll_fill(cx) else {
                ready!(reading.stall.poll(self.patience.unsent, cx));
                reading.stalled = true;
                return Poll::Ready(Some(Err(BadBody::Stalled.into())));
            };
            reading.stall.over();
            match filled {
                Ok(0) => return Poll::Ready(Some(Err(BadBody::Cut.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

/// The body of a request, read from its connection as it is asked for.
pub struct RequestBody {
    /// `None`: the request has no body.
    line: Option<Rc<Line>>,
    number: u64,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(line) = &self.line else { return Poll::Ready(None) };
        if line.reading.borrow().number != self.number {
            return Poll::Ready(Some(Err("the exchange of this body is over".into())));
        }
        line.poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.reading.borrow().decoder.has_ended())
    }

    fn size_hint(&self) -> SizeHint {
        self.line.as_ref().map_or(SizeHint::with_exact(0), |line| line.reading.borrow().decoder.size_hint())
    }
}

/// Tells the client what is wrong with its request, which nothing else can be done with.
async fn refuse(line: Rc<Line>, bad: BadHead) {
    let text = format!("the request was refused: {bad}\n");
    let mut head = Response::new(());
    *head.status_mut() = bad.status();
    let headers = head.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-taut-reason", header::HeaderValue::from_static("bad_request"));
    {
        let mut wire = line.wire.borrow_mut();
        head::write_response(wire.text(), Version::HTTP_11, &head.into_parts().0, Framing::Length(text.len() as u64), true);
        wire.put(Bytes::from(text), b"");
    }
    line.reading.borrow_mut().decoder = Decoder::UntilClose;
    close(line).await;
}

/// Ends the connection so that the client reads all that was written: closing on unread bytes would reset it (RFC 9112 section 9.6).
/// It has as long for the last of a response as for any other part.
async fn close(line: Rc<Line>) {
    if line.wire.borrow().is_over() {
        return;
    }
    let flushing = poll_fn(|cx| line.wire.borrow_mut().poll_flush(cx));
    if !matches!(tokio::time::timeout(line.patience.stalled, flushing).await, Ok(Ok(()))) {
        return;
    }
    let closing = poll_fn(|cx| line.wire.borrow_mut().poll_shutdown(cx));
    let unread = !line.reading.borrow().decoder.has_ended() || !line.wire.borrow().inbound.is_empty();
    let lingering = async {
        if closing.await.is_err() || !unread {
            return;
        }
        // However much comes: a client that writes all before it reads is to find the answer, not a reset.
        poll_fn(|cx| {
            let mut wire = line.wire.borrow_mut();
            loop {
                wire.inbound.clear();
                if !ready!(wire.poll_fill(cx)).is_ok_and(|read| read > 0) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    };
    // A client that does not read is not waited for.
    let _ = tokio::time::timeout(READ_OVER_TIME, lingering).await;
}
