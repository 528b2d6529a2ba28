//! What speaks for a cause, in figures of now against before.

use super::graph::Graph;
use super::situation::{Situation, Span};
use super::suspect::{Suspect, failed, others};
use super::weigh::surprise;
use crate::change::Change;
use crate::incident::{CauseKind, Evidence, Place, Unit};
use crate::tick::Pressure;
use std::sync::Arc;
use taut_model::signal::Second;

/// Changes that came at most so long before are looked at, in seconds.
const RECENT: Second = 900;
/// How much later than its own effect a change may be known, since proxies and control plane have clocks of their own.
const LATE: Second = 30;
/// Of each kind of evidence, at most so many.
const MOST: usize = 3;

/// The changes that concern a suspect and came shortly before, the nearest first.
pub(super) fn changes<'s>(situation: &'s Situation, graph: &Graph<'_>, suspect: &Suspect) -> Vec<&'s Change> {
    let caller = suspect.link.map(|at| graph.nodes[graph.links[at].source]);
    let concerns = |change: &Change| {
        let named = |node| Some(node) == caller.filter(|_| matches!(suspect.place, Place::Link(..))) || node == graph.nodes[suspect.node];
        change.nodes.iter().any(named) || (change.nodes.is_empty() && suspect.kind == CauseKind::Refused)
    };
    let recent = |change: &Change| change.at <= situation.began.saturating_add(LATE) && change.at.saturating_add(RECENT) >= situation.began;
    let mut found: Vec<&Change> = situation.changes.iter().filter(|change| recent(change) && concerns(change)).collect();
    found.sort_by_key(|change| (change.at.abs_diff(situation.began), change.at));
    found.truncate(MOST);
    found
}

pub(super) fn evidence(situation: &Situation, graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    let mut told = own(graph, suspect);
    told.extend(gap(graph, suspect));
    told.extend(reasons(graph, suspect));
    told.extend(covered(graph, suspect));
    told.extend(part(graph, suspect));
    told.extend(pressures(situation, graph, suspect));
    told.extend(load(graph, suspect));
    let before = |change: &Change| situation.began as i64 - change.at as i64;
    told.extend(changes(situation, graph, suspect).into_iter().map(|change| Evidence::Change { change: change.clone(), before: before(change) }));
    told.extend(well(graph, suspect));
    told
}

fn own(graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    let node = graph.nodes[suspect.node].clone();
    let (time, failures) = (graph.own_time(suspect.node), graph.own_failures(suspect.node));
    let mut told = Vec::new();
    let own = !matches!(suspect.place, Place::Link(..));
    if own && matches!(suspect.kind, CauseKind::Slow | CauseKind::Saturated) && time.counted() > 0.0 {
        told.push(Evidence::OwnTime { node: node.clone(), per_second: time.excess, share: suspect.share, surprise: surprise(time.z()) });
    }
    if own && failures.counted() > 0.0 {
        told.push(Evidence::OwnFailures { node, per_second: failures.excess, share: suspect.share, surprise: surprise(failures.z()) });
    }
    told
}

/// What lay between two proxies, per request, in milliseconds.
fn between(caller: &Span, callee: &Span) -> Option<f64> {
    Some((caller.mean_ms()? - callee.mean_ms()?).max(0.0))
}

fn gap(graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    if !matches!(suspect.kind, CauseKind::Network | CauseKind::Unreachable) {
        return Vec::new();
    }
    let mut links: Vec<usize> = touching(graph, suspect).into_iter().filter(|at| graph.weights(*at).gap.counted() > 0.0).collect();
    links.sort_by(|a, b| graph.weights(*b).gap.excess.total_cmp(&graph.weights(*a).gap.excess));
    let told = links.into_iter().take(MOST).filter_map(|at| {
        let link = &graph.links[at];
        let sides = graph.sides(at);
        let (caller, callee) = (sides.caller.as_ref()?, sides.callee.as_ref()?);
        Some(Evidence::Gap {
            source: graph.nodes[link.source].clone(),
            destination: graph.nodes[link.destination].clone(),
            before: between(&caller.before, &callee.before).unwrap_or(0.0),
            now: between(&caller.now, &callee.now)?,
        })
    });
    told.collect()
}

/// The links at which a suspect shows.
fn touching(graph: &Graph<'_>, suspect: &Suspect) -> Vec<usize> {
    match (&suspect.place, suspect.link) {
        (Place::Link(..), Some(at)) => vec![at],
        (_, Some(at)) if graph.links[at].source == suspect.node => graph.out[suspect.node].clone(),
        _ => graph.into[suspect.node].clone(),
    }
}

/// The reasons of failures that have grown most.
fn reasons(graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    if suspect.kind == CauseKind::Surge {
        return Vec::new();
    }
    let mut grown: Vec<(usize, Arc<str>, f64, f64)> = Vec::new();
    for at in touching(graph, suspect) {
        let Some(side) = graph.felt(at) else { continue };
        for (reason, _) in &side.now.failures {
            let (before, now) = (per_second(&side.before, reason), per_second(&side.now, reason));
            // A tenth more than before is no evidence.
            if super::reason::class(reason).is_some() && now > 1.1 * before {
                grown.push((at, reason.clone(), before, now));
            }
        }
    }
    grown.sort_by(|a, b| (b.3 - b.2).total_cmp(&(a.3 - a.2)).then_with(|| a.1.cmp(&b.1)).then(a.0.cmp(&b.0)));
    let told = grown.into_iter().take(MOST).map(|(at, reason, before, now)| Evidence::Reason {
        source: graph.nodes[graph.links[at].source].clone(),
        destination: graph.nodes[graph.links[at].destination].clone(),
        reason: reason.to_string(),
        before,
        now,
    });
    told.collect()
}

fn per_second(span: &Span, reason: &str) -> f64 {
    let times = span.failures.iter().find(|(known, _)| &**known == reason).map_or(0.0, |(_, times)| *times);
    if span.seconds > 0.0 { times / span.seconds } else { 0.0 }
}

/// Less than this share of the tries is not worth a line.
const COVERED: f64 = 0.05;

/// Tries that fail at a suspect without being felt as often.
fn covered(graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    let mut told = Vec::new();
    for at in touching(graph, suspect) {
        let (link, sides) = (&graph.links[at], graph.sides(at));
        let (Some(caller), Some(callee)) = (&sides.caller, &sides.callee) else { continue };
        let (before, now, felt) = (failed(&callee.before), failed(&callee.now), failed(&caller.now));
        if now - felt.max(before) >= COVERED {
            let (source, destination) = (graph.nodes[link.source].clone(), graph.nodes[link.destination].clone());
            told.push(Evidence::Covered { source, destination, before, now, felt });
        }
    }
    told.sort_by(|a, b| share(b).total_cmp(&share(a)));
    told.truncate(MOST);
    told
}

fn share(evidence: &Evidence) -> f64 {
    if let Evidence::Covered { now, felt, .. } = evidence { now - felt } else { 0.0 }
}

fn part(graph: &Graph<'_>, suspect: &Suspect) -> Option<Evidence> {
    let Place::Part(node, part) = &suspect.place else { return None };
    let parts = graph.parts(suspect.node);
    let at = parts.iter().position(|(known, _)| *known == part)?;
    let (own, rest) = (&parts[at].1, others(&parts, Some(at)));
    let (own, others, unit) = match suspect.kind {
        CauseKind::Slow | CauseKind::Saturated => (own.now.mean_ms()?, rest.now.mean_ms()?, Unit::Milliseconds),
        _ => (failed(&own.now), failed(&rest.now), Unit::Share),
    };
    Some(Evidence::Part { node: node.clone(), part: part.clone(), own, others, unit })
}

/// A share that has grown by that much, and is at least half full, presses.
const PRESSES: f64 = 0.2;

fn pressures(situation: &Situation, graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    let of = |pressure: &Pressure| [("cpu", pressure.cpu), ("memory", pressure.memory), ("concurrency", pressure.concurrency)];
    let mut told = Vec::new();
    for pressed in situation.pressures.iter().filter(|pressed| &pressed.node == graph.nodes[suspect.node]) {
        for ((what, before), (_, now)) in of(&pressed.before).into_iter().zip(of(&pressed.now)) {
            let (before, now) = (super::situation::sane(before.unwrap_or(0.0)), super::situation::sane(now.unwrap_or(0.0)));
            if now >= 0.5 && now - before >= PRESSES {
                told.push(Evidence::Pressure { node: pressed.node.clone(), what: what.to_owned(), before, now });
            }
        }
    }
    told
}

/// Load belongs to what is told when it is not as before.
fn load(graph: &Graph<'_>, suspect: &Suspect) -> Option<Evidence> {
    let (node, (before, now)) = match (suspect.kind, suspect.link) {
        (CauseKind::Surge | CauseKind::Quiet, Some(at)) => {
            let (link, side) = (&graph.links[at], graph.felt(at)?);
            (graph.nodes[link.destination], (side.before.rate(), side.now.rate()))
        }
        _ => (graph.nodes[suspect.node], graph.load(suspect.node)),
    };
    (before > 0.0 && !(0.7..1.3).contains(&(now / before))).then(|| Evidence::Load { node: node.clone(), before, now })
}

/// Those that a suspect calls and that are as well as ever: it is not them.
fn well(graph: &Graph<'_>, suspect: &Suspect) -> Vec<Evidence> {
    let calm = |at: &&usize| {
        let weights = graph.weights(**at);
        let calm = weights.time.counted() <= 0.0 && super::weigh::hurting(&weights.failures).counted() <= 0.0;
        calm && graph.is_busy(**at)
    };
    let rate = |at: &usize| graph.felt(*at).map_or(0.0, |side| side.now.rate());
    let mut links: Vec<&usize> = graph.out[suspect.node].iter().filter(calm).collect();
    links.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(a.cmp(b)));
    links.into_iter().take(MOST).map(|at| Evidence::Well { node: graph.nodes[graph.links[*at].destination].clone() }).collect()
}
