//! What a translation is given and what it hands back; no rules of any dialect.

use super::tautline::Promised;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::destination::Destination;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use taut_model::problem::Problem;
use taut_model::rate_limit::RateLimit;
use taut_model::route::Route;
use taut_model::service::Service;
use taut_model::settings::MeshSettings;
use taut_model::telemetry::Telemetry;
use taut_model::trust::TrustBundle;
use taut_model::workload::Workload;

/// What of the mesh's own settings a translation depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The trust domain of every identity that the mesh issues.
    pub trust_domain: String,
    /// By the URI that a RequestAuthentication names, or a trust domain of the mesh's settings.
    pub keys: Arc<BTreeMap<String, Fetched>>,
}

/// What came of fetching an issuer's keys, or the bundle or the revocation lists of another trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The last that was good.
    pub text: Option<String>,
    /// Why the last attempt brought none.
    pub problem: Option<String>,
}

/// Everything downstream needs, by wire resource name: services by host, workloads by uid (`namespace/name`), all else by
/// [`key`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    pub services: BTreeMap<String, Arc<Service>>,
    pub workloads: BTreeMap<String, Arc<Workload>>,
    pub routes: BTreeMap<String, Arc<Route>>,
    pub destinations: BTreeMap<String, Arc<Destination>>,
    pub authentications: BTreeMap<String, Arc<PeerAuthentication>>,
    pub authorizations: BTreeMap<String, Arc<AuthorizationPolicy>>,
    pub tokens: BTreeMap<String, Arc<RequestAuthentication>>,
    pub limits: BTreeMap<String, Arc<RateLimit>>,
    pub settings: BTreeMap<String, Arc<MeshSettings>>,
    pub telemetry: BTreeMap<String, Arc<Telemetry>>,
    /// Objectives of Services.
    pub promised: BTreeMap<String, Arc<Promised>>,
    /// By trust domain. The mesh's settings say those of others; the own one is the authority's.
    pub trust: BTreeMap<String, Arc<TrustBundle>>,
    /// Where bundles of other trust domains are fetched.
    pub bundle_urls: BTreeSet<String>,
    /// Where their revocation lists are, and the roots (DER) that these must be proven by.
    pub list_urls: BTreeMap<String, Arc<Vec<Vec<u8>>>>,
    /// By trust domain: when its revocation lists should be followed by newer ones.
    pub lists_due: BTreeMap<String, Timestamp>,
    /// What is wrong, per object. With an `Error` among them the object is not accepted and nothing of it is in the maps
    /// above, but for policies, which then refuse instead, and DestinationRules, whose demand for TLS stays (nothing is ever
    /// weaker than it reads).
    pub findings: BTreeMap<ObjectRef, Vec<Problem>>,
    /// Objects that have no meaning for mesh traffic, and why.
    pub idle: BTreeMap<ObjectRef, String>,
    /// Those of them whose kind does nothing in this version: stored, and not accepted.
    pub unserved: BTreeSet<ObjectRef>,
}

/// The wire resource name of a route, a destination or a policy: `Kind/namespace/name`.
pub fn key(object: &ObjectRef) -> String {
    format!("{}/{}/{}", object.kind, object.namespace, object.name)
}
