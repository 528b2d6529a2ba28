//! From where hurt rests to who is to be suspected: which end of a link, which part of a service, and what kind of trouble it is.

use super::flow::{Flow, Trouble};
use super::graph::Graph;
use super::link::Weights;
use super::reason::Class;
use super::side::Side;
use super::situation::{Limits, Situation, Span};
use super::weigh::{self, Weight};
use crate::incident::{CauseKind, Place};
use crate::tick::{Part, Pressure};
use std::borrow::Cow;

/// Somebody who may be at fault, with what speaks for it.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub place: Place,
    /// Whose it is; of a link, the callee.
    pub node: usize,
    pub link: Option<usize>,
    pub kind: CauseKind,
    pub share: f64,
    /// How many standard deviations what rests here is off.
    pub z: f64,
    /// What `kind` was found by weighs that much of the share.
    heaviest: f64,
}

impl Suspect {
    fn service(graph: &Graph<'_>, node: usize, kind: CauseKind, share: f64, z: f64) -> Self {
        let external = graph.into[node].iter().any(|at| graph.links[*at].external);
        let name = graph.nodes[node].clone();
        let place = if external || name.is_outside() { Place::Outside(name) } else { Place::Service(name) };
        Self { place, node, link: None, kind, share, z, heaviest: share }
    }
}

/// A node that calls others less than it did.
pub(super) fn quiet(graph: &Graph<'_>, node: usize, link: usize, share: f64, z: f64) -> Suspect {
    Suspect { link: Some(link), ..Suspect::service(graph, node, CauseKind::Quiet, share, z) }
}

/// What rests at single links may add up to a cause, but not what is that small against one.
const SMALL: f64 = 0.05;

/// Everybody at whom some of the hurt rests; one entry per place.
pub(super) fn suspects(situation: &Situation, graph: &Graph<'_>, flow: &Flow<'_>, limits: &Limits) -> Vec<Suspect> {
    let mut found = Vec::new();
    for node in 0..graph.nodes.len() {
        if flow.own_time[node] >= limits.share {
            let kind = if is_saturated(situation, graph, node) { CauseKind::Saturated } else { CauseKind::Slow };
            found.push(Suspect::service(graph, node, kind, flow.own_time[node], graph.own_time(node).z().max(graph.late(node).z())));
        }
        if flow.own_words[node] >= limits.share {
            found.push(Suspect::service(graph, node, CauseKind::Failing, flow.own_words[node], graph.own_failures(node).z()));
        }
    }
    for ((at, trouble), share) in flow.at_links.iter().filter(|(_, share)| **share >= SMALL * limits.share) {
        found.push(of_link(graph, *at, *trouble, *share));
    }
    let mut found = pushed(graph, merged(found));
    found.retain(|suspect| suspect.share >= limits.share && suspect.z >= limits.cause);
    found.iter_mut().for_each(|suspect| narrow(graph, suspect));
    found
}

fn merged(found: Vec<Suspect>) -> Vec<Suspect> {
    let mut merged: Vec<Suspect> = Vec::new();
    for suspect in found {
        let Some(known) = merged.iter_mut().find(|known| known.place == suspect.place) else {
            merged.push(suspect);
            continue;
        };
        known.share += suspect.share;
        known.z = known.z.max(suspect.z);
        if suspect.heaviest > known.heaviest {
            (known.kind, known.heaviest, known.link) = (suspect.kind, suspect.heaviest, suspect.link);
        }
    }
    merged
}

/// What a link weighs of a trouble.
fn weight(weights: &Weights, trouble: Trouble) -> Weight {
    let class = match trouble {
        Trouble::Gap => return weights.gap,
        // Somebody who is called and says nothing is as sure as can be.
        Trouble::Silent => return Weight { excess: if weights.silent { 1.0 } else { 0.0 }, deviation: 0.1 },
        Trouble::Unreachable => Class::Unreachable,
        Trouble::Broken => Class::Broken,
        Trouble::Refused => Class::Refused,
        Trouble::Limited => Class::Limited,
    };
    weights.class(class)
}

/// How bad a trouble is for each request of a link.
fn severity(graph: &Graph<'_>, link: usize, trouble: Trouble) -> f64 {
    let counted = weight(graph.weights(link), trouble).counted();
    match (trouble, graph.felt(link).map(|side| side.now.rate())) {
        (Trouble::Silent, _) | (_, None) => counted,
        (_, Some(rate)) => counted / rate.max(1e-9),
    }
}

/// Which end of a link is at fault shows in the other links of both: whose others have the same trouble is the one.
fn of_link(graph: &Graph<'_>, at: usize, trouble: Trouble, share: f64) -> Suspect {
    let link = &graph.links[at];
    let own = severity(graph, at, trouble);
    let troubled = |links: &[usize]| {
        let others = links.iter().filter(|other| **other != at && graph.is_busy(**other));
        others.fold((0, 0), |(troubled, all), other| {
            let severity = severity(graph, *other, trouble);
            (troubled + usize::from(severity > 0.0 && severity >= WELL * own), all + 1)
        })
    };
    let (callers_troubled, callers) = troubled(&graph.into[link.destination]);
    let (callees_troubled, callees) = troubled(&graph.out[link.source]);
    let most = |troubled: usize, all: usize| all > 0 && 2 * troubled >= all;
    let kind = match trouble {
        Trouble::Gap | Trouble::Broken => CauseKind::Network,
        Trouble::Silent | Trouble::Unreachable => CauseKind::Unreachable,
        Trouble::Refused => CauseKind::Refused,
        Trouble::Limited => CauseKind::Saturated,
    };
    let z = weight(graph.weights(at), trouble).z();
    let callee = |kind| Suspect { link: Some(at), ..Suspect::service(graph, link.destination, kind, share, z) };
    if link.external || graph.nodes[link.source].is_outside() || most(callers_troubled, callers) {
        return callee(if trouble == Trouble::Broken { CauseKind::Unreachable } else { kind });
    }
    if most(callees_troubled, callees) && callers_troubled == 0 {
        return Suspect { link: Some(at), ..Suspect::service(graph, link.source, kind, share, z) };
    }
    if callers == 0 && !matches!(trouble, Trouble::Gap | Trouble::Broken) {
        return callee(kind);
    }
    let place = Place::Link(graph.nodes[link.source].clone(), graph.nodes[link.destination].clone());
    Suspect { place, node: link.destination, link: Some(at), kind, share, z, heaviest: share }
}

/// More load than this, against before, may be why a service is slow.
const MORE_LOAD: f64 = 1.3;
/// From here on a machine or a limit is full.
const FULL: f64 = 0.9;

fn is_saturated(situation: &Situation, graph: &Graph<'_>, node: usize) -> bool {
    let full = |pressure: &Pressure| [pressure.cpu, pressure.memory, pressure.concurrency].into_iter().flatten().any(|share| share >= FULL);
    let pressed = situation.pressures.iter().any(|pressed| &pressed.node == graph.nodes[node] && full(&pressed.now) && !full(&pressed.before));
    let (before, now) = graph.load(node);
    let wanted = now - graph.into[node].iter().map(|link| tried_again(graph, *link)).sum::<f64>();
    pressed || (before > 0.0 && wanted >= MORE_LOAD * before && grown(before, wanted, graph, node))
}

/// Calls per second that failed, beyond those before: whoever gets a failure, or does not wait for the answer, may only try again. What there
/// was no room for is not among them.
fn tried_again(graph: &Graph<'_>, link: usize) -> f64 {
    let failures = [Class::Words, Class::Late, Class::Left, Class::Unreachable, Class::Broken, Class::Refused];
    failures.into_iter().map(|class| graph.weights(link).class(class)).filter(|weight| weight.counted() > 0.0).map(|weight| weight.excess).sum()
}

/// Whether a rate has grown by more than chance.
fn grown(before: f64, now: f64, graph: &Graph<'_>, node: usize) -> bool {
    let seconds = graph.into[node].iter().filter_map(|at| graph.felt(*at)).map(|side| side.now.seconds).fold(0.0, f64::max);
    (now - before) * seconds >= 3.0 * (before * seconds).max(1.0).sqrt()
}

/// A caller that multiplies what it is asked for by this, against before, is more than a relay.
const MULTIPLIED: f64 = 1.5;
/// Of the added load, what must come from one caller for it to be that caller's doing.
const MOSTLY: f64 = 0.7;
/// What of the hurt of a service that is run over is put on the one that runs it over: that one can stop it.
const ON_PUSHER: f64 = 0.7;

/// A service that is full because one caller asks much more than it is asked for itself: that caller is the cause before the service is.
fn pushed(graph: &Graph<'_>, found: Vec<Suspect>) -> Vec<Suspect> {
    let mut split = Vec::new();
    for mut suspect in found {
        if suspect.kind == CauseKind::Saturated
            && let Some((pusher, link)) = pusher(graph, suspect.node)
        {
            let share = suspect.share * ON_PUSHER;
            suspect.share -= share;
            split.push(Suspect { link: Some(link), ..Suspect::service(graph, pusher, CauseKind::Surge, share, suspect.z) });
        }
        split.push(suspect);
    }
    merged(split)
}

fn pusher(graph: &Graph<'_>, node: usize) -> Option<(usize, usize)> {
    let mut at = node;
    // As deep as calls usually go; a circle ends here too.
    for _ in 0..8 {
        let (before, now) = graph.load(at);
        if now < MULTIPLIED * before || !grown(before, now, graph, at) {
            return None;
        }
        let more = |link: usize| graph.felt(link).map_or(0.0, |side| side.now.rate() - side.before.rate());
        let link = *graph.into[at].iter().max_by(|a, b| more(**a).total_cmp(&more(**b)))?;
        let (source, again) = (graph.links[link].source, tried_again(graph, link));
        if more(link) - again < MOSTLY * (now - before) || graph.nodes[source].is_outside() {
            return None;
        }
        let side = graph.felt(link)?;
        let (asked_before, asked) = graph.load(source);
        let as_asked = if asked_before > 0.0 { (asked / asked_before).max(1.0) } else { 1.0 };
        if side.now.rate() - again >= MULTIPLIED * as_asked * side.before.rate() {
            return Some((source, link));
        }
        at = source;
    }
    None
}

/// What the others may be off by, per request, against the one part, or link, that is at fault.
const WELL: f64 = 0.3;

/// One part, where the others are well.
fn narrow(graph: &Graph<'_>, suspect: &mut Suspect) {
    let Place::Service(node) = &suspect.place else { return };
    if let Some(part) = alone(&graph.parts(suspect.node), suspect.kind) {
        suspect.place = Place::Part(node.clone(), part.clone());
    }
}

fn alone<'a>(parts: &[(&'a Part, Side<'_>)], kind: CauseKind) -> Option<&'a Part> {
    let measure = match kind {
        CauseKind::Slow | CauseKind::Saturated => weigh::time,
        CauseKind::Failing | CauseKind::Network => unsoundness,
        _ => return None,
    };
    let usual = others(parts, None).before;
    // Per request: that a part has most of what is off is no wonder when it has most of the requests.
    let off = |side: &Side<'_>| {
        let weight = measure(&with_past(side, &usual), None);
        let rate = side.now.rate();
        (rate > 0.0).then(|| (if weight.is_sure() { weight.excess } else { 0.0 } / rate, weight.deviation / rate))
    };
    let each: Vec<f64> = parts.iter().map(|(_, side)| off(side).map_or(0.0, |(excess, _)| excess)).collect();
    let at = (0..parts.len()).max_by(|a, b| each[*a].total_cmp(&each[*b])).filter(|at| each[*at] > 0.0)?;
    let (rest, deviation) = off(&others(parts, Some(at)))?;
    // The others must be of so many requests that it would show were they as bad.
    (rest <= WELL * each[at] && each[at] >= 3.0 * deviation).then_some(parts[at].0)
}

/// A new part has no past: what is usual for the service stands in for it.
fn with_past<'s>(side: &Side<'s>, usual: &'s Span) -> Side<'s> {
    let before = if side.before.attempts() > 0.0 { side.before.clone() } else { Cow::Borrowed(usual) };
    Side { before, ..side.clone() }
}

fn unsoundness(side: &Side<'_>, _: Option<f64>) -> Weight {
    let failures = weigh::failures(side);
    let mut sum = failures[Class::Words as usize];
    sum.add(failures[Class::Broken as usize]);
    sum
}

/// All parts but one, together.
pub(super) fn others(parts: &[(&Part, Side<'_>)], but: Option<usize>) -> Side<'static> {
    let mut sum = Side::default();
    for (_, (_, side)) in parts.iter().enumerate().filter(|(at, _)| Some(*at) != but) {
        sum.add(&side.before, &side.now);
    }
    sum
}

/// The share of a span's attempts that failed.
pub(super) fn failed(span: &Span) -> f64 {
    let failures: f64 = span.failures.iter().filter(|(reason, _)| super::reason::class(reason).is_some()).map(|(_, times)| times).sum();
    if span.attempts() > 0.0 { (failures / span.attempts()).min(1.0) } else { 0.0 }
}
