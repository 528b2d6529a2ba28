//! Servers outside the proxies that decide about requests, as CUSTOM policies ask them (Envoy's external authorization).

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorizer {
    /// A service of the mesh, or a name or an address outside it.
    pub host: String,
    pub port: u16,
    /// Of one question.
    pub timeout: Duration,
    /// What becomes of a request when there is no answer: it passes, or it is refused.
    pub fail_open: bool,
    /// The status of that refusal.
    pub status_on_error: u16,
    /// `None`: the authorizer is not shown the body.
    pub body: Option<BodySent>,
    pub protocol: AuthorizerProtocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodySent {
    /// Bytes.
    pub most: u32,
    /// Of a longer body the beginning is shown; else the request is refused (413).
    pub partly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizerProtocol {
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
    /// The request again, without its body: any 200 says yes.
    Http(AuthorizerHttp),
}

/// Names are in lower case; each list of names takes an exact name, `prefix*`, `*suffix` and `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizerHttp {
    /// Before the request's path.
    pub path_prefix: String,
    /// Which headers of the request it is shown, beside the host, the method, the path and `authorization`.
    pub request_headers: Vec<String>,
    pub added_headers: Vec<(String, String)>,
    /// Which headers of its answer the application gets when it says yes.
    pub to_upstream: Vec<String>,
    /// Which headers of its answer the client gets when it says no. Empty: all.
    pub to_client_on_deny: Vec<String>,
    pub to_client_on_allow: Vec<String>,
}
