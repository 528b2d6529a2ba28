//! The client's side of HTTP/2: serves the requests of one connection, all in one task.

use super::drive::Drive;
use super::duplex::Duplex;
use super::handle::{Handle, Received};
use super::head::{self, Malformed};
use super::send::Sending;
use super::session::{Begun, Line, Role};
use super::{Dialect, Limits, Patience};
use crate::http1::head::recycle;
use crate::io::Io;
use crate::slots::Slots;
use crate::upgrade::Upgrade;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, response};
use http_body::Body;
use std::future::{Future, Ready, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::oneshot;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What serves requests.
pub trait Service {
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Unpin;

    /// `upgrade`: what becomes of the stream of a CONNECT that is granted.
    fn call(&self, head: Parts, body: Received, upgrade: Option<Upgrade>) -> impl Future<Output = Response<Self::Body>>;
    /// Resolves when the client is to be told that there will be no more.
    fn leaving(&self) -> impl Future<Output = ()>;
    fn refused(&self, why: &'static str);
}

/// A request that waits for its answer, which may be that its stream is a connection from here on.
pub struct Asked(Handle);

impl Asked {
    pub fn grant(self, head: &response::Parts) -> Io {
        let Self(handle) = self;
        handle.line.with(|session| session.write_head(handle.id, false, |encoder, out| head::write_response(encoder, out, head, None)));
        Io::over(Duplex::new(handle))
    }

    /// There is no body.
    pub fn refuse(self, head: &response::Parts) {
        let Self(handle) = self;
        handle.line.with(|session| session.write_head(handle.id, true, |encoder, out| head::write_response(encoder, out, head, None)));
    }

    /// Resolves when the peer does not wait any more.
    pub async fn left(&self) {
        poll_fn(|cx| self.0.poll_failed(cx).map(|_| ())).await;
    }
}

/// Serves `io` until either side ends it.
pub async fn serve<S: Service>(io: Io, dialect: Dialect, limits: Limits, patience: Patience, service: &S) {
    let line = Line::new(io, Role::Server, dialect, limits);
    let begin = |begun| Some(exchange(line.clone(), begun, service));
    attend(&line, patience, service.leaving(), |why| service.refused(why), begin).await;
}

/// As [`serve`], where each request goes its own way from the start. `leaving`: as [`Service::leaving`].
pub async fn hand_out(io: Io, limits: Limits, patience: Patience, leaving: impl Future<Output = ()>, take: impl Fn(Parts, Asked)) {
    let line = Line::new(io, Role::Server, Dialect::Http2, limits);
    let begin = |begun: Begun| {
        take(begun.head.parts, Asked(Handle::new(line.clone(), begun.stream)));
        None::<Ready<()>>
    };
    attend(&line, patience, leaving, |_| {}, begin).await;
}

/// `begin`: what is left to do here for a request.
async fn attend<F: Future<Output = ()>>(
    line: &Rc<Line>,
    patience: Patience,
    leaving: impl Future<Output = ()>,
    refused: impl Fn(Malformed),
    begin: impl Fn(Begun) -> Option<F>,
) {
    let mut drive = Drive::new(line.clone(), patience);
    let mut slots = Slots::default();
    let (mut leaving, mut left) = (pin!(leaving), false);
    // It has a share of its own: the requests of one connection are as many as those of many connections of HTTP/1.
    let serving = tokio::task::coop::unconstrained(poll_fn(|cx| {
        if !left && leaving.as_mut().poll(cx).is_ready() {
            left = true;
            line.run(|session| session.leave());
        }
        let more = drive.read(cx);
        for why in line.run(|session| session.take_refused()) {
            refused(why);
        }
        loop {
            while let Some(begun) = line.run(|session| session.next_begun()) {
                if let Some(rest) = begin(begun) {
                    slots.push(rest);
                }
            }
            if !slots.poll(cx) {
                break;
            }
        }
        if drive.tick(cx) {
            slots.rest();
        }
        let flushed = drive.flush(cx);
        if more || slots.has_woken() {
            cx.waker().wake_by_ref();
        }
        flushed
    }));
    serving.await;
    line.run(|session| session.end("the connection was closed"));
    // Their clients are gone.
    drop(slots);
    drive.close().await;
}

async fn exchange<S: Service>(line: Rc<Line>, begun: Begun, service: &S) {
    let handle = Handle::new(line, begun.stream);
    let head = begun.head.parts;
    let (connect, headless) = (head.method == Method::CONNECT, head.method == Method::HEAD);
    let (give, upgrade) = match connect {
        true => {
            let (give, take) = oneshot::channel();
            (Some(give), Some(Upgrade::over_http2(take)))
        }
        false => (None, None),
    };
    let response = {
        let body = if connect { Received::bodiless(handle.clone()) } else { Received::new(handle.clone()) };
        let mut serving = pin!(service.call(head, body, upgrade));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => handle.poll_failed(cx).map(|_| None),
        })
        .await
    };
    let Some(response) = response else { return };
    let (head, body) = response.into_parts();
    if let Some(give) = give.filter(|_| head.status.is_success()) {
        // Nobody waits for it when the exchange was given up.
        let _ = give.send(Asked(handle).grant(&head));
        return;
    }
    let bodiless = headless || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let whole = bodiless || body.is_end_stream();
    let size = (!whole).then(|| body.size_hint());
    handle.line.with(|session| session.write_head(handle.id, whole, |encoder, out| head::write_response(encoder, out, &head, size.as_ref())));
    recycle(head.headers);
    if whole {
        return;
    }
    let mut sending = Sending::new(Some(body));
    poll_fn(|cx| match sending.poll(&handle, cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => handle.poll_failed(cx).map(|_| ()),
    })
    .await;
}
