//! The engine: takes ticks of the whole mesh, and says which incidents open, change and close. It puts together what its parts know:
//! what is usual (`ratio`, `latency`, `drift`), what is wrong (`watch`), what passed between whom (`links`), and [`crate::locate`].

mod drift;
mod incidents;
mod latency;
mod links;
mod promises;
mod ratio;
mod settings;
#[cfg(test)]
mod tests;
mod watch;

pub use promises::Promise;
pub use settings::Settings;

use crate::change::Change;
use crate::incident::{Event, Incident, Verdict};
use crate::locate::{self, Limits, Ranking, Situation, Target};
use crate::objective::Standing;
use crate::tick::{Node, Tick};
use incidents::{Incidents, Raised, Surroundings};
use links::{Links, State};
use promises::Promises;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use taut_model::signal::{Reporter, Second};
use watch::{Each, Passed, Watch};

/// Changes that are remembered, and for how long.
const MOST_CHANGES: usize = 1000;
const CHANGES_FOR: Second = 3600;
/// What is asked of evidence where it is proven that somebody is hurt, and the usual look found nothing: one deviation is enough, and such causes are told
/// with the confidence that they have.
const PROVEN: Limits = Limits { target: 1.0, cause: 1.0, share: 0.2, causes: 3 };
/// Clocks differ, and what began is seen a little late or early: a change so many seconds after it may still be before it.
const LATE: Second = 3;
/// Services that are watched; when there are more, those of which nothing was heard for longest go.
const MOST_WATCHED: usize = 20_000;
/// A service of which nothing was heard for so long is forgotten.
const FORGET: Second = 24 * 3600;

/// See the module's first sentence. What it holds is bounded, and grows with the services and links that are used.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    settings: Settings,
    watched: BTreeMap<Node, Watch>,
    links: Links,
    incidents: Incidents,
    promises: Promises,
    changes: VecDeque<Change>,
    at: Second,
}

impl Engine {
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes the next tick, and what has changed since the one before. Ticks of the past are left out.
    pub fn step(&mut self, tick: &Tick, changes: &[Change]) -> Vec<Event> {
        if tick.at < self.at {
            return Vec::new();
        }
        self.at = tick.at.saturating_add(tick.span.max(1) - 1);
        self.remember(changes);
        self.observe(tick);
        let burning = self.promises.alarms().map(|(node, signal, alarm)| Raised { node, signal, alarm });
        let raised: Vec<Raised<'_>> = self.watched.iter().flat_map(|(node, watch)| raised(node, watch)).chain(burning).collect();
        let around =
            Around { links: &self.links, watched: &self.watched, changes: since_traffic(&self.watched, self.changes.make_contiguous()), at: self.at };
        let events = self.incidents.step(self.at, &raised, &around, &self.settings);
        let concerned: BTreeSet<&Node> = self.incidents.open().flat_map(|incident| incident.symptoms.iter().map(|symptom| &symptom.node)).collect();
        let ill: BTreeSet<&Node> = self.watched.iter().filter(|(_, watch)| !watch.alarms().is_empty()).map(|(node, _)| node).collect();
        self.links.pass(self.at, &|node| match () {
            () if ill.contains(node) => State::Ill,
            () if concerned.contains(node) => State::Concerned,
            () => State::Well,
        });
        self.forget();
        events
    }

    /// Takes all objectives that are set now; returns those that are new, whose past may be told with [`Engine::past`].
    pub fn promise(&mut self, promises: Vec<Promise>) -> Vec<Promise> {
        self.promises.set(promises)
    }

    /// What came to a promise's service in a span of the past: bad requests, and all.
    pub fn past(&mut self, promise: &Promise, at: Second, bad: u64, all: u64) {
        self.promises.past(promise, at, bad, all);
    }

    /// How it stands with each objective.
    pub fn standings(&self) -> impl Iterator<Item = (&Promise, &Standing)> {
        self.promises.standings()
    }

    /// Those that are open.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.open()
    }

    /// Services and links that are watched.
    pub fn size(&self) -> (usize, usize) {
        (self.watched.len(), self.links.len())
    }

    fn observe(&mut self, tick: &Tick) {
        let mut passed: Each<'_> = Each::default();
        for flow in &tick.flows {
            let known = self.links.observe(self.at, tick.span, flow);
            let passed = passed.entry(&flow.destination).or_default();
            if flow.counts_once() {
                // Somebody new who is refused is refused rightly, as far as anybody can tell.
                let errors = if known || flow.source.is_outside() { flow.signals.errors() } else { 0 };
                passed.add(&flow.signals, errors);
                if known && flow.reporter == Reporter::Source {
                    passed.add_asked(&flow.signals, errors);
                }
            } else if known {
                passed.add_attempts(&flow.signals);
            }
        }
        self.promises.observe(self.at, &passed);
        for (node, watch) in &mut self.watched {
            // A service of which nothing is known in a tick that lacks reports may well be well.
            let passed = passed.remove(node);
            if passed.as_ref().is_some_and(Passed::is_known) || !tick.incomplete {
                watch.observe(self.at, passed.unwrap_or_default(), &self.settings);
            }
        }
        // Whoever is watched first is only an entry in an ordered map: the order of these does not matter.
        for (node, passed) in passed.into_iter().filter(|(_, passed)| passed.is_known()) {
            self.watched.entry(node.clone()).or_insert_with(|| Watch::new(&self.settings)).observe(self.at, passed, &self.settings);
        }
    }

    fn remember(&mut self, changes: &[Change]) {
        self.changes.extend(changes.iter().cloned());
        let surplus = self.changes.len().saturating_sub(MOST_CHANGES);
        self.changes.drain(..surplus);
        let oldest = self.at.saturating_sub(CHANGES_FOR);
        self.changes.retain(|change| change.at >= oldest);
    }

    fn forget(&mut self) {
        if self.at.is_multiple_of(600) || self.watched.len() > MOST_WATCHED {
            let at = self.at;
            self.watched.retain(|_, watch| at.saturating_sub(watch.last()) < FORGET);
        }
        if self.watched.len() > MOST_WATCHED {
            let mut last: Vec<Second> = self.watched.values().map(Watch::last).collect();
            last.sort_unstable();
            let bound = last[self.watched.len() - MOST_WATCHED * 3 / 4];
            self.watched.retain(|_, watch| watch.last() > bound);
        }
    }
}

/// What was changed before there was any traffic is how the mesh came to be, and not what happened to it.
fn since_traffic<'a>(watched: &BTreeMap<Node, Watch>, changes: &'a [Change]) -> &'a [Change] {
    let first = watched.values().map(Watch::first).filter(|first| *first > 0).min().unwrap_or_default();
    &changes[changes.partition_point(|change| change.at < first)..]
}

fn raised<'a>(node: &'a Node, watch: &'a Watch) -> impl Iterator<Item = Raised<'a>> {
    let sure = watch.alarms().iter().filter(|(_, alarm)| alarm.is_confirmed());
    let slowly = watch.drift().alarms().filter(|(signal, _)| !watch.alarms().contains_key(*signal));
    sure.chain(slowly).map(move |(signal, alarm)| Raised { node, signal, alarm })
}

struct Around<'a> {
    links: &'a Links,
    watched: &'a BTreeMap<Node, Watch>,
    changes: &'a [Change],
    at: Second,
}

impl Surroundings for Around<'_> {
    fn relatives(&self, node: &Node) -> BTreeSet<Node> {
        self.links.relatives(node)
    }

    fn depth(&self, node: &Node) -> usize {
        self.links.depth(node)
    }

    fn locate(&self, incident: &Incident) -> Ranking {
        let ill = || incident.symptoms.iter().filter(|symptom| symptom.until.is_none());
        let nodes: Vec<Node> = ill().map(|symptom| symptom.node.clone()).collect();
        let began = ill().map(|symptom| symptom.since).min().unwrap_or(incident.began);
        let may_matter = |change: &&Change| change.at <= began.saturating_add(LATE);
        let situation = Situation {
            targets: ill().map(|symptom| Target::new(symptom.node.clone(), symptom.signal.clone())).collect(),
            began,
            seen: self.links.seen(&nodes, began, self.at),
            pressures: Vec::new(),
            changes: self.changes.iter().filter(may_matter).cloned().collect(),
        };
        let ranking = locate::locate(&situation);
        match ranking.verdict {
            // That somebody is hurt is proven already, be it by a tail that no mean shows: then less is asked of causes.
            Verdict::NoCause => locate::locate_with(&situation, &PROVEN),
            _ => ranking,
        }
    }

    fn hurt(&self, node: &Node) -> u64 {
        self.watched.get(node).map_or(0, Watch::hurt)
    }

    fn changes(&self) -> &[Change] {
        self.changes
    }
}
