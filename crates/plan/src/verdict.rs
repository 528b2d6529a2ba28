//! What a decision says: go (and how), ask (and what), or refuse (and why).

use crate::cluster::Cluster;
use crate::rate::Due;
use crate::session::Sessions;
use crate::token::Flaw;
use std::sync::Arc;
use std::time::Duration;
use taut_model::authorizer::Authorizer;
use taut_model::origin::Origin;
use taut_model::route::{AbortWith, HeaderChange, Hedging, Retry};

#[derive(Clone, Debug)]
pub enum Verdict {
    Go(Box<Go>),
    /// The plan does not know enough: find out, then ask again.
    Ask(Question),
    Refuse(Refusal),
}

impl Verdict {
    /// The service that was asked for, when the exchange goes on.
    pub fn service_host(&self) -> Option<&str> {
        match self {
            Self::Go(go) => Some(&go.service_host),
            Self::Ask(_) | Self::Refuse(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Subscribe to these hosts (candidates for one name, most likely first).
    Services(Vec<String>),
    /// Inbound: have this authorizer look at the request. Ask again with [`crate::HttpFacts::permitted_by`] if it lets it pass.
    Permission(Box<Permission>),
}

/// Whom to ask about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Its name among the mesh's providers.
    pub name: Arc<str>,
    pub authorizer: Authorizer,
    /// The CUSTOM rule that asks.
    pub rule: Origin,
}

/// How to carry an exchange or a connection.
#[derive(Clone, Debug)]
pub struct Go {
    /// The rule that decided; the built-in default route when no user's rule matched.
    pub rule: Arc<RulePlan>,
    pub action: Action,
    /// Injected by a fault, before the action.
    pub delay: Option<Duration>,
    /// What lets a page of another origin read the response: set on whatever response there is, also on a failure's.
    pub cors: Option<Box<HeaderChange>>,
    /// The service asked for, for records: fully qualified host (or the authority when unknown).
    pub service_host: Arc<str>,
    /// AUDIT policies that matched.
    pub audit: Vec<Origin>,
    /// The dry run that would have refused it.
    pub would_deny: Option<Box<Origin>>,
    /// Inbound: the limits that must have room for it.
    pub limits: Vec<Due>,
    /// Inbound: how large it and its response may be.
    pub sizes: Sizes,
}

/// The most bytes that a body may have, and what says so.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    pub request: Option<(u64, Origin)>,
    pub response: Option<(u64, Origin)>,
}

/// What all exchanges of one rule share.
#[derive(Clone, Debug)]
pub struct RulePlan {
    pub origin: Arc<Origin>,
    /// The name users gave the rule, or empty. Becomes the route label.
    pub name: Arc<str>,
    pub timeout: Option<Duration>,
    pub retry: Retry,
    /// No user said how to retry: [`crate::safe_by_default`] bounds `retry`.
    pub default_retry: bool,
    pub request_headers: HeaderChange,
    pub response_headers: HeaderChange,
    /// Percent of the traces that begin with a request of this rule; `None`: as Telemetry has it.
    pub sampling: Option<f64>,
    /// `None`: as the mesh's settings say.
    pub hedging: Option<Hedging>,
}

#[derive(Clone, Debug)]
pub enum Action {
    Forward(Forward),
    /// Inbound: to the application on this port of the workload.
    Local {
        port: u16,
        /// The path that was authorized, without the query, where it is not the one that was sent. The application must get
        /// this one: else it is asked for something that nobody has allowed.
        path: Option<String>,
    },
    Redirect {
        status: u16,
        location: String,
    },
    Respond {
        status: u16,
        body: Vec<u8>,
    },
    /// An injected fault.
    Abort {
        with: AbortWith,
        origin: Origin,
    },
    /// The destination is not a service of the mesh: dial what the client named (ALLOW_ANY).
    Passthrough {
        host: String,
        port: u16,
    },
}

#[derive(Clone, Debug)]
pub struct Forward {
    pub cluster: Arc<Cluster>,
    pub backend: Arc<BackendPlan>,
    /// New path and query, when rewritten, or when the path that was sent holds dot segments.
    pub path_and_query: Option<String>,
    /// New authority, when rewritten.
    pub authority: Option<String>,
    /// For consistent hashing: the hash of the key, when the request has one.
    pub hash: Option<u64>,
    /// Cookie to set on the response for cookie hashing, when the client sent none: a whole `Set-Cookie` value, ready to
    /// send. The cookie's own value is `hash` as 16 hexadecimal digits.
    pub set_cookie: Option<String>,
    /// How clients that come back are known, if they are.
    pub sessions: Option<Arc<Sessions>>,
    /// The position of the endpoint that the client has been at before.
    pub resumed: Option<usize>,
    /// Copies to send.
    pub mirrors: Vec<Arc<Cluster>>,
}

impl Forward {
    /// What a client of the endpoint `uid` must be told, so that it is known when it comes back: a response header's name and value.
    /// `None` where sessions are not kept, and for a client that shows that mark already.
    pub fn session_mark(&self, uid: &str) -> Option<(String, String)> {
        let sessions = self.sessions.as_ref()?;
        let position = self.cluster.endpoints.iter().position(|endpoint| endpoint.workload.uid == uid)?;
        if self.resumed == Some(position) { None } else { sessions.told(position) }
    }
}

#[derive(Clone, Debug)]
pub struct BackendPlan {
    pub origin: Origin,
    pub request_headers: HeaderChange,
    pub response_headers: HeaderChange,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Client,
    Mesh,
    Upstream,
}

/// A decision not to carry the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub side: Side,
    pub reason: Reason,
    /// Status for HTTP; for TCP the connection is closed.
    pub status: u16,
    /// The policy and rule that decided, if one did.
    pub origin: Option<Origin>,
    /// One sentence for the person who reads `taut why`.
    pub detail: String,
}

/// The stable names of refusals, as in `x-taut-reason`, metrics and access logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The control plane says there is no such service, and the name is not an address or an outside name.
    UnknownService,
    UnknownPort,
    /// The destination is not of the mesh, and the mesh's settings let programs reach nothing else.
    NotOfTheMesh,
    /// A matching HTTPRoute exists but none of its rules matched (Gateway API: 404).
    NoRouteMatched,
    /// A preflight of a page whose origin the rule's CORS policy does not allow.
    OriginNotAllowed,
    /// All weights zero or the reference cannot be followed (500).
    BackendUnresolved,
    SubsetUndefined,
    NoEndpoint,
    MutualTlsRequired,
    AuthorizationDenied,
    PoliciesNotReceived,
    /// Inbound: what is wrong with the request's token.
    Token(Flaw),
    /// Inbound: a RequestAuthentication that cannot be honoured.
    TokensUnreadable,
    /// Inbound: no answer of an authorizer.
    AuthorizerFailed,
    /// Inbound: this workload does not serve that port.
    NotServedHere,
    /// Inbound: a RateLimit has no room.
    RateLimited,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownService => "unknown_service",
            Self::UnknownPort => "unknown_port",
            Self::NotOfTheMesh => "not_of_the_mesh",
            Self::NoRouteMatched => "no_route_matched",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::BackendUnresolved => "backend_unresolved",
            Self::SubsetUndefined => "subset_undefined",
            Self::NoEndpoint => "no_endpoint",
            Self::MutualTlsRequired => "mutual_tls_required",
            Self::AuthorizationDenied => "authorization_denied",
            Self::PoliciesNotReceived => "policies_not_received",
            Self::Token(flaw) => flaw.name(),
            Self::AuthorizerFailed => "authorizer_failed",
            Self::TokensUnreadable => "token_policy_not_accepted",
            Self::NotServedHere => "not_served_here",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// Random numbers for one decision, drawn by the caller. Each is uniform over `u64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rolls {
    pub backend: u64,
    pub delay: u64,
    pub abort: u64,
    pub mirror: u64,
    /// The value of a new hash cookie.
    pub cookie: u64,
}
