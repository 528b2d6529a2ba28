//! A synthetic mesh: services that call each other, how long they take, how they fail, and what follows from that for whoever calls them.

use super::dice::Dice;

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    /// Time that a request takes here, callees' taken off, and how much single requests differ from that, as a share of it.
    pub own_ms: f64,
    pub differs: f64,
    /// Of requests, in the service's own words.
    pub fails: f64,
    /// Callees are asked at once, not one after the other.
    pub parallel: bool,
    pub external: bool,
    /// Requests per second from outside.
    pub users: f64,
    pub versions: Vec<Version>,
    /// Its proxy reports nothing.
    pub frozen: bool,
    pub cpu: f64,
}

#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    pub share: f64,
    /// How much slower than the service's own time, and what it fails beside.
    pub slower: f64,
    pub fails: f64,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub source: usize,
    pub destination: usize,
    /// Calls per request of the source.
    pub times: f64,
    pub network_ms: f64,
    pub timeout_ms: f64,
    /// What of the callee's failures the source passes on: none where it has something to fall back on.
    pub passes_on: f64,
    /// Failures on the way: the reason at the caller, and at the callee where it sees it, with the share of requests.
    pub fails: Option<(&'static str, Option<&'static str>, f64)>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub services: Vec<Service>,
    pub calls: Vec<Call>,
}

/// What a world comes to.
#[derive(Clone, Debug)]
pub struct Steady {
    /// By service: requests per second, mean time, share that fails in its own words.
    pub rate: Vec<f64>,
    pub served_ms: Vec<f64>,
    pub fails: Vec<f64>,
    /// By call: the mean time that the caller waits, at most its timeout, and the share that it does not wait for to the end.
    pub felt_ms: Vec<f64>,
    pub late: Vec<f64>,
}

impl World {
    /// Layers of services, each called by some of the layers above, and here and there a call back up.
    pub fn random(dice: &mut Dice, services: usize) -> Self {
        let entries = 1 + usize::from(services > 20 && dice.chance(0.5));
        let users = dice.scale(2.0, 200.0);
        let mut world = Self { services: (0..services).map(|at| service(dice, at)).collect(), calls: Vec::new() };
        for at in 0..entries {
            world.services[at].users = users / entries as f64;
            world.services[at].external = false;
        }
        for destination in entries..services {
            for _ in 0..1 + dice.below(3) {
                // Mostly from nearby: chains are some services deep.
                let source = destination.saturating_sub(1 + dice.below(destination.min(8)));
                world.call(dice, source, destination);
            }
        }
        if dice.chance(0.2) && services > entries + 3 {
            let (high, low) = (entries + dice.below((services - entries) / 2), services - 1 - dice.below(2));
            let before = world.calls.len();
            world.call(dice, low, high);
            world.calls[before..].iter_mut().for_each(|call| call.times = 0.05);
        }
        world
    }

    /// Adds calls until there are that many; so many calls are seldom made by each request.
    pub fn widen(&mut self, dice: &mut Dice, links: usize) {
        for _ in 0..20 * links {
            if self.calls.len() >= links {
                return;
            }
            let destination = 2 + dice.below(self.services.len() - 2);
            let (source, from) = (dice.below(destination), self.calls.len());
            self.call(dice, source, destination);
            self.calls[from..].iter_mut().for_each(|call| call.times = dice.scale(0.01, 0.1));
        }
    }

    fn call(&mut self, dice: &mut Dice, source: usize, destination: usize) {
        let known = self.calls.iter().any(|call| (call.source, call.destination) == (source, destination));
        if known || source == destination || self.services[source].external {
            return;
        }
        let times = if dice.chance(0.7) { 1.0 } else { dice.scale(0.1, 3.0) };
        let passes_on = if dice.chance(0.1) { 0.0 } else { 0.95 };
        let (network_ms, timeout_ms) = (dice.scale(0.3, 2.0), dice.scale(1000.0, 5000.0));
        self.calls.push(Call { source, destination, times, network_ms, timeout_ms, passes_on, fails: None });
    }

    /// Rates, times and failures, by going round until they stand (a circle that feeds itself less each time does).
    pub fn steady(&self) -> Steady {
        let count = self.services.len();
        let mut steady = Steady {
            rate: vec![0.0; count],
            served_ms: vec![0.0; count],
            fails: vec![0.0; count],
            felt_ms: vec![0.0; self.calls.len()],
            late: vec![0.0; self.calls.len()],
        };
        for _ in 0..40 {
            let before = steady.clone();
            for (at, service) in self.services.iter().enumerate() {
                let versions = |of: fn(&Version) -> f64| service.versions.iter().map(|version| version.share * of(version)).sum::<f64>();
                (steady.rate[at], steady.served_ms[at]) = (service.users, service.own_ms * versions(|version| version.slower));
                steady.fails[at] = service.fails + versions(|version| version.fails);
            }
            let mut slowest = vec![0.0_f64; count];
            for (at, call) in self.calls.iter().enumerate() {
                let (source, destination) = (call.source, call.destination);
                steady.rate[destination] += before.rate[source] * call.times;
                let (lost, waits) = (call.fails.map_or(0.0, |(_, _, share)| share), before.served_ms[destination] + call.network_ms);
                steady.late[at] = ((waits / call.timeout_ms - 0.5).clamp(0.0, 1.0) * (1.0 - lost)).min(1.0);
                steady.felt_ms[at] = waits.min(call.timeout_ms);
                let all = 1.0 - (1.0 - before.fails[destination]) * (1.0 - lost) * (1.0 - steady.late[at]);
                steady.fails[source] += call.passes_on * call.times.min(1.0) * all;
                let time = call.times * steady.felt_ms[at] * (1.0 - lost);
                if self.services[source].parallel {
                    slowest[source] = slowest[source].max(time);
                } else {
                    steady.served_ms[source] += time;
                }
            }
            for (at, slowest) in slowest.into_iter().enumerate() {
                steady.served_ms[at] += slowest;
                steady.fails[at] = steady.fails[at].min(1.0);
            }
        }
        steady
    }

    pub fn callers(&self, service: usize) -> Vec<usize> {
        (0..self.calls.len()).filter(|at| self.calls[*at].destination == service).collect()
    }

    pub fn callees(&self, service: usize) -> Vec<usize> {
        (0..self.calls.len()).filter(|at| self.calls[*at].source == service).collect()
    }
}

fn service(dice: &mut Dice, at: usize) -> Service {
    let version = |name: &str, share: f64| Version { name: name.into(), share, slower: 1.0, fails: 0.0 };
    let external = at > 2 && dice.chance(0.08);
    let versions = if !external && dice.chance(0.3) { vec![version("v1", 0.7), version("v2", 0.3)] } else { vec![version("v1", 1.0)] };
    Service {
        name: format!("s{at}"),
        own_ms: dice.scale(1.0, 40.0),
        differs: dice.between(0.3, 1.5),
        fails: if dice.chance(0.3) { dice.scale(0.0001, 0.005) } else { 0.0 },
        parallel: dice.chance(0.25),
        external,
        users: 0.0,
        versions,
        frozen: false,
        cpu: dice.between(0.05, 0.5),
    }
}
