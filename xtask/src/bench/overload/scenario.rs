//! What is simulated: the mesh, its load, and the settings that are compared. Figures of one run come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use taut_model::destination::{Balancer, Destination, TrafficPolicy};
use taut_model::identity::Identity;
use taut_model::origin::Origin;
use taut_model::service::{AppProtocol, Place, Resolution, Service, ServicePort};
use taut_model::workload::{Health, Serves, Workload};
use taut_plan::{Cluster, Plan, Snapshot};

/// Ten instances with two cores each, of which one answer takes 10 ms of one.
pub const BACKENDS: usize = 10;
pub const CORES: f64 = 2.0;
pub const WORK: f64 = 0.010;
/// One way between two proxies.
pub const NETWORK: f64 = 0.000_5;
/// An answer that takes longer than this is of no use, and nobody waits for it.
pub const TIMEOUT: f64 = 1.0;
/// Each backend is antagonised for so many seconds, after being left alone for so many (means of exponential times), and is
/// slower by this factor.
pub const ANTAGONISED: f64 = 4.0;
pub const LEFT_ALONE: f64 = 16.0;
pub const SLOWER: f64 = 3.0;
pub const HICCUP: f64 = 0.3;
/// Until then the load is at most half of what the backends can do, and nothing is counted.
pub const WARM_UP: f64 = 5.0;

/// What keeps an application from taking more than it can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protection {
    None,
    /// So many requests at a time, all others are sent away.
    Static(u32),
    Adaptive,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub balancer: Balancer,
    pub protection: Protection,
    /// Percent of copies; 0 for no hedging.
    pub hedging: f64,
    pub antagonists: bool,
    /// So many percent of answers are late by [`HICCUP`], for no fault of the load: a collection of garbage, a lost packet.
    pub hiccups: f64,
    /// Proxies that send.
    pub clients: usize,
    /// 1 is what all backends together can do on average.
    pub load: f64,
    pub seconds: f64,
    pub seed: u64,
}

impl Scenario {
    /// Requests per second at a time.
    pub fn rate(&self, now: f64) -> f64 {
        let load = if now < WARM_UP { self.load.min(0.5) } else { self.load };
        let slow = if self.antagonists { ANTAGONISED / (ANTAGONISED + LEFT_ALONE) } else { 0.0 };
        BACKENDS as f64 * CORES / WORK * (1.0 - slow + slow / SLOWER) * load
    }

    /// The cluster as a plan has it, so that what is measured is what runs.
    pub fn cluster(&self) -> Result<Arc<Cluster>, String> {
        const HOST: &str = "app.default.svc.cluster.local";
        let service = Service {
            origin: Origin::default(),
            host: HOST.to_owned(),
            name: "app".to_owned(),
            namespace: "default".to_owned(),
            ports: vec![ServicePort { number: 80, name: String::new(), protocol: AppProtocol::Http }],
            place: Place::Mesh,
            resolution: Resolution::Static,
            addresses: Vec::new(),
            affinity: Default::default(),
            distribution: Default::default(),
        };
        let workload = |number: usize| Workload {
            origin: Origin::default(),
            uid: format!("default/app-{number:03}"),
            name: format!("app-{number:03}"),
            namespace: "default".to_owned(),
            identity: Identity::new("cluster.local", "default", "app"),
            labels: BTreeMap::new(),
            address: "127.0.0.1".to_owned(),
            serves: vec![Serves { host: HOST.to_owned(), port: 80, target: 8080 }],
            peer: Some(SocketAddr::from(([127, 0, 0, 1], 15008))),
            health: Health::Ready,
            weight: 1,
            locality: String::new(),
        };
        let destination = Destination {
            origin: Origin::default(),
            host: HOST.to_owned(),
            namespace: "default".to_owned(),
            role: Default::default(),
            clients: Default::default(),
            policy: TrafficPolicy { balancer: Some(self.balancer.clone()), ..TrafficPolicy::default() },
            subsets: Vec::new(),
        };
        let workloads = (0..BACKENDS).map(workload).map(|workload| (workload.uid.clone(), Arc::new(workload)));
        let snapshot = Snapshot {
            version: 1,
            services: [(HOST.to_owned(), Arc::new(service))].into(),
            workloads: workloads.collect(),
            destinations: [("app".to_owned(), Arc::new(destination))].into(),
            ..Snapshot::default()
        };
        let plan = Plan::compile(&snapshot);
        plan.clusters().next().cloned().ok_or_else(|| "the plan has no cluster".to_owned())
    }
}

/// Requests of one urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Class {
    pub asked: u64,
    pub failed: u64,
}

/// What one run gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Urgent, usual, least urgent.
    pub classes: [Class; 3],
    /// Seconds, of those that were answered in time.
    pub latencies: Vec<f64>,
    /// Requests that reached applications, copies and repetitions included.
    pub worked_on: u64,
    pub seconds: f64,
}

impl Figures {
    /// Of another run of the same. The latencies are to be sorted afterwards.
    pub fn add(&mut self, other: Self) {
        for (class, more) in self.classes.iter_mut().zip(other.classes) {
            class.asked += more.asked;
            class.failed += more.failed;
        }
        self.latencies.extend(other.latencies);
        self.worked_on += other.worked_on;
        self.seconds += other.seconds;
    }

    /// Percent.
    pub fn errors(&self, classes: &[Class]) -> f64 {
        let (asked, failed) = classes.iter().fold((0, 0), |(asked, failed), class| (asked + class.asked, failed + class.failed));
        failed as f64 * 100.0 / (asked.max(1) as f64)
    }

    /// Answers in time, per second.
    pub fn goodput(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    pub fn asked(&self) -> u64 {
        self.classes.iter().map(|class| class.asked).sum()
    }

    /// Milliseconds. The latencies are sorted.
    pub fn percentile(&self, percent: f64) -> f64 {
        let position = (self.latencies.len() as f64 * percent / 100.0) as usize;
        self.latencies.get(position.min(self.latencies.len().saturating_sub(1))).map_or(f64::NAN, |latency| latency * 1000.0)
    }
}
