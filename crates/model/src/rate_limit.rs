//! How many requests a workload takes, of whom and for what, and how large (kind RateLimit).

use crate::origin::Origin;
use crate::policy::AuthorizationRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    pub origin: Origin,
    pub namespace: String,
    /// Empty: the whole namespace (or mesh, in the root namespace).
    pub selector: BTreeMap<String, String>,
    pub limits: Vec<RequestLimit>,
    pub sizes: Vec<SizeLimit>,
}

/// Bodies that are longer are not carried to their end. Of several that a request falls under the smallest holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeLimit {
    pub origin: Origin,
    pub name: String,
    /// Bytes.
    pub max_request: Option<u64>,
    pub max_response: Option<u64>,
    /// As for a [`RequestLimit`].
    pub matching: AuthorizationRule,
}

/// A request must have room in every limit that it matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestLimit {
    pub origin: Origin,
    /// As users called it, or its place in the list.
    pub name: String,
    /// In each `interval`, evenly; 0 refuses every request that matches.
    pub requests: u32,
    /// Longer than zero.
    pub interval: Duration,
    /// How many may come at once after a quiet time; at least 1.
    pub burst: u32,
    pub per: Per,
    /// Which requests count, as in an AuthorizationPolicy; one without conditions matches all.
    pub matching: AuthorizationRule,
}

/// What has a limit of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Per {
    /// The workload as a whole.
    Workload,
    /// Each identity; clients that prove none, by address.
    Client,
    /// Each value of this header; requests without it share one.
    Header(String),
}
