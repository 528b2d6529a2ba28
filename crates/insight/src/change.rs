//! Changes: what somebody or something did to the mesh, which may be why it is not well.

use crate::tick::Node;
use serde::{Deserialize, Serialize};
use taut_model::signal::Second;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub at: Second,
    /// Whom it concerns; empty: the whole mesh.
    pub nodes: Vec<Node>,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum What {
    /// A generation of the configuration; objects as `Kind namespace/name`.
    Configuration { generation: u64, by: String, objects: Vec<String> },
    /// A version that did not serve before.
    Version { version: String },
    /// Endpoints came or went.
    Endpoints { before: usize, after: usize },
    /// A certificate was renewed, revoked or has expired.
    Certificate { detail: String },
}
