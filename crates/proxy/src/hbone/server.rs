//! The side that is connected to: takes the CONNECT streams of a peer's connection, and hands each to who decides about it.

use super::LIMITS;
use crate::current::{Current, Stage};
use crate::fault::{Fault, Kind};
use crate::http2::{self, Patience};
use crate::io::Io;
use crate::metadata;
use crate::websocket;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, response};
use std::time::Duration;

/// A peer keeps an idle connection for about an hour, and closes it by itself. What its streams carry may take its time.
const PATIENCE: Patience = Patience { idle: Duration::from_secs(3660), stalled: Duration::MAX, body: false };

/// A stream that waits for an answer.
pub struct Asked(http2::server::Asked);

impl Asked {
    /// Yes: the stream is a connection from here on.
    pub fn accept(self) -> Io {
        self.0.grant(&head(StatusCode::OK))
    }

    /// No, and why. A client that is gone needs no answer.
    pub fn refuse(self, fault: &Fault) {
        let mut head = head(status(fault));
        if let Ok(reason) = HeaderValue::from_str(fault.reason()) {
            head.headers.insert(metadata::REASON.clone(), reason);
        }
        self.0.refuse(&head);
    }

    /// Resolves when the client does not wait any more.
    pub async fn left(&self) {
        self.0.left().await;
    }
}

fn head(status: StatusCode) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head
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
    let take = |head: Parts, asked| {
        let asked = Asked(asked);
        // An extended CONNECT (RFC 8441) asks for something else.
        match head.method == Method::CONNECT && !websocket::is_extended(&head) {
            true => take(head, asked),
            false => asked.refuse(&Fault::new(Kind::MethodNotAllowed, "HBONE is CONNECT only")),
        }
    };
    http2::server::hand_out(io, LIMITS, PATIENCE, current.reached(Stage::Replaced), take).await;
}
