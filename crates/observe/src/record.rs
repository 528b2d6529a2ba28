//! One record per exchange or connection, written once at its end. Metrics, access logs and `taut why` come from it.

use crate::text::{Came, Id, Moment, Text};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use taut_model::origin::Origin;
pub use taut_model::signal::{Party, Protocol, Reporter};

/// What both kinds of record share, and what labels metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edge {
    pub reporter: Reporter,
    pub source: Arc<Party>,
    pub destination: Arc<Party>,
    /// Fully qualified host of the service asked for; short name and namespace beside it. For what is no service of the mesh, what
    /// the client named, in the namespace `unknown`: metrics leave such names out.
    pub service_host: Text,
    pub service_name: Text,
    pub service_namespace: Text,
    pub mutual_tls: bool,
    pub protocol: Protocol,
}

/// One HTTP exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExchangeRecord {
    pub edge: Edge,
    /// When the request head had been read.
    pub started: Moment,
    pub request_id: Id,
    /// W3C trace id, or none.
    pub trace_id: Id,
    pub method: Cow<'static, str>,
    pub authority: Text,
    /// Path without the query: queries may hold secrets.
    pub path: Text,
    /// Status sent to the client; 0 when it left before one.
    pub status: u16,
    /// gRPC status of the trailers, when the exchange was gRPC.
    pub grpc_status: Option<u16>,
    /// `None`: carried. Else who failed, how, and whether a client may safely try again.
    pub failure: Option<Failure>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub duration_us: u64,
    /// How long it waited for its turn with the application, which had more to do than it could.
    #[serde(default)]
    pub waited_us: u64,
    /// Until the first byte of the upstream's response head; 0 if none.
    pub upstream_us: u64,
    /// Nearly always one.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// Version of the plan that decided, and the rule.
    pub plan: u64,
    pub rule: Option<Arc<Origin>>,
    /// The AuthorizationPolicy that would have refused it, were it no dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<Box<Origin>>,
    pub route: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `client`, `mesh`, `upstream`.
    pub side: String,
    /// A stable name: `connect_failed`, `reset`, `timeout`, `authorization_denied`, …
    pub reason: String,
    pub retry_safe: bool,
    pub detail: String,
    pub origin: Option<Origin>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    pub endpoint: Text,
    pub address: Text,
    pub result: Came,
    pub duration_us: u64,
}

/// One TCP (or upgraded, or passed-through TLS) connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectionRecord {
    pub edge: Edge,
    pub started: Moment,
    pub connection_id: Id,
    pub failure: Option<Failure>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub duration_us: u64,
    pub endpoint: Text,
    pub plan: u64,
    pub rule: Option<Arc<Origin>>,
}
