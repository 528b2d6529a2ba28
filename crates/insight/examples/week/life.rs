//! What goes on in a mesh that is well, by lot: none of it is a fault, and nobody ought to be woken for it.

use super::dice::Dice;
use super::mesh::Mesh;
use std::collections::BTreeMap;
use std::sync::Arc;
use taut_insight::change::{Change, What};

const DAY: f64 = 86_400.0;
const HOUR: u64 = 3600;
/// The busiest hour is followed with so much more time for each request.
const CROWDED: f64 = 0.15;
/// A new process is slow at first, this many times, and so many seconds until it is so by a third.
const COLD: f64 = 2.0;
const WARMS_UP: f64 = 6.0;

/// What goes on at a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// More users, for a while.
    Surge,
    /// Every process is replaced by one of a new version, one after the other.
    Deploy,
    /// A process ends, and begins again.
    Restart,
    /// The machine has less time for all on it.
    Neighbour,
    /// A job asks much, at the full hour.
    Job,
    /// A process collects its garbage.
    Pause,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Surge => "surge",
            Self::Deploy => "deploy",
            Self::Restart => "restart",
            Self::Neighbour => "noisy neighbour",
            Self::Job => "job",
            Self::Pause => "pause",
        }
    }

    /// How often a day at each service.
    fn times(self) -> f64 {
        match self {
            Self::Surge => 2.0,
            Self::Deploy => 1.0,
            Self::Restart => 1.0,
            Self::Neighbour => 1.0,
            Self::Job => 0.0,
            Self::Pause => 100.0,
        }
    }

    fn lasts(self, replicas: usize, dice: &mut Dice) -> u64 {
        (match self {
            Self::Surge => dice.scale(60.0, 1800.0),
            Self::Deploy => replicas as f64 * EACH as f64,
            Self::Restart => dice.scale(5.0, 30.0),
            Self::Neighbour => dice.scale(60.0, 900.0),
            Self::Job => dice.scale(20.0, 120.0),
            Self::Pause => 1.0,
        }) as u64
    }
}

/// Seconds that a deploy spends with each process: the new one begins, and then the old one ends.
const EACH: u64 = 20;

struct Going {
    what: Event,
    service: usize,
    replica: usize,
    begin: u64,
    end: u64,
    /// How much of it.
    much: f64,
}

/// A process that began lately.
struct Cold {
    service: usize,
    replica: usize,
    since: u64,
}

pub struct Life {
    going: Vec<Going>,
    cold: Vec<Cold>,
    counts: BTreeMap<Event, u64>,
    /// Services that have a job at the full hour.
    jobs: Vec<usize>,
    versions: u64,
    log: Vec<(u64, u64, usize, Event)>,
}

impl Life {
    pub fn new(mesh: &Mesh, dice: &mut Dice) -> Self {
        let jobs = (0..mesh.services.len()).filter(|_| dice.chance(0.1)).collect();
        Self { going: Vec::new(), cold: Vec::new(), counts: BTreeMap::new(), jobs, versions: 1, log: Vec::new() }
    }

    /// Lets a second pass; tells of what the control plane knows of it.
    pub fn live(&mut self, second: u64, start: u64, mesh: &mut Mesh, dice: &mut Dice) -> Vec<Change> {
        for service in 0..mesh.services.len() {
            for what in [Event::Surge, Event::Deploy, Event::Restart, Event::Neighbour, Event::Pause] {
                if dice.chance(what.times() / DAY) {
                    self.begin(what, service, second, mesh, dice);
                }
            }
        }
        if second.is_multiple_of(HOUR) {
            for service in self.jobs.clone() {
                self.begin(Event::Job, service, second + dice.below(20) as u64, mesh, dice);
            }
        }
        self.calm(second, mesh);
        let mut changes = Vec::new();
        for at in 0..self.going.len() {
            changes.extend(self.goes_on(at, second, start, mesh));
        }
        self.going.retain(|going| going.end > second);
        self.warm(second, mesh);
        changes
    }

    fn begin(&mut self, what: Event, service: usize, begin: u64, mesh: &Mesh, dice: &mut Dice) {
        let replicas = mesh.services[service].replicas.len();
        // A process that is being replaced is not restarted by somebody else.
        let busy = self.going.iter().any(|going| going.service == service && matches!(going.what, Event::Deploy | Event::Restart));
        if busy && matches!(what, Event::Deploy | Event::Restart) {
            return;
        }
        let much = match what {
            Event::Surge => dice.scale(1.5, 5.0),
            Event::Job => dice.scale(3.0, 20.0),
            Event::Neighbour => dice.between(1.1, 1.8),
            _ => 1.0,
        };
        let end = begin + what.lasts(replicas, dice).max(1);
        *self.counts.entry(what).or_default() += 1;
        if what != Event::Pause {
            self.log.push((begin, end, service, what));
        }
        self.going.push(Going { what, service, replica: dice.below(replicas), begin, end, much });
    }

    /// All is as on a quiet day, before what goes on is laid over it.
    fn calm(&mut self, second: u64, mesh: &mut Mesh) {
        for service in &mut mesh.services {
            (service.load, service.slow, service.lost) = (1.0, crowded(second, service.host), 0.0);
            service.replicas.iter_mut().for_each(|replica| (replica.up, replica.slow) = (true, 1.0));
        }
    }

    fn goes_on(&mut self, at: usize, second: u64, start: u64, mesh: &mut Mesh) -> Option<Change> {
        let going = &self.going[at];
        if second < going.begin {
            return None;
        }
        let since = second - going.begin;
        let service = &mut mesh.services[going.service];
        match going.what {
            // More come within half a minute, and go as they came.
            Event::Surge | Event::Job => {
                let edge = (since.min(going.end - second) as f64 / 30.0).min(1.0);
                service.load *= 1.0 + (going.much - 1.0) * edge;
            }
            Event::Neighbour => {
                let (host, much) = (service.host, going.much);
                let slow = crowded(second, host) * much;
                mesh.services.iter_mut().filter(|service| service.host == host).for_each(|service| service.slow = service.slow.max(slow));
            }
            Event::Pause => service.replicas[going.replica].slow = 1.5,
            Event::Restart => {
                let (count, replica) = (service.replicas.len(), going.replica);
                service.replicas[replica].up = false;
                // Until everybody knows, some try it, and then another.
                service.lost = if since < 2 { 1.0 / count as f64 } else { 0.0 };
                let cold = Cold { service: going.service, replica, since: going.end };
                let change = (since == 0).then(|| endpoints(start + second, &mesh.services[cold.service].node, count, count - 1));
                if since == 0 {
                    self.cold.push(cold);
                }
                return change;
            }
            Event::Deploy => {
                let (service_at, turn) = (going.service, (since / EACH) as usize);
                if since.is_multiple_of(EACH) && turn < service.replicas.len() {
                    self.versions += u64::from(turn == 0);
                    service.replicas[turn].part.version = format!("v{}", self.versions).into();
                    self.cold.push(Cold { service: service_at, replica: turn, since: second });
                    let whom = vec![service.node.clone()];
                    let version: Arc<str> = service.replicas[turn].part.version.clone();
                    return Some(Change { at: start + second, nodes: whom, what: What::Version { version: version.to_string() } })
                        .filter(|_| turn == 0);
                }
            }
        }
        None
    }

    fn warm(&mut self, second: u64, mesh: &mut Mesh) {
        self.cold.retain(|cold| second < cold.since + 60);
        for cold in self.cold.iter().filter(|cold| second >= cold.since) {
            let since = (second - cold.since) as f64;
            mesh.services[cold.service].replicas[cold.replica].slow *= 1.0 + (COLD - 1.0) * (-since / WARMS_UP).exp();
        }
    }

    pub fn summary(&self) -> String {
        let told: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} × {}", what.name())).collect();
        told.join(", ")
    }

    /// What went on around a second: at these services, at all below them, and on the machines of these.
    pub fn around(&self, second: u64, services: &[usize], mesh: &Mesh) -> String {
        let below = mesh.below(services);
        let there = |service: usize, what: Event| match what {
            Event::Neighbour => below.iter().any(|at| mesh.services[*at].host == mesh.services[service].host),
            _ => below.contains(&service),
        };
        let near = |(begin, end, service, what): &&(u64, u64, usize, Event)| *begin <= second && second < end + 120 && there(*service, *what);
        let told: Vec<String> = self.log.iter().filter(near).map(|(_, _, service, what)| format!("{} of s{service:02}", what.name())).collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

/// How slow the hour makes all on a machine. A neighbour comes on top of it; of several, the noisiest.
fn crowded(second: u64, host: usize) -> f64 {
    1.0 + CROWDED * ((second as f64 / DAY + host as f64 / 200.0) * std::f64::consts::TAU).sin().max(0.0)
}

fn endpoints(at: u64, node: &taut_insight::tick::Node, before: usize, after: usize) -> Change {
    Change { at, nodes: vec![node.clone()], what: What::Endpoints { before, after } }
}
