//! Faults by lot, laid over the life of the mesh: what is broken, where, from when to when.

use super::dice::Dice;
use super::mesh::Mesh;

/// Seconds before the first, and that one lasts.
const FIRST: u64 = 3600;
const LASTS: u64 = 30;
/// A service that is asked less than this, per second, is not broken: in that time too little comes to it.
const FEWEST: f64 = 1.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// All of it takes five times as long, and 100 ms.
    Slow,
    /// Everything fails, or one request in five.
    Fails,
    FailsInPart,
    /// One process of it.
    OneFails,
    OneSlow,
    /// One request in ten takes 500 ms more.
    SlowInPart,
    /// The way to it takes 200 ms.
    Network,
    /// The same of one request in six.
    Loss,
}

const KINDS: [Kind; 8] = [Kind::Slow, Kind::Fails, Kind::FailsInPart, Kind::OneFails, Kind::OneSlow, Kind::SlowInPart, Kind::Network, Kind::Loss];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Fails => "fails",
            Self::FailsInPart => "every fifth fails",
            Self::OneFails => "one process fails",
            Self::OneSlow => "one process is slow",
            Self::SlowInPart => "every tenth is slow",
            Self::Network => "network",
            Self::Loss => "network loss",
        }
    }
}

pub struct Fault {
    pub kind: Kind,
    pub service: usize,
    /// Requests that usually come to the service, per second.
    pub rate: f64,
    pub begin: u64,
    pub end: u64,
    failing: f64,
}

pub struct Faults {
    pub all: Vec<Fault>,
}

impl Faults {
    /// As many as have room, with at least `between` seconds between two, and twice as many at most.
    pub fn new(seconds: u64, between: f64, mesh: &Mesh, dice: &mut Dice) -> Self {
        let rates = rates(mesh);
        let busy: Vec<usize> = (0..rates.len()).filter(|at| rates[*at] >= FEWEST).collect();
        let (mut all, mut begin) = (Vec::new(), FIRST);
        while begin + LASTS < seconds {
            if let (Some(kind), Some(service)) = (dice.pick(&KINDS), dice.pick(&busy)) {
                let (rate, failing) = (rates[service], mesh.services[service].failing);
                all.push(Fault { kind, service, rate, begin, end: begin + LASTS, failing });
            }
            begin += LASTS + dice.between(between, 2.0 * between) as u64;
        }
        Self { all }
    }

    /// Begins, goes on with, and ends what is due.
    pub fn act(&self, second: u64, mesh: &mut Mesh) {
        for fault in self.all.iter().filter(|fault| (fault.begin..=fault.end).contains(&second)) {
            let (over, service) = (second == fault.end, &mut mesh.services[fault.service]);
            let (least, host) = (100_000.0 / service.own, fault.service % service.replicas.len());
            let set = |value: f64| if over { 0.0 } else { value };
            match fault.kind {
                Kind::Slow if !over => service.slow *= 5.0 + least,
                Kind::OneSlow if !over => service.replicas[host].slow *= 10.0 + least,
                Kind::Slow | Kind::OneSlow => {}
                Kind::Fails => service.failing = if over { fault.failing } else { 1.0 },
                Kind::FailsInPart => service.failing = if over { fault.failing } else { 0.2 },
                Kind::OneFails => service.replicas[host].failing = set(1.0),
                Kind::SlowInPart => service.hiccups = set(0.1),
                Kind::Network => service.network = set(1.0),
                Kind::Loss => service.network = set(1.0 / 6.0),
            }
        }
    }
}

/// Requests per second that come to each service.
fn rates(mesh: &Mesh) -> Vec<f64> {
    let mut rates: Vec<f64> = mesh.services.iter().map(|service| service.rate).collect();
    let mut order: Vec<usize> = (0..rates.len()).collect();
    order.sort_by_key(|at| mesh.services[*at].layer);
    for at in order {
        for callee in &mesh.services[at].callees {
            rates[callee.service] += rates[at] * callee.calls;
        }
    }
    rates
}
