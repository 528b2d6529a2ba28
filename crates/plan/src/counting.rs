//! Which limits a request falls under, and which of their buckets is its own; and how large it and its response may be.

use crate::authorization::{Policy, Visit};
use crate::dice::stable_hash;
use crate::domains::Domains;
use crate::rate::{Due, Limit};
use crate::snapshot::Snapshot;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use taut_model::origin::Origin;
use taut_model::policy::AuthorizationRule;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, ROOT_NAMESPACE};
use taut_model::rate_limit::{Per, SizeLimit};
use taut_model::workload::Workload;

/// A limit and the requests that it is about.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) limit: Arc<Limit>,
    matching: Policy,
}

/// A limit on sizes and the requests that it is about.
#[derive(Debug)]
pub(crate) struct Sized {
    pub(crate) limit: SizeLimit,
    matching: Policy,
}

/// The limits that concern the workload beside this proxy, in the order of their objects' names.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) counted: Vec<Counted>,
    pub(crate) sized: Vec<Sized>,
}

impl Limits {
    pub(crate) fn compile(snapshot: &Snapshot, domains: &Domains, problems: &mut Vec<(Origin, String)>) -> Self {
        let Some(own) = snapshot.own.as_deref() else { return Self::default() };
        let concerns = |namespace: &str, own: &Workload| namespace == own.namespace || namespace == ROOT_NAMESPACE;
        let mut limits = Self::default();
        for said in snapshot.limits.values().filter(|limit| concerns(&limit.namespace, own) && own.has_labels(&limit.selector)) {
            for one in &said.limits {
                let matching = matching(&one.origin, &one.matching, domains, problems);
                limits.counted.push(Counted { limit: Arc::new(Limit::new(one)), matching });
            }
            for one in &said.sizes {
                let matching = matching(&one.origin, &one.matching, domains, problems);
                limits.sized.push(Sized { limit: one.clone(), matching });
            }
        }
        limits
    }

    pub(crate) fn header_names(&self, into: &mut BTreeSet<String>) {
        self.sized.iter().for_each(|sized| sized.matching.header_names(into));
        for counted in &self.counted {
            counted.matching.header_names(into);
            if let Per::Header(name) = &counted.limit.per {
                into.insert(name.to_ascii_lowercase());
            }
        }
    }
}

/// What cannot be read matches: a limit never lets more through than it reads.
fn matching(origin: &Origin, said: &AuthorizationRule, domains: &Domains, problems: &mut Vec<(Origin, String)>) -> Policy {
    let policy = AuthorizationPolicy {
        origin: origin.clone(),
        namespace: String::new(),
        selector: Default::default(),
        services: Vec::new(),
        action: AuthorizationAction::Deny,
        provider: String::new(),
        dry_run: false,
        rules: vec![said.clone()],
    };
    Policy::compile(&policy, domains, problems)
}

fn matches(matching: &Policy, visit: &Visit<'_>) -> bool {
    matching.matching(visit, true).is_some()
}

impl Sized {
    pub(crate) fn matches(&self, visit: &Visit<'_>) -> bool {
        matches(&self.matching, visit)
    }
}

impl Counted {
    /// `address`: of the client, where it proves no identity.
    pub(crate) fn due(&self, visit: &Visit<'_>, address: Option<IpAddr>) -> Option<Due> {
        if !matches(&self.matching, visit) {
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
