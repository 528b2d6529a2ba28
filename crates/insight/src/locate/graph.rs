//! The call graph of a situation: nodes, links with both sides' reports added up, parts, and what each link weighs.

use super::reason::{ALL, CLASSES, Class};
use super::situation::{Seen, Situation, Span, Spread};
use super::weigh::{self, Weight};
use crate::tick::{Node, Part};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use taut_model::signal::Reporter;

/// Only looked up in, never walked: what is told does not depend on its order.
type Places<K> = HashMap<K, usize, BuildHasherDefault<DefaultHasher>>;

/// One side's report of a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub before: Span,
    pub now: Span,
    pub spread: Spread,
}

impl Side {
    fn merge(&mut self, seen: &Seen) {
        self.before.merge(&seen.before.clone().sane());
        self.now.merge(&seen.now.clone().sane());
        // Parts of a link are alike: the widest speaks for all.
        let widest = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        self.spread.mean_ms = widest(self.spread.mean_ms, seen.spread.mean_ms);
        self.spread.gap_ms = widest(self.spread.gap_ms, seen.spread.gap_ms);
        self.spread.failures = widest(self.spread.failures, seen.spread.failures);
    }

    fn is_silent(&self) -> bool {
        self.now.attempts() <= 0.0 && self.now.in_flight <= 0.0
    }
}

pub(super) struct Link {
    pub source: usize,
    pub destination: usize,
    pub external: bool,
    pub caller: Option<Side>,
    pub callee: Option<Side>,
    pub weights: Weights,
}

/// What a link is off by.
#[derive(Default)]
pub(super) struct Weights {
    /// As the caller feels it.
    pub time: Weight,
    /// As the callee's proxy sees it: the network between the two is not in it.
    pub served: Weight,
    /// The difference.
    pub gap: Weight,
    pub failures: [Weight; CLASSES],
    /// Failures that the callee's proxy has seen.
    pub served_failures: [Weight; CLASSES],
    /// The callee's proxy has reported before, and says nothing now, though it is called.
    pub silent: bool,
}

impl Weights {
    pub fn class(&self, class: Class) -> Weight {
        self.failures[class as usize]
    }

    pub fn served_class(&self, class: Class) -> Weight {
        self.served_failures[class as usize]
    }

    /// What of a class a caller may have passed on, or waited for. That a caller left counts when it had to wait: else it is only a sign
    /// that whoever called it has left too.
    pub fn passed_on(&self, class: Class) -> Weight {
        let weight = self.class(class);
        if weight.excess <= 0.0 || (class == Class::Left && self.time.counted() <= 0.0) { Weight::default() } else { weight }
    }
}

impl Link {
    /// What the caller felt, or, of callers without a proxy, what the callee saw.
    pub fn felt(&self) -> Option<&Side> {
        self.caller.as_ref().or(self.callee.as_ref())
    }

    pub fn is_busy(&self) -> bool {
        self.felt().is_some_and(|side| side.now.attempts() > 0.0 || side.now.in_flight > 0.0)
    }

    fn weigh(&mut self, usual_ms: Option<f64>) {
        let Some(felt) = self.felt() else { return };
        let mut weights = Weights { time: weigh::time(felt, usual_ms), failures: weigh::failures(felt), ..Weights::default() };
        weights.served = weights.time;
        if let (Some(caller), Some(callee)) = (&self.caller, &self.callee) {
            weights.served = weigh::time(callee, usual_ms);
            weights.gap = gap(caller, callee, weights.time, weights.served);
            weights.served_failures = weigh::failures(callee);
            weights.silent = callee.before.attempts() > 0.0 && callee.is_silent() && caller.now.attempts() > 0.0;
        }
        self.weights = weights;
    }
}

/// Retries make one exchange of the caller several of the callee's; below this ratio it is only windows that do not quite match.
const RETRIED: f64 = 1.2;

/// What of a request's time lies between the two proxies, now against before. Both look at the same requests: how these differ among
/// each other cancels out, and what windows are apart by is the error.
fn gap(caller: &Side, callee: &Side, time: Weight, served: Weight) -> Weight {
    let means = (caller.before.mean_ms(), callee.before.mean_ms(), caller.now.mean_ms(), callee.now.mean_ms());
    let (Some(caller_before), Some(callee_before), Some(caller_now), Some(callee_now)) = means else {
        return Weight { excess: (time.excess - served.excess).max(0.0), deviation: time.deviation.hypot(served.deviation) };
    };
    let tries = |callee: &Span, caller: &Span| match callee.timed / caller.timed {
        ratio if ratio > RETRIED => ratio,
        _ => 1.0,
    };
    let (before, now) = (tries(&callee.before, &caller.before), tries(&callee.now, &caller.now));
    let excess_ms = (caller_now - callee_now * now) - (caller_before - callee_before * before);
    let scale = caller.now.timed / caller.now.seconds.max(1e-9) / 1000.0;
    let between = (caller_before - callee_before * before).abs();
    // A share of what is served, because not all requests are in both windows.
    let windows = caller.spread.gap_ms.map_or(0.0, super::situation::sane).max(0.05 * between).max(0.02 * callee_now * now);
    let unlike = 0.2 * weigh::mean_deviation_ms(&callee.before, &callee.now, &Spread::default(), 0.0);
    Weight { excess: excess_ms * scale, deviation: windows.hypot(unlike).max(0.1) * scale }
}

pub(super) struct Graph<'a> {
    pub nodes: Vec<&'a Node>,
    pub links: Vec<Link>,
    /// Links by destination, and by source.
    pub into: Vec<Vec<usize>>,
    pub out: Vec<Vec<usize>>,
    /// By node: what each of its parts has served, as its own proxies saw it where they did.
    pub parts: Vec<Vec<(&'a Part, Side)>>,
    index: Places<&'a Node>,
}

impl<'a> Graph<'a> {
    pub fn of(situation: &'a Situation) -> Self {
        let mut graph = Self { nodes: Vec::new(), links: Vec::new(), into: Vec::new(), out: Vec::new(), parts: Vec::new(), index: Places::default() };
        let mut known: Places<(usize, usize)> = Places::default();
        for seen in &situation.seen {
            let (source, destination) = (graph.place(&seen.source), graph.place(&seen.destination));
            let at = *known.entry((source, destination)).or_insert(graph.links.len());
            if at == graph.links.len() {
                graph.add_link(source, destination);
            }
            let link = &mut graph.links[at];
            link.external |= seen.external;
            let side = match seen.reporter {
                Reporter::Source => &mut link.caller,
                Reporter::Destination => &mut link.callee,
            };
            side.get_or_insert_default().merge(seen);
        }
        graph.add_parts(situation);
        graph.weigh();
        graph
    }

    pub fn find(&self, node: &Node) -> Option<usize> {
        self.index.get(node).copied()
    }

    fn place(&mut self, node: &'a Node) -> usize {
        let at = *self.index.entry(node).or_insert(self.nodes.len());
        if at == self.nodes.len() {
            self.nodes.push(node);
            self.into.push(Vec::new());
            self.out.push(Vec::new());
            self.parts.push(Vec::new());
        }
        at
    }

    fn add_link(&mut self, source: usize, destination: usize) {
        self.out[source].push(self.links.len());
        self.into[destination].push(self.links.len());
        self.links.push(Link { source, destination, external: false, caller: None, callee: None, weights: Weights::default() });
    }

    /// Parts count as the side that knows them best saw them: their own proxies, or else their callers.
    fn add_parts(&mut self, situation: &'a Situation) {
        let mut own = vec![false; self.nodes.len()];
        for seen in situation.seen.iter().filter(|seen| seen.reporter == Reporter::Destination && seen.part.is_some()) {
            if let Some(at) = self.find(&seen.destination) {
                own[at] = true;
            }
        }
        for seen in &situation.seen {
            let (Some(part), Some(at)) = (&seen.part, self.find(&seen.destination)) else { continue };
            if own[at] != (seen.reporter == Reporter::Destination) {
                continue;
            }
            let parts = &mut self.parts[at];
            match parts.iter_mut().find(|(known, _)| *known == part) {
                Some((_, side)) => side.merge(seen),
                None => {
                    let mut side = Side::default();
                    side.merge(seen);
                    parts.push((part, side));
                }
            }
        }
        self.parts.iter_mut().for_each(|parts| parts.sort_by_key(|(part, _)| *part));
    }

    fn weigh(&mut self) {
        for node in 0..self.nodes.len() {
            let usual_ms = self.usual_ms(node);
            for at in self.into[node].clone() {
                self.links[at].weigh(usual_ms);
            }
        }
    }

    /// How long a node took before, whoever called it.
    fn usual_ms(&self, node: usize) -> Option<f64> {
        let sides = || self.into[node].iter().filter_map(|at| self.links[*at].felt());
        let (time, timed) = sides().fold((0.0, 0.0), |(time, timed), side| (time + side.before.time_ms, timed + side.before.timed));
        (timed > 0.0).then(|| time / timed)
    }

    /// Time that callers felt at a node, without what lay between them and it.
    pub fn served(&self, node: usize) -> Weight {
        self.sum(&self.into[node], |weights| weights.served)
    }

    /// Time that a node waited for others.
    pub fn waited(&self, node: usize) -> Weight {
        self.sum(&self.out[node], |weights| weights.time)
    }

    /// Time that a node adds by itself.
    pub fn own_time(&self, node: usize) -> Weight {
        self.served(node).less(self.waited(node))
    }

    /// Failures in a node's own words, less all failures of those it called, which it may only have passed on.
    pub fn own_failures(&self, node: usize) -> Weight {
        let words = self.sum(&self.into[node], |weights| weights.class(Class::Words));
        ALL.into_iter().fold(words, |own, class| own.less(self.sum(&self.out[node], |weights| weights.passed_on(class))))
    }

    pub fn sum(&self, links: &[usize], of: impl Fn(&Weights) -> Weight) -> Weight {
        links.iter().fold(Weight::default(), |mut sum, at| {
            sum.add(of(&self.links[*at].weights));
            sum
        })
    }

    /// Requests per second that a node got, before and now.
    pub fn load(&self, node: usize) -> (f64, f64) {
        let sides = self.into[node].iter().filter_map(|at| self.links[*at].felt());
        sides.fold((0.0, 0.0), |(before, now), side| (before + side.before.rate(), now + side.now.rate()))
    }
}
