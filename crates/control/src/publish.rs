//! The mesh as it is delivered: translated after every change of the store and encoded once for all proxies.

use crate::store::{Change, Event, Store, StoreEvent};
use crate::translate::{self, Fetched, Settings, Translation};
use crate::view::{Index, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taut_model::object::Object;
use taut_model::origin::{ObjectRef, Origin};
use taut_model::route::Route;
use taut_model::trust::TrustBundle;
use taut_wire::resource::{Resource, ResourceType, encode, version};
use tokio::sync::watch;
use tokio::time::Instant;

/// The first change is published at once, those that follow at most this often.
const COALESCE: Duration = Duration::from_millis(20);

/// Name -> version and bytes, of one type.
pub type Encoded = BTreeMap<String, (String, Arc<[u8]>)>;

/// One consistent state of the mesh.
#[derive(Default)]
pub struct Published {
    /// The store's version that it was made from.
    pub version: u64,
    pub translation: Translation,
    pub index: Index,
    pub encoded: BTreeMap<ResourceType, Encoded>,
    /// The version with which each workload was first published as it is now.
    pub workloads_since: BTreeMap<String, u64>,
    /// The resources that each object became.
    pub made: BTreeMap<ObjectRef, Vec<(ResourceType, String)>>,
    /// What the authority says.
    own_trust: Option<Arc<TrustBundle>>,
    /// `metadata.generation` of every object.
    pub generations: BTreeMap<ObjectRef, i64>,
}

impl Published {
    /// Bytes of resources that did not change are taken over from `before`, and so is what the authority says.
    pub fn new(objects: &[Arc<Object>], version: u64, settings: &Settings, before: &Published) -> Self {
        Self::trusting(before.own_trust.clone(), objects, version, settings, before)
    }

    fn trusting(own: Option<Arc<TrustBundle>>, objects: &[Arc<Object>], version: u64, settings: &Settings, before: &Published) -> Self {
        let mut translation = translate::translate(objects, settings);
        // Whatever the settings say, nobody but the authority says whom to believe of the own trust domain.
        translation.trust.extend(own.iter().map(|bundle| (bundle.trust_domain.clone(), bundle.clone())));
        let index = Index::new(&translation);
        let generations = objects.iter().map(|object| (object.reference(), object.generation())).collect();
        let mut published = Self { version, translation, index, generations, own_trust: own, ..Self::default() };
        published.encode(before);
        published.date_workloads(before);
        published
    }

    fn encode(&mut self, before: &Published) {
        let (new, old) = (std::mem::take(&mut self.translation), &before.translation);
        self.encode_type(&new.services, &old.services, before, |one| &one.origin, Resource::Service);
        self.encode_type(&new.workloads, &old.workloads, before, |one| &one.origin, Resource::Workload);
        self.encode_type(&new.routes, &old.routes, before, |one| &one.origin, Resource::Route);
        self.count_delegates(&new.routes);
        self.encode_type(&new.destinations, &old.destinations, before, |one| &one.origin, Resource::Destination);
        self.encode_type(&new.authentications, &old.authentications, before, |one| &one.origin, Resource::PeerAuthentication);
        self.encode_type(&new.authorizations, &old.authorizations, before, |one| &one.origin, Resource::AuthorizationPolicy);
        self.encode_type(&new.tokens, &old.tokens, before, |one| &one.origin, Resource::RequestAuthentication);
        self.encode_type(&new.limits, &old.limits, before, |one| &one.origin, Resource::RateLimit);
        self.encode_type(&new.settings, &old.settings, before, |one| &one.origin, Resource::MeshSettings);
        self.encode_type(&new.telemetry, &old.telemetry, before, |one| &one.origin, Resource::Telemetry);
        self.encode_type(&new.trust, &old.trust, before, |one| &one.origin, Resource::TrustBundle);
        self.translation = new;
    }

    fn date_workloads(&mut self, before: &Published) {
        let of_type = ResourceType::Workload;
        let since = |(name, (version, _)): (&String, &(String, Arc<[u8]>))| {
            let same = before.version_of(of_type, name) == Some(version);
            let since = before.workloads_since.get(name).copied().filter(|_| same);
            (name.clone(), since.unwrap_or(self.version))
        };
        self.workloads_since = self.encoded.get(&of_type).into_iter().flatten().map(since).collect();
    }

    /// A VirtualService that others delegate to is delivered with theirs.
    fn count_delegates(&mut self, routes: &BTreeMap<String, Arc<Route>>) {
        for (name, route) in routes {
            let others: BTreeSet<&ObjectRef> =
                route.http.iter().map(|rule| &rule.origin.object).filter(|object| **object != route.origin.object).collect();
            for object in others {
                self.made.entry(object.clone()).or_default().push((ResourceType::Route, name.clone()));
            }
        }
    }

    fn encode_type<T: PartialEq>(
        &mut self,
        new: &BTreeMap<String, Arc<T>>,
        old: &BTreeMap<String, Arc<T>>,
        before: &Published,
        origin: fn(&T) -> &Origin,
        resource: fn(Arc<T>) -> Resource,
    ) {
        for (name, value) in new {
            let of_type = resource(value.clone()).of_type();
            let same = old.get(name).is_some_and(|old| old == value);
            let known = before.encoded.get(&of_type).and_then(|all| all.get(name)).filter(|_| same);
            let entry = known.cloned().unwrap_or_else(|| {
                let bytes = encode(&resource(value.clone()));
                (version(&bytes), bytes.into())
            });
            self.encoded.entry(of_type).or_default().insert(name.clone(), entry);
            self.made.entry(origin(value).object.clone()).or_default().push((of_type, name.clone()));
        }
    }

    /// The versions and bytes of what a view names.
    pub fn of(&self, view: &View, of_type: ResourceType) -> Encoded {
        let Some(all) = self.encoded.get(&of_type) else { return Encoded::new() };
        let named = names(view, of_type).iter().filter_map(|name| all.get_key_value(name));
        named.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    pub fn version_of(&self, of_type: ResourceType, name: &str) -> Option<&str> {
        self.encoded.get(&of_type)?.get(name).map(|(version, _)| version.as_str())
    }
}

/// The names of one type in a view.
pub fn names(view: &View, of_type: ResourceType) -> &std::collections::BTreeSet<String> {
    match of_type {
        ResourceType::Service => &view.services,
        ResourceType::Workload => &view.workloads,
        ResourceType::Route => &view.routes,
        ResourceType::Destination => &view.destinations,
        ResourceType::PeerAuthentication => &view.authentications,
        ResourceType::AuthorizationPolicy => &view.authorizations,
        ResourceType::RequestAuthentication => &view.tokens,
        ResourceType::RateLimit => &view.limits,
        ResourceType::MeshSettings => &view.settings,
        ResourceType::Telemetry => &view.telemetry,
        ResourceType::TrustBundle => &view.trust,
    }
}

/// Follows the store.
pub struct Publisher {
    store: Store,
    settings: Settings,
    /// What the authority says. `None`: there is no authority to follow.
    trust: Option<watch::Receiver<Arc<TrustBundle>>>,
    keys: watch::Receiver<Arc<BTreeMap<String, Fetched>>>,
    published: watch::Sender<Arc<Published>>,
}

impl Publisher {
    /// Publishes what the store holds now.
    pub fn new(store: Store, settings: Settings) -> Self {
        let (objects, version) = store.all();
        let first = Published::new(&objects, version, &settings, &Published::default());
        let keys = watch::Sender::new(settings.keys.clone()).subscribe();
        Self { store, settings, trust: None, keys, published: watch::Sender::new(Arc::new(first)) }
    }

    /// Publishes what the authority says beside what the store holds, and follows it.
    pub fn trusting(self, trust: watch::Receiver<Arc<TrustBundle>>) -> Self {
        let mut following = Self { trust: Some(trust), ..self };
        following.publish();
        following
    }

    /// Publishes what is fetched of issuers' keys, too.
    pub fn with_keys(mut self, keys: watch::Receiver<Arc<BTreeMap<String, Fetched>>>) -> Self {
        self.keys = keys;
        self.publish();
        self
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Publishes after every change that matters. Runs for ever.
    pub async fn run(mut self) {
        loop {
            let seen = self.published.borrow().version;
            if let Ok(watch) = self.store.watch(seen) {
                self.follow(watch).await;
            }
            // Fell behind by more events than are kept: start from all there is.
            self.publish();
        }
    }

    /// Returns when events were missed.
    async fn follow(&mut self, mut watch: crate::store::Watch) {
        let mut trust = self.trust.clone();
        loop {
            let mut changed = tokio::select! {
                biased;
                () = said(&mut trust) => true,
                event = watch.next() => match event {
                    Ok(event) => matters(&event),
                    Err(_) => return,
                },
                // Without anybody who fetches, there is nothing to wait for.
                Ok(()) = self.keys.changed() => true,
            };
            while let Some(event) = match watch.try_next() {
                Ok(event) => event,
                Err(_) => return,
            } {
                changed |= matters(&event);
            }
            if changed {
                let until = Instant::now() + COALESCE;
                self.publish();
                tokio::time::sleep_until(until).await;
            }
        }
    }

    fn publish(&mut self) {
        self.settings.keys = self.keys.borrow_and_update().clone();
        let before = self.published.borrow().clone();
        let (objects, version) = self.store.all();
        let own = self.trust.as_ref().map(|trust| trust.borrow().clone());
        let next = Published::trusting(own, &objects, version, &self.settings, &before);
        self.published.send_replace(Arc::new(next));
    }
}

/// Resolves when the authority says something new.
async fn said(trust: &mut Option<watch::Receiver<Arc<TrustBundle>>>) {
    if let Some(trust) = trust
        && trust.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Whether an event can change what is delivered: a status cannot, but for a workload's health.
fn matters(event: &Event) -> bool {
    // What is deleted is as it was before, and yet all is different.
    let StoreEvent { kind: Change::Added | Change::Modified, object, before: Some(before), .. } = &**event else { return true };
    let health = |object: &Object| {
        let conditions = object.value["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|one| one["type"] == "Healthy").map(|one| (one["status"].clone(), one["reason"].clone())).collect::<Vec<_>>()
    };
    let same_meaning = |path: &str| object.value["metadata"][path] == before.value["metadata"][path];
    let outside_metadata = |object: &Object| -> Vec<(String, serde_json::Value)> {
        let all = object.value.as_object().into_iter().flatten();
        all.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status")).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    object.generation() != before.generation()
        || !["labels", "annotations", "deletionTimestamp"].into_iter().all(same_meaning)
        || outside_metadata(object) != outside_metadata(before)
        || (object.kind.kind == "WorkloadEntry" && health(object) != health(before))
        || (object.kind.kind != "WorkloadEntry" && !object.kind.has_status && object.value["status"] != before.value["status"])
}

#[cfg(test)]
mod tests;
