//! The side that is connected to: takes the CONNECT streams of a peer's connection, and hands each to who decides about it.

use super::{STREAMS, for_servers, silence};
use crate::current::{Current, Stage};
use crate::fault::{Fault, Kind};
use crate::io::Io;
use crate::lane::{Lane, Place};
use crate::metadata;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// For the peer to say that it speaks HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection that are being worked on. A stream that its peer resets does not count for HTTP/2 any more, but still
/// for a moment here: a peer that makes more of these than it may have streams attacks.
const MOST: usize = 2 * STREAMS;

/// A stream that waits for an answer.
pub struct Asked {
    respond: SendResponse<Bytes>,
    receive: RecvStream,
    place: Place,
}

impl Asked {
    /// Yes: the stream is a connection from here on.
    pub fn accept(mut self) -> io::Result<Io> {
        let send = self.respond.send_response(Response::new(()), false).map_err(io::Error::other)?;
        Ok(Io::over(Lane::new(send, self.receive, self.place)))
    }

    /// No, and why. A client that is gone needs no answer.
    pub fn refuse(mut self, fault: &Fault) {
        let response = Response::builder().status(status(fault)).header(metadata::REASON.clone(), fault.reason());
        if let Ok(response) = response.body(()) {
            let _ = self.respond.send_response(response, true);
        }
    }

    /// Resolves when the client does not wait any more.
    pub async fn left(&mut self) {
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}

/// As ztunnel answers: whose fault it is, not what happened.
fn status(fault: &Fault) -> StatusCode {
    match &fault.kind {
        Kind::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        Kind::BadRequest => StatusCode::BAD_REQUEST,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Serves a peer's connection until it ends; each stream is given to `take`. When the proxy is replaced or drains, GOAWAY says that
/// there will be no more, and those that stand go on.
pub async fn serve(io: Io, current: &Current, take: impl Fn(Parts, Asked)) {
    let Ok(Ok(mut connection)) = tokio::time::timeout(PREFACE_TIMEOUT, for_servers().handshake::<_, Bytes>(io)).await else { return };
    let streams = Rc::new(Cell::new(0));
    let mut silent = pin!(silence(connection.ping_pong(), || true));
    let (mut leaves, mut leaving) = (pin!(current.reached(Stage::Replaced)), false);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = connection.accept() => accepted,
            () = &mut leaves, if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
                continue;
            }
            () = &mut silent => return,
        };
        match accepted {
            Some(Ok((request, mut respond))) if streams.get() >= MOST => {
                drop(request);
                respond.send_reset(Reason::ENHANCE_YOUR_CALM);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Some(Ok((request, respond))) => {
                let (head, receive) = request.into_parts();
                let asked = Asked { respond, receive, place: Place::take(&streams) };
                match head.method == Method::CONNECT {
                    true => take(head, asked),
                    false => asked.refuse(&Fault::new(Kind::MethodNotAllowed, "HBONE is CONNECT only")),
                }
            }
            // What ended it is told to its streams.
            Some(Err(_)) | None => return,
        }
    }
}
