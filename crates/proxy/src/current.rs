//! What the data path reads: the plan, the identity, and whether to leave. One per proxy, shared by its workers.

use crate::bequest::Heir;
use crate::checks::Checks;
use crate::identity::HeldIdentity;
use crate::options::OwnWorkload;
use crate::trust::{Shown, Trust};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use taut_model::route::{Backend, HttpAction, Route};
use taut_plan::rate::{Buckets, Due, Full};
use taut_plan::{ClusterKey, Plan, Snapshot};
use tokio::sync::{mpsc, watch};

/// How far a proxy is from its end. It goes one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Serving,
    /// A successor takes the new connections. Those that stand are ended where that can hurt nobody: after the next exchange.
    Replaced,
    /// Connections on which nothing happens are closed.
    Closing,
    /// Asked to stop: what is under way has the time that a drain may take.
    Stopping,
}

pub struct Current {
    workload: OwnWorkload,
    plan: ArcSwap<Plan>,
    snapshot: ArcSwap<Snapshot>,
    plan_version: AtomicU64,
    identity: ArcSwapOption<HeldIdentity>,
    /// Held while the identity is replaced, of which it is a part.
    trust: Mutex<Option<Arc<Trust>>>,
    /// Carries the version of the pinned plan to those who wait for one.
    pinned: watch::Sender<u64>,
    renewed: watch::Sender<u64>,
    stage: watch::Sender<Stage>,
    /// Once replaced: who takes connections that can move, and how long the others may stay.
    heir: OnceLock<(Heir, Duration)>,
    /// As the control plane or the proxy before this one has said it.
    trust_domain: Mutex<Option<String>>,
    connected: AtomicBool,
    workers: AtomicUsize,
    wanted: mpsc::UnboundedSender<Vec<String>>,
    used: Mutex<BTreeSet<String>>,
    ejected: Mutex<BTreeMap<usize, Vec<Ejected>>>,
    checks: Checks,
    buckets: Mutex<Buckets>,
}

/// Who signs certificates now, and for which trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// SHA-256 of its certificate.
    signer: [u8; 32],
    trust_domain: String,
}

/// A workload (by uid) that a worker has taken out of a cluster's balancing, until this time since the start of the world.
pub type Ejected = (ClusterKey, Arc<str>, Duration);

/// The hosts that the data path asks for; read by the task that subscribes.
pub type Wanted = mpsc::UnboundedReceiver<Vec<String>>;

impl Current {
    /// Starts with an empty plan, which refuses inbound traffic, and without an identity.
    pub fn new(workload: OwnWorkload) -> (Arc<Self>, Wanted) {
        let (wanted, receiver) = mpsc::unbounded_channel();
        let snapshot = Snapshot::default();
        let current = Self {
            workload,
            plan: ArcSwap::from_pointee(Plan::compile(&snapshot)),
            snapshot: ArcSwap::from_pointee(snapshot),
            plan_version: AtomicU64::new(0),
            identity: ArcSwapOption::empty(),
            trust: Mutex::default(),
            pinned: watch::Sender::new(0),
            renewed: watch::Sender::new(0),
            stage: watch::Sender::default(),
            heir: OnceLock::new(),
            trust_domain: Mutex::default(),
            connected: AtomicBool::new(false),
            workers: AtomicUsize::new(0),
            wanted,
            used: Mutex::default(),
            ejected: Mutex::default(),
            checks: Checks::default(),
            buckets: Mutex::default(),
        };
        (Arc::new(current), receiver)
    }

    /// The plan to decide by. Pin it once per exchange.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Cheap: tells a worker that it is time for `Live::retain`.
    pub fn plan_version(&self) -> u64 {
        self.plan_version.load(Ordering::Acquire)
    }

    /// What the plan was compiled from.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// `None` until the first certificate.
    pub fn identity(&self) -> Option<Arc<HeldIdentity>> {
        self.identity.load_full()
    }

    /// The trust domain of this mesh, as far as it is known: before the first certificate, by what was said.
    pub fn trust_domain(&self) -> Option<String> {
        let said = || self.trust_domain.lock().clone();
        self.identity().map(|held| held.identity.trust_domain.clone()).or_else(said)
    }

    /// Whoever says it has proven to be the control plane, or is the proxy before this one.
    pub(crate) fn hear_trust_domain(&self, said: &str) {
        *self.trust_domain.lock() = Some(said.to_owned());
    }

    pub fn workload(&self) -> &OwnWorkload {
        &self.workload
    }

    /// Subscribes to `hosts` (the candidates of one name, most likely first) and waits, at most `limit`, until a pinned
    /// plan can choose among them: a host that exists with only absent ones before it (and what its routes lead to is known
    /// too), or all of them absent.
    /// `false`: not known in time.
    pub async fn learn(&self, hosts: &[String], limit: Duration) -> bool {
        // Subscribe to changes before the first look, so that none is missed.
        let mut pinned = self.pinned.subscribe();
        if knows(&self.snapshot.load(), hosts) {
            return true;
        }
        // The receiver is gone only when the proxy stops.
        if self.wanted.send(hosts.to_vec()).is_err() {
            return false;
        }
        let known = async {
            while !knows(&self.snapshot.load(), hosts) {
                if pinned.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(limit, known).await.unwrap_or(false)
    }

    /// Notes that these hosts were asked for. To be called at most once a second and worker for each: see [`crate::usage`].
    pub fn note_used(&self, hosts: impl IntoIterator<Item = String>) {
        let snapshot = self.snapshot.load();
        // Only what is known counts, so what clients choose cannot fill this.
        let known = hosts.into_iter().filter(|host| settled(&snapshot, host));
        self.used.lock().extend(known);
    }

    /// The hosts that were asked for since this was called last.
    pub fn take_used(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.used.lock())
    }

    /// Whether a plan is held and the control plane, which it came from, is away: nothing is learned until it is back.
    pub fn cut_off(&self) -> bool {
        !self.connected() && self.snapshot.load().own.is_some()
    }

    /// Subscribes to `hosts` without waiting.
    pub fn want(&self, hosts: &[String]) {
        // The receiver is gone only when the proxy stops.
        let _ = self.wanted.send(hosts.to_vec());
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Nothing, when it is further already.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let advances = stage > *now;
            *now = stage.max(*now);
            advances
        });
    }

    /// Resolves when `stage` or a later one is reached (at once when it has been).
    pub async fn reached(&self, stage: Stage) {
        // The sender lives as long as `self`, so this ends only by the condition.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Whether connections are to be ended after the exchange under way.
    pub fn leaving(&self) -> bool {
        self.stage() >= Stage::Replaced
    }

    pub fn draining(&self) -> bool {
        self.stage() >= Stage::Closing
    }

    /// Resolves when idle connections are to be closed.
    pub async fn drained(&self) {
        self.reached(Stage::Closing).await;
    }

    pub fn start_draining(&self) {
        self.advance(Stage::Stopping);
    }

    /// A successor has taken over.
    pub fn replace(&self, heir: Heir, linger: Duration) {
        // A proxy is replaced once.
        let _ = self.heir.set((heir, linger));
        self.advance(Stage::Replaced);
    }

    pub fn heir(&self) -> Option<&Heir> {
        self.heir.get().map(|(heir, _)| heir)
    }

    /// Resolves when what is left is to be cut off, for a proxy that accepts no more.
    pub async fn time_is_over(&self, drain: Duration) {
        let lingering = async {
            match self.heir.get() {
                Some((_, linger)) => tokio::time::sleep(*linger).await,
                None => std::future::pending().await,
            }
        };
        let stopped = async {
            self.reached(Stage::Stopping).await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            biased;
            () = stopped => {}
            () = lingering => {}
        }
    }

    /// Whether the control plane is reached at this moment.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Pins a new plan and wakes whoever waits in [`Current::learn`].
    pub fn pin(&self, snapshot: Arc<Snapshot>, plan: Arc<Plan>) {
        let version = snapshot.version;
        self.buckets.lock().retain(plan.limits());
        self.plan.store(plan);
        self.plan_version.store(version, Ordering::Release);
        self.snapshot.store(snapshot);
        self.pinned.send_replace(version);
    }

    /// Takes up a new certificate. Handshakes from now on use it; connections that stand are not touched. What the control plane has said
    /// of whom to believe outweighs what came with the certificate.
    pub fn hold(&self, identity: Arc<HeldIdentity>) {
        let trust = self.trust.lock();
        self.replace_identity(identity, trust.as_deref());
    }

    /// Takes up a new bundle. Handshakes from now on are checked by it, and connections of peers that it revokes end.
    pub fn trust(&self, trust: Arc<Trust>) {
        let mut now = self.trust.lock();
        if now.as_deref() == Some(&*trust) {
            return;
        }
        // Connections are pooled by what they were checked by: they stay while that does.
        let checked_otherwise = |held: &Arc<HeldIdentity>| {
            held.roots != trust.roots || held.revoked != trust.revoked || held.federated != trust.federated || held.names != trust.names
        };
        if let Some(held) = self.identity.load_full().filter(checked_otherwise) {
            self.replace_identity(held, Some(&trust));
        }
        *now = Some(trust);
        drop(now);
        // Whoever waits for the bundle alone: it may have come before the first certificate.
        self.renewed.send_modify(|_| {});
    }

    /// Everything that is kept for a serial (configurations, pooled connections) is kept for one certificate and one bundle.
    fn replace_identity(&self, identity: Arc<HeldIdentity>, trust: Option<&Trust>) {
        let newest = self.identity.load().as_ref().map_or(0, |held| held.serial);
        let mut held = (*identity).clone();
        if let Some(trust) = trust {
            (held.roots, held.revoked) = (trust.roots.clone(), trust.revoked.clone());
            (held.federated, held.names) = (trust.federated.clone(), trust.names.clone());
        }
        held.serial = held.serial.max(newest + 1);
        let serial = held.serial;
        self.identity.store(Some(Arc::new(held)));
        self.renewed.send_replace(serial);
    }

    /// Resolves when another authority signs than the one that signed the certificate that is `held`, or the trust domain is called otherwise,
    /// and that is not `known`. Says what is now.
    pub async fn superseded(&self, held: impl Fn() -> Option<Arc<HeldIdentity>>, known: Option<&Signs>) -> Signs {
        let mut renewed = self.renewed.subscribe();
        loop {
            let signs = self.trust.lock().as_ref().and_then(|trust| Some(Signs { signer: trust.signer?, trust_domain: trust.trust_domain.clone() }));
            let held = held().filter(|held| held.signer().is_some());
            let differs =
                |signs: &Signs| held.is_some_and(|held| held.signer() != Some(signs.signer) || held.identity.trust_domain != signs.trust_domain);
            if let Some(signs) = signs.filter(|signs| known != Some(signs) && differs(signs)) {
                return signs;
            }
            // The sender lives as long as `self`.
            if renewed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Resolves when a peer that has proven itself by this is not believed any more.
    pub async fn revoked(&self, shown: &Shown) {
        let mut renewed = self.renewed.subscribe();
        loop {
            if self.identity.load().as_ref().is_some_and(|held| held.disowns(shown)) {
                return;
            }
            if renewed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Resolves when there is a certificate.
    pub async fn has_identity(&self) {
        // The sender lives as long as `self`.
        let mut renewed = self.renewed.subscribe();
        while self.identity.load().is_none() && renewed.changed().await.is_ok() {}
    }

    /// A number for a worker, to report under.
    pub fn enroll(&self) -> usize {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// What one worker has ejected, from `Live::ejected`, for `/config`; replaces what it said before.
    pub fn set_ejected(&self, worker: usize, ejected: Vec<Ejected>) {
        self.ejected.lock().insert(worker, ejected);
    }

    /// The health of endpoints, as far as it is checked.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// # Errors
    /// A limit that has no room; then nothing was taken.
    pub fn take_from_buckets(&self, due: &[Due], now: Duration) -> Result<(), Full> {
        self.buckets.lock().take(due, now)
    }

    /// How many requests each limit has refused.
    pub fn limited(&self) -> Vec<(Arc<str>, u64)> {
        self.buckets.lock().refused()
    }

    /// What any worker has ejected.
    pub fn ejected(&self) -> Vec<Ejected> {
        self.ejected.lock().values().flatten().cloned().collect()
    }

    /// Changes with each pinned plan.
    pub fn pinned(&self) -> watch::Receiver<u64> {
        self.pinned.subscribe()
    }

    /// Resolves when the proxy can carry what its workload sends: it has a certificate, and the control plane has said who it is.
    pub async fn carries(&self) {
        let (mut pinned, mut renewed) = (self.pinned.subscribe(), self.renewed.subscribe());
        while self.identity.load().is_none() || self.snapshot.load().own.is_none() {
            // The senders live as long as `self`.
            tokio::select! {
                biased;
                _ = pinned.changed() => {}
                _ = renewed.changed() => {}
            }
        }
    }

    /// Changes with each certificate and bundle.
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }
}

fn knows(snapshot: &Snapshot, hosts: &[String]) -> bool {
    for host in hosts {
        if snapshot.services.contains_key(host) {
            return snapshot.routes.values().filter(|route| is_about(route, host)).flat_map(|route| backends(route)).all(|to| settled(snapshot, to));
        }
        if !snapshot.absent.contains(host) {
            return false;
        }
    }
    true
}

fn settled(snapshot: &Snapshot, host: &str) -> bool {
    snapshot.services.contains_key(host) || snapshot.absent.contains(host)
}

fn is_about(route: &Route, host: &str) -> bool {
    route.parents.iter().any(|parent| taut_model::host::matches(&parent.host, host))
}

/// The hosts that a route can send traffic to.
pub(crate) fn backends(route: &Route) -> impl Iterator<Item = &str> {
    let http = route.http.iter().flat_map(|rule| {
        let forward: &[Backend] = match &rule.action {
            HttpAction::Forward(backends) => backends,
            HttpAction::Redirect(_) | HttpAction::Respond(_) => &[],
        };
        forward.iter().chain(rule.mirrors.iter().map(|mirror| &mirror.backend))
    });
    http.chain(route.tcp.iter().flat_map(|rule| &rule.backends)).map(|backend| backend.host.as_str())
}
