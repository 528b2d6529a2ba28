//! Who may talk to whom, and how they must prove who they are (Istio's PeerAuthentication, RequestAuthentication and AuthorizationPolicy).

use crate::origin::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Hosts of the services that it is attached to: it is about what comes for these. Empty: about everything.
    #[serde(default)]
    pub services: Vec<String>,
    pub action: AuthorizationAction,
    /// The authorizer (by its name among the mesh's providers) that a CUSTOM policy asks; else empty.
    #[serde(default)]
    pub provider: String,
    /// Looked at and told, never enforced.
    #[serde(default)]
    pub dry_run: bool,
    /// ALLOW without rules denies everything; one empty rule matches everything.
    pub rules: Vec<AuthorizationRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizationAction {
    Allow,
    Deny,
    Audit,
    /// Ask an authorizer outside the proxy.
    Custom,
}

/// Which tokens (JWT, RFC 7519) requests may carry, and who vouches for them. A request without a token passes, as nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestAuthentication {
    pub origin: Origin,
    pub namespace: String,
    /// Empty: the whole namespace (or mesh, in the root namespace).
    pub selector: BTreeMap<String, String>,
    /// As of an [`AuthorizationPolicy`].
    pub services: Vec<String>,
    pub rules: Vec<TokenRule>,
    /// What was written cannot be honoured: no request is let in, since nobody knows which tokens it should carry.
    pub closed: bool,
}

/// One issuer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRule {
    pub origin: Origin,
    pub issuer: String,
    /// A token must be meant for one of them. Empty: for anybody.
    pub audiences: Vec<String>,
    pub keys: TokenKeys,
    /// Where a token may be. All empty: `Authorization: Bearer`, then the parameter `access_token`.
    pub headers: Vec<TokenHeader>,
    pub parameters: Vec<String>,
    pub cookies: Vec<String>,
    /// Tells the application the claims: the token's payload, as it was encoded.
    pub payload_header: Option<String>,
    /// Claim (nested names joined with dots) and the header that gets its value.
    pub claim_headers: Vec<(String, String)>,
    /// Whether the application gets the token itself.
    pub forward: bool,
    /// Claims whose text is a list, beside `scope` and `permission`.
    pub spaced_claims: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHeader {
    /// Lower case.
    pub name: String,
    /// Before the token; empty for none.
    pub prefix: String,
}

/// A JSON Web Key Set (RFC 7517), as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKeys {
    Inline(String),
    /// Fetched by the control plane. `keys` is the last good set, `None` before the first.
    Fetched {
        uri: String,
        timeout: Duration,
        keys: Option<String>,
    },
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
    /// `issuer/subject` of the request's token.
    #[serde(default)]
    pub request_principals: Vec<String>,
    #[serde(default)]
    pub not_request_principals: Vec<String>,
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
    /// `issuer/subject` of the request's token.
    RequestPrincipal,
    /// Whom the token is meant for.
    RequestAudiences,
    /// Whom the token was issued to: its claim `azp`.
    RequestPresenter,
    /// The path to a claim of the token.
    RequestClaim(Vec<String>),
}
