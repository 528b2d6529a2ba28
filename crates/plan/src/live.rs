//! What changes from request to request beside the plan: loads, ejections, budgets. One per worker, single-threaded, no locks;
//! keyed by cluster and endpoint, so that it survives a new plan.

use crate::balance::load_aware::{self, Heard, Report, Reported};
use crate::balance::peak_ewma::PeakEwma;
use crate::balance::table::Kind;
use crate::balance::{Usable, random, round_robin, two_choices, warm_up};
use crate::cluster::{Cluster, ClusterKey, Endpoint};
use crate::health::Unwell;
use crate::limits::{Counters, Overflow};
use crate::locality::{Places, roll_of};
use crate::outlier::{Outlier, Sign, may_eject, panics};
use crate::overload::Hedge;
use crate::plan::Plan;
use foldhash::fast::FixedState;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::{Balancer, OutlierPolicy};

#[derive(Debug)]
pub struct Live {
    clusters: HashMap<ClusterKey, ClusterLive, FixedState>,
    /// Limits are for the whole proxy; each of this many workers keeps its part.
    workers: u32,
    /// What fails its health checks.
    unwell: Arc<Unwell>,
    /// Clusters whose endpoints are to be checked, used since they were last taken.
    to_check: HashSet<ClusterKey, FixedState>,
}

#[derive(Debug, Default)]
struct ClusterLive {
    counters: Counters,
    endpoints: HashMap<Arc<str>, EndpointLive, FixedState>,
    reported: Reported,
    hedge: Hedge,
    /// No ejection, and no avoidance of an unreachable endpoint, lasts longer than this.
    ejections_end: Duration,
    /// No endpoint warms up for longer than this.
    warm_ups_end: Duration,
}

#[derive(Debug)]
struct EndpointLive {
    in_flight: u32,
    latency: PeakEwma,
    /// What its proxy said of it last.
    heard: Option<Heard>,
    outlier: Outlier,
    /// Of smooth round robin.
    purse: i64,
    unreachable: Unreachable,
    /// When it was first heard of, or was well again.
    since: Duration,
}

/// An endpoint that refused connections is left alone for a while, as long as there are others: it may be gone before the control
/// plane knows. It is not an ejection: it needs no policy, and where all are unreachable all are tried.
#[derive(Clone, Copy, Debug, Default)]
struct Unreachable {
    /// Connections refused in a row.
    times: u32,
    until: Duration,
}

impl Unreachable {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    fn note(&mut self, now: Duration) -> Duration {
        self.until = now + Self::FIRST.saturating_mul(1 << self.times.min(10)).min(Self::LONGEST);
        self.times = self.times.saturating_add(1);
        self.until
    }
}

impl EndpointLive {
    fn new(now: Duration) -> Self {
        let (outlier, unreachable) = Default::default();
        Self { in_flight: 0, latency: PeakEwma::new(now), heard: None, outlier, purse: 0, unreachable, since: now }
    }
}

/// An endpoint with one request counted on it, until `Live::report`.
#[derive(Clone, Debug)]
#[must_use = "the request stays counted on the endpoint until it is reported"]
pub struct Picked {
    pub endpoint: Arc<Endpoint>,
    pub uid: Arc<str>,
}

/// The cluster has no endpoint that may be used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoEndpoint {
    pub total: usize,
    /// How many of them are ejected.
    pub ejected: usize,
    /// The rest is in places that this client sends nothing to.
    pub elsewhere: usize,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no endpoint may be used: {} of {} are ejected after failures in a row", self.ejected, self.total)?;
        match self.elsewhere {
            0 => Ok(()),
            _ => write!(f, ", and {} are in localities that localityLbSetting.distribute gives no weight", self.elsewhere),
        }
    }
}
impl std::error::Error for NoEndpoint {}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came after `latency`.
    Status {
        status: u16,
        latency: Duration,
    },
    ConnectFailed,
    Reset,
    TimedOut,
    /// The peer's proxy sent the request away to protect its application, which never saw it: no sign of a broken endpoint, so
    /// that none is taken out for being busy, which would leave more for the others.
    Shed,
    /// The client left, or another attempt won: says nothing about the endpoint.
    Cancelled,
}

impl Outcome {
    fn sign(self, policy: &OutlierPolicy) -> Sign {
        let counts = |status: u16| policy.error_statuses.is_empty() || policy.error_statuses.contains(&status);
        match self {
            Self::ConnectFailed | Self::Reset | Self::TimedOut => Sign::NoAnswer,
            Self::Status { status: status @ 502..=504, .. } if counts(status) => Sign::GatewayError,
            Self::Status { status: status @ 500..=599, .. } if counts(status) => Sign::ServerError,
            Self::Status { status, .. } if policy.error_statuses.contains(&status) => Sign::ServerError,
            Self::Status { .. } => Sign::Good,
            Self::Shed | Self::Cancelled => Sign::Neutral,
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// For a proxy with one worker.
    pub fn new() -> Self {
        Self::for_workers(1)
    }

    /// For one of `workers` workers, which share the limits of each cluster evenly.
    pub fn for_workers(workers: u32) -> Self {
        Self { clusters: HashMap::default(), workers: workers.max(1), unwell: Arc::default(), to_check: HashSet::default() }
    }

    /// Call when a new plan is pinned: drops the state of clusters and endpoints that are gone, and begins to warm up those that are
    /// new.
    pub fn retain(&mut self, plan: &Plan, now: Duration) {
        self.clusters.retain(|key, live| {
            let Some(cluster) = plan.clusters.get(key) else { return false };
            let uids: std::collections::HashSet<&str> = cluster.endpoints.iter().map(|endpoint| endpoint.workload.uid.as_str()).collect();
            live.endpoints.retain(|uid, _| uids.contains(&**uid));
            true
        });
        self.to_check.retain(|key| plan.clusters.contains_key(key));
        for cluster in plan.clusters.values() {
            let Some(policy) = &cluster.warm_up else { continue };
            let live = self.cluster(&cluster.key);
            for endpoint in &cluster.endpoints {
                if live.state(endpoint).is_none() {
                    live.uid(endpoint, now);
                    live.warm_ups_end = live.warm_ups_end.max(now + policy.duration);
                }
            }
        }
    }

    /// What fails its health checks from now on. What passes them again warms up again.
    pub fn judge(&mut self, unwell: Arc<Unwell>, plan: &Plan, now: Duration) {
        let before = std::mem::replace(&mut self.unwell, unwell);
        for (key, live) in &mut self.clusters {
            let Some(cluster) = plan.clusters.get(key) else { continue };
            for (uid, state) in &mut live.endpoints {
                if before.contains(key, uid) && !self.unwell.contains(key, uid) {
                    state.since = now;
                    let window = cluster.warm_up.as_ref().map_or(Duration::ZERO, |policy| policy.duration);
                    live.warm_ups_end = live.warm_ups_end.max(now + window);
                }
            }
        }
    }

    /// Clusters with health checks that were used since the last call.
    pub fn take_to_check(&mut self) -> Vec<ClusterKey> {
        self.to_check.drain().collect()
    }

    /// Counts a request, until `finish_request`.
    ///
    /// # Errors
    /// The limit it ran into; nothing is counted then.
    pub fn admit(&mut self, cluster: &Cluster, now: Duration) -> Result<(), Overflow> {
        let workers = self.workers;
        self.cluster(&cluster.key).counters.admit(cluster, workers, now)
    }

    pub fn finish_request(&mut self, cluster: &Cluster) {
        self.count_down(cluster, |counters| &mut counters.requests);
    }

    /// Counts a request that waits for a connection, until `finish_wait`.
    ///
    /// # Errors
    /// As [`Live::admit`].
    pub fn begin_wait(&mut self, cluster: &Cluster) -> Result<(), Overflow> {
        let workers = self.workers;
        self.cluster(&cluster.key).counters.wait(cluster, workers)
    }

    pub fn finish_wait(&mut self, cluster: &Cluster) {
        self.count_down(cluster, |counters| &mut counters.pending);
    }

    /// Whether one more retry fits the cluster's limits and budget; if so it is counted until `finish_retry`.
    pub fn try_retry(&mut self, cluster: &Cluster, now: Duration) -> bool {
        let workers = self.workers;
        self.cluster(&cluster.key).counters.retry(cluster, workers, now)
    }

    pub fn finish_retry(&mut self, cluster: &Cluster) {
        self.count_down(cluster, |counters| &mut counters.retries);
    }

    /// Picks an endpoint and counts a request on it, until `report`. `tried`: endpoints of earlier attempts, avoided while
    /// others can be used. Without a `hash`, hashing balancers choose at random.
    ///
    /// # Errors
    /// There is no endpoint, or all are ejected and the cluster's panic threshold does not say to use them anyway.
    pub fn pick(
        &mut self,
        cluster: &Cluster,
        now: Duration,
        hash: Option<u64>,
        tried: &[Arc<str>],
        roll: &mut dyn FnMut() -> u64,
    ) -> Result<Picked, NoEndpoint> {
        let unwell = self.unwell_of(cluster);
        let live = self.cluster(&cluster.key);
        let health = Health { now, unwell: unwell.as_deref(), tried };
        let usable = live.usable(cluster, &health, hash, roll);
        let nothing = if usable.len() == 0 { live.nothing(cluster, now) } else { NoEndpoint::default() };
        let position = live.choose(cluster, &usable, now, hash, roll).ok_or(nothing)?;
        live.take(cluster, position, now).ok_or(nothing)
    }

    /// The endpoint at `position`, if it may be used: one that a client comes back to. Counts a request on it, until `report`.
    pub fn resume(&mut self, cluster: &Cluster, position: usize, now: Duration, tried: &[Arc<str>]) -> Option<Picked> {
        let unwell = self.unwell_of(cluster);
        let live = self.cluster(&cluster.key);
        let health = Health { now, unwell: unwell.as_deref(), tried };
        let sorted = live.sorted(cluster, &health).is_none_or(|sorted| sorted.best.binary_search(&position).is_ok());
        if sorted { live.take(cluster, position, now) } else { None }
    }

    /// `None`: nothing of the cluster fails a check.
    fn unwell_of(&mut self, cluster: &Cluster) -> Option<Arc<Unwell>> {
        cluster.health_check.as_ref()?;
        if !self.to_check.contains(&cluster.key) {
            self.to_check.insert(cluster.key.clone());
        }
        self.unwell.concerns(&cluster.key).then(|| self.unwell.clone())
    }

    pub fn report(&mut self, cluster: &Cluster, picked: &Picked, now: Duration, outcome: Outcome) {
        let Some(live) = self.clusters.get_mut(&cluster.key) else { return };
        let Some(state) = live.endpoints.get_mut(&picked.uid) else { return };
        state.in_flight = state.in_flight.saturating_sub(1);
        if cluster.balancer == Balancer::PeakEwma {
            match outcome {
                Outcome::Status { latency, .. } => state.latency.observe(latency, now),
                Outcome::ConnectFailed | Outcome::Reset | Outcome::TimedOut | Outcome::Shed => state.latency.observe_failure(now),
                Outcome::Cancelled => {}
            }
        }
        if outcome == Outcome::Shed {
            live.hedge.sent_away();
        }
        // Whatever an outlier policy counts.
        if matches!(outcome.sign(&OutlierPolicy::default()), Sign::GatewayError | Sign::NoAnswer) {
            state.heard = Some(Heard::failing(now));
        }
        match outcome {
            Outcome::ConnectFailed => live.ejections_end = live.ejections_end.max(state.unreachable.note(now)),
            Outcome::Status { .. } | Outcome::Shed => state.unreachable = Unreachable::default(),
            Outcome::Reset | Outcome::TimedOut | Outcome::Cancelled => {}
        }
        let Some(policy) = &cluster.outlier else { return };
        // What was under way when an endpoint was ejected must not eject it again.
        if state.outlier.ejected(now).is_some() || !state.outlier.count(outcome.sign(policy), policy) {
            return;
        }
        let out = cluster.endpoints.iter().filter(|endpoint| live.is_ejected(endpoint, now)).count();
        if may_eject(policy, out, cluster.endpoints.len())
            && let Some(state) = live.endpoints.get_mut(&picked.uid)
        {
            live.ejections_end = live.ejections_end.max(state.outlier.eject(policy, now));
        }
    }

    /// What an endpoint's proxy says of it, with a response.
    pub fn hear(&mut self, cluster: &Cluster, picked: &Picked, now: Duration, report: Report) {
        let Some(live) = self.clusters.get_mut(&cluster.key) else { return };
        let Some(state) = live.endpoints.get_mut(&picked.uid) else { return };
        if !state.heard.is_some_and(|heard| heard.is_failing(now)) {
            live.reported.note(report);
            state.heard = Some(Heard::new(report, now));
        }
    }

    /// When second copies of requests to this cluster pay.
    pub fn hedge(&mut self, cluster: &Cluster) -> &mut Hedge {
        &mut self.cluster(&cluster.key).hedge
    }

    /// Every endpoint that is ejected now, and until when; sorted.
    pub fn ejected(&self, now: Duration) -> Vec<(ClusterKey, Arc<str>, Duration)> {
        let all = self.clusters.iter().flat_map(|(key, live)| live.endpoints.iter().map(move |(uid, state)| (key, uid, state)));
        let mut out: Vec<_> = all.filter_map(|(key, uid, state)| Some((key.clone(), uid.clone(), state.outlier.ejected(now)?))).collect();
        out.sort();
        out
    }

    fn cluster(&mut self, key: &ClusterKey) -> &mut ClusterLive {
        // Most are there: their key is not cloned.
        if !self.clusters.contains_key(key) {
            self.clusters.insert(key.clone(), ClusterLive::default());
        }
        self.clusters.entry(key.clone()).or_default()
    }

    fn count_down(&mut self, cluster: &Cluster, which: impl Fn(&mut Counters) -> &mut u32) {
        if let Some(live) = self.clusters.get_mut(&cluster.key) {
            let count = which(&mut live.counters);
            *count = count.saturating_sub(1);
        }
    }
}

/// What one pick looks at.
struct Health<'a> {
    now: Duration,
    /// `None`: no endpoint of the cluster fails its checks.
    unwell: Option<&'a Unwell>,
    /// Endpoints of earlier attempts.
    tried: &'a [Arc<str>],
}

/// Positions, ascending.
struct Sorted {
    /// Neither ejected nor failing checks nor unreachable.
    well: Vec<usize>,
    /// The best that there is to choose from.
    best: Vec<usize>,
}

impl ClusterLive {
    fn state(&self, endpoint: &Endpoint) -> Option<&EndpointLive> {
        self.endpoints.get(endpoint.workload.uid.as_str())
    }

    fn is_ejected(&self, endpoint: &Endpoint, now: Duration) -> bool {
        self.state(endpoint).is_some_and(|state| state.outlier.ejected(now).is_some())
    }

    /// The shared uid of an endpoint, which gets state if it has none.
    fn uid(&mut self, endpoint: &Endpoint, now: Duration) -> Arc<str> {
        let uid = endpoint.workload.uid.as_str();
        if let Some((known, _)) = self.endpoints.get_key_value(uid) {
            return known.clone();
        }
        let uid: Arc<str> = uid.into();
        self.endpoints.insert(uid.clone(), EndpointLive::new(now));
        uid
    }

    /// Counts a request on an endpoint.
    fn take(&mut self, cluster: &Cluster, position: usize, now: Duration) -> Option<Picked> {
        let endpoint = cluster.endpoints.get(position)?;
        let uid = self.uid(endpoint, now);
        if let Some(state) = self.endpoints.get_mut(&uid) {
            state.in_flight = state.in_flight.saturating_add(1);
            state.heard.iter_mut().for_each(Heard::chosen);
        }
        Some(Picked { endpoint: endpoint.clone(), uid })
    }

    fn nothing(&self, cluster: &Cluster, now: Duration) -> NoEndpoint {
        let total = cluster.endpoints.len();
        let ejected = cluster.endpoints.iter().filter(|endpoint| self.is_ejected(endpoint, now)).count();
        let placed: usize = cluster.places.iter().map(|place| place.positions.len()).sum();
        let elsewhere = if matches!(cluster.places, Places::Shared(_)) { total - placed.min(total) } else { 0 };
        NoEndpoint { total, ejected, elsewhere }
    }

    /// The endpoints by how well they are. `None`: all are well, and none was tried.
    fn sorted(&self, cluster: &Cluster, health: &Health<'_>) -> Option<Sorted> {
        if health.tried.is_empty() && health.now >= self.ejections_end && health.unwell.is_none() {
            return None;
        }
        let at = |position: &usize| cluster.endpoints.get(*position);
        let mut healthy: Vec<usize> = (0..cluster.endpoints.len()).collect();
        healthy.retain(|position| at(position).is_some_and(|endpoint| !self.is_ejected(endpoint, health.now)));
        if cluster.outlier.as_ref().is_some_and(|policy| panics(policy, healthy.len(), cluster.endpoints.len())) {
            healthy = (0..cluster.endpoints.len()).collect();
        }
        // Where every check fails, it may be the checks that are broken.
        if let Some(unwell) = health.unwell {
            let passes = |position: &usize| at(position).is_some_and(|endpoint| !unwell.contains(&cluster.key, &endpoint.workload.uid));
            if healthy.iter().any(passes) {
                healthy.retain(passes);
            }
        }
        let is_fresh = |position: &usize| at(position).is_some_and(|one| !health.tried.iter().any(|uid| **uid == *one.workload.uid));
        let is_reachable = |position: &usize| at(position).and_then(|one| self.state(one)).is_none_or(|state| state.unreachable.until <= health.now);
        let well: Vec<usize> = healthy.iter().copied().filter(is_reachable).collect();
        let fresh: Vec<usize> = healthy.iter().copied().filter(is_fresh).collect();
        let good: Vec<usize> = well.iter().copied().filter(is_fresh).collect();
        let best = [good, fresh, healthy].into_iter().find(|positions| !positions.is_empty()).unwrap_or_default();
        Some(Sorted { well, best })
    }

    /// Not ejected, passing its checks, reachable and not tried; else not tried; else not ejected; else none, or all in a panic. Of
    /// those, the ones in the place that the exchange goes to.
    fn usable<'c>(&self, cluster: &'c Cluster, health: &Health<'_>, hash: Option<u64>, roll: &mut dyn FnMut() -> u64) -> Usable<'c> {
        // A key stays in its place.
        let roll = || hash.map_or_else(roll, roll_of);
        match (self.sorted(cluster, health), &cluster.places) {
            (None, Places::Alike) => Usable::All(cluster.endpoints.len()),
            (None, places) => places.usual(roll).map_or(Usable::Some(Vec::new()), |place| Usable::Place(&place.positions)),
            (Some(sorted), Places::Alike) => Usable::Some(sorted.best),
            (Some(Sorted { well, best }), places) => {
                let is_in = |set: &[usize], position: usize| set.binary_search(&position).is_ok();
                Usable::Some(places.pick(|position| is_in(&well, position), |position| is_in(&best, position), roll()))
            }
        }
    }

    fn choose(&mut self, cluster: &Cluster, usable: &Usable<'_>, now: Duration, hash: Option<u64>, roll: &mut dyn FnMut() -> u64) -> Option<usize> {
        let endpoints = &cluster.endpoints;
        let weight = |position: usize| self.weight(cluster, position, now);
        let state = |position: usize| endpoints.get(position).and_then(|endpoint| self.state(endpoint));
        // One more than is in flight: the cost with this request on top.
        let load = |position: usize| (state(position).map_or(0.0, |state| f64::from(state.in_flight)) + 1.0) / f64::from(weight(position));
        let fresh = PeakEwma::new(now);
        let latency = |position: usize| state(position).map_or(fresh, |state| state.latency).estimate(now);
        let kind = match &cluster.balancer {
            Balancer::LeastRequest => return two_choices(usable, load, roll),
            Balancer::PeakEwma => return two_choices(usable, |position| latency(position) * load(position), roll),
            Balancer::LoadAware => {
                let heard = |position: usize| state(position).and_then(|state| state.heard);
                return load_aware::choose(usable, &self.reported, heard, load, weight, now, roll);
            }
            Balancer::Random => return random(usable, weight, roll()),
            Balancer::RoundRobin => return self.next_in_turn(cluster, usable, now),
            Balancer::RingHash { min_size, .. } => Kind::Ring(*min_size),
            Balancer::Maglev { table_size, .. } => Kind::Maglev(*table_size),
        };
        let table = cluster.table.get(kind, endpoints.iter().map(|endpoint| (endpoint.workload.uid.as_str(), endpoint.weight)));
        table.find(hash.unwrap_or_else(roll), |position| usable.contains(position))
    }

    /// The share of an endpoint beside the others, while it warms up too.
    fn weight(&self, cluster: &Cluster, position: usize, now: Duration) -> u32 {
        let Some(endpoint) = cluster.endpoints.get(position) else { return 1 };
        let own = endpoint.weight.max(1);
        let Some(policy) = &cluster.warm_up else { return own };
        let age = match self.state(endpoint) {
            Some(state) if now < self.warm_ups_end => now.saturating_sub(state.since),
            _ => policy.duration,
        };
        warm_up::weight(own, warm_up::part(policy, age))
    }

    fn next_in_turn(&mut self, cluster: &Cluster, usable: &Usable<'_>, now: Duration) -> Option<usize> {
        let endpoints = &cluster.endpoints;
        let weights: HashMap<usize, u32, FixedState> = match &cluster.warm_up {
            Some(_) => usable.positions().iter().map(|position| (*position, self.weight(cluster, *position, now))).collect(),
            None => HashMap::default(),
        };
        let own = |position: usize| endpoints.get(position).map_or(1, |endpoint| endpoint.weight.max(1));
        let weight = |position: usize| weights.get(&position).copied().unwrap_or_else(|| own(position));
        round_robin(usable, weight, |position, change| {
            let Some(endpoint) = endpoints.get(position) else { return i64::MIN };
            let uid = self.uid(endpoint, now);
            let Some(state) = self.endpoints.get_mut(&uid) else { return i64::MIN };
            state.purse = state.purse.saturating_add(change);
            state.purse
        })
    }
}
