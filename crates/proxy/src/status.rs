//! What the proxy says about itself: readiness, the resources it runs, and the document behind `/config`.

use crate::current::Current;
use crate::telemetry;
use crate::world::World;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// How far the workload is, as the control plane and `/ready` hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    NotReady(String),
    Ready,
    Draining,
    /// Leaves for good.
    Gone,
}

impl Readiness {
    /// Before the application was looked at for the first time.
    pub fn starting() -> Self {
        Self::NotReady("starting".to_owned())
    }
}

/// Whether this proxy is to stand for its workload at the control plane's desk, where there is room for one. Away from it, it hears
/// what is new and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtDesk {
    Present,
    Away,
}

/// One resource of the plan that is pinned, or that was refused for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceStatus {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    /// The version that was received last.
    pub version: String,
    pub generation: i64,
    pub accepted: bool,
    /// Why not; the last good version, if there was one, runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Shared by the tasks that know and those that tell.
pub struct Status {
    world: World,
    current: Arc<Current>,
    control: Arc<str>,
    readiness: watch::Sender<Readiness>,
    wanted_at_desk: watch::Sender<AtDesk>,
    at_desk: watch::Sender<AtDesk>,
    resources: Mutex<Vec<ResourceStatus>>,
    signals: Delivery,
}

/// How the delivery of signals goes.
#[derive(Default)]
pub struct Delivery {
    waiting: AtomicU64,
    dropped: AtomicU64,
    overflow: AtomicU64,
}

impl Delivery {
    /// A second has ended: so many wait to be kept, and some had to go.
    pub fn note(&self, waiting: usize, dropped: u64, overflow: u64) {
        self.note_waiting(waiting);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.overflow.store(overflow, Ordering::Relaxed);
    }

    pub fn note_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// Seconds that the control plane has not said to be kept.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Seconds that were dropped, because the control plane was away for too long.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What found no edge of its own.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

impl Status {
    pub fn new(world: World, current: Arc<Current>, control: Arc<str>) -> Arc<Self> {
        let readiness = watch::Sender::new(Readiness::starting());
        let (wanted_at_desk, at_desk) = (watch::Sender::new(AtDesk::Present), watch::Sender::new(AtDesk::Away));
        Arc::new(Self { world, current, control, readiness, wanted_at_desk, at_desk, resources: Mutex::default(), signals: Delivery::default() })
    }

    pub fn signals(&self) -> &Delivery {
        &self.signals
    }

    pub fn current(&self) -> &Arc<Current> {
        &self.current
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Resolves when the application was looked at for the first time.
    pub async fn looked(&self) {
        // The sender lives as long as `self`.
        let _ = self.readiness.subscribe().wait_for(|readiness| *readiness != Readiness::starting()).await;
    }

    pub fn attend(&self, wanted: AtDesk) {
        self.wanted_at_desk.send_replace(wanted);
    }

    pub fn wanted_at_desk(&self) -> watch::Receiver<AtDesk> {
        self.wanted_at_desk.subscribe()
    }

    pub(crate) fn set_at_desk(&self, now: AtDesk) {
        self.at_desk.send_replace(now);
    }

    /// Resolves when this proxy is not at the desk (at once when it is not).
    pub async fn left_desk(&self) {
        // The sender lives as long as `self`.
        let _ = self.at_desk.subscribe().wait_for(|now| *now == AtDesk::Away).await;
    }

    /// Leaving is one way: `Ready` after `Draining`, or anything after `Gone`, changes nothing.
    pub fn say(&self, next: Readiness) {
        let rank = |readiness: &Readiness| match readiness {
            Readiness::NotReady(_) | Readiness::Ready => 0,
            Readiness::Draining => 1,
            Readiness::Gone => 2,
        };
        self.readiness.send_if_modified(|now| {
            let changes = *now != next && rank(&next) >= rank(now);
            if changes {
                *now = next;
            }
            changes
        });
    }

    pub fn set_resources(&self, resources: Vec<ResourceStatus>) {
        *self.resources.lock() = resources;
    }

    /// `Err` says what is missing: the application, a certificate, or a plan.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.readiness.borrow() {
            Readiness::Ready => {}
            Readiness::NotReady(why) => return Err(why.clone()),
            Readiness::Draining => return Err("draining".to_owned()),
            Readiness::Gone => return Err("stopped".to_owned()),
        }
        if self.current.identity().is_none() {
            return Err("no certificate yet".to_owned());
        }
        match self.current.plan_version() {
            0 => Err("no plan yet: the control plane has not said what to run".to_owned()),
            _ => Ok(()),
        }
    }

    /// The document behind `/config`.
    pub fn config(&self) -> Value {
        let own = self.current.workload();
        let snapshot = self.current.snapshot();
        let certificate = self.current.identity().map(|held| {
            let (from, until) = (held.not_before.to_string(), held.not_after.to_string());
            json!({ "identity": held.identity.to_string(), "serial": held.serial, "notBefore": from, "notAfter": until, "alarm": held.alarm(self.world.wall()) })
        });
        let ready = self.ready();
        json!({
            "build": { "version": env!("CARGO_PKG_VERSION") },
            "workload": {
                "uid": format!("{}/{}", own.namespace, own.name),
                "serviceAccount": own.service_account,
                "labels": own.labels,
                "address": own.address.to_string(),
            },
            "ready": { "ready": ready.is_ok(), "why": ready.err() },
            "control": { "address": &*self.control, "connected": self.current.connected() },
            "certificate": certificate,
            "plan": { "version": self.current.plan_version(), "policiesComplete": snapshot.policies_complete, "absent": snapshot.absent },
            "telemetry": telemetry::describe(&self.current.plan()),
            "resources": *self.resources.lock(),
            "endpoints": self.endpoints(),
        })
    }

    /// Service host -> its workloads, with those that are ejected now or fail their health checks.
    fn endpoints(&self) -> Value {
        let snapshot = self.current.snapshot();
        let (ejected, unwell) = (self.current.ejected(), self.current.checks().unwell());
        let now = self.world.now();
        let mut hosts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for workload in snapshot.workloads.values() {
            for serves in workload.serves.iter().filter(|serves| snapshot.services.contains_key(&serves.host)) {
                let until = ejected.iter().filter(|(cluster, uid, until)| *cluster.host == *serves.host && **uid == *workload.uid && *until > now);
                let left = until.map(|(.., until)| (*until - now).as_secs_f64()).reduce(f64::max);
                let endpoint = json!({
                    "workload": workload.uid, "port": serves.port, "target": serves.target, "address": workload.address,
                    "peer": workload.peer.map(|peer| peer.to_string()), "health": format!("{:?}", workload.health), "ejectedForSeconds": left,
                    "failsChecks": unwell.iter().any(|(host, port, uid)| host == serves.host && port == serves.port && uid == workload.uid),
                });
                hosts.entry(&serves.host).or_default().push(endpoint);
            }
        }
        json!(hosts)
    }
}
