//! What is true for the whole mesh (MeshSettings): how it keeps applications from being overrun, how it balances where nobody says
//! how, whether safe requests are hedged, and where what is seen is sent.

use crate::destination::Balancer;
use crate::origin::Origin;
use crate::telemetry::{DefaultProviders, Provider, TracingDefaults};
use serde::{Deserialize, Serialize};

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
        }
    }
}
