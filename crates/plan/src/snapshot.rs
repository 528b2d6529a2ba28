//! What a plan is compiled from: everything one proxy was told, by key.

use std::collections::BTreeMap;
use std::sync::Arc;
use taut_model::destination::Destination;
use taut_model::policy::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use taut_model::rate_limit::RateLimit;
use taut_model::route::Route;
use taut_model::service::Service;
use taut_model::settings::MeshSettings;
use taut_model::telemetry::Telemetry;
use taut_model::trust::TrustBundle;
use taut_model::workload::Workload;

/// One proxy's view of the mesh. Keys are the wire's resource names: the host for a service, the uid for a workload,
/// `Kind/namespace/name` for what users wrote. Values are shared, so a new snapshot costs what changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change; recorded with every decision.
    pub version: u64,
    pub trust_domain: String,
    /// The workload this proxy stands beside. `None` before the control plane has said.
    pub own: Option<Arc<Workload>>,
    pub services: BTreeMap<String, Arc<Service>>,
    /// Hosts that the control plane has answered for with "there is no such service".
    pub absent: std::collections::BTreeSet<String>,
    pub workloads: BTreeMap<String, Arc<Workload>>,
    pub routes: BTreeMap<String, Arc<Route>>,
    pub destinations: BTreeMap<String, Arc<Destination>>,
    pub authentications: BTreeMap<String, Arc<PeerAuthentication>>,
    pub authorizations: BTreeMap<String, Arc<AuthorizationPolicy>>,
    pub tokens: BTreeMap<String, Arc<RequestAuthentication>>,
    pub limits: BTreeMap<String, Arc<RateLimit>>,
    /// At most one; none are the defaults.
    pub settings: BTreeMap<String, Arc<MeshSettings>>,
    pub telemetry: BTreeMap<String, Arc<Telemetry>>,
    /// By what peers' certificates are checked. No decision depends on it: who a peer is, is settled before the plan is asked.
    pub trust: BTreeMap<String, Arc<TrustBundle>>,
    /// Whether the control plane has sent every policy that concerns `own`. Until then inbound is refused: fail closed.
    pub policies_complete: bool,
}
