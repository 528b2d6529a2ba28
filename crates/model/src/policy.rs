//! Who may talk to whom, and how they must prove who they are (Istio's PeerAuthentication and AuthorizationPolicy).

use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The namespace whose policies without a selector hold for the whole mesh (Istio's root namespace).
pub const ROOT_NAMESPACE: &str = "istio-system";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerAuthentication {
    pub origin: Origin,
    pub namespace: String,
    /// Empty: the whole namespace (or mesh, in the root namespace).
    pub selector: BTreeMap<String, String>,
    /// `None` inherits.
    pub mode: Option<MtlsMode>,
    pub ports: BTreeMap<u16, MtlsMode>,
    /// RFC 3339: where two of the same scope exist, the oldest wins.
    pub created: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MtlsMode {
    Strict,
    Permissive,
    Disable,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationPolicy {
    pub origin: Origin,
    pub namespace: String,
    pub selector: BTreeMap<String, String>,
    pub action: AuthorizationAction,
    /// ALLOW without rules denies everything; one empty rule matches everything.
    pub rules: Vec<AuthorizationRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationAction {
    Allow,
    Deny,
    Audit,
}

/// Any `from`, and any `to`, and every `when`. An empty list does not restrict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationRule {
    pub origin: Origin,
    pub from: Vec<SourceMatch>,
    pub to: Vec<OperationMatch>,
    pub when: Vec<Condition>,
}

/// Every non-empty list must have a match; no `not_` list may have one. Values: exact, `prefix*`, `*suffix`, `*` (present).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceMatch {
    pub principals: Vec<String>,
    pub not_principals: Vec<String>,
    pub namespaces: Vec<String>,
    pub not_namespaces: Vec<String>,
    /// Of the peer's certificate.
    pub trust_domains: Vec<String>,
    pub not_trust_domains: Vec<String>,
    /// `ns/sa` (a bare `sa` has been resolved against the policy's namespace).
    pub service_accounts: Vec<String>,
    pub not_service_accounts: Vec<String>,
    /// CIDR or address that the connection comes from.
    pub ip_blocks: Vec<String>,
    pub not_ip_blocks: Vec<String>,
    /// CIDR or address of the client behind the load balancers before the workload.
    pub remote_ip_blocks: Vec<String>,
    pub not_remote_ip_blocks: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationMatch {
    pub hosts: Vec<String>,
    pub not_hosts: Vec<String>,
    pub ports: Vec<u16>,
    pub not_ports: Vec<u16>,
    pub methods: Vec<String>,
    pub not_methods: Vec<String>,
    pub paths: Vec<String>,
    pub not_paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub key: ConditionKey,
    pub values: Vec<String>,
    pub not_values: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionKey {
    RequestHeader(String),
    SourceIp,
    RemoteIp,
    SourceNamespace,
    SourcePrincipal,
    /// Values are `ns/sa` (a bare `sa` has been resolved against the policy's namespace).
    SourceServiceAccount,
    SourceTrustDomain,
    DestinationIp,
    DestinationPort,
    ConnectionSni,
}
