//! Tautline's own kinds in the exact shape of their JSON.

use crate::translate::istio::api::{Condition, From, To, WorkloadSelector};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RateLimit {
    pub selector: WorkloadSelector,
    pub limits: Vec<RequestLimit>,
    pub sizes: Vec<SizeLimit>,
}

/// `from`, `to` and `when` are those of an AuthorizationPolicy's rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RequestLimit {
    pub name: Option<String>,
    pub requests: Option<i64>,
    pub interval: Option<String>,
    pub burst: Option<i64>,
    pub per: Option<String>,
    pub header: Option<String>,
    pub from: Option<Vec<From>>,
    pub to: Option<Vec<To>>,
    pub when: Vec<Condition>,
}

/// Sizes are numbers of bytes, or texts such as `10Mi`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SizeLimit {
    pub name: Option<String>,
    pub max_request: Option<Value>,
    pub max_response: Option<Value>,
    pub from: Option<Vec<From>>,
    pub to: Option<Vec<To>>,
    pub when: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    pub target_refs: Vec<TargetRef>,
    pub interval: Option<String>,
    pub timeout: Option<String>,
    pub unhealthy_threshold: Option<i64>,
    pub healthy_threshold: Option<i64>,
    pub http: Option<HttpProbe>,
    pub grpc: Option<GrpcProbe>,
    pub tcp: Option<TcpProbe>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpProbe {
    pub path: Option<String>,
    pub expected_statuses: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcProbe {
    pub service_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpProbe {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceLevelObjective {
    pub target_refs: Vec<TargetRef>,
    /// Percent.
    pub target: Option<f64>,
    pub latency: Option<LatencyObjective>,
    pub window: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LatencyObjective {
    pub threshold: Option<String>,
}
