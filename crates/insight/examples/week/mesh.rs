//! A made-up mesh that lives: services in layers, their replicas, how long requests take and how often they fail, and what both proxies of each
//! call report of a second. What is done to it is in `life` and `fault`.

use super::dice::Dice;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use taut_insight::tick::{Flow, Node, Part};
use taut_model::signal::{Protocol, Reporter, Security, Signals};

/// Requests whose durations are drawn, of a service in a second; of more, each drawn one stands for several.
const MOST_DRAWN: u64 = 250;
/// Durations of a second from which callers draw what they wait.
const KEPT: usize = 1000;
/// The longest that anything takes, and what faults add, in microseconds.
const LONGEST: f64 = 30e6;
const HICCUP: f64 = 500e3;
const DELAY: f64 = 200e3;

/// One process of a service.
pub struct Replica {
    pub part: Part,
    /// Takes requests.
    pub up: bool,
    /// So many times as slow, on top of what the whole service is.
    pub slow: f64,
    /// Share of requests that fail here.
    pub failing: f64,
}

pub struct Service {
    pub node: Node,
    pub layer: usize,
    /// Services that share its machine.
    pub host: usize,
    pub callees: Vec<Callee>,
    pub replicas: Vec<Replica>,
    /// Requests from outside, per second, before day and night.
    pub rate: f64,
    /// Of that, by the hour, a surge or a job.
    pub load: f64,
    /// Median of its own time in microseconds, how single requests differ from it (log), and the share of the very slow.
    pub own: f64,
    spread: f64,
    tail: f64,
    /// So many times as slow.
    pub slow: f64,
    /// Share of requests that fail by themselves.
    pub failing: f64,
    /// Share of requests that take [`HICCUP`] more.
    pub hiccups: f64,
    /// Share of requests that wait [`DELAY`] more on their way.
    pub network: f64,
    /// Share of the tries that reach nobody, which callers try again.
    pub lost: f64,
    /// The latest second: durations, and the share that failed.
    durations: Vec<f64>,
    /// The next of them: each request that was slow below makes one slow above, and no more.
    next: Cell<usize>,
    failed: f64,
    asked: u64,
}

pub struct Callee {
    pub service: usize,
    /// Calls for each request.
    pub calls: f64,
}

pub struct Mesh {
    pub services: Vec<Service>,
    /// From the leaves to the edge.
    order: Vec<usize>,
    outside: Node,
}

impl Mesh {
    pub fn new(count: usize, dice: &mut Dice) -> Self {
        let mut services: Vec<Service> = (0..count).map(|number| Service::new(number, count, dice)).collect();
        for at in 0..count {
            let below: Vec<usize> = (0..count).filter(|other| services[*other].layer > services[at].layer).collect();
            let wanted = if below.is_empty() { 0 } else { 1 + dice.below(4) };
            for _ in 0..wanted {
                let Some(service) = dice.pick(&below) else { continue };
                if services[at].callees.iter().all(|callee| callee.service != service) {
                    let calls = dice.scale(0.1, 1.5);
                    services[at].callees.push(Callee { service, calls });
                }
            }
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|at| std::cmp::Reverse(services[*at].layer));
        Self { services, order, outside: Node::outside() }
    }

    pub fn name(&self, service: usize) -> &str {
        self.services[service].node.name()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.services.iter().position(|service| service.node.name() == name)
    }

    /// These services, and all that they need.
    pub fn below(&self, services: &[usize]) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = services.iter().copied().collect();
        let mut waiting: Vec<usize> = services.to_vec();
        while let Some(at) = waiting.pop() {
            let callees = self.services[at].callees.iter().map(|callee| callee.service);
            waiting.extend(callees.filter(|callee| reached.insert(*callee)));
        }
        reached
    }

    /// All that both proxies of each call report of a second.
    pub fn second(&mut self, second: u64, dice: &mut Dice) -> Vec<Flow> {
        let mut asks: Vec<Vec<(Option<usize>, u64)>> = self.services.iter().map(|_| Vec::new()).collect();
        let mut calls_of: Vec<Vec<u64>> = self.services.iter().map(|_| Vec::new()).collect();
        for at in self.order.iter().rev().copied() {
            let service = &self.services[at];
            let day = 1.0 + 0.7 * ((second as f64 / 86_400.0 + service.host as f64 / 200.0) * std::f64::consts::TAU).sin();
            let users = dice.poisson(service.rate * service.load * day) as u64;
            if users > 0 {
                asks[at].push((None, users));
            }
            let asked: u64 = asks[at].iter().map(|(_, requests)| requests).sum();
            self.services[at].asked = asked;
            for callee in &self.services[at].callees {
                let calls = dice.poisson(asked as f64 * callee.calls) as u64;
                calls_of[at].push(calls);
                if calls > 0 {
                    asks[callee.service].push((Some(at), calls));
                }
            }
        }
        let mut flows = Vec::new();
        for at in self.order.clone() {
            self.serve(at, &calls_of[at], dice);
            for (caller, requests) in &asks[at] {
                self.report(at, *caller, *requests, dice, &mut flows);
            }
        }
        flows
    }

    /// Draws how long the requests of a second take, and how many fail. `calls`: what it has asked of each of its callees for them.
    fn serve(&mut self, at: usize, calls: &[u64], dice: &mut Dice) {
        let service = &self.services[at];
        let callees = || service.callees.iter().map(|callee| (&self.services[callee.service], callee.calls));
        // Half of the failures below are passed on; the others have something to fall back on.
        let below: f64 = callees().map(|(callee, calls)| 0.5 * callee.fails() * calls.min(1.0)).sum();
        let drawn = service.asked.min(KEPT as u64);
        let mut times: Vec<f64> = (0..drawn).map(|_| service.draw(dice)).collect();
        for ((callee, _), calls) in callees().zip(calls).filter(|_| drawn > 0) {
            // Each call is waited for by one request, so that one that is slow below makes one slow above.
            for _ in 0..calls * drawn / service.asked {
                times[dice.below(drawn as usize)] += callee.waited_for(dice);
            }
        }
        let failed = (service.failing + below).min(1.0);
        let service = &mut self.services[at];
        service.durations = times.into_iter().map(|time| time.min(LONGEST)).collect();
        service.next.set(0);
        service.failed = failed;
    }

    /// What the caller's proxy and the service's own report.
    fn report(&self, at: usize, caller: Option<usize>, requests: u64, dice: &mut Dice, flows: &mut Vec<Flow>) {
        let service = &self.services[at];
        let up: Vec<&Replica> = service.replicas.iter().filter(|replica| replica.up).collect();
        if up.is_empty() {
            return;
        }
        let each = requests / up.len() as u64;
        let first = dice.below(up.len());
        for (place, replica) in up.iter().enumerate() {
            let own = each + u64::from((place + first) % up.len() < (requests % up.len() as u64) as usize);
            if own == 0 {
                continue;
            }
            let (mut felt, mut served) = (Signals::default(), Signals::default());
            let drawn = own.min(MOST_DRAWN);
            for number in 0..drawn {
                let times = own / drawn + u64::from(number < own % drawn);
                let time = service.drawn(dice) * replica.slow;
                let between = service.between(dice);
                served.latency.record_many(time as u64, times);
                felt.latency.record_many((time + between) as u64, times);
                let fails = dice.chance((service.failed + replica.failing).min(1.0));
                for signals in [&mut served, &mut felt] {
                    signals.outcomes.count(if fails { 503 } else { 200 }, None, None, times);
                }
            }
            let under_way = own as f64 * service.mean() * replica.slow / 1e6;
            for signals in [&mut served, &mut felt] {
                (signals.requests, signals.in_flight) = (own, under_way.ceil() as u64);
            }
            self.push(at, caller, replica, [felt, served], flows);
        }
    }

    fn push(&self, at: usize, caller: Option<usize>, replica: &Replica, [felt, served]: [Signals; 2], flows: &mut Vec<Flow>) {
        let source = caller.map_or(&self.outside, |caller| &self.services[caller].node);
        let flow = |reporter, security, signals| Flow {
            source: source.clone(),
            destination: self.services[at].node.clone(),
            part: replica.part.clone(),
            external: false,
            protocol: Protocol::Http,
            reporter,
            security,
            signals,
        };
        if caller.is_some() {
            flows.push(flow(Reporter::Source, Security::MutualTls, felt));
            flows.push(flow(Reporter::Destination, Security::MutualTls, served));
        } else {
            flows.push(flow(Reporter::Destination, Security::Plaintext, served));
        }
    }
}

impl Service {
    fn new(number: usize, count: usize, dice: &mut Dice) -> Self {
        let name = format!("s{number:02}");
        let layer = if number < count / 10 { 0 } else { 1 + dice.below(4) };
        let version: Arc<str> = "v1".into();
        let replicas = (0..2 + dice.below(4)).map(|replica| Replica {
            part: Part { workload: format!("{name}-{replica}").into(), version: version.clone() },
            up: true,
            slow: 1.0,
            failing: 0.0,
        });
        // Some at the edge are asked often; one in five further in has users of its own, who are few: down to one in a minute.
        let rate = if layer == 0 {
            dice.scale(10.0, 300.0)
        } else if dice.chance(0.2) {
            dice.scale(0.02, 2.0)
        } else {
            0.0
        };
        Self {
            node: Node::new("shop", &name),
            layer,
            host: number / 8,
            callees: Vec::new(),
            replicas: replicas.collect(),
            rate,
            load: 1.0,
            own: dice.scale(500.0, 40_000.0),
            spread: dice.between(0.2, 0.9),
            tail: dice.scale(0.0005, 0.02),
            slow: 1.0,
            // One in ten always fails a little.
            failing: if dice.chance(0.1) { dice.scale(1e-4, 1e-2) } else { 1e-5 },
            hiccups: 0.0,
            network: 0.0,
            lost: 0.0,
            durations: Vec::new(),
            next: Cell::new(0),
            failed: 0.0,
            asked: 0,
        }
    }

    /// How long a request takes by itself: log-normal, with a tail that falls with the square.
    fn draw(&self, dice: &mut Dice) -> f64 {
        let tail = if dice.chance(self.tail) { dice.between(1e-4, 1.0).powf(-0.5) } else { 1.0 };
        // Nothing is drawn for what is not there: faults change nothing before they begin.
        let hiccup = if self.hiccups > 0.0 && dice.chance(self.hiccups) { HICCUP } else { 0.0 };
        self.own * self.slow * (self.spread * dice.normal()).exp() * tail + hiccup
    }

    /// One of the latest second's; what nobody asked for now takes what it takes.
    fn drawn(&self, dice: &mut Dice) -> f64 {
        let next = self.next.get();
        self.next.set(next + 1);
        self.durations.get(next % self.durations.len().max(1)).copied().unwrap_or_else(|| self.draw(dice))
    }

    /// What a request costs on its way, in microseconds. Who reaches nobody tries again, a little later.
    fn between(&self, dice: &mut Dice) -> f64 {
        let again = if dice.chance(self.lost) { dice.scale(1e3, 30e3) } else { 0.0 };
        let delayed = if self.network > 0.0 && dice.chance(self.network) { DELAY } else { 0.0 };
        300.0 + delayed + again
    }

    /// What a caller waits.
    fn waited_for(&self, dice: &mut Dice) -> f64 {
        let slow = self.replicas[dice.below(self.replicas.len())].slow;
        self.drawn(dice) * slow + self.between(dice)
    }

    /// Share of its answers that are failures.
    fn fails(&self) -> f64 {
        let up = || self.replicas.iter().filter(|replica| replica.up);
        self.failed + up().map(|replica| replica.failing).sum::<f64>() / up().count().max(1) as f64
    }

    fn mean(&self) -> f64 {
        self.durations.iter().sum::<f64>() / self.durations.len().max(1) as f64
    }
}
