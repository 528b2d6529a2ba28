//! What goes wrong with an exchange or a connection: whose fault it is, its stable name, and whether a retry is safe.
//! Which status a fault becomes is decided in `respond`, not here.

use crate::leash::DISOWNED;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::time::Duration;
use taut_model::origin::Origin;
use taut_model::route::AbortWith;
use taut_plan::verdict::{Reason, Refusal, Side};

/// A failure, with one sentence for the person who reads `taut why`.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub detail: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The plan decided against it.
    Refused {
        side: Side,
        reason: Reason,
        status: u16,
        origin: Option<Box<Origin>>,
    },
    /// The control plane did not say in time whether the service exists.
    NotLearned,
    /// A circuit limit of the destination.
    Overflow,
    NoEndpoint,
    /// This proxy has no certificate yet.
    NoIdentity,
    NoSystemRoots,
    NameNotFound,
    ConnectFailed,
    ConnectTimedOut,
    /// The TLS handshake failed: not the expected identity, or not a certificate of the bundle.
    PeerUntrusted,
    /// The peer was believed when the connection was opened to it, and is not any more: the connection was ended.
    PeerDisowned,
    /// Inbound: a peer did not prove an identity of the bundle, or did not speak as peers do.
    HandshakeFailed,
    /// Inbound: HTTP on a connection that was taken for another protocol's, where no policy could look at it.
    LateHttp,
    /// Inbound: the application beside this proxy does not take the connection.
    AppUnreachable,
    /// HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// The connection ended before the request was written.
    ResetBeforeRequest,
    /// The connection ended before the response head.
    Reset,
    /// Inbound: sent away so that the application is not overrun. `again`: it had been sent before, and should not be once more.
    Overloaded {
        again: bool,
    },
    /// The time that the caller allowed was over, or nearly so, before the request was sent on.
    DeadlineOver,
    /// The response broke off after its head.
    ResponseBroken,
    /// The route's timeout, for the whole exchange.
    Timeout,
    PerTryTimeout,
    /// The upstream's answer cannot be passed on.
    BadResponse,
    /// Another proxy of the mesh failed the exchange and said why in `x-taut-reason`.
    Reported {
        reason: String,
    },
    BadRequest,
    /// The peer's proxy did not take the connection, with this status, and said why in `x-taut-reason`.
    PeerRefused {
        status: u16,
        reason: String,
    },
    /// CONNECT from a peer: tunnels are not carried inbound.
    MethodNotAllowed,
    /// The request would come back to this proxy for ever.
    Loop,
    /// An injected abort.
    Injected {
        with: AbortWith,
        origin: Box<Origin>,
    },
    /// Inbound: the authorizer that a CUSTOM policy names does not let it pass.
    Denied(Box<Denied>),
    /// Inbound: a RateLimit has no room.
    RateLimited(Box<Exhausted>),
    /// Inbound: the request's body is longer than a RateLimit allows.
    RequestTooLarge(Box<Origin>),
    /// Inbound: the response's body is.
    ResponseTooLarge(Box<Origin>),
    ClientLeft,
    /// The client's request body broke off.
    ClientBroke,
    /// The client sent no more of its request body.
    ClientStalled,
    /// The drain limit or the idle limit ended the connection.
    Closed,
}

/// What the client is told by an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The rule that asked it.
    pub origin: Origin,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A limit without room, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub origin: Origin,
    pub name: String,
    pub requests: u32,
    pub interval: Duration,
    pub wait: Duration,
}

impl Fault {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What broke off on the side of an upstream, by what is said of it. Connections of many carry nothing but words to each of theirs, so
    /// these tell one that was ended here.
    pub fn broken_off(kind: Kind, why: String) -> Self {
        Self::new(if why.contains(DISOWNED) { Kind::PeerDisowned } else { kind }, why)
    }

    pub fn refused(refusal: Refusal) -> Self {
        let Refusal { side, reason, status, origin, detail } = refusal;
        Self::new(Kind::Refused { side, reason, status, origin: origin.map(Box::new) }, detail)
    }

    pub fn side(&self) -> Side {
        match &self.kind {
            Kind::Refused { side, .. } => *side,
            Kind::NotLearned | Kind::Overflow | Kind::NoIdentity | Kind::NoSystemRoots | Kind::Loop | Kind::Injected { .. } | Kind::Closed => {
                Side::Mesh
            }
            Kind::ResponseTooLarge(_)
            | Kind::Timeout
            | Kind::PerTryTimeout
            | Kind::BadResponse
            | Kind::Reported { .. }
            | Kind::PeerRefused { .. } => Side::Upstream,
            Kind::NoEndpoint | Kind::NameNotFound | Kind::ConnectFailed | Kind::ConnectTimedOut | Kind::PeerUntrusted | Kind::PeerDisowned => {
                Side::Upstream
            }
            Kind::Overloaded { .. } | Kind::DeadlineOver => Side::Upstream,
            Kind::AppUnreachable | Kind::RefusedStream | Kind::ResetBeforeRequest | Kind::Reset | Kind::ResponseBroken => Side::Upstream,
            Kind::Denied(_) | Kind::RateLimited(_) | Kind::RequestTooLarge(_) | Kind::BadRequest | Kind::MethodNotAllowed => Side::Client,
            Kind::ClientLeft | Kind::ClientBroke | Kind::ClientStalled | Kind::HandshakeFailed | Kind::LateHttp => Side::Client,
        }
    }

    /// The name in `x-taut-reason`, metrics and records.
    pub fn reason(&self) -> &str {
        match &self.kind {
            Kind::Refused { reason, .. } => reason.name(),
            Kind::NotLearned => "service_not_learned",
            Kind::Overflow => "overflow",
            Kind::NoEndpoint => Reason::NoEndpoint.name(),
            Kind::NoIdentity => "no_identity",
            Kind::NoSystemRoots => "no_system_roots",
            Kind::NameNotFound => "name_not_found",
            Kind::ConnectFailed => "connect_failed",
            Kind::ConnectTimedOut => "connect_timeout",
            Kind::PeerUntrusted => "peer_untrusted",
            Kind::PeerDisowned => "peer_disowned",
            Kind::HandshakeFailed => "handshake_failed",
            Kind::LateHttp => "late_http",
            Kind::AppUnreachable => "app_unreachable",
            Kind::Overloaded { .. } => OVERLOADED,
            Kind::DeadlineOver => DEADLINE_OVER,
            Kind::RefusedStream => "refused_stream",
            Kind::ResetBeforeRequest => "reset_before_request",
            Kind::Reset => "reset",
            Kind::ResponseBroken => "response_broken",
            Kind::Timeout => "timeout",
            Kind::PerTryTimeout => "per_try_timeout",
            Kind::BadResponse => "bad_response",
            Kind::Reported { reason } | Kind::PeerRefused { reason, .. } => reason,
            Kind::BadRequest => "bad_request",
            Kind::MethodNotAllowed => "method_not_allowed",
            Kind::Loop => "loop_detected",
            Kind::Injected { .. } => "fault_injected",
            Kind::Denied(_) => "authorizer_denied",
            Kind::RateLimited(_) => Reason::RateLimited.name(),
            Kind::RequestTooLarge(_) => "request_too_large",
            Kind::ResponseTooLarge(_) => "response_too_large",
            Kind::ClientLeft => "client_left",
            Kind::ClientBroke => "client_body_broken",
            Kind::ClientStalled => "client_body_stalled",
            Kind::Closed => "closed",
        }
    }

    /// Whether the request surely was not worked on by an application, so that sending it again does no harm.
    pub fn retry_safe(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Reset
                | Kind::PeerDisowned
                | Kind::ResponseBroken
                | Kind::Timeout
                | Kind::PerTryTimeout
                | Kind::BadResponse
                | Kind::RequestTooLarge(_)
                | Kind::ResponseTooLarge(_)
                | Kind::Reported { .. }
                | Kind::ClientLeft
                | Kind::ClientBroke
                | Kind::ClientStalled
                | Kind::Closed
        )
    }

    /// The policy or rule that decided, if one did.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.kind {
            Kind::Refused { origin, .. } => origin.as_deref(),
            Kind::Injected { origin, .. } => Some(origin),
            Kind::Denied(denied) => Some(&denied.origin),
            Kind::RateLimited(exhausted) => Some(&exhausted.origin),
            Kind::RequestTooLarge(origin) | Kind::ResponseTooLarge(origin) => Some(origin),
            _ => None,
        }
    }

    pub fn as_record(&self) -> taut_observe::record::Failure {
        taut_observe::record::Failure {
            side: side_name(self.side()).to_owned(),
            reason: self.reason().to_owned(),
            retry_safe: self.retry_safe(),
            detail: self.detail.clone().into_owned(),
            origin: self.origin().cloned(),
        }
    }
}

/// What a proxy says that has kept a request from its application, which is no sign that anything is broken.
pub const OVERLOADED: &str = "overloaded";
pub const DEADLINE_OVER: &str = "deadline_over";

pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Mesh => "mesh",
        Side::Upstream => "upstream",
    }
}
