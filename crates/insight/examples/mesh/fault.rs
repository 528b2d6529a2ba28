//! What goes wrong in a synthetic mesh, and what only looks as if: each changes the world and says who is to blame.

use super::dice::Dice;
use super::world::{Version, World};
use taut_insight::change::{Change, What};
use taut_insight::incident::Place;
use taut_insight::tick::{Node, Part};

pub const FAULTS: [&str; 25] = [
    "slow",
    "slow version",
    "one in twenty slow",
    "failing",
    "failing version",
    "bad new version",
    "hanging",
    "frozen with its proxy",
    "unreachable",
    "no endpoint",
    "partition",
    "network delay",
    "network delay of one",
    "network loss",
    "denied by policy",
    "certificate of callee",
    "certificate of caller",
    "wrong route",
    "saturated",
    "overloaded",
    "run over by a caller",
    "processor taken",
    "outside slow",
    "outside failing",
    "refuses some of one caller",
];

pub const BENIGN: [&str; 8] =
    ["nothing", "more users", "far more users", "fewer users", "night", "new version", "configuration", "another split of versions"];

/// Who is to blame; several places where nobody could tell them apart.
pub type Truth = Vec<Place>;

pub fn node(world: &World, service: usize) -> Node {
    Node::new("mesh", &world.services[service].name)
}

pub fn part(world: &World, service: usize, version: &str) -> Part {
    Part { workload: format!("{}-{version}", world.services[service].name).into(), version: version.into() }
}

/// Seconds since 1970 at which faults begin.
pub const BEGAN: u64 = 1_000_000;

/// The world with a fault in it; none where it has no place for that one.
pub fn break_it(kind: &str, world: &mut World, dice: &mut Dice, changes: &mut Vec<Change>) -> Option<Truth> {
    let rates = world.steady().rate;
    let inside: Vec<usize> =
        (0..world.services.len()).filter(|at| !world.services[*at].external && rates[*at] > 0.5 && !world.callers(*at).is_empty()).collect();
    match kind {
        "outside slow" | "outside failing" => return outside(kind, world, dice, &rates),
        "partition" | "network delay" | "network loss" | "refuses some of one caller" => return on_link(kind, world, dice, &rates),
        "run over by a caller" => return run_over(world, dice, &rates),
        "slow version" | "failing version" | "bad new version" => return of_version(kind, world, dice, &inside, changes),
        "certificate of caller" => return of_caller(world, dice, &inside),
        _ => {}
    }
    let at = dice.pick(&inside)?;
    let all = |world: &mut World, caller: &'static str, callee: Option<&'static str>, share: f64| {
        for call in world.callers(at) {
            world.calls[call].fails = Some((caller, callee, share));
        }
    };
    match kind {
        "slow" => world.services[at].own_ms += dice.scale(50.0, 800.0),
        "processor taken" => {
            world.services[at].own_ms *= dice.between(4.0, 15.0);
            world.services[at].cpu = 0.99;
        }
        "one in twenty slow" => {
            // The mean of 5 % that take 40 times as long, and how such a mixture differs.
            world.services[at].own_ms *= 1.0 + 0.05 * 39.0;
            world.services[at].differs = 3.0;
        }
        "failing" => world.services[at].fails += dice.scale(0.05, 1.0),
        "hanging" => world.services[at].own_ms = 30_000.0,
        "frozen with its proxy" => {
            world.services[at].frozen = true;
            world.services[at].own_ms = 30_000.0;
        }
        "unreachable" => all(world, "connect_failed", None, 1.0),
        "no endpoint" => all(world, "no_endpoint", None, 1.0),
        "denied by policy" => all(world, "authorization_denied", Some("authorization_denied"), dice.pick(&[0.3, 1.0])?),
        "certificate of callee" => all(world, "peer_untrusted", Some("handshake_failed"), 1.0),
        "wrong route" => all(world, "subset_undefined", None, dice.pick(&[0.2, 1.0])?),
        "network delay of one" => {
            let delay = dice.scale(30.0, 500.0);
            for call in world.callers(at).into_iter().chain(world.callees(at)) {
                world.calls[call].network_ms += delay;
            }
        }
        "saturated" => {
            more_users(world, dice.between(2.0, 4.0));
            world.services[at].own_ms *= dice.between(4.0, 20.0);
        }
        _ => {
            more_users(world, dice.between(2.0, 4.0));
            all(world, "overloaded", Some("overloaded"), dice.between(0.2, 0.6));
        }
    }
    let mut truth = vec![Place::Service(node(world, at))];
    let (callers, callees) = (world.callers(at), world.callees(at));
    let network = kind == "network delay of one";
    if callers.len() == 1 || network {
        truth.extend(callers.iter().chain(callees.iter().filter(|_| network)).map(|call| link(world, *call)));
    }
    Some(truth)
}

pub fn more_users(world: &mut World, times: f64) {
    world.services.iter_mut().for_each(|service| service.users *= times);
}

fn link(world: &World, call: usize) -> Place {
    Place::Link(node(world, world.calls[call].source), node(world, world.calls[call].destination))
}

fn outside(kind: &str, world: &mut World, dice: &mut Dice, rates: &[f64]) -> Option<Truth> {
    let all: Vec<usize> = (0..world.services.len()).filter(|at| world.services[*at].external && rates[*at] > 0.5).collect();
    let at = dice.pick(&all)?;
    if kind == "outside slow" {
        world.services[at].own_ms += dice.scale(50.0, 800.0);
    } else {
        world.services[at].fails += dice.scale(0.05, 1.0);
    }
    Some(vec![Place::Outside(node(world, at))])
}

fn on_link(kind: &str, world: &mut World, dice: &mut Dice, rates: &[f64]) -> Option<Truth> {
    let all: Vec<usize> = (0..world.calls.len())
        .filter(|call| !world.services[world.calls[*call].destination].external && rates[world.calls[*call].source] * world.calls[*call].times > 0.5)
        .collect();
    let call = dice.pick(&all)?;
    let broken = &mut world.calls[call];
    match kind {
        "partition" => broken.fails = Some(("connect_timeout", None, 1.0)),
        "network delay" => broken.network_ms += dice.scale(20.0, 500.0),
        "refuses some of one caller" => broken.fails = Some(("authorization_denied", Some("authorization_denied"), 0.5)),
        _ => {
            broken.network_ms += dice.scale(20.0, 200.0);
            broken.fails = Some(("reset", None, dice.between(0.05, 0.4)));
        }
    }
    let destination = world.calls[call].destination;
    let mut truth = vec![link(world, call)];
    if world.callers(destination).len() == 1 {
        truth.push(Place::Service(node(world, destination)));
    }
    Some(truth)
}

fn run_over(world: &mut World, dice: &mut Dice, rates: &[f64]) -> Option<Truth> {
    let small = |call: &usize| {
        let of = &world.calls[*call];
        let share = rates[of.source] * of.times / rates[of.destination].max(1e-9);
        !world.services[of.destination].external && rates[of.source] > 0.5 && (0.02..0.5).contains(&share)
    };
    let all: Vec<usize> = (0..world.calls.len()).filter(small).collect();
    let call = dice.pick(&all)?;
    let destination = world.calls[call].destination;
    world.calls[call].times *= dice.between(20.0, 60.0);
    world.services[destination].own_ms *= dice.between(4.0, 15.0);
    Some(vec![Place::Service(node(world, world.calls[call].source))])
}

fn of_version(kind: &str, world: &mut World, dice: &mut Dice, inside: &[usize], changes: &mut Vec<Change>) -> Option<Truth> {
    let new = kind == "bad new version";
    let several: Vec<usize> = inside.iter().copied().filter(|at| (world.services[*at].versions.len() > 1) != new).collect();
    let at = dice.pick(&several)?;
    if new {
        deploy(world, at, changes);
    }
    let version = world.services[at].versions.last_mut()?;
    match kind {
        "slow version" => version.slower = dice.between(5.0, 40.0),
        "failing version" => version.fails = dice.between(0.2, 1.0),
        _ if dice.chance(0.5) => version.slower = dice.between(5.0, 40.0),
        _ => version.fails = dice.between(0.2, 1.0),
    }
    let name = version.name.clone();
    Some(vec![Place::Part(node(world, at), part(world, at, &name))])
}

/// A second version takes a third of the requests.
fn deploy(world: &mut World, at: usize, changes: &mut Vec<Change>) {
    world.services[at].versions[0].share = 0.67;
    world.services[at].versions.push(Version { name: "v9".into(), share: 0.33, slower: 1.0, fails: 0.0 });
    changes.push(Change { at: BEGAN - 5, nodes: vec![node(world, at)], what: What::Version { version: "v9".into() } });
}

fn of_caller(world: &mut World, dice: &mut Dice, inside: &[usize]) -> Option<Truth> {
    let callers: Vec<usize> = inside.iter().copied().filter(|at| !world.callees(*at).is_empty()).collect();
    let at = dice.pick(&callers)?;
    let callees = world.callees(at);
    for call in &callees {
        world.calls[*call].fails = Some(("peer_untrusted", Some("handshake_failed"), 1.0));
    }
    let mut truth = vec![Place::Service(node(world, at))];
    if let [only] = callees.as_slice() {
        truth.push(link(world, *only));
        let callee = world.calls[*only].destination;
        if world.callers(callee).len() == 1 {
            truth.push(Place::Service(node(world, callee)));
        }
    }
    Some(truth)
}

/// Something that hurts nobody.
pub fn harmless(kind: &str, world: &mut World, dice: &mut Dice, changes: &mut Vec<Change>) {
    let at = dice.below(world.services.len());
    match kind {
        "more users" => more_users(world, dice.between(1.5, 2.5)),
        "far more users" => more_users(world, dice.between(3.0, 6.0)),
        "fewer users" => more_users(world, dice.between(0.4, 0.7)),
        "night" => more_users(world, 0.1),
        "new version" if world.services[at].versions.len() == 1 => deploy(world, at, changes),
        "another split of versions" => {
            let versions = &mut world.services[at].versions;
            let count = versions.len() as f64;
            versions.iter_mut().for_each(|version| version.share = 1.0 / count);
        }
        "configuration" => {
            let what = What::Configuration { generation: 7, by: "ann".into(), objects: vec!["VirtualService mesh/all".into()] };
            changes.push(Change { at: BEGAN - 20, nodes: vec![node(world, at)], what });
        }
        _ => {}
    }
}
