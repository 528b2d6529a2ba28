//! Routes: which requests and connections go where, and what happens to them on the way. One neutral form for
//! Istio's VirtualService and Gateway API's HTTPRoute; where their semantics differ, the difference is data.

use crate::destination::Persistence;
use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// All that one user object says about the services it is attached to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub origin: Origin,
    pub dialect: Dialect,
    pub protocol: RouteProtocol,
    pub parents: Vec<Parent>,
    /// Namespaces whose clients it applies to; empty: all (Gateway API consumer route, VirtualService `exportTo`).
    pub consumer_namespaces: Vec<String>,
    /// HTTPRoute `spec.hostnames` (empty: any authority).
    pub hostnames: Vec<String>,
    /// RFC 3339 creation time: the tie-breaker between objects, oldest first, then `namespace/name`.
    pub created: String,
    pub http: Vec<HttpRule>,
    pub tcp: Vec<TcpRule>,
    /// Percent of the traces that begin with a request of one of its rules; `None`: as everywhere else.
    pub sampling: Option<f64>,
}

/// Decides the order of rules: Istio takes the first match in list order; Gateway API the most specific match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dialect {
    Istio,
    GatewayApi,
}

/// What a route speaks of. Of Gateway API's kinds of routes that are attached to one port, only those of the first of these count
/// (GEP-1426, "Route types").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteProtocol {
    Grpc,
    #[default]
    Http,
    Tls,
    Tcp,
}

/// A service (port) that a route is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub host: String,
    /// `None`: every port.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRule {
    pub origin: Origin,
    pub name: String,
    /// Any of these; empty matches everything.
    pub matches: Vec<HttpMatch>,
    pub action: HttpAction,
    pub rewrite: Option<Rewrite>,
    pub request_headers: HeaderChange,
    pub response_headers: HeaderChange,
    /// For the whole exchange including retries. `None`: none (Istio's default).
    pub timeout: Option<Duration>,
    /// `None`: the built-in default (Istio's: 2 retries on connect failure, refused stream, unavailable, cancelled).
    pub retry: Option<Retry>,
    pub fault: Option<Fault>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
    /// Wins over what is said of the backends. Clients that come back reach the endpoint they had, among all of the rule.
    pub persistence: Option<Persistence>,
    /// `None`: as the mesh's settings say.
    pub hedging: Option<Hedging>,
}

/// Second copies of slow requests of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hedging {
    pub origin: Origin,
    /// At most this percent more requests; 0: none.
    pub percent: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HttpAction {
    /// Weighted backends. Gateway API: an empty list or only zero weights answers 500.
    Forward(Vec<Backend>),
    Redirect(Redirect),
    Respond(DirectResponse),
}

/// Everything named must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpMatch {
    pub origin: Origin,
    pub path: Option<PathMatch>,
    /// Istio `ignoreUriCase`: exact and prefix only.
    pub ignore_path_case: bool,
    pub method: Option<TextMatch>,
    pub scheme: Option<TextMatch>,
    pub authority: Option<TextMatch>,
    pub headers: Vec<NamedMatch>,
    /// Istio `withoutHeaders`: none of these may match.
    pub without_headers: Vec<NamedMatch>,
    pub query: Vec<NamedMatch>,
    /// The service port the client called.
    pub port: Option<u16>,
    /// Labels the calling workload must have.
    pub source_labels: BTreeMap<String, String>,
    pub source_namespace: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatch {
    Exact(String),
    /// String prefix (Istio): `/foo` matches `/foobar`.
    Prefix(String),
    /// Segment prefix (Gateway API): `/foo` matches `/foo` and `/foo/x`, not `/foobar`.
    Segments(String),
    /// RE2 syntax, matches the whole path.
    Regex(String),
    /// `/service/method`, two segments; `None`: any.
    Grpc {
        service: Option<TextMatch>,
        method: Option<TextMatch>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextMatch {
    Exact(String),
    Prefix(String),
    /// RE2 syntax, matches the whole value.
    Regex(String),
    /// The value is there, whatever it is.
    Present,
}

/// A header (name in lower case) or a query parameter (name as it is).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedMatch {
    pub name: String,
    pub value: TextMatch,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    pub origin: Origin,
    pub host: String,
    /// `None`: the port the client called, or the service's only port.
    pub port: Option<u16>,
    pub subset: Option<String>,
    pub weight: u32,
    pub request_headers: HeaderChange,
    pub response_headers: HeaderChange,
    /// Set when the reference cannot be followed (unknown service, no ReferenceGrant): this share answers 500.
    pub unresolved: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChange {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
    /// Headers whose values are only known with the exchange.
    pub computed: Vec<ComputedHeader>,
}

impl HeaderChange {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty() && self.computed.is_empty()
    }
}

/// A header made of texts and of what is known of the exchange (Envoy's format operators). One that comes out empty is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedHeader {
    pub name: String,
    pub how: HowChanged,
    pub value: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HowChanged {
    Set,
    Add,
}

/// A part of a computed header's value; what is not there is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    Text(String),
    /// `%REQ(name?other):most%`, of the request as it is sent on.
    RequestHeader(HeaderPiece),
    /// `%RESP(name?other):most%`, of the response as it came.
    ResponseHeader(HeaderPiece),
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`: address and port.
    ClientAddress,
    /// `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`
    ClientIp,
    /// `%PROTOCOL%`: `HTTP/1.1`
    Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderPiece {
    /// In lower case; of requests also `:method`, `:path`, `:authority` and `:scheme`.
    pub name: String,
    /// Taken where there is no such header.
    pub otherwise: Option<String>,
    /// The most bytes of it that are used.
    pub most: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    pub authority: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    /// The whole path.
    Full(String),
    /// What the path match matched (Istio `rewrite.uri` with a prefix match replaces the prefix, else the path;
    /// Gateway API `ReplacePrefixMatch`).
    Prefix(String),
    Regex {
        pattern: String,
        substitution: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Istio's default is 301, Gateway API's 302; the translator has filled it in.
    pub status: u16,
    pub scheme: Option<String>,
    pub authority: Option<String>,
    pub port: RedirectPort,
    pub path: Option<PathRewrite>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedirectPort {
    /// As in the request's authority.
    Keep,
    Number(u16),
    /// The scheme's well-known port, so none is shown.
    FromScheme,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Vec<u8>,
}

/// When to try again. Attempts are retries on top of the first try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    pub on: Vec<RetryOn>,
    /// Base of the exponential back-off; Istio's is 25 ms, at most ten times that.
    pub backoff: Duration,
    pub endpoints: RetryEndpoints,
}

/// Where a retry goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryEndpoints {
    /// To an endpoint that was not tried yet, while there is one: Istio's default.
    #[default]
    Others,
    /// Wherever the balancer says (Istio `retryIgnorePreviousHosts: false`).
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryOn {
    /// No connection, so nothing was sent.
    ConnectFailure,
    /// HTTP/2 REFUSED_STREAM: the peer did not process it.
    RefusedStream,
    /// The connection ended before any response byte.
    Reset,
    /// As `Reset`, only when the request was not yet sent.
    ResetBeforeRequest,
    /// 500 to 599, and all that counts as a failure to answer.
    ServerError,
    /// 502, 503, 504.
    GatewayError,
    /// 409 (Envoy `retriable-4xx`).
    Conflict,
    Status(u16),
    /// Refused by a rate limit (Envoy `envoy-ratelimited`); with this absent, such an answer is not asked for again where Envoy marks it.
    RateLimited,
    /// A response with one of the headers that the request names in `x-envoy-retriable-header-names`.
    NamedHeader,
    /// gRPC status code of the trailers or the trailers-only response.
    Grpc(u16),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub origin: Origin,
    pub delay: Option<FaultDelay>,
    pub abort: Option<FaultAbort>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultDelay {
    /// 0 to 100.
    pub percent: f64,
    pub duration: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultAbort {
    pub percent: f64,
    pub with: AbortWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortWith {
    Http(u16),
    /// A gRPC status code, sent as a trailers-only response.
    Grpc(u16),
}

/// A copy of the request, whose response is dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    pub backend: Backend,
    pub percent: f64,
}

/// Which pages of other origins may read responses (the CORS protocol of the Fetch standard). The mesh answers preflights itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Where this is written; the others below are the clients' origins.
    pub origin: Origin,
    /// An origin is allowed if one of these matches it, or matches the text `*` (as in Envoy).
    pub allow_origins: Vec<TextMatch>,
    pub allow_methods: Allowed,
    pub allow_headers: Allowed,
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer may be kept. `None`: as long as the browser likes.
    pub max_age: Option<Duration>,
    pub credentials: Credentials,
    pub strangers: StrangersPreflight,
}

/// What a preflight's answer allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allowed {
    /// These, as they are written; if there are none, the answer does not say.
    Listed(Vec<String>),
    /// Whatever the preflight asks for.
    Asked,
}

/// Whether pages may send requests with cookies and the like, and read the responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    Allowed,
    Withheld,
}

/// What becomes of a preflight from an origin that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrangersPreflight {
    /// The application answers it: Istio's default.
    Forward,
    /// The mesh refuses it.
    Refuse,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpRule {
    pub origin: Origin,
    /// The service port; `None`: any.
    pub port: Option<u16>,
    pub source_labels: BTreeMap<String, String>,
    pub source_namespace: Option<String>,
    /// Addresses or CIDR blocks, one of which the client must have dialled. Empty: any.
    pub destination_subnets: Vec<String>,
    /// For TLS rules: server names, `*` and `*.suffix` allowed. Empty: not a TLS rule.
    pub sni: Vec<String>,
    pub backends: Vec<Backend>,
}
