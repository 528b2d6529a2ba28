//! The call graph of a situation: nodes, links with both sides' reports added up, parts, and what each link weighs.

use super::link::{Sides, Weights};
use super::reason::{ALL, Class};
use super::side::Side;
use super::situation::{Seen, Situation};
use super::weigh::Weight;
use crate::tick::{Node, Part};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use taut_model::signal::Reporter;

/// Only looked up in, never walked: what is told does not depend on its order.
type Places<K> = HashMap<K, usize, BuildHasherDefault<DefaultHasher>>;

/// Everybody who calls somebody, once for the two. Few links are looked at: their sides are put together, and weighed, when they are.
pub(super) struct Link<'a> {
    pub source: usize,
    pub destination: usize,
    pub external: bool,
    /// Its reports among all that were given.
    seen: Vec<usize>,
    sides: OnceCell<Sides<'a>>,
    weights: OnceCell<Weights>,
}

pub(super) struct Graph<'a> {
    pub nodes: Vec<&'a Node>,
    pub links: Vec<Link<'a>>,
    /// Links by destination, and by source.
    pub into: Vec<Vec<usize>>,
    pub out: Vec<Vec<usize>>,
    seen: &'a [Seen],
    index: Places<&'a Node>,
}

impl<'a> Graph<'a> {
    pub fn of(situation: &'a Situation) -> Self {
        let mut graph =
            Self { nodes: Vec::new(), links: Vec::new(), into: Vec::new(), out: Vec::new(), seen: &situation.seen, index: Places::default() };
        let mut known: Places<(usize, usize)> = Places::default();
        // Reports of a link mostly follow each other: names are not looked up again.
        let mut last: Option<(&Seen, (usize, usize), usize)> = None;
        for (number, seen) in situation.seen.iter().enumerate() {
            let same = |of: fn(&Seen) -> &Node| last.filter(|(before, ..)| of(before) == of(seen));
            let source = same(|seen| &seen.source);
            let (ends, at) = match source.and(same(|seen| &seen.destination)) {
                Some((_, ends, at)) => (ends, at),
                None => {
                    let source = source.map_or_else(|| graph.place(&seen.source), |(_, (source, _), _)| source);
                    let ends = (source, graph.place(&seen.destination));
                    (ends, *known.entry(ends).or_insert(graph.links.len()))
                }
            };
            if at == graph.links.len() {
                graph.add_link(ends.0, ends.1);
            }
            last = Some((seen, ends, at));
            graph.links[at].external |= seen.external;
            graph.links[at].seen.push(number);
        }
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
        }
        at
    }

    fn add_link(&mut self, source: usize, destination: usize) {
        self.out[source].push(self.links.len());
        self.into[destination].push(self.links.len());
        let (sides, weights) = (OnceCell::new(), OnceCell::new());
        self.links.push(Link { source, destination, external: false, seen: Vec::new(), sides, weights });
    }

    /// What each part of a node has served, as the node's own proxies saw it, or else its callers: made when it is asked for, since few are.
    pub fn parts(&self, node: usize) -> Vec<(&'a Part, Side<'a>)> {
        let seen = || {
            self.into[node]
                .iter()
                .flat_map(|at| &self.links[*at].seen)
                .filter_map(|number| Some((&self.seen[*number], self.seen[*number].part.as_ref()?)))
        };
        let own = seen().any(|(seen, _)| seen.reporter == Reporter::Destination);
        let mut parts: Vec<(&Part, Side<'_>)> = Vec::new();
        for (seen, part) in seen().filter(|(seen, _)| own == (seen.reporter == Reporter::Destination)) {
            match parts.iter_mut().find(|(known, _)| *known == part) {
                Some((_, side)) => side.merge(seen),
                None => parts.push((part, Side::of(seen))),
            }
        }
        parts.sort_by_key(|(part, _)| *part);
        parts
    }

    pub fn sides(&self, link: usize) -> &Sides<'a> {
        let link = &self.links[link];
        link.sides.get_or_init(|| Sides::of(link.seen.iter().map(|number| &self.seen[*number])))
    }

    pub fn felt(&self, link: usize) -> Option<&Side<'a>> {
        self.sides(link).felt()
    }

    pub fn is_busy(&self, link: usize) -> bool {
        self.felt(link).is_some_and(|side| side.now.attempts() > 0.0 || side.now.in_flight > 0.0)
    }

    pub fn weights(&self, link: usize) -> &Weights {
        let usual_ms = || self.usual_ms(self.links[link].destination);
        self.links[link].weights.get_or_init(|| self.sides(link).weigh(usual_ms))
    }

    /// How long a node took before, whoever called it.
    fn usual_ms(&self, node: usize) -> Option<f64> {
        let sides = || self.into[node].iter().filter_map(|at| self.felt(*at));
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

    /// Requests that a node has not answered in time.
    pub fn late(&self, node: usize) -> Weight {
        let mut late = self.sum(&self.into[node], |weights| weights.passed_on(Class::Late));
        late.add(self.sum(&self.into[node], |weights| weights.passed_on(Class::Left)));
        late
    }

    /// Failures in a node's own words, and answers that its own proxy saw break, less all failures of those it called, which it may only have
    /// passed on. What callers' retries cover, only its own proxy has seen.
    pub fn own_failures(&self, node: usize) -> Weight {
        let mut words = self.sum(&self.into[node], |weights| weights.class(Class::Words).at_least(weights.served_class(Class::Words)));
        words.add(self.sum(&self.into[node], |weights| weights.served_class(Class::Broken)));
        ALL.into_iter().fold(words, |own, class| own.less(self.sum(&self.out[node], |weights| weights.passed_on(class))))
    }

    pub fn sum(&self, links: &[usize], of: impl Fn(&Weights) -> Weight) -> Weight {
        links.iter().fold(Weight::default(), |mut sum, at| {
            sum.add(of(self.weights(*at)));
            sum
        })
    }

    /// Requests per second that a node got, before and now.
    pub fn load(&self, node: usize) -> (f64, f64) {
        let sides = self.into[node].iter().filter_map(|at| self.felt(*at));
        sides.fold((0.0, 0.0), |(before, now), side| (before + side.before.rate(), now + side.now.rate()))
    }
}
