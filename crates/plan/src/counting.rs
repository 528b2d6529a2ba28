//! Which limits a request falls under, and which of their buckets is its own.

use crate::authorization::{Policy, Visit};
use crate::dice::stable_hash;
use crate::rate::{Due, Limit};
use crate::snapshot::Snapshot;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, ROOT_NAMESPACE};
use taut_model::rate_limit::{Per, RequestLimit};
use taut_model::workload::Workload;

/// A limit and the requests that it is about.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) limit: Arc<Limit>,
    matching: Policy,
}

/// The limits that concern the workload beside this proxy, in the order of their objects' names.
pub(crate) fn compile(snapshot: &Snapshot, problems: &mut Vec<(Origin, String)>) -> Vec<Counted> {
    let Some(own) = snapshot.own.as_deref() else { return Vec::new() };
    let concerns = |namespace: &str, own: &Workload| namespace == own.namespace || namespace == ROOT_NAMESPACE;
    let here = snapshot.limits.values().filter(|limit| concerns(&limit.namespace, own) && own.has_labels(&limit.selector));
    here.flat_map(|limit| &limit.limits).map(|one| Counted::compile(one, &snapshot.trust_domain, problems)).collect()
}

impl Counted {
    fn compile(said: &RequestLimit, trust_domain: &str, problems: &mut Vec<(Origin, String)>) -> Self {
        // What cannot be read matches: a limit never lets more through than it reads.
        let matching = AuthorizationPolicy {
            origin: said.origin.clone(),
            namespace: String::new(),
            selector: Default::default(),
            action: AuthorizationAction::Deny,
            rules: vec![said.matching.clone()],
        };
        Self { limit: Arc::new(Limit::new(said)), matching: Policy::compile(&matching, trust_domain, problems) }
    }

    pub(crate) fn header_names(&self, into: &mut BTreeSet<String>) {
        self.matching.header_names(into);
        if let Per::Header(name) = &self.limit.per {
            into.insert(name.to_ascii_lowercase());
        }
    }

    /// `address`: of the client, where it proves no identity.
    pub(crate) fn due(&self, visit: &Visit<'_>, address: Option<IpAddr>) -> Option<Due> {
        if !self.matching.rules.iter().any(|rule| rule.matches(visit, true)) {
            return None;
        }
        let key = match &self.limit.per {
            Per::Workload => 0,
            Per::Client => match (visit.identity, address) {
                (Some(identity), _) => stable_hash(identity.to_string().as_bytes()),
                (None, Some(address)) => stable_hash(address.to_canonical().to_string().as_bytes()),
                (None, None) => 0,
            },
            Per::Header(name) => visit.http.and_then(|http| http.header(name)).map_or(0, |value| stable_hash(value.as_bytes())),
        };
        Some(Due { limit: self.limit.clone(), key })
    }
}
