//! What changes from request to request beside the plan: loads, ejections, budgets. One per worker, single-threaded, no locks;
//! keyed by cluster and endpoint, so that it survives a new plan.

use crate::balance::load_aware::{self, Heard, Report, Reported};
use crate::balance::peak_ewma::PeakEwma;
use crate::balance::table::Kind;
use crate::balance::{Usable, random, round_robin, two_choices};
use crate::cluster::{Cluster, ClusterKey, Endpoint};
use crate::limits::{Counters, Overflow};
use crate::outlier::{Outlier, Sign, may_eject, panics};
use crate::overload::Hedge;
use crate::plan::Plan;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use taut_model::destination::Balancer;

#[derive(Debug)]
pub struct Live {
    clusters: HashMap<ClusterKey, ClusterLive, FixedState>,
    /// Limits are for the whole proxy; each of this many workers keeps its part.
    workers: u32,
}

#[derive(Debug, Default)]
struct ClusterLive {
    counters: Counters,
    endpoints: HashMap<Arc<str>, EndpointLive, FixedState>,
    reported: Reported,
    hedge: Hedge,
    /// No ejection, and no avoidance of an unreachable endpoint, lasts longer than this.
    ejections_end: Duration,
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
        Self { in_flight: 0, latency: PeakEwma::new(now), heard: None, outlier: Outlier::default(), purse: 0, unreachable: Unreachable::default() }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEndpoint {
    pub total: usize,
    /// How many of them are ejected.
    pub ejected: usize,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no endpoint may be used: {} of {} are ejected after failures in a row", self.ejected, self.total)
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
    fn sign(self) -> Sign {
        match self {
            Self::Status { status: 502..=504, .. } | Self::ConnectFailed | Self::Reset | Self::TimedOut => Sign::GatewayError,
            Self::Status { status: 500..=599, .. } => Sign::ServerError,
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
        Self { clusters: HashMap::default(), workers: workers.max(1) }
    }

    /// Call when a new plan is pinned: drops the state of clusters and endpoints that are gone.
    pub fn retain(&mut self, plan: &Plan) {
        self.clusters.retain(|key, live| {
            let Some(cluster) = plan.clusters.get(key) else { return false };
            let uids: std::collections::HashSet<&str> = cluster.endpoints.iter().map(|endpoint| endpoint.workload.uid.as_str()).collect();
            live.endpoints.retain(|uid, _| uids.contains(&**uid));
            true
        });
    }

    /// Counts a request, until `finish_request`.
    ///
    /// # Errors
    /// The limit it ran into; nothing is counted then.
    pub fn admit(&mut self, cluster: &Cluster) -> Result<(), Overflow> {
        let workers = self.workers;
        self.cluster(&cluster.key).counters.admit(cluster, workers)
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
    pub fn try_retry(&mut self, cluster: &Cluster) -> bool {
        let workers = self.workers;
        self.cluster(&cluster.key).counters.retry(cluster, workers)
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
        let live = self.cluster(&cluster.key);
        let usable = live.usable(cluster, now, tried);
        let ejected = || cluster.endpoints.iter().filter(|endpoint| live.is_ejected(endpoint, now)).count();
        let nothing = NoEndpoint { total: cluster.endpoints.len(), ejected: if usable.len() == 0 { ejected() } else { 0 } };
        let position = live.choose(cluster, &usable, now, hash, roll).ok_or(nothing)?;
        let endpoint = cluster.endpoints.get(position).ok_or(nothing)?;
        let uid = live.uid(endpoint, now);
        if let Some(state) = live.endpoints.get_mut(&uid) {
            state.in_flight = state.in_flight.saturating_add(1);
            state.heard.iter_mut().for_each(Heard::chosen);
        }
        Ok(Picked { endpoint: endpoint.clone(), uid })
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
        if outcome.sign() == Sign::GatewayError {
            state.heard = Some(Heard::failing(now));
        }
        match outcome {
            Outcome::ConnectFailed => live.ejections_end = live.ejections_end.max(state.unreachable.note(now)),
            Outcome::Status { .. } | Outcome::Shed => state.unreachable = Unreachable::default(),
            Outcome::Reset | Outcome::TimedOut | Outcome::Cancelled => {}
        }
        let Some(policy) = &cluster.outlier else { return };
        // What was under way when an endpoint was ejected must not eject it again.
        if state.outlier.ejected(now).is_some() || !state.outlier.count(outcome.sign(), policy) {
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

    /// Not ejected, reachable and not tried; else not ejected and not tried; else not ejected; else none, or all in a panic.
    fn usable(&self, cluster: &Cluster, now: Duration, tried: &[Arc<str>]) -> Usable {
        let all = Usable::All(cluster.endpoints.len());
        if tried.is_empty() && now >= self.ejections_end {
            return all;
        }
        let positions = cluster.endpoints.iter().enumerate();
        let mut healthy: Vec<usize> = positions.filter(|(_, endpoint)| !self.is_ejected(endpoint, now)).map(|(position, _)| position).collect();
        if cluster.outlier.as_ref().is_some_and(|policy| panics(policy, healthy.len(), cluster.endpoints.len())) {
            healthy = (0..cluster.endpoints.len()).collect();
        }
        let fresh =
            |position: &usize| cluster.endpoints.get(*position).is_some_and(|endpoint| !tried.iter().any(|uid| **uid == *endpoint.workload.uid));
        let untried: Vec<usize> = healthy.iter().copied().filter(fresh).collect();
        let reachable = |position: &usize| {
            cluster.endpoints.get(*position).and_then(|endpoint| self.state(endpoint)).is_none_or(|state| state.unreachable.until <= now)
        };
        let good: Vec<usize> = untried.iter().copied().filter(reachable).collect();
        let best = [good, untried, healthy].into_iter().find(|positions| !positions.is_empty());
        Usable::Some(best.unwrap_or_default())
    }

    fn choose(&mut self, cluster: &Cluster, usable: &Usable, now: Duration, hash: Option<u64>, roll: &mut dyn FnMut() -> u64) -> Option<usize> {
        let endpoints = &cluster.endpoints;
        let weight = |position: usize| endpoints.get(position).map_or(1, |endpoint| endpoint.weight.max(1));
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

    fn next_in_turn(&mut self, cluster: &Cluster, usable: &Usable, now: Duration) -> Option<usize> {
        let endpoints = &cluster.endpoints;
        let weight = |position: usize| endpoints.get(position).map_or(1, |endpoint| endpoint.weight.max(1));
        round_robin(usable, weight, |position, change| {
            let Some(endpoint) = endpoints.get(position) else { return i64::MIN };
            let uid = self.uid(endpoint, now);
            let Some(state) = self.endpoints.get_mut(&uid) else { return i64::MIN };
            state.purse = state.purse.saturating_add(change);
            state.purse
        })
    }
}
