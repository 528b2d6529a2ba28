//! Locating: whose fault it is that somebody is hurt. Pure arithmetic over what both sides of every link saw before and now.
//!
//! The method is excess-mass attribution. On each link, the time that requests took beyond what they took before, times how many there
//! were, is a mass (request-seconds per second); failures are another. What a node adds by itself is the mass of those who call it less
//! that of those it calls ([`graph`]). The hurt of a target is followed down the graph in proportion to such masses to where it rests
//! ([`flow`]): in a node, or on a link, when the caller saw what the callee did not. Whoever it rests with is suspected ([`suspect`]),
//! told with its evidence, and ranked. Changes and pressure raise what has mass and make nothing a cause by themselves.

mod confidence;
mod evidence;
mod flow;
mod graph;
mod link;
mod reason;
mod side;
mod situation;
mod start;
mod suspect;
#[cfg(test)]
mod tests;
mod weigh;

pub use confidence::Features;
pub use situation::{Limits, Pressed, Ranking, Seen, Situation, Span, Spread, Target};

use crate::incident::{Cause, Evidence, Place, Verdict};
use flow::Flow;
use graph::Graph;
use start::Start;
use suspect::Suspect;

/// The causes of what hurts the targets of a situation, the likeliest first.
pub fn locate(situation: &Situation) -> Ranking {
    locate_with(situation, &Limits::default())
}

/// The same with limits of one's own.
pub fn locate_with(situation: &Situation, limits: &Limits) -> Ranking {
    let found = match search(situation, limits) {
        Ok(found) => found,
        Err(verdict) => return Ranking::without(verdict),
    };
    let causes: Vec<Cause> = found.into_iter().map(|(cause, _)| cause).collect();
    let verdict = match causes.first().map(|cause| &cause.place) {
        None => Verdict::NoCause,
        Some(Place::Outside(_)) => Verdict::OutsideMesh,
        Some(_) => Verdict::Found,
    };
    Ranking { verdict, causes }
}

/// The causes with what their confidence is made of: for whoever fits or shows that.
pub fn located(situation: &Situation, limits: &Limits) -> Vec<(Cause, Features)> {
    search(situation, limits).unwrap_or_default()
}

/// The causes, or why none is looked for.
fn search(situation: &Situation, limits: &Limits) -> Result<Vec<(Cause, Features)>, Verdict> {
    let graph = Graph::of(situation);
    let starts: Vec<(Start, f64)> =
        situation.targets.iter().map(|target| (start::start(&graph, target, limits), situation::sane(target.weight))).collect();
    let followed = |start: &Start| matches!(start, Start::At { .. } | Start::Quiet { .. });
    let whole: f64 = starts.iter().filter(|(start, _)| followed(start)).map(|(_, weight)| weight).sum();
    if whole <= 0.0 {
        let early = !starts.is_empty() && starts.iter().all(|(start, _)| *start == Start::TooEarly);
        return Err(if early { Verdict::TooEarly } else { Verdict::NoCause });
    }
    let mut flow = Flow::new(&graph);
    let mut found = Vec::new();
    for (start, weight) in &starts {
        match *start {
            Start::At { node, hurt, .. } => flow.start(node, hurt, weight / whole),
            Start::Quiet { node, link, z } => found.push(suspect::quiet(&graph, node, link, weight / whole, z)),
            Start::Well | Start::TooEarly => {}
        }
    }
    flow.run();
    found.extend(suspect::suspects(situation, &graph, &flow, limits));
    Ok(rank(situation, &graph, found, limits))
}

/// What a change just before, and pressure, add to what a suspect explains by itself: less than half of it, so that neither makes much
/// of little.
const PRIOR: f64 = 0.4;

fn rank(situation: &Situation, graph: &Graph<'_>, suspects: Vec<Suspect>, limits: &Limits) -> Vec<(Cause, Features)> {
    let mut scored: Vec<(f64, Suspect, Vec<Evidence>)> = suspects
        .into_iter()
        .map(|suspect| {
            let evidence = evidence::evidence(situation, graph, &suspect);
            let raised = |evidence: &Evidence| matches!(evidence, Evidence::Change { .. } | Evidence::Pressure { .. });
            let score = suspect.share * if evidence.iter().any(raised) { 1.0 + PRIOR } else { 1.0 };
            (score, suspect, evidence)
        })
        .collect();
    scored.sort_by(|(a, x, _), (b, y, _)| b.total_cmp(a).then_with(|| x.place.cmp(&y.place)));
    scored.truncate(limits.causes);
    let told = scored.into_iter().map(|(_, suspect, evidence)| {
        let features = Features { share: suspect.share, z: suspect.z };
        let confidence = confidence::confidence(&features);
        (Cause { place: suspect.place, kind: suspect.kind, share: suspect.share, confidence, evidence }, features)
    });
    told.collect()
}
