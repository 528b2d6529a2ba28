//! The client's side of HTTP/2: serves the requests of one connection, all in one task.

use super::drive::Drive;
use super::duplex::Duplex;
use super::handle::{Handle, Received};
use super::head;
use super::send::Sending;
use super::session::{Begun, Line, Role};
use super::{Dialect, Limits, Patience};
use crate::http1::head::recycle;
use crate::io::Io;
use crate::slots::Slots;
use crate::upgrade::Upgrade;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use std::future::{Future, poll_fn};
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

/// Serves `io` until either side ends it.
pub async fn serve<S: Service>(io: Io, dialect: Dialect, limits: Limits, patience: Patience, service: &S) {
    let line = Line::new(io, Role::Server, dialect, limits);
    let mut drive = Drive::new(line.clone(), patience);
    let mut slots = Slots::default();
    let (mut leaving, mut left) = (pin!(service.leaving()), false);
    // It has a share of its own: the requests of one connection are as many as those of many connections of HTTP/1.
    let serving = tokio::task::coop::unconstrained(poll_fn(|cx| {
        if !left && leaving.as_mut().poll(cx).is_ready() {
            left = true;
            line.run(|session| session.leave());
        }
        let more = drive.read(cx);
        for why in line.run(|session| session.take_refused()) {
            service.refused(why);
        }
        loop {
            while let Some(begun) = line.run(|session| session.next_begun()) {
                slots.push(exchange(line.clone(), begun, service));
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
        handle.line.with(|session| session.write_head(handle.id, false, |encoder, out| head::write_response(encoder, out, &head, None)));
        // Nobody waits for it when the exchange was given up.
        let _ = give.send(Io::over(Duplex::new(handle)));
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
