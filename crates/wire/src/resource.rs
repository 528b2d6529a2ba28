//! The resources that a session carries: their types, their bytes, and the version of those bytes.

use crate::convert::Malformed;
use crate::generated::mesh as proto;
use prost::Message;
use std::fmt;
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

/// One thing that a proxy is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Service(Arc<Service>),
    Workload(Arc<Workload>),
    Route(Arc<Route>),
    Destination(Arc<Destination>),
    PeerAuthentication(Arc<PeerAuthentication>),
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    RequestAuthentication(Arc<RequestAuthentication>),
    RateLimit(Arc<RateLimit>),
    MeshSettings(Arc<MeshSettings>),
    Telemetry(Arc<Telemetry>),
    TrustBundle(Arc<TrustBundle>),
}

impl Resource {
    pub fn of_type(&self) -> ResourceType {
        match self {
            Self::Service(_) => ResourceType::Service,
            Self::Workload(_) => ResourceType::Workload,
            Self::Route(_) => ResourceType::Route,
            Self::Destination(_) => ResourceType::Destination,
            Self::PeerAuthentication(_) => ResourceType::PeerAuthentication,
            Self::AuthorizationPolicy(_) => ResourceType::AuthorizationPolicy,
            Self::RequestAuthentication(_) => ResourceType::RequestAuthentication,
            Self::RateLimit(_) => ResourceType::RateLimit,
            Self::MeshSettings(_) => ResourceType::MeshSettings,
            Self::Telemetry(_) => ResourceType::Telemetry,
            Self::TrustBundle(_) => ResourceType::TrustBundle,
        }
    }
}

/// The order is the one in which a plan needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Service,
    Workload,
    Route,
    Destination,
    PeerAuthentication,
    AuthorizationPolicy,
    RequestAuthentication,
    RateLimit,
    MeshSettings,
    Telemetry,
    TrustBundle,
}

impl ResourceType {
    pub const fn all() -> [Self; 11] {
        [
            Self::Service,
            Self::Workload,
            Self::Route,
            Self::Destination,
            Self::PeerAuthentication,
            Self::AuthorizationPolicy,
            Self::RequestAuthentication,
            Self::RateLimit,
            Self::MeshSettings,
            Self::Telemetry,
            Self::TrustBundle,
        ]
    }

    /// Whether it says what may come in: without all of these, nothing does.
    pub const fn is_policy(self) -> bool {
        matches!(self, Self::PeerAuthentication | Self::AuthorizationPolicy | Self::RequestAuthentication | Self::RateLimit)
    }

    /// What stands in `type_url` of discovery messages.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Service => "type.googleapis.com/tautline.v1.Service",
            Self::Workload => "type.googleapis.com/tautline.v1.Workload",
            Self::Route => "type.googleapis.com/tautline.v1.Route",
            Self::Destination => "type.googleapis.com/tautline.v1.Destination",
            Self::PeerAuthentication => "type.googleapis.com/tautline.v1.PeerAuthentication",
            Self::AuthorizationPolicy => "type.googleapis.com/tautline.v1.AuthorizationPolicy",
            Self::RequestAuthentication => "type.googleapis.com/tautline.v1.RequestAuthentication",
            Self::RateLimit => "type.googleapis.com/tautline.v1.RateLimit",
            Self::MeshSettings => "type.googleapis.com/tautline.v1.MeshSettings",
            Self::Telemetry => "type.googleapis.com/tautline.v1.Telemetry",
            Self::TrustBundle => "type.googleapis.com/tautline.v1.TrustBundle",
        }
    }

    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::all().into_iter().find(|kind| kind.type_url() == url)
    }

    /// Whether a proxy subscribes to it by name, on first use; of the other types it gets all that concerns it.
    pub const fn by_name(self) -> bool {
        matches!(self, Self::Service)
    }
}

/// The type's short name: `Service`.
impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_url().rsplit('.').next().unwrap_or_default())
    }
}

/// The same resource always has the same bytes.
pub fn encode(resource: &Resource) -> Vec<u8> {
    match resource {
        Resource::Service(service) => proto::Service::from(&**service).encode_to_vec(),
        Resource::Workload(workload) => proto::Workload::from(&**workload).encode_to_vec(),
        Resource::Route(route) => proto::Route::from(&**route).encode_to_vec(),
        Resource::Destination(destination) => proto::Destination::from(&**destination).encode_to_vec(),
        Resource::PeerAuthentication(policy) => proto::PeerAuthentication::from(&**policy).encode_to_vec(),
        Resource::AuthorizationPolicy(policy) => proto::AuthorizationPolicy::from(&**policy).encode_to_vec(),
        Resource::RequestAuthentication(policy) => proto::RequestAuthentication::from(&**policy).encode_to_vec(),
        Resource::RateLimit(limit) => proto::RateLimit::from(&**limit).encode_to_vec(),
        Resource::MeshSettings(settings) => proto::MeshSettings::from(&**settings).encode_to_vec(),
        Resource::Telemetry(telemetry) => proto::Telemetry::from(&**telemetry).encode_to_vec(),
        Resource::TrustBundle(bundle) => proto::TrustBundle::from(&**bundle).encode_to_vec(),
    }
}

/// Services and workloads are facts: a field that this version does not know is passed over. The others are orders, which
/// could mean something weaker without the unknown field, so they are refused.
pub fn decode(of_type: ResourceType, bytes: &[u8]) -> Result<Resource, Malformed> {
    Ok(match of_type {
        ResourceType::Service => Resource::Service(Arc::new(fact::<proto::Service>(bytes)?.try_into()?)),
        ResourceType::Workload => Resource::Workload(Arc::new(fact::<proto::Workload>(bytes)?.try_into()?)),
        ResourceType::Route => Resource::Route(Arc::new(order::<proto::Route>(bytes)?.try_into()?)),
        ResourceType::Destination => Resource::Destination(Arc::new(order::<proto::Destination>(bytes)?.try_into()?)),
        ResourceType::PeerAuthentication => Resource::PeerAuthentication(Arc::new(order::<proto::PeerAuthentication>(bytes)?.try_into()?)),
        ResourceType::AuthorizationPolicy => Resource::AuthorizationPolicy(Arc::new(order::<proto::AuthorizationPolicy>(bytes)?.try_into()?)),
        ResourceType::RequestAuthentication => Resource::RequestAuthentication(Arc::new(order::<proto::RequestAuthentication>(bytes)?.try_into()?)),
        ResourceType::RateLimit => Resource::RateLimit(Arc::new(order::<proto::RateLimit>(bytes)?.try_into()?)),
        ResourceType::MeshSettings => Resource::MeshSettings(Arc::new(order::<proto::MeshSettings>(bytes)?.try_into()?)),
        ResourceType::Telemetry => Resource::Telemetry(Arc::new(order::<proto::Telemetry>(bytes)?.try_into()?)),
        ResourceType::TrustBundle => Resource::TrustBundle(Arc::new(order::<proto::TrustBundle>(bytes)?.try_into()?)),
    })
}

fn fact<P: Message + Default>(bytes: &[u8]) -> Result<P, Malformed> {
    P::decode(bytes).map_err(|error| Malformed::new("", format!("not a protobuf message of this type: {error}")))
}

fn order<P: Message + Default>(bytes: &[u8]) -> Result<P, Malformed> {
    let message: P = fact(bytes)?;
    // Unknown fields are dropped on decoding, so a message that had some is shorter when written again.
    match message.encoded_len() == bytes.len() {
        true => Ok(message),
        false => Err(Malformed::new("", "holds fields that this version does not know; upgrade the proxy to the control plane's version")),
    }
}

/// The content's version: FNV-1a, 64 bits, 16 hex digits. It tells changed from unchanged between processes that trust each
/// other; it is not a security boundary.
pub fn version(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_url() {
        for kind in ResourceType::all() {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster"), None);
        assert_eq!(ResourceType::PeerAuthentication.to_string(), "PeerAuthentication");
    }

    #[test]
    fn versions_are_those_of_fnv_1a() {
        // Test vectors of draft-eastlake-fnv, section 6.
        assert_eq!(version(b""), "cbf29ce484222325");
        assert_eq!(version(b"a"), "af63dc4c8601ec8c");
        assert_eq!(version(b"foobar"), "85944171f73967e8");
    }

    /// Field 999, a string: what a later version might add.
    const UNKNOWN: &[u8] = &[0xba, 0x3e, 1, b'x'];

    #[test]
    fn an_order_with_an_unknown_field_is_refused_and_a_fact_is_not() {
        let policy = AuthorizationPolicy {
            origin: Default::default(),
            namespace: "default".into(),
            selector: Default::default(),
            services: Vec::new(),
            action: taut_model::policy::AuthorizationAction::Deny,
            provider: String::new(),
            dry_run: false,
            rules: Vec::new(),
        };
        let mut order = encode(&Resource::AuthorizationPolicy(Arc::new(policy)));
        assert!(decode(ResourceType::AuthorizationPolicy, &order).is_ok());
        order.extend_from_slice(UNKNOWN);
        let refused = decode(ResourceType::AuthorizationPolicy, &order).map_err(|fault| fault.to_string());
        assert!(refused.is_err_and(|why| why.contains("does not know")));

        let service = Service {
            origin: Default::default(),
            host: "a.b".into(),
            name: "a".into(),
            namespace: "b".into(),
            ports: Vec::new(),
            place: taut_model::service::Place::Mesh,
            resolution: taut_model::service::Resolution::Dns,
            addresses: Vec::new(),
            distribution: Default::default(),
            affinity: Default::default(),
        };
        let mut fact = encode(&Resource::Service(Arc::new(service.clone())));
        fact.extend_from_slice(UNKNOWN);
        assert_eq!(decode(ResourceType::Service, &fact), Ok(Resource::Service(Arc::new(service))));
    }

    #[test]
    fn a_fault_names_the_field() {
        let route = proto::Route {
            origin: Some(Default::default()),
            dialect: proto::Dialect::Istio.into(),
            http: vec![proto::HttpRule { origin: Some(Default::default()), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(decode(ResourceType::Route, &route.encode_to_vec()), Err(Malformed::new("http[0].action", "is missing")));
        let route = proto::Route { dialect: 0, http: Vec::new(), ..route };
        assert_eq!(decode(ResourceType::Route, &route.encode_to_vec()), Err(Malformed::new("dialect", "has no value")));
        let route = proto::Route { dialect: 9, ..route };
        assert_eq!(decode(ResourceType::Route, &route.encode_to_vec()), Err(Malformed::new("dialect", "unknown value 9")));
    }
}
