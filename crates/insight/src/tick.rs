//! What the engines read: what passed between the services of the mesh in one span of time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use taut_model::signal::{Protocol, Reporter, Second, Security, Signals};

/// A service, or a workload that serves none: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Node(Arc<str>);

impl Node {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// Callers that no proxy of the mesh stands beside: users, other systems.
    pub fn outside() -> Self {
        Self("outside".into())
    }

    pub fn is_outside(&self) -> bool {
        &*self.0 == "outside"
    }

    /// `namespace/name`.
    pub fn id(&self) -> &str {
        &self.0
    }

    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl From<String> for Node {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<Node> for String {
    fn from(node: Node) -> Self {
        node.id().to_owned()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of the workloads of a node served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    pub workload: Arc<str>,
    pub version: Arc<str>,
}

/// What one of the two proxies of an edge has reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    pub source: Node,
    pub destination: Node,
    /// Unknown when nobody was reached.
    pub part: Part,
    /// The destination is no workload of the mesh.
    pub external: bool,
    pub protocol: Protocol,
    pub reporter: Reporter,
    pub security: Security,
    pub signals: Signals,
}

impl Flow {
    /// True of one of the two reports of what passed between two proxies; see [`taut_model::signal::Edge::counts_once`].
    pub fn counts_once(&self) -> bool {
        self.reporter == Reporter::Source || self.security != Security::MutualTls
    }
}

/// How hard the machine below a node works, where something tells: shares of what it has, 0 to 1 and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    /// Requests under way against the most that are let in.
    pub concurrency: Option<f64>,
}

/// One span of time of the whole mesh. Ticks come in order; seconds that lack are seconds of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Where the span begins.
    pub at: Second,
    /// Seconds; at least 1.
    pub span: Second,
    /// Some proxy's report of this span is known to lack.
    pub incomplete: bool,
    /// In any order; several of an edge add up.
    pub flows: Vec<Flow>,
    pub pressures: Vec<(Node, Pressure)>,
}
