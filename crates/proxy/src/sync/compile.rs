//! From what was received to a plan: the snapshot, the plan without what it cannot use, and a receipt for each resource.

use super::Known;
use crate::options::OwnWorkload;
use crate::status::ResourceStatus;
use crate::trust::{self, Federated, Trust};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taut_model::origin::{ObjectRef, Origin};
use taut_model::workload::Workload;
use taut_plan::{Plan, Snapshot};
use taut_wire::desk::ResourceAck;
use taut_wire::resource::{Resource, ResourceType};
use taut_wire::session::{Change, ClientSession};

/// A resource by type and name.
pub(super) type Key = (ResourceType, String);

pub(super) struct Compiled {
    pub snapshot: Snapshot,
    pub plan: Plan,
    /// By what peers are checked from now on. `None`: the control plane has said nothing of it.
    pub trust: Option<Trust>,
    /// What cannot be used, and why.
    pub refused: BTreeMap<Key, String>,
}

pub(super) fn own(session: &ClientSession, workload: &OwnWorkload) -> Option<Arc<Workload>> {
    let uid = format!("{}/{}", workload.namespace, workload.name);
    session.held(ResourceType::Workload).find_map(|(name, _, resource)| match resource {
        Resource::Workload(found) if name == uid => Some(found.clone()),
        _ => None,
    })
}

/// Everything that is held, as the next snapshot.
pub(super) fn candidate(known: &mut Known, workload: &OwnWorkload) -> Snapshot {
    known.version += 1;
    let own = own(&known.session, workload);
    let needed = |of_type: &ResourceType| *of_type == ResourceType::Workload || of_type.is_policy();
    let mut needed = ResourceType::all().into_iter().filter(needed);
    let policies_complete =
        own.is_some() && needed.all(|of_type| known.answered.contains(&of_type)) && !known.receipts.lacks_a_policy(&known.session);
    let mut snapshot = Snapshot {
        version: known.version,
        trust_domain: known.trust_domain.clone(),
        own,
        absent: known.absent.clone(),
        policies_complete,
        ..Snapshot::default()
    };
    for of_type in ResourceType::all() {
        for (name, _, resource) in known.session.held(of_type) {
            put(&mut snapshot, name.to_owned(), resource.clone());
        }
    }
    snapshot
}

/// Compiles; a resource that the plan has a problem with is put back to its last good version, so that one bad resource never
/// takes the others with it. A policy that has no good version stays, refused: without it more would be allowed.
pub(super) fn compile(mut candidate: Snapshot, good: &Snapshot) -> Compiled {
    let mut refused = BTreeMap::new();
    let trust = own_trust(&mut candidate, good, &mut refused).map(|own| {
        let others = federated(&mut candidate, good, &mut refused);
        let settings = candidate.settings.values().next().cloned().unwrap_or_default();
        let revoked = candidate.trust.iter().filter(|(name, _)| others.contains_key(*name)).map(|(name, bundle)| (name, &bundle.revoked));
        let revoked: Vec<_> = revoked.collect();
        trust::with_others(own, others, revoked.into_iter(), &settings)
    });
    loop {
        let plan = Plan::compile(&candidate);
        let mut changed = false;
        for (origin, why) in plan.problems() {
            for key in of_object(&candidate, &origin.object) {
                changed |= put_back(&mut candidate, good, &key);
                refused.entry(key).or_insert_with(|| why.clone());
            }
        }
        // Each round changes what no earlier one has, so this ends.
        if !changed {
            return Compiled { snapshot: candidate, plan, trust, refused };
        }
    }
}

/// The bundle of the own trust domain. One that cannot be used is put back to the last good one.
fn own_trust(candidate: &mut Snapshot, good: &Snapshot, refused: &mut BTreeMap<Key, String>) -> Option<Trust> {
    let name = candidate.trust_domain.clone();
    let bundle = candidate.trust.get(&name)?;
    match Trust::read(bundle) {
        Ok(trust) => Some(trust),
        Err(why) => {
            let key = (ResourceType::TrustBundle, name);
            put_back(candidate, good, &key);
            let last = candidate.trust.get(&key.1).and_then(|bundle| Trust::read(bundle).ok());
            refused.insert(key, why);
            last
        }
    }
}

/// The bundles of other trust domains. Of one that cannot be used the last good one counts; without any, nobody of it is believed.
fn federated(candidate: &mut Snapshot, good: &Snapshot, refused: &mut BTreeMap<Key, String>) -> Federated {
    let others: Vec<String> = candidate.trust.keys().filter(|name| **name != candidate.trust_domain).cloned().collect();
    let mut federated = Federated::new();
    for name in others {
        let roots = |snapshot: &Snapshot| {
            snapshot.trust.get(&name).map(|bundle| match bundle.trust_domain == name {
                true => trust::roots(bundle),
                false => Err(format!("it is of trust domain {:?}", bundle.trust_domain)),
            })
        };
        let usable = match roots(candidate) {
            Some(Err(why)) => {
                let key = (ResourceType::TrustBundle, name.clone());
                put_back(candidate, good, &key);
                refused.insert(key, why);
                roots(candidate)
            }
            read => read,
        };
        if let Some(Ok(roots)) = usable {
            federated.insert(name, roots);
        }
    }
    federated
}

fn put(snapshot: &mut Snapshot, name: String, resource: Resource) {
    match resource {
        Resource::Service(value) => drop(snapshot.services.insert(name, value)),
        Resource::Workload(value) => drop(snapshot.workloads.insert(name, value)),
        Resource::Route(value) => drop(snapshot.routes.insert(name, value)),
        Resource::Destination(value) => drop(snapshot.destinations.insert(name, value)),
        Resource::PeerAuthentication(value) => drop(snapshot.authentications.insert(name, value)),
        Resource::AuthorizationPolicy(value) => drop(snapshot.authorizations.insert(name, value)),
        Resource::RequestAuthentication(value) => drop(snapshot.tokens.insert(name, value)),
        Resource::RateLimit(value) => drop(snapshot.limits.insert(name, value)),
        Resource::MeshSettings(value) => drop(snapshot.settings.insert(name, value)),
        Resource::Telemetry(value) => drop(snapshot.telemetry.insert(name, value)),
        Resource::TrustBundle(value) => drop(snapshot.trust.insert(name, value)),
    }
}

/// The resources that came from one object of a user.
fn of_object(snapshot: &Snapshot, object: &ObjectRef) -> Vec<Key> {
    fn find<'a, T>(
        of_type: ResourceType,
        map: &'a BTreeMap<String, Arc<T>>,
        origin: fn(&T) -> &Origin,
        object: &'a ObjectRef,
    ) -> impl Iterator<Item = Key> + 'a
    where
        T: 'a,
    {
        map.iter().filter(move |(_, value)| origin(value).object == *object).map(move |(name, _)| (of_type, name.clone()))
    }
    find(ResourceType::Service, &snapshot.services, |v| &v.origin, object)
        .chain(find(ResourceType::Workload, &snapshot.workloads, |v| &v.origin, object))
        .chain(find(ResourceType::Route, &snapshot.routes, |v| &v.origin, object))
        .chain(find(ResourceType::Destination, &snapshot.destinations, |v| &v.origin, object))
        .chain(find(ResourceType::PeerAuthentication, &snapshot.authentications, |v| &v.origin, object))
        .chain(find(ResourceType::AuthorizationPolicy, &snapshot.authorizations, |v| &v.origin, object))
        .chain(find(ResourceType::RequestAuthentication, &snapshot.tokens, |v| &v.origin, object))
        .chain(find(ResourceType::RateLimit, &snapshot.limits, |v| &v.origin, object))
        .chain(find(ResourceType::MeshSettings, &snapshot.settings, |v| &v.origin, object))
        .chain(find(ResourceType::Telemetry, &snapshot.telemetry, |v| &v.origin, object))
        .chain(find(ResourceType::TrustBundle, &snapshot.trust, |v| &v.origin, object))
        .collect()
}

/// `false`: it is the last good version already, or a policy without one.
fn put_back(candidate: &mut Snapshot, good: &Snapshot, (of_type, name): &Key) -> bool {
    fn back<T>(now: &mut BTreeMap<String, Arc<T>>, good: &BTreeMap<String, Arc<T>>, name: &str, may_go: bool) -> bool {
        match (good.get(name), now.get(name)) {
            (Some(good), Some(value)) if Arc::ptr_eq(good, value) => false,
            (Some(good), _) => {
                now.insert(name.to_owned(), good.clone());
                true
            }
            (None, _) => may_go && now.remove(name).is_some(),
        }
    }
    match of_type {
        ResourceType::Service => back(&mut candidate.services, &good.services, name, true),
        ResourceType::Workload => back(&mut candidate.workloads, &good.workloads, name, true),
        ResourceType::Route => back(&mut candidate.routes, &good.routes, name, true),
        ResourceType::Destination => back(&mut candidate.destinations, &good.destinations, name, true),
        ResourceType::PeerAuthentication => back(&mut candidate.authentications, &good.authentications, name, false),
        ResourceType::AuthorizationPolicy => back(&mut candidate.authorizations, &good.authorizations, name, false),
        ResourceType::RequestAuthentication => back(&mut candidate.tokens, &good.tokens, name, false),
        ResourceType::RateLimit => back(&mut candidate.limits, &good.limits, name, false),
        ResourceType::MeshSettings => back(&mut candidate.settings, &good.settings, name, true),
        ResourceType::Telemetry => back(&mut candidate.telemetry, &good.telemetry, name, true),
        ResourceType::TrustBundle => back(&mut candidate.trust, &good.trust, name, true),
    }
}

/// What became of each resource that was received, and what of it the control plane was told.
#[derive(Default)]
pub(super) struct Receipts {
    /// Received and not readable: version and reason. The last good version may be held beside it.
    unreadable: BTreeMap<Key, (String, String)>,
    now: BTreeMap<Key, ResourceAck>,
    told: BTreeMap<Key, ResourceAck>,
    gone: BTreeSet<Key>,
}

impl Receipts {
    pub fn received(&mut self, change: &Change) {
        let key = (change.of_type, change.name.clone());
        self.gone.remove(&key);
        match &change.outcome {
            Ok(_) => {
                self.unreadable.remove(&key);
            }
            Err(fault) => {
                self.unreadable.insert(key, (change.version.clone(), fault.to_string()));
            }
        }
    }

    pub fn removed(&mut self, of_type: ResourceType, name: &str) {
        let key = (of_type, name.to_owned());
        self.unreadable.remove(&key);
        self.gone.insert(key);
    }

    /// As [`Receipts::removed`], if there is a receipt at all: names that were never answered for would pile up in an outage.
    pub fn forgotten(&mut self, of_type: ResourceType, name: &str) {
        let key = (of_type, name.to_owned());
        if self.now.contains_key(&key) || self.unreadable.contains_key(&key) {
            self.removed(of_type, name);
        }
    }

    /// Whether there is a policy that was never readable: what it forbids is not known, so nothing may come in.
    pub fn lacks_a_policy(&self, session: &ClientSession) -> bool {
        let held = |(of_type, name): &Key| session.held(*of_type).any(|(held, ..)| held == name);
        self.unreadable.keys().any(|key| key.0.is_policy() && !held(key))
    }

    /// Brings the receipts up to date with what is held and what the plan refused.
    pub fn settle(&mut self, session: &ClientSession, refused: &BTreeMap<Key, String>) -> Vec<ResourceStatus> {
        self.now.clear();
        let mut statuses = Vec::new();
        for of_type in ResourceType::all() {
            for (name, version, resource) in session.held(of_type) {
                let key = (of_type, name.to_owned());
                let (version, why) = match (self.unreadable.get(&key), refused.get(&key)) {
                    (Some((version, why)), _) => (version.clone(), why.clone()),
                    (None, Some(why)) => (version.to_owned(), why.clone()),
                    (None, None) => (version.to_owned(), String::new()),
                };
                statuses.push(self.note(key, version, why, generation(resource)));
            }
        }
        let never: Vec<_> = self.unreadable.iter().filter(|(key, _)| !self.now.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, (version, why)) in never {
            statuses.push(self.note(key, version, why, 0));
        }
        statuses
    }

    fn note(&mut self, key: Key, version: String, why: String, generation: i64) -> ResourceStatus {
        let (of_type, name) = key.clone();
        let ack = ResourceAck {
            type_url: of_type.type_url().to_owned(),
            name: name.clone(),
            version: version.clone(),
            accepted: why.is_empty(),
            why: why.clone(),
            removed: false,
        };
        self.now.insert(key, ack);
        ResourceStatus { kind: of_type.to_string(), name, version, generation, accepted: why.is_empty(), why }
    }

    /// What the control plane does not know yet; everything when `fresh`.
    pub fn news(&mut self, fresh: bool) -> Vec<ResourceAck> {
        if fresh {
            self.told.clear();
        }
        let mut news: Vec<_> = self.now.iter().filter(|(key, ack)| self.told.get(*key) != Some(*ack)).map(|(_, ack)| ack.clone()).collect();
        for (of_type, name) in std::mem::take(&mut self.gone) {
            let (type_url, accepted, removed) = (of_type.type_url().to_owned(), true, true);
            news.push(ResourceAck { type_url, name, accepted, removed, ..Default::default() });
        }
        self.told = self.now.clone();
        news
    }
}

fn generation(resource: &Resource) -> i64 {
    match resource {
        Resource::Service(value) => value.origin.generation,
        Resource::Workload(value) => value.origin.generation,
        Resource::Route(value) => value.origin.generation,
        Resource::Destination(value) => value.origin.generation,
        Resource::PeerAuthentication(value) => value.origin.generation,
        Resource::AuthorizationPolicy(value) => value.origin.generation,
        Resource::RequestAuthentication(value) => value.origin.generation,
        Resource::RateLimit(value) => value.origin.generation,
        Resource::MeshSettings(value) => value.origin.generation,
        Resource::Telemetry(value) => value.origin.generation,
        Resource::TrustBundle(value) => value.origin.generation,
    }
}
