//! Where the hurt comes from: a target's hurt is followed down the call graph, at each node in proportion to what is off there by itself
//! and in those it called, until all of it has come to rest.
//!
//! Following what is felt, and not only ranking what is off, has three uses: what is off beside the path explains nothing; shares add up
//! to one, so that two faults at once each get theirs; and circles in the graph end, since some of the hurt rests in every round.

use super::graph::Graph;
use super::link::Weights;
use super::reason::{ALL, Class};
use super::weigh;
use std::collections::BTreeMap;

/// Why hurt rests at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Time that neither side spent.
    Gap,
    /// The callee's proxy says nothing any more.
    Silent,
    Unreachable,
    Broken,
    Refused,
    Limited,
}

/// How a target is hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurt {
    Time,
    Failures,
}

/// What is less than this share of the hurt is no longer followed: a fiftieth of what a cause must explain to be told.
const LEAST: f64 = 1e-3;
/// In a circle in which nothing rests by itself, hurt goes round so often before it rests where it is.
const ROUNDS: usize = 64;

/// What of the hurt that reaches a node rests there, and what goes on, by link.
type Parted = (f64, Vec<(usize, f64)>);

/// Shares of the hurt, by where they are or have come to rest.
pub(super) struct Flow<'g> {
    graph: &'g Graph<'g>,
    time: Vec<f64>,
    words: Vec<f64>,
    /// By node, once it was needed: how what reaches it is parted.
    time_parted: Vec<Option<Parted>>,
    words_parted: Vec<Option<Parted>>,
    /// At rest: time that a node adds, and failures that it makes.
    pub own_time: Vec<f64>,
    pub own_words: Vec<f64>,
    pub at_links: BTreeMap<(usize, Trouble), f64>,
}

impl<'g> Flow<'g> {
    pub fn new(graph: &'g Graph<'g>) -> Self {
        let nothing = || vec![0.0; graph.nodes.len()];
        let unknown = || vec![None; graph.nodes.len()];
        Self {
            graph,
            time: nothing(),
            words: nothing(),
            time_parted: unknown(),
            words_parted: unknown(),
            own_time: nothing(),
            own_words: nothing(),
            at_links: BTreeMap::new(),
        }
    }

    /// Hurt that is felt by those who call a node.
    pub fn start(&mut self, node: usize, hurt: Hurt, share: f64) {
        let links = &self.graph.into[node];
        let felt = |at: &usize| match hurt {
            Hurt::Time => self.graph.weights(*at).time.counted(),
            Hurt::Failures => weigh::hurting(&self.graph.weights(*at).failures).counted(),
        };
        let parts: Vec<(usize, f64)> = links.iter().map(|at| (*at, felt(at))).filter(|(_, part)| *part > 0.0).collect();
        let whole: f64 = parts.iter().map(|(_, part)| part).sum();
        if whole <= 0.0 {
            match hurt {
                Hurt::Time => self.time[node] += share,
                Hurt::Failures => self.words[node] += share,
            }
            return;
        }
        for (at, part) in parts {
            match hurt {
                Hurt::Time => self.wait(at, share * part / whole),
                Hurt::Failures => self.fail(at, share * part / whole),
            }
        }
    }

    /// Follows everything to where it rests.
    pub fn run(&mut self) {
        for _ in 0..ROUNDS {
            let mut moved = 0.0;
            for node in 0..self.graph.nodes.len() {
                let (time, words) = (std::mem::take(&mut self.time[node]), std::mem::take(&mut self.words[node]));
                if time > LEAST {
                    moved += time;
                    self.step_time(node, time);
                } else {
                    self.own_time[node] += time;
                }
                if words > LEAST {
                    moved += words;
                    self.step_words(node, words);
                } else {
                    self.own_words[node] += words;
                }
            }
            if moved <= 0.0 {
                return;
            }
        }
        for node in 0..self.graph.nodes.len() {
            self.own_time[node] += std::mem::take(&mut self.time[node]);
            self.own_words[node] += std::mem::take(&mut self.words[node]);
        }
    }

    fn step_time(&mut self, node: usize, share: f64) {
        let graph = self.graph;
        let (own, on) =
            self.time_parted[node].take().unwrap_or_else(|| parted(graph, node, graph.own_time(node).counted(), |weights| weights.time.counted()));
        self.own_time[node] += share * own;
        for (at, part) in &on {
            self.wait(*at, share * part);
        }
        self.time_parted[node] = Some((own, on));
    }

    fn step_words(&mut self, node: usize, share: f64) {
        let graph = self.graph;
        let (own, on) = self.words_parted[node].take().unwrap_or_else(|| parted(graph, node, graph.own_failures(node).counted(), passed_on));
        self.own_words[node] += share * own;
        for (at, part) in &on {
            self.fail(*at, share * part);
        }
        self.words_parted[node] = Some((own, on));
    }

    /// Somebody waited for an answer over a link: for the callee, or for what lies between.
    fn wait(&mut self, at: usize, share: f64) {
        let link = &self.graph.links[at];
        let weights = self.graph.weights(at);
        if weights.silent {
            return self.rest(at, Trouble::Silent, share);
        }
        let whole = weights.time.counted();
        let between = weights.gap.counted().min((whole - weights.served.counted()).max(0.0));
        let part = if whole > 0.0 { (between / whole).min(1.0) } else { 0.0 };
        self.time[link.destination] += share * (1.0 - part);
        if part <= 0.0 {
            return;
        }
        // What looks like the network's time may be what a proxy spent on trying again.
        if weights.served_class(Class::Words).counted() > 0.0 {
            self.words[link.destination] += share * part;
            return;
        }
        let tried = [(Class::Unreachable, Trouble::Unreachable), (Class::Broken, Trouble::Broken), (Class::Refused, Trouble::Refused)];
        let failed = tried.into_iter().find(|(class, _)| weights.class(*class).counted() > 0.0);
        self.rest(at, failed.map_or(Trouble::Gap, |(_, trouble)| trouble), share * part);
    }

    /// Requests failed over a link, as its caller saw it.
    fn fail(&mut self, at: usize, share: f64) {
        let link = &self.graph.links[at];
        let weights = self.graph.weights(at);
        let whole = passed_on(weights);
        if whole <= 0.0 {
            self.words[link.destination] += share;
            return;
        }
        for class in ALL {
            let part = share * weights.passed_on(class).counted() / whole;
            if part <= 0.0 {
                continue;
            }
            match class {
                Class::Words => self.words[link.destination] += part,
                Class::Late | Class::Left => self.wait(at, part),
                Class::Unreachable => self.rest(at, Trouble::Unreachable, part),
                Class::Broken if weights.served_class(Class::Broken).counted() > 0.0 => self.words[link.destination] += part,
                Class::Broken => self.rest(at, Trouble::Broken, part),
                Class::Refused => self.rest(at, Trouble::Refused, part),
                // A limit on what is under way is reached by whoever is slow.
                Class::Limited if weights.time.is_sure() => self.wait(at, part),
                Class::Limited => self.rest(at, Trouble::Limited, part),
            }
        }
    }

    fn rest(&mut self, at: usize, trouble: Trouble, share: f64) {
        *self.at_links.entry((at, trouble)).or_default() += share;
    }
}

/// Shares of a node and of its callees; what nothing explains stays with the node.
fn parted(graph: &Graph<'_>, node: usize, own: f64, of: impl Fn(&Weights) -> f64) -> Parted {
    let parts: Vec<(usize, f64)> = graph.out[node].iter().map(|at| (*at, of(graph.weights(*at)))).filter(|(_, part)| *part > 0.0).collect();
    let whole = own + parts.iter().map(|(_, part)| part).sum::<f64>();
    if whole <= 0.0 {
        return (1.0, Vec::new());
    }
    (own / whole, parts.into_iter().map(|(at, part)| (at, part / whole)).collect())
}

fn passed_on(weights: &Weights) -> f64 {
    ALL.into_iter().map(|class| weights.passed_on(class).counted()).sum()
}
