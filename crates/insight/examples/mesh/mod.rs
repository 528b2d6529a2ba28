//! A synthetic mesh and what its proxies would report of it: for tests and for measuring `locate`. What is reported differs from what is so
//! by chance (few requests, durations that differ) and by how services wander from minute to minute.

pub mod dice;
pub mod fault;
pub mod world;

use dice::Dice;
use fault::{BEGAN, Truth};
use taut_insight::change::Change;
use taut_insight::incident::Signal;
use taut_insight::locate::{Pressed, Seen, Situation, Span, Spread, Target};
use taut_insight::tick::{Node, Pressure};
use taut_model::signal::Reporter;
use world::{Steady, World};

/// One seed's mesh, broken or not, and who is to blame.
pub struct Case {
    pub situation: Situation,
    pub truths: Vec<Truth>,
}

/// A mesh of `services` with these faults at once; none if it has no place for one of them.
pub fn broken(seed: u64, services: usize, kinds: &[&str]) -> Option<Case> {
    let mut dice = Dice::new(seed);
    let before = World::random(&mut dice, services);
    let (mut after, mut changes) = (before.clone(), Vec::new());
    let mut truths = Vec::new();
    for kind in kinds {
        truths.push(fault::break_it(kind, &mut after, &mut dice, &mut changes)?);
    }
    Some(Case { situation: situation(&before, &after, &mut dice, changes), truths })
}

pub fn benign(seed: u64, services: usize, kind: &str) -> Case {
    let mut dice = Dice::new(seed);
    let before = World::random(&mut dice, services);
    let (mut after, mut changes) = (before.clone(), Vec::new());
    fault::harmless(kind, &mut after, &mut dice, &mut changes);
    Case { situation: situation(&before, &after, &mut dice, changes), truths: Vec::new() }
}

fn situation(before: &World, after: &World, dice: &mut Dice, changes: Vec<Change>) -> Situation {
    let (past, present) = (before.steady(), after.steady());
    let now_seconds = dice.between(10.0, 60.0);
    let reports = [Report::new(before, &past, 600.0, dice), Report::new(after, &present, now_seconds, dice)];
    let mut seen = Vec::new();
    for (at, service) in after.services.iter().enumerate().filter(|(_, service)| service.users > 0.0) {
        let mut links = sides(dice, &reports, None, at, [before.services[at].users, service.users]);
        links.retain(|seen| seen.reporter == Reporter::Destination);
        seen.extend(links);
    }
    for (at, call) in after.calls.iter().enumerate() {
        let rates = [past.rate[call.source] * before.calls[at].times, present.rate[call.source] * call.times];
        seen.extend(sides(dice, &reports, Some(at), call.destination, rates));
    }
    let cpu = |world: &World, at: usize| Pressure { cpu: Some(world.services[at].cpu), ..Pressure::default() };
    let pressures =
        (0..after.services.len()).map(|at| Pressed { node: fault::node(after, at), before: cpu(before, at), now: cpu(after, at), spread: None });
    let entries = after.services.iter().filter(|service| service.users > 0.0);
    let targets = entries.flat_map(|service| {
        let node = Node::new("mesh", &service.name);
        [Signal::ErrorRatio, Signal::LatencyP99].map(|signal| Target::new(node.clone(), signal))
    });
    Situation { targets: targets.collect(), began: BEGAN, pressures: pressures.collect(), changes, seen }
}

/// A world in one span of time, in which each service is a little slower or faster than it usually is.
struct Report<'w> {
    world: &'w World,
    steady: &'w Steady,
    seconds: f64,
    wander: Vec<f64>,
}

/// Services wander by that much from window to window.
const WANDER: f64 = 0.03;

impl<'w> Report<'w> {
    fn new(world: &'w World, steady: &'w Steady, seconds: f64, dice: &mut Dice) -> Self {
        let wander = world.services.iter().map(|_| (1.0 + WANDER * dice.normal()).max(0.5)).collect();
        Self { world, steady, seconds, wander }
    }
}

/// What both proxies of a link say, by version; a callee outside the mesh says nothing.
fn sides(dice: &mut Dice, reports: &[Report<'_>; 2], call: Option<usize>, destination: usize, rates: [f64; 2]) -> Vec<Seen> {
    let world = reports[1].world;
    let source = call.map_or_else(Node::outside, |call| fault::node(world, world.calls[call].source));
    let external = world.services[destination].external;
    let mut seen = Vec::new();
    for at in 0..world.services[destination].versions.len() {
        let name = world.services[destination].versions[at].name.clone();
        let [before, now] = [0, 1].map(|which| version(dice, &reports[which], call, destination, &name, rates[which]));
        for (side, reporter) in [Reporter::Source, Reporter::Destination].into_iter().enumerate().filter(|(side, _)| !external || *side == 0) {
            seen.push(Seen {
                source: source.clone(),
                destination: fault::node(world, destination),
                part: (!external).then(|| fault::part(world, destination, &name)),
                external,
                reporter,
                before: before[side].clone(),
                now: now[side].clone(),
                spread: Spread::default(),
            });
        }
    }
    seen
}

/// What the two sides have seen of one version of a callee: the caller, the callee.
fn version(dice: &mut Dice, report: &Report<'_>, call: Option<usize>, destination: usize, name: &str, rate: f64) -> [Span; 2] {
    let (service, seconds) = (&report.world.services[destination], report.seconds);
    let nothing = || Span { seconds, ..Span::default() };
    let Some(version) = service.versions.iter().find(|version| version.name == name) else { return [nothing(), nothing()] };
    let all = dice.poisson(rate * seconds * version.share);
    let call_at = call.map(|at| &report.world.calls[at]);
    let (caller_reason, callee_reason, lost) = call_at.and_then(|call| call.fails).map_or(("", None, 0.0), |fails| fails);
    let lost = dice.of(all, lost);
    let served = all - lost;
    let elsewhere: f64 = service.versions.iter().map(|other| other.share * other.slower).sum();
    let mean = (report.steady.served_ms[destination] + service.own_ms * (version.slower - elsewhere)) * report.wander[destination];
    let deviation = (service.differs * service.own_ms * version.slower).max(0.3 * mean);
    let (timeout, network) = call_at.map_or((f64::MAX, 0.0), |call| (call.timeout_ms, call.network_ms * (1.0 + 0.05 * dice.normal())));
    let mean = (mean + deviation / served.max(1.0).sqrt() * dice.normal()).max(0.05).min(timeout);
    let late = dice.of(served, call.map_or(0.0, |at| report.steady.late[at]));
    let fails: f64 = service.versions.iter().map(|other| other.share * other.fails).sum();
    let words = dice.of(served - late, (report.steady.fails[destination] - fails + version.fails).clamp(0.0, 1.0));
    let mut callee = Span::steady(seconds, served, mean, deviation.min(3.0 * mean));
    // The two do not look at quite the same requests.
    let mut caller = Span::steady(seconds, served, (mean * (1.0 + 0.005 * dice.normal()) + network).min(timeout), deviation.min(3.0 * mean));
    for (span, late_as, lost_as) in [(&mut caller, "timeout", Some(caller_reason)), (&mut callee, "client_left", callee_reason)] {
        span.fail("http_5xx", words);
        span.fail(late_as, late);
        if let Some(reason) = lost_as {
            span.requests += lost;
            span.fail(reason, lost);
        }
        span.in_flight += 2.0 * span.in_flight.sqrt();
        span.failures.retain(|(_, times)| *times > 0.0);
    }
    if service.frozen { [caller, nothing()] } else { [caller, callee] }
}

/// A mesh with that many links, in which a service is slow that whoever users reach first calls.
pub fn large(seed: u64, services: usize, links: usize) -> Case {
    let mut dice = Dice::new(seed);
    let mut before = World::random(&mut dice, services);
    before.widen(&mut dice, links);
    let call = before.callees(0)[0];
    let called = before.calls[call].destination;
    (before.calls[call].times, before.calls[call].timeout_ms) = (1.0, f64::MAX);
    (before.services[0].parallel, before.services[called].external) = (false, false);
    let mut after = before.clone();
    // Users wait twice as long as before.
    after.services[called].own_ms += before.steady().served_ms[0];
    let truths = vec![vec![taut_insight::incident::Place::Service(fault::node(&after, called))]];
    Case { situation: situation(&before, &after, &mut dice, Vec::new()), truths }
}
