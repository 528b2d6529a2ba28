//! Which objectives were in force since when, and what of their past counted: recordings carry it, so that a replay counts as live.

use super::objectives::past;
use crate::signals;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::ops::Range;
use taut_insight::engine::{Engine, Promise};
use taut_insight::objective::Count;
use taut_model::signal::Second;

/// Objectives of all changes together that are remembered; the oldest changes go first.
const MOST: usize = 20_000;
/// Text of all objectives of a recording; what comes beyond has no past.
const MOST_TEXT: usize = 4 << 20;

/// From a second on, these objectives are in force, and no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promised {
    pub at: Second,
    pub objectives: Vec<Promise>,
    /// Of those that were not in force before.
    pub past: Vec<Past>,
}

/// What came to an objective's service before it was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its place among the objectives.
    objective: usize,
    counts: Vec<Count>,
}

impl Promised {
    /// These objectives, with a past for each of those that `new` names.
    pub fn new(at: Second, objectives: Vec<Promise>, new: &[Promise], signals: &signals::Store) -> Self {
        let is_new = |objective: &&Promise| new.contains(objective);
        let places = objectives.iter().enumerate().filter(|(_, objective)| is_new(objective));
        let past = places.map(|(place, objective)| {
            let window = at.saturating_sub(objective.objective.window)..at;
            Past { objective: place, counts: past(signals, objective, window) }
        });
        let past = past.collect();
        Self { at, objectives, past }
    }

    /// Tells the engine, which is about to take the second.
    pub fn tell(&self, engine: &mut Engine) {
        engine.promise(self.objectives.clone());
        for past in &self.past {
            let Some(promise) = self.objectives.get(past.objective) else { continue };
            past.counts.iter().for_each(|Count { at, bad, all }| engine.past(promise, *at, *bad, *all));
        }
    }
}

/// All changes of objectives since the control plane began, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    changes: VecDeque<Promised>,
}

impl History {
    pub fn latest(&self) -> &[Promise] {
        self.changes.back().map(|latest| latest.objectives.as_slice()).unwrap_or_default()
    }

    pub fn push(&mut self, promised: Promised) {
        self.changes.push_back(promised);
        let weight = |changes: &VecDeque<Promised>| changes.iter().map(|change| change.objectives.len() + 1).sum::<usize>();
        while self.changes.len() > 1 && weight(&self.changes) > MOST {
            self.changes.pop_front();
        }
    }

    /// What was in force in a window: those of its beginning, and each change in it.
    fn within(&self, window: &Range<Second>) -> (Option<&Promised>, Vec<Promised>) {
        let before = self.changes.iter().rev().find(|change| change.at <= window.start);
        (before, self.changes.iter().filter(|change| change.at > window.start && change.at < window.end).cloned().collect())
    }

    /// As a recording carries it. May read from disk.
    pub fn recorded(&self, window: &Range<Second>, namespace: Option<&str>, signals: &signals::Store) -> Vec<Value> {
        let (before, mut changes) = self.within(window);
        if let Some(before) = before {
            // Only the first of all has the past of all.
            let is_first = before.at == window.start && self.changes.front() == Some(before);
            let first = match is_first {
                true => before.clone(),
                // What came since then is past now.
                false => Promised::new(window.start, before.objectives.clone(), &before.objectives, signals),
            };
            changes.insert(0, first);
        }
        let mut room = MOST_TEXT;
        let text = |promised: &Promised| serde_json::to_string(promised).map_or(usize::MAX, |text| text.len());
        let fitting = changes.into_iter().map(|promised| only(promised, namespace)).map(|promised| {
            let promised = if text(&promised) <= room { promised } else { Promised { past: Vec::new(), ..promised } };
            room = room.saturating_sub(text(&promised));
            serde_json::to_value(promised).unwrap_or_default()
        });
        fitting.collect()
    }
}

/// Those of a namespace.
fn only(promised: Promised, namespace: Option<&str>) -> Promised {
    let Some(namespace) = namespace else { return promised };
    let (mut objectives, mut past) = (Vec::new(), Vec::new());
    for (place, objective) in promised.objectives.into_iter().enumerate().filter(|(_, objective)| objective.node.namespace() == namespace) {
        let known = promised.past.iter().filter(|past| past.objective == place);
        past.extend(known.map(|past| Past { objective: objectives.len(), counts: past.counts.clone() }));
        objectives.push(objective);
    }
    Promised { at: promised.at, objectives, past }
}
