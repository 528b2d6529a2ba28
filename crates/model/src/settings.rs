//! What is true for the whole mesh (MeshSettings): how it keeps applications from being overrun, how it balances and retries where nobody
//! says how, whether safe requests are hedged and responses compressed, whether programs may reach what is not of the mesh, what else
//! its trust domain is called, and where what is seen is sent.

use crate::destination::{Balancer, RetryBudget};
use crate::origin::Origin;
use crate::telemetry::{DefaultProviders, Provider, TracingDefaults};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshSettings {
    pub origin: Origin,
    /// Whether proxies learn how much their application can work on at a time, and send away what is beyond it.
    pub protection: bool,
    /// For clusters in the mesh without a balancer of their own.
    pub balancer: Balancer,
    /// Second copies of slow requests, at most this percent of all; only GET and HEAD without a body. `None`: none.
    pub hedging: Option<f64>,
    /// Each name once. Beside them stand the built-in `prometheus` and `envoy`.
    pub providers: Vec<Provider>,
    pub default_providers: DefaultProviders,
    pub tracing: TracingDefaults,
    /// For clusters without a budget of their own.
    pub retry_budget: RetryBudget,
    /// `None`: nothing is compressed.
    pub compression: Option<Compression>,
    pub outside: Outside,
    /// Other names that the mesh's own trust domain goes by. The mesh's own may be among them.
    pub aliases: Vec<TrustDomainAlias>,
}

/// Members of the mesh may prove themselves under such a name, and count as if it were the mesh's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDomainAlias {
    pub trust_domain: String,
    /// It has a bundle of its own, by which alone its members are believed. Else the mesh's own authority vouches for them.
    pub federated: bool,
}

/// Which responses the proxy of the workload that answers compresses, for clients that take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// Labels of the workloads; empty: all.
    pub selector: BTreeMap<String, String>,
    /// Media types in lower case, `text/*` for all of a kind.
    pub content_types: Vec<String>,
    /// Shorter bodies stay as they are.
    pub min_length: u64,
}

/// What becomes of a request for a host that is not of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outside {
    /// It goes to whatever the program named: Istio's ALLOW_ANY.
    #[default]
    Reachable,
    /// It is refused: Istio's REGISTRY_ONLY.
    Refused,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            origin: Origin::built_in("the mesh's defaults"),
            protection: true,
            balancer: Balancer::LoadAware,
            hedging: None,
            providers: Vec::new(),
            default_providers: DefaultProviders::default(),
            tracing: TracingDefaults::default(),
            retry_budget: RetryBudget::default(),
            compression: None,
            outside: Outside::Reachable,
            aliases: Vec::new(),
        }
    }
}
