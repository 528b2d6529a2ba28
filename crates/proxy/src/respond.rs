//! Step 7 of 7: the one place where a fault becomes a status, and where the record of an exchange is handed to the response
//! so that it is emitted when the response has truly ended.

use crate::doors::LOAD;
use crate::engine::Engine;
use crate::evidence::OwnedFacts;
use crate::facts::Exchange;
use crate::fault::{Fault, Kind, side_name};
use crate::forward::{Answer, Content, Hold, switches_protocol};
use crate::grpc;
use crate::grpc_web::{self, Format};
use crate::http1::head;
use crate::http1::server::Timed;
use crate::incoming::BoxError;
use crate::limiter;
use crate::metadata;
use crate::record::Open;
use crate::trace;
use crate::transform;
use crate::tunnel;
use crate::upgrade::Upgrade;
use crate::websocket;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use taut_model::origin::Origin;
use taut_model::route::AbortWith;
use taut_plan::verdict::Reason;
use tokio::time::{Instant, Sleep};

/// What the client is sent. It holds the record, which ends with it.
pub struct ResponseBody {
    content: Option<Content>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// It did not end by then.
    overdue: bool,
    open: Option<Open>,
    hold: Hold,
    /// What the client reads instead of gRPC.
    web: Option<Format>,
    /// The most bytes that it may have, and what says so.
    most: Option<(u64, Origin)>,
    /// Of a stream, which a change of policy may end.
    standing: Option<Box<Standing>>,
}

/// What a stream was let in as.
struct Standing {
    engine: Rc<Engine>,
    facts: Option<OwnedFacts>,
    /// Made when the stream has nothing to say: most are over before.
    revoked: Option<Pin<Box<dyn Future<Output = Fault>>>>,
}

impl Standing {
    /// Takes the headers: a later plan may ask about any.
    fn new(engine: &Rc<Engine>, exchange: &mut Exchange) -> Self {
        let mut facts = exchange.open.evidence.as_ref().map(|evidence| evidence.facts.clone());
        if let Some(http) = facts.as_mut().and_then(|facts| facts.http.as_mut()) {
            http.headers = std::mem::take(&mut exchange.head.headers);
        }
        Self { engine: engine.clone(), facts, revoked: None }
    }

    /// Ready when a policy has taken the right to it away.
    fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        if let Some(facts) = self.facts.take() {
            let engine = self.engine.clone();
            self.revoked = Some(Box::pin(async move { tunnel::revoked(&engine, &facts).await }));
        }
        self.revoked.as_mut().map_or(Poll::Pending, |revoked| revoked.as_mut().poll(cx))
    }
}

/// Turns what came of an exchange into the response. The application that asked learns the request id, for `taut why`.
pub fn finish(engine: &Rc<Engine>, mut exchange: Exchange, outcome: Result<Answer, Fault>) -> Response<ResponseBody> {
    let id = if exchange.inbound() { None } else { id_value(&exchange) };
    if exchange.upgrade.is_none() && !stands(&exchange, &outcome) {
        head::recycle(std::mem::take(&mut exchange.head.headers));
    }
    let web = exchange.web;
    let mut response = respond(engine, exchange, outcome);
    if let Some(wanted) = web
        && grpc_web::response_head(response.headers_mut(), wanted)
    {
        response.body_mut().web = Some(wanted);
    }
    if let Some(id) = id {
        response.headers_mut().insert(trace::REQUEST_ID.clone(), id);
    }
    response
}

/// Whether the response goes on for as long as the client likes, so that a policy may be changed meanwhile: a stream of gRPC's messages, or
/// of events for a page.
fn stands(exchange: &Exchange, outcome: &Result<Answer, Fault>) -> bool {
    let is_stream = |headers: &HeaderMap| {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        kind.starts_with(b"application/grpc") || kind.starts_with(b"text/event-stream")
    };
    exchange.inbound() && outcome.as_ref().is_ok_and(|answer| is_stream(answer.response.headers()))
}

/// The request's id as a header: nearly always the one that was sent on.
fn id_value(exchange: &Exchange) -> Option<HeaderValue> {
    let id = &exchange.open.record.request_id;
    let sent = exchange.head.headers.get(&trace::REQUEST_ID).filter(|value| value.to_str().is_ok_and(|value| id.is(value)));
    sent.cloned().or_else(|| HeaderValue::from_str(&id.to_string()).ok())
}

fn respond(engine: &Rc<Engine>, mut exchange: Exchange, outcome: Result<Answer, Fault>) -> Response<ResponseBody> {
    let standing = if stands(&exchange, &outcome) { Some(Box::new(Standing::new(engine, &mut exchange))) } else { None };
    match outcome {
        Ok(answer) if switches_protocol(&answer.response) => switch(engine, exchange, answer),
        // Success would grant the client its WebSocket, which the application did not mean.
        Ok(answer) if answer.response.status().is_success() && exchange.upgrade.as_ref().is_some_and(Upgrade::is_over_http2) => {
            failure(exchange, &Fault::new(Kind::BadResponse, "the application answered the request for a WebSocket with something else"))
        }
        Ok(answer) => {
            let (head, content) = answer.response.into_parts();
            let record = exchange.open.record();
            record.status = head.status.as_u16();
            record.grpc_status = grpc::status(&head.headers);
            if let Some(reason) = head.headers.get(&metadata::REASON).and_then(|reason| reason.to_str().ok()) {
                let detail = format!("reported by the peer's proxy with status {}", record.status);
                exchange.open.fail(&Fault::new(Kind::Reported { reason: reason.chars().take(64).collect() }, detail));
            }
            let mut body = ResponseBody::new(content, answer.deadline, Some(exchange.open), answer.hold);
            body.most = exchange.largest_response;
            body.standing = standing;
            Response::from_parts(head, body)
        }
        Err(fault) => failure(exchange, &fault),
    }
}

/// The response to an exchange that failed: a status, the reason, and how to learn more.
fn failure(mut exchange: Exchange, fault: &Fault) -> Response<ResponseBody> {
    let id = exchange.open.record.request_id.clone();
    let (side, reason) = (side_name(fault.side()), fault.reason());
    // A stranger learns what happened, and not which policies and workloads there are. Of a refusal nobody does who is not allowed to
    // ask the control plane.
    let untold = exchange.inbound() && (exchange.arrival.peer.is_none() || matches!(fault.kind, Kind::Refused { .. }));
    let text = match untold {
        true => format!("{side} {reason} (request {id})"),
        false => format!("{side} {reason}: {} (request {id}; for the whole story: taut why {id})", fault.detail),
    };
    let grpc = match &fault.kind {
        Kind::Injected { with: AbortWith::Grpc(code), .. } => Some(*code),
        Kind::Injected { with: AbortWith::Http(_), .. } => None,
        _ => exchange.grpc.then(|| grpc_code(fault)),
    };
    let mut headers = HeaderMap::new();
    if let Kind::Refused { reason: Reason::Token(_), status: 401, .. } = &fault.kind {
        // RFC 6750 section 3.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
    }
    if let Kind::Overloaded { again } = fault.kind {
        come_back_later(&mut headers, again, grpc.is_some());
    }
    let status = match grpc {
        // gRPC over HTTP/2, "Responses": trailers-only.
        Some(code) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", code.into());
            headers.extend(HeaderValue::from_str(&percent_encoded(&text)).ok().map(|text| (http::HeaderName::from_static("grpc-message"), text)));
            StatusCode::OK
        }
        None => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            status(fault)
        }
    };
    let body = match &fault.kind {
        _ if grpc.is_some() => Bytes::new(),
        Kind::Denied(denied) => {
            headers.remove(header::CONTENT_TYPE);
            headers.extend(denied.headers.clone());
            denied.body.clone()
        }
        _ => Bytes::from(format!("{text}\n")),
    };
    headers.extend(HeaderValue::from_str(fault.reason()).ok().map(|reason| (metadata::REASON.clone(), reason)));
    if exchange.inbound() && exchange.arrival.peer.is_some() {
        let engine = exchange.open.engine();
        headers.extend(engine.introduction.clone().map(|own| (metadata::DESTINATION.clone(), own)));
        headers.extend(engine.doors.report().map(|load| (LOAD.clone(), load)));
    }
    transform::across_origins(&exchange, &mut headers);
    if let Kind::RateLimited(exhausted) = &fault.kind {
        limiter::tell(&mut headers, exhausted);
    }
    let record = exchange.open.record();
    (record.status, record.grpc_status) = (status.as_u16(), grpc);
    exchange.open.fail(fault);
    let mut response = Response::new(ResponseBody::new(Content::Here(body), None, Some(exchange.open), Hold::default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// When to try again. A retry that was sent away is told not to come back: it would only add to the load.
fn come_back_later(headers: &mut HeaderMap, again: bool, is_grpc: bool) {
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    if is_grpc {
        // gRPC's retry design (A6): milliseconds, or a negative number for never.
        let pushback = if again { "-1" } else { "1000" };
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static(pushback));
    }
}

/// RFC 9110 section 15, as Envoy and Istio use them.
fn status(fault: &Fault) -> StatusCode {
    match &fault.kind {
        Kind::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        Kind::Injected { with: AbortWith::Http(status), .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        Kind::Denied(denied) => denied.status,
        Kind::RequestTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Timeout | Kind::PerTryTimeout | Kind::DeadlineOver => StatusCode::GATEWAY_TIMEOUT,
        Kind::BadResponse | Kind::NameNotFound | Kind::ResponseTooLarge(_) => StatusCode::BAD_GATEWAY,
        Kind::BadRequest | Kind::ClientBroke | Kind::ClientLeft => StatusCode::BAD_REQUEST,
        Kind::ClientStalled => StatusCode::REQUEST_TIMEOUT,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
        Kind::Loop => StatusCode::LOOP_DETECTED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// gRPC's mapping of HTTP statuses to codes (doc/http-grpc-status-mapping.md), with DEADLINE_EXCEEDED for our timeouts.
fn grpc_code(fault: &Fault) -> u16 {
    match status(fault).as_u16() {
        _ if matches!(fault.kind, Kind::Timeout | Kind::PerTryTimeout | Kind::DeadlineOver) => 4,
        // RESOURCE_EXHAUSTED, as Envoy has it for limits, and gRPC for messages that are too large.
        _ if matches!(
            fault.kind,
            Kind::RateLimited(_) | Kind::RequestTooLarge(_) | Kind::ResponseTooLarge(_) | Kind::Refused { reason: Reason::RateLimited, .. }
        ) =>
        {
            8
        }
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// gRPC over HTTP/2, "Percent-Encoded".
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// 101: both sides now speak another protocol. The exchange ends when they stop.
fn switch(engine: &Rc<Engine>, mut exchange: Exchange, answer: Answer) -> Response<ResponseBody> {
    let Answer { response, hold, .. } = answer;
    let (mut head, content) = response.into_parts();
    let upstream = match content {
        Content::Upstream(incoming) => incoming.into_io(),
        Content::Here(_) | Content::Compressed(_) => None,
    };
    let (Some(client), Some(upstream)) = (exchange.upgrade.take(), upstream) else {
        let fault = Fault::new(Kind::BadResponse, "the upstream switched protocols without being asked to");
        return failure(exchange, &fault);
    };
    exchange.open.record().status = head.status.as_u16();
    // What a later plan may ask about, all headers included.
    let mut facts = exchange.open.evidence.as_ref().map(|evidence| evidence.facts.clone());
    if let Some(http) = facts.as_mut().and_then(|facts| facts.http.as_mut()) {
        http.headers = exchange.head.headers;
    }
    if client.is_over_http2() {
        websocket::accept_over_http2(&mut head);
    }
    engine.spawn(tunnel::join(engine.clone(), client, upstream, exchange.open, hold, facts));
    Response::from_parts(head, ResponseBody::empty())
}

impl ResponseBody {
    /// Of a response that belongs to no exchange.
    pub fn empty() -> Self {
        Self::new(Content::Here(Bytes::new()), None, None, Hold::default())
    }

    fn new(content: Content, deadline: Option<Instant>, open: Option<Open>, hold: Hold) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let mut body = Self { content: Some(content), deadline, overdue: false, open, hold, web: None, most: None, standing: None };
        // A response without a body may never be polled; the record then waits for nothing but the drop.
        if let Some(Content::Upstream(incoming)) = &body.content
            && incoming.is_end_stream()
        {
            body.hold = Hold::default();
        }
        body
    }

    fn ended(&mut self, trailers: Option<&HeaderMap>) {
        let code = trailers.and_then(grpc::status);
        if let (Some(code), Some(in_flight)) = (code, &mut self.hold.in_flight) {
            in_flight.said(grpc::http_status(code));
        }
        self.content = None;
        self.hold = Hold::default();
        if let Some(mut open) = self.open.take() {
            if let Some(code) = code {
                open.record().grpc_status = Some(code);
            }
            open.close();
        }
    }

    fn failed(&mut self, fault: &Fault) {
        if let Some(open) = &mut self.open {
            open.fail(fault);
        }
        self.ended(None);
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.content {
            None => Poll::Ready(None),
            Some(Content::Here(bytes)) => {
                let bytes = std::mem::take(bytes);
                self.content = None;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Some(Content::Upstream(incoming)) => Pin::new(incoming).poll_frame(cx),
            Some(Content::Compressed(gzip)) => Pin::new(&mut **gzip).poll_frame(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        let frame = match body.poll_content(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Some(Poll::Ready(fault)) = body.standing.as_mut().map(|standing| standing.poll_revoked(cx)) {
                    body.standing = None;
                    body.failed(&fault);
                    return Poll::Ready(Some(Err("a policy does not allow this stream any more".into())));
                }
                ready!(body.poll_overdue(cx));
                return Poll::Ready(Some(Err("the route's timeout is over".into())));
            }
        };
        match frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(open)) = (frame.data_ref(), &mut body.open) {
                    let record = open.record();
                    record.response_bytes += data.len() as u64;
                    // A limit is about what the application says.
                    let said = match &body.content {
                        Some(Content::Compressed(gzip)) => gzip.read(),
                        _ => record.response_bytes,
                    };
                    if let Some((most, origin)) = body.most.take_if(|(most, _)| said > *most) {
                        body.failed(&limiter::response_too_large(most, origin));
                        return Poll::Ready(Some(Err("the response is longer than a limit allows".into())));
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    let trailers = trailers.clone();
                    body.ended(Some(&trailers));
                }
                Poll::Ready(Some(Ok(match body.web {
                    Some(wanted) => grpc_web::written(frame, wanted),
                    None => frame,
                })))
            }
            Some(Err(error)) => {
                body.failed(&Fault::broken_off(Kind::ResponseBroken, format!("the upstream broke off its response: {error}")));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                body.ended(None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        is_over(self.content.as_ref())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            // Trailers come on top, and text is longer.
            _ if self.web.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
            Some(Content::Here(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Some(Content::Upstream(incoming)) => incoming.size_hint(),
            Some(Content::Compressed(gzip)) => gzip.size_hint(),
        }
    }
}

impl Timed for ResponseBody {
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.overdue {
            return Poll::Ready(());
        }
        let Some(deadline) = self.deadline.as_mut().filter(|_| !is_over(self.content.as_ref())) else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        self.overdue = true;
        self.failed(&Fault::new(Kind::Timeout, "the response did not end within the route's timeout"));
        Poll::Ready(())
    }
}

fn is_over(content: Option<&Content>) -> bool {
    match content {
        None => true,
        Some(Content::Here(bytes)) => bytes.is_empty(),
        Some(Content::Upstream(incoming)) => incoming.is_end_stream(),
        Some(Content::Compressed(gzip)) => gzip.is_end_stream(),
    }
}

impl Drop for ResponseBody {
    /// A server that has written all of a body's announced length lets go of it without asking for its end.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.ended(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_statuses_that_users_of_istio_know() {
        for (kind, http, grpc) in [
            (Kind::Timeout, 504, 4),
            (Kind::PerTryTimeout, 504, 4),
            (Kind::ConnectFailed, 503, 14),
            (Kind::Overflow, 503, 14),
            (Kind::Overloaded { again: false }, 503, 14),
            (Kind::DeadlineOver, 504, 4),
            (Kind::AppUnreachable, 503, 14),
            (Kind::BadRequest, 400, 13),
            (Kind::NameNotFound, 502, 14),
            (Kind::MethodNotAllowed, 405, 12),
        ] {
            let fault = Fault::new(kind, "");
            assert_eq!((status(&fault).as_u16(), grpc_code(&fault)), (http, grpc), "{fault:?}");
        }
    }

    #[test]
    fn a_grpc_message_is_printable_ascii() {
        assert_eq!(percent_encoded("a%b\né"), "a%25b%0A%C3%A9");
    }
}
