//! What a decision was made from, owned, so that it can be explained after the exchange has ended.

use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_observe::text::Text;
use taut_plan::verdict::Rolls;
use taut_plan::{Direction, Facts, HttpFacts, Peer, Plan, Token};

/// Everything that `Plan::explain` needs to say again why it decided as it did.
#[derive(Clone)]
pub struct Evidence {
    pub plan: Arc<Plan>,
    pub facts: OwnedFacts,
    pub rolls: Rolls,
}

/// [`Facts`] that own what they say.
#[derive(Clone, Debug)]
pub struct OwnedFacts {
    pub direction: Direction,
    pub host: Text,
    pub port: u16,
    pub http: Option<OwnedHttpFacts>,
    pub peer_identity: Option<Arc<Identity>>,
    pub peer_address: Option<IpAddr>,
    pub peer_client: Option<IpAddr>,
    pub sni: Option<Text>,
}

#[derive(Clone, Debug)]
pub struct OwnedHttpFacts {
    pub method: Cow<'static, str>,
    pub scheme: Cow<'static, str>,
    pub authority: Text,
    pub path: Text,
    pub query: Text,
    /// Those of `Plan::headers_used` are enough: no other header can change a decision. Beside them those that taps ask about.
    pub headers: HeaderMap,
    pub token: Option<Arc<Token>>,
    pub permitted_by: Option<Arc<str>>,
}

impl OwnedFacts {
    /// Copies `facts`, and of the headers only those that `plan` looks at.
    pub fn copy(facts: &Facts<'_>, plan: &Plan) -> Self {
        Self {
            direction: facts.direction,
            host: facts.host.into(),
            port: facts.port,
            http: facts.http.map(|http| OwnedHttpFacts::copy(&http, plan)),
            peer_identity: facts.peer.identity.cloned().map(Arc::new),
            peer_address: facts.peer.address,
            peer_client: facts.peer.client,
            sni: facts.sni.map(Into::into),
        }
    }

    pub fn as_facts(&self) -> Facts<'_> {
        Facts {
            direction: self.direction,
            host: &self.host,
            port: self.port,
            http: self.http.as_ref().map(OwnedHttpFacts::as_facts),
            peer: Peer { identity: self.peer_identity.as_deref(), address: self.peer_address, client: self.peer_client },
            sni: self.sni.as_deref(),
        }
    }
}

impl OwnedHttpFacts {
    fn copy(http: &HttpFacts<'_>, plan: &Plan) -> Self {
        Self {
            method: method_text(http.method),
            scheme: scheme_text(http.scheme),
            authority: http.authority.into(),
            path: http.path.into(),
            query: http.query.into(),
            headers: headers_used(http.headers, plan),
            token: http.token.cloned().map(Arc::new),
            permitted_by: http.permitted_by.map(Into::into),
        }
    }

    fn as_facts(&self) -> HttpFacts<'_> {
        HttpFacts {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            token: self.token.as_deref(),
            permitted_by: self.permitted_by.as_deref(),
        }
    }
}

/// The headers that `plan` looks at, copied: a value shares the memory of the whole head it came in.
pub fn headers_used(headers: &HeaderMap, plan: &Plan) -> HeaderMap {
    let mut used = HeaderMap::new();
    for name in plan.headers_used() {
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            for value in headers.get_all(&name).iter().filter_map(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
                used.append(name.clone(), value);
            }
        }
    }
    used
}

/// The methods of RFC 9110 and PATCH cost nothing.
pub fn method_text(method: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).map_or_else(|| Cow::Owned(method.to_owned()), Cow::Borrowed)
}

pub fn scheme_text(scheme: &str) -> Cow<'static, str> {
    ["http", "https"].into_iter().find(|known| *known == scheme).map_or_else(|| Cow::Owned(scheme.to_owned()), Cow::Borrowed)
}
