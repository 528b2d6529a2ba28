//! What a decision was made from, owned, so that it can be explained after the exchange has ended.

use http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::identity::Identity;
use taut_plan::verdict::Rolls;
use taut_plan::{Direction, Facts, HttpFacts, Peer, Plan};

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
    pub host: Box<str>,
    pub port: u16,
    pub http: Option<OwnedHttpFacts>,
    pub peer_identity: Option<Identity>,
    pub peer_address: Option<IpAddr>,
    pub peer_client: Option<IpAddr>,
    pub sni: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub struct OwnedHttpFacts {
    pub method: Box<str>,
    pub scheme: Box<str>,
    pub authority: Box<str>,
    pub path: Box<str>,
    pub query: Box<str>,
    /// Those of `Plan::headers_used` are enough: no other header can change a decision.
    pub headers: HeaderMap,
}

impl OwnedFacts {
    /// Copies `facts`, and of the headers only those that `plan` looks at.
    pub fn copy(facts: &Facts<'_>, plan: &Plan) -> Self {
        Self {
            direction: facts.direction,
            host: facts.host.into(),
            port: facts.port,
            http: facts.http.map(|http| OwnedHttpFacts::copy(&http, plan)),
            peer_identity: facts.peer.identity.cloned(),
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
            peer: Peer { identity: self.peer_identity.as_ref(), address: self.peer_address, client: self.peer_client },
            sni: self.sni.as_deref(),
        }
    }
}

impl OwnedHttpFacts {
    fn copy(http: &HttpFacts<'_>, plan: &Plan) -> Self {
        let mut headers = HeaderMap::new();
        for name in plan.headers_used() {
            if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
                for value in http.headers.get_all(&name) {
                    headers.append(name.clone(), value.clone());
                }
            }
        }
        Self {
            method: http.method.into(),
            scheme: http.scheme.into(),
            authority: http.authority.into(),
            path: http.path.into(),
            query: http.query.into(),
            headers,
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
        }
    }
}
