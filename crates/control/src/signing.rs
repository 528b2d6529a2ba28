//! Who signs certificates for the mesh, and how that stands: the authority here, another CA, or the agents of a SPIFFE Workload API.

use crate::agent::Agent;
use crate::upstream::{Trouble, Upstream};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Clone, Default)]
pub enum Signing {
    /// The authority here.
    #[default]
    Own,
    Upstream(Arc<Upstream>),
    /// Everybody gets theirs from a Workload API, and the control plane too.
    Agent(Arc<Agent>),
}

impl Signing {
    /// What needs somebody's care: what it is about, and why.
    pub fn troubles(&self) -> Vec<(&'static str, Trouble)> {
        match self {
            Self::Own => Vec::new(),
            Self::Upstream(upstream) => upstream.troubles(),
            Self::Agent(agent) => agent.trouble().into_iter().map(|trouble| ("spiffe-agent", trouble)).collect(),
        }
    }

    /// For `taut trust`; null where the authority here signs.
    pub fn shown(&self) -> Value {
        let troubles: Vec<String> = self.troubles().into_iter().map(|(_, trouble)| trouble.text).collect();
        match self {
            Self::Own => Value::Null,
            Self::Upstream(upstream) => json!({"kind": "upstream CA", "address": upstream.address(), "roots": upstream.roots().display().to_string(),
                "lastSigned": upstream.last_signed().map(|at| at.to_string()), "troubles": troubles}),
            Self::Agent(agent) => json!({"kind": "SPIFFE Workload API", "address": agent.address().to_string(),
                "lastSigned": agent.last_said().map(|at| at.to_string()), "troubles": troubles}),
        }
    }

    /// For Prometheus.
    pub fn metrics(&self) -> String {
        match self {
            Self::Upstream(upstream) => upstream.metrics(),
            Self::Own | Self::Agent(_) => String::new(),
        }
    }
}
