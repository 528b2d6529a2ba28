//! Which objects are accepted, and on which proxies they are live; written into their status.
//!
//! Live means: every connected proxy that needs a resource of the object says that it runs that very version. Status writes
//! never change what is delivered, so they cannot feed themselves.

use crate::condition;
use crate::proxies::{Proxies, Proxy};
use crate::publish::{Published, names};
use crate::registry::Presence;
use crate::store::{Store, StoreError, Write};
use crate::view::view;
use crate::world::World;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taut_model::kinds::Kind;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::workload::{Health, Workload};
use taut_wire::resource::ResourceType;
use tokio::sync::watch;

/// Conditions are written at most this often, and first this long after a change, so that most changes are live by then.
const SETTLE: Duration = Duration::from_millis(50);
const MANAGER: &str = "taut-status";
/// `controllerName` in `status.parents` of Gateway API routes.
pub const CONTROLLER: &str = "tautline.dev/control";
/// How many lagging proxies are named.
const NAMED: usize = 10;
/// The readiness of a workload that says it is ready, while those who call it are being told.
pub const ANNOUNCING: &str = "Announcing";

/// Where an object is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Liveness {
    pub accepted: bool,
    /// Every proxy that needs the object runs this generation of it.
    pub live: bool,
    /// The generation that was delivered.
    pub generation: i64,
    /// Proxies that run it, of those that need it.
    pub have: usize,
    pub need: usize,
    /// Proxies that need it and do not run it yet.
    pub lagging: Vec<String>,
    /// Proxies that refused it, and why.
    pub refused: BTreeMap<String, String>,
    /// One sentence for people: `3/5, 2 lagging: a, b`.
    pub message: String,
}

/// The mesh at one moment, as people are told of it.
pub struct Survey {
    pub published: Arc<Published>,
    pub proxies: Vec<Surveyed>,
    /// Every object, in the order of kind, namespace and name.
    pub objects: Vec<(ObjectRef, Liveness)>,
}

/// One connected proxy of a [`Survey`].
pub struct Surveyed {
    pub proxy: Proxy,
    /// `Ready` only when every proxy that calls this workload runs a plan in which it is ready.
    pub readiness: &'static str,
}

/// Answers where objects are live. Cheap to clone.
#[derive(Clone)]
pub struct Board {
    store: Store,
    proxies: Proxies,
    published: watch::Receiver<Arc<Published>>,
}

/// Who needs one resource, and who has it.
#[derive(Clone, Debug, Default)]
struct Tally {
    need: BTreeSet<String>,
    have: BTreeSet<String>,
    refused: BTreeMap<String, String>,
}

type Tallies<'a> = BTreeMap<(ResourceType, &'a str), Tally>;

impl Board {
    pub fn new(store: Store, proxies: Proxies, published: watch::Receiver<Arc<Published>>) -> Self {
        Self { store, proxies, published }
    }

    /// Where the object is live; `None` when there is no such object. An object whose newest generation is not delivered
    /// yet is not live.
    pub fn liveness(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Liveness> {
        let object = self.store.get(kind, namespace, name)?;
        let published = self.published.borrow().clone();
        let proxies = self.proxies.all();
        Some(liveness(&object, &published, &tallies(&published, &proxies)))
    }

    /// Where the objects of each group are live together: a proxy that needs several of them counts once, and has them when it has all.
    pub fn liveness_of(&self, groups: &[Vec<Arc<Object>>]) -> Vec<Liveness> {
        let published = self.published.borrow().clone();
        let proxies = self.proxies.all();
        let tallies = tallies(&published, &proxies);
        groups.iter().map(|objects| together(objects, &published, &tallies)).collect()
    }

    /// Who is connected and ready, and where each object is live.
    pub fn survey(&self) -> Survey {
        // In this order: what a proxy says may be newer than what is published, and then counts only once that is too.
        let published = self.published.borrow().clone();
        let proxies = self.proxies.all();
        let tallies = tallies(&published, &proxies);
        let (objects, _) = self.store.all();
        let mut objects: Vec<_> = objects.iter().map(|object| (object.reference(), liveness(object, &published, &tallies))).collect();
        objects.sort_by(|a, b| a.0.cmp(&b.0));
        let readiness: Vec<_> = proxies.iter().map(|proxy| readiness(proxy, &proxies, &published, &tallies)).collect();
        drop(tallies);
        let proxies = proxies.into_iter().zip(readiness).map(|(proxy, readiness)| Surveyed { proxy, readiness }).collect();
        Survey { published, proxies, objects }
    }

    /// What is wrong with what users wrote, by object.
    pub fn problems(&self) -> Vec<Problem> {
        self.published.borrow().translation.findings.values().flatten().cloned().collect()
    }

    /// Writes conditions when they change. Runs for ever.
    pub async fn write(self, world: World) {
        let (mut published, mut proxies) = (self.published.clone(), self.proxies.changes());
        loop {
            tokio::select! {
                biased;
                changed = published.changed() => if changed.is_err() { return },
                changed = proxies.changed() => if changed.is_err() { return },
                // What could not be written is tried again.
                () = tokio::time::sleep(Duration::from_secs(30)) => {}
            }
            tokio::time::sleep(SETTLE).await;
            published.borrow_and_update();
            proxies.borrow_and_update();
            if let Err(error) = self.write_once(&world) {
                tracing::warn!(%error, "status could not be written; it is tried again");
            }
        }
    }

    /// Writes the conditions that differ from what the objects say now.
    ///
    /// # Errors
    /// The store could not write.
    pub fn write_once(&self, world: &World) -> Result<(), StoreError> {
        let published = self.published.borrow().clone();
        let proxies = self.proxies.all();
        let tallies = tallies(&published, &proxies);
        let (objects, _) = self.store.all();
        for object in objects.iter().filter(|object| has_conditions(object, &published)) {
            // An object that changed since is told of when that change is published.
            if published.generations.get(&object.reference()) != Some(&object.generation()) {
                continue;
            }
            let now = world.wall_text();
            let live = liveness(object, &published, &tallies);
            if status(object, &published, &live, &now) == object.value["status"] {
                continue;
            }
            let write =
                Write { manager: MANAGER.to_owned(), now: now.clone(), uid_seed: world.unique(), places: None, status_only: true, author: None };
            let done = self.store.update(object.kind, &object.namespace, &object.name, &write, &mut |current| {
                let mut value = current.value.clone();
                value["status"] = status(current, &published, &live, &now);
                Ok(value)
            });
            match done {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The kinds whose conditions are this module's: what users write about traffic. A service or a workload gets them only when
/// something is wrong with it, because its endpoints come and go.
fn has_conditions(object: &Object, published: &Published) -> bool {
    let traffic = matches!(object.kind.group, "gateway.networking.k8s.io" | "networking.istio.io" | "security.istio.io" | "tautline.dev");
    let busy = matches!(object.kind.kind, "Service" | "WorkloadEntry");
    object.kind.has_status && (traffic || busy) && (!busy || published.translation.findings.contains_key(&object.reference()))
}

fn tallies<'a>(published: &'a Published, proxies: &[Proxy]) -> Tallies<'a> {
    let mut tallies = Tallies::new();
    for proxy in proxies {
        let view = view(&published.translation, &published.index, &proxy.viewer);
        for of_type in ResourceType::all() {
            for name in names(&view, of_type) {
                if of_type.by_name() && !proxy.viewer.hosts.contains(name) {
                    continue;
                }
                let Some((name, (version, _))) = published.encoded.get(&of_type).and_then(|all| all.get_key_value(name)) else { continue };
                let tally = tallies.entry((of_type, name.as_str())).or_default();
                tally.need.insert(proxy.uid.clone());
                match proxy.acknowledged.get(&(of_type, name.clone())) {
                    Some(said) if said.version == *version && said.accepted => drop(tally.have.insert(proxy.uid.clone())),
                    Some(said) if said.version == *version => drop(tally.refused.insert(proxy.uid.clone(), said.why.clone())),
                    _ => {}
                }
            }
        }
    }
    tallies
}

/// What a proxy says of its workload, or that it is being made known.
fn readiness(proxy: &Proxy, proxies: &[Proxy], published: &Published, tallies: &Tallies<'_>) -> &'static str {
    let ready = Presence::Ready.reason();
    if proxy.readiness != ready {
        return proxy.readiness;
    }
    let workload = published.translation.workloads.get(&proxy.uid).filter(|workload| workload.health == Health::Ready);
    let since = published.workloads_since.get(&proxy.uid).copied().unwrap_or_default();
    // Who asked for the service later has it, from the first answer on, with the workload as it is now; till then requests wait.
    let may_be_behind = |caller: &Proxy, workload: &Workload| {
        let asked_before = |host: &str| caller.asked.get(host).is_some_and(|at| *at < since);
        workload.serves.iter().any(|serves| asked_before(&serves.host))
    };
    let known = workload.zip(tallies.get(&(ResourceType::Workload, proxy.uid.as_str()))).is_some_and(|(workload, tally)| {
        // Who refused it says so, and is not waited for.
        let mut behind = tally.need.iter().filter(|uid| !tally.have.contains(*uid) && !tally.refused.contains_key(*uid));
        behind.all(|uid| proxies.binary_search_by(|one| one.uid.cmp(uid)).is_ok_and(|at| !may_be_behind(&proxies[at], workload)))
    });
    if known { ready } else { ANNOUNCING }
}

fn liveness(object: &Object, published: &Published, tallies: &Tallies<'_>) -> Liveness {
    let reference = object.reference();
    let generation = published.generations.get(&reference).copied().unwrap_or(0);
    let errors = published.translation.findings.get(&reference).into_iter().flatten().filter(|problem| problem.severity == Severity::Error);
    let served = !published.translation.unserved.contains(&reference);
    let mut live = Liveness { accepted: served && errors.count() == 0, generation, ..Liveness::default() };
    let delivered = generation == object.generation() && published.generations.contains_key(&reference);
    live.count(&tally_of([&reference], published, tallies));
    live.live = live.accepted && delivered && live.have == live.need;
    live.message = match (live.accepted, published.made.contains_key(&reference)) {
        (true, _) => message(&live, delivered, published.translation.idle.get(&reference)),
        (false, true) => "not accepted; the stricter thing that stands in for it is delivered instead".to_owned(),
        (false, false) => "not accepted, so nothing of it is delivered".to_owned(),
    };
    live
}

/// Who needs, has and refused the resources of some objects: who has them has all that it needs of them.
fn tally_of<'a>(objects: impl IntoIterator<Item = &'a ObjectRef>, published: &Published, tallies: &Tallies<'_>) -> Tally {
    let mut whole = Tally::default();
    let mut lagging = BTreeSet::new();
    for (of_type, name) in objects.into_iter().filter_map(|object| published.made.get(object)).flatten() {
        let Some(tally) = tallies.get(&(*of_type, name.as_str())) else { continue };
        lagging.extend(tally.need.difference(&tally.have).cloned());
        whole.need.extend(tally.need.iter().cloned());
        whole.refused.extend(tally.refused.clone());
    }
    whole.have = whole.need.difference(&lagging).cloned().collect();
    whole
}

impl Liveness {
    fn count(&mut self, tally: &Tally) {
        (self.need, self.have) = (tally.need.len(), tally.have.len());
        self.lagging = tally.need.difference(&tally.have).filter(|uid| !tally.refused.contains_key(*uid)).cloned().collect();
        self.refused = tally.refused.clone();
    }
}

fn together(objects: &[Arc<Object>], published: &Published, tallies: &Tallies<'_>) -> Liveness {
    let each: Vec<Liveness> = objects.iter().map(|object| liveness(object, published, tallies)).collect();
    let references: Vec<ObjectRef> = objects.iter().map(|object| object.reference()).collect();
    let mut live = Liveness { accepted: each.iter().all(|live| live.accepted), live: each.iter().all(|live| live.live), ..Liveness::default() };
    live.count(&tally_of(&references, published, tallies));
    let delivered = objects.iter().all(|object| published.generations.get(&object.reference()) == Some(&object.generation()));
    live.message = match (live.accepted, &each[..]) {
        (_, [one]) => one.message.clone(),
        (true, _) => message(&live, delivered, None),
        (false, _) => "not all of it is accepted".to_owned(),
    };
    live
}

fn message(live: &Liveness, delivered: bool, idle: Option<&String>) -> String {
    if !delivered {
        return "not delivered yet".to_owned();
    }
    if let Some(why) = idle {
        return why.clone();
    }
    if live.need == 0 {
        return "no proxy needs it".to_owned();
    }
    let mut text = format!("{}/{}", live.have, live.need);
    if !live.lagging.is_empty() {
        let more = if live.lagging.len() > NAMED { ", …" } else { "" };
        text.push_str(&format!(
            ", {} lagging: {}{more}",
            live.lagging.len(),
            live.lagging.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some((uid, why)) = live.refused.first_key_value() {
        text.push_str(&format!(", {} refused: {uid}: {why}", live.refused.len()));
    }
    text
}

/// The object's status with our conditions in it.
fn status(object: &Object, published: &Published, live: &Liveness, now: &str) -> Value {
    let conditions = conditions(object, published, live, now);
    let mut status = if object.value["status"].is_object() { object.value["status"].clone() } else { json!({}) };
    match object.kind.kind {
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => status["parents"] = parents(object, &status["parents"], conditions),
        _ => {
            conditions.into_iter().for_each(|condition| condition::set(&mut status, condition));
            if object.kind.group == "networking.istio.io" || object.kind.group == "security.istio.io" {
                // Istio's own status has it too, and tools read it there.
                status["observedGeneration"] = object.generation().into();
            }
        }
    }
    status
}

/// Gateway API: one entry per parent, ours told from other controllers' by `controllerName`.
fn parents(object: &Object, known: &Value, conditions: Vec<Value>) -> Value {
    let all = known.as_array().cloned().unwrap_or_default();
    let (ours, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one["controllerName"] == CONTROLLER);
    let references = object.value["spec"]["parentRefs"].as_array().into_iter().flatten();
    let mut parents = others;
    for reference in references {
        let before = ours.iter().find(|one| one["parentRef"] == *reference);
        let mut list = before.map_or(Value::Null, |one| one["conditions"].clone());
        conditions.iter().for_each(|condition| condition::put(&mut list, condition.clone()));
        parents.push(json!({"parentRef": reference, "controllerName": CONTROLLER, "conditions": list}));
    }
    parents.into()
}

fn conditions(object: &Object, published: &Published, live: &Liveness, now: &str) -> Vec<Value> {
    let problems: &[Problem] = published.translation.findings.get(&object.reference()).map_or(&[], Vec::as_slice);
    let is_reference = |problem: &&Problem| matches!(problem.code, "UnknownReference" | "BackendNotFound" | "RefNotPermitted" | "InvalidKind");
    let condition = |kind: &str, holds: bool, reason: &str, message: String| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
            "observedGeneration": object.generation(), "lastTransitionTime": now,
        })
    };
    let said = |problems: Vec<&Problem>| problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ");
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    let warnings: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Warning && !is_reference(problem)).collect();
    let unserved = published.translation.unserved.contains(&object.reference());
    let accepted = match errors.first() {
        None if unserved => condition("Accepted", false, "UnsupportedValue", live.message.clone()),
        Some(first) => condition("Accepted", false, first.code, said(errors.clone())),
        None => condition("Accepted", true, "Accepted", said(warnings)),
    };
    let unresolved: Vec<_> = problems.iter().filter(is_reference).collect();
    let resolved = match unresolved.first() {
        Some(first) => condition("ResolvedRefs", false, first.code, said(unresolved.clone())),
        None => condition("ResolvedRefs", true, "ResolvedRefs", String::new()),
    };
    let reason = match (live.live, live.accepted, live.refused.is_empty()) {
        (true, ..) => "Live",
        (_, false, _) => "NotAccepted",
        (_, _, false) => "Refused",
        (_, _, true) => "Lagging",
    };
    vec![accepted, resolved, condition("Live", live.live, reason, live.message.clone())]
}

#[cfg(test)]
mod tests;
