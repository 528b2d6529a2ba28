//! Where the search begins: how each target is hurt, whether that is more than chance, and, of a target that nobody calls any more, who
//! has stopped calling.

use super::flow::Hurt;
use super::graph::Graph;
use super::situation::{Limits, Target};
use super::weigh::{self, Weight};
use crate::incident::Signal;

/// What there is to say about a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    At {
        node: usize,
        hurt: Hurt,
        z: f64,
    },
    /// A node calls others less than it did, and is well itself.
    Quiet {
        node: usize,
        link: usize,
        z: f64,
    },
    /// Nothing is off.
    Well,
    TooEarly,
}

/// Fewer requests than this, before or now, tell nothing.
const FEWEST: f64 = 3.0;

pub(super) fn start(graph: &Graph<'_>, target: &Target, limits: &Limits) -> Start {
    let Some(node) = graph.find(&target.node) else { return Start::TooEarly };
    if target.signal == Signal::Rate {
        return quiet(graph, node, limits);
    }
    let sides = || graph.into[node].iter().filter_map(|at| graph.felt(*at));
    let before: f64 = sides().map(|side| side.before.attempts()).sum();
    let now: f64 = sides().map(|side| side.now.attempts() + side.now.in_flight).sum();
    if before < FEWEST || now < FEWEST {
        return Start::TooEarly;
    }
    let first = match target.signal {
        Signal::ErrorRatio | Signal::Covered => Hurt::Failures,
        Signal::LatencyP50 | Signal::LatencyP99 => Hurt::Time,
        _ if failures(graph, node).z() > time(graph, node).z() => Hurt::Failures,
        _ => Hurt::Time,
    };
    let other = if first == Hurt::Time { Hurt::Failures } else { Hurt::Time };
    let z = |hurt| match hurt {
        Hurt::Failures if target.signal == Signal::Covered => failures(graph, node).z().max(graph.own_failures(node).z()),
        Hurt::Failures => failures(graph, node).z(),
        Hurt::Time => time(graph, node).z(),
    };
    match [first, other].into_iter().find(|hurt| z(*hurt) >= limits.target) {
        Some(hurt) => Start::At { node, hurt, z: z(hurt) },
        None => Start::Well,
    }
}

fn time(graph: &Graph<'_>, node: usize) -> Weight {
    graph.sum(&graph.into[node], |weights| weights.time)
}

fn failures(graph: &Graph<'_>, node: usize) -> Weight {
    graph.sum(&graph.into[node], |weights| weigh::hurting(&weights.failures))
}

/// Up the graph, as long as those who call less are called less themselves.
fn quiet(graph: &Graph<'_>, node: usize, limits: &Limits) -> Start {
    let mut at = node;
    let mut found = Start::Well;
    // As deep as calls usually go; a circle ends here too.
    for _ in 0..8 {
        let less = |link: usize| graph.felt(link).map_or(0.0, |side| side.before.rate() - side.now.rate());
        let Some(link) = graph.into[at].iter().copied().max_by(|a, b| less(*a).total_cmp(&less(*b))) else { return found };
        let Some(side) = graph.felt(link) else { return found };
        let (expected, seconds) = (side.before.rate(), side.now.seconds);
        let z = less(link) * seconds / (expected * seconds + (0.1 * expected * seconds).powi(2)).max(1.0).sqrt();
        if z < limits.cause {
            return found;
        }
        at = graph.links[link].source;
        found = Start::Quiet { node: at, link, z };
        for (hurt, weight) in [(Hurt::Failures, failures(graph, at)), (Hurt::Time, time(graph, at))] {
            if weight.z() >= limits.cause {
                return Start::At { node: at, hurt, z: weight.z() };
            }
        }
    }
    found
}
