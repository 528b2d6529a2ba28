//! Objectives that users have set: their budgets, and which of them burn too fast.

use super::watch::{Alarm, Each};
use crate::incident::Signal;
use crate::objective::{Budget, Indicator, Objective, Standing, Urgency};
use crate::tick::Node;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use taut_model::signal::Second;

/// Budgets are looked at so often.
const EVERY: Second = 5;
/// Objectives that are kept count of, at most.
const MOST: usize = 2000;

/// What somebody promised of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// `namespace/name` of the objective.
    pub name: String,
    pub node: Node,
    pub objective: Objective,
}

#[derive(Clone, Debug)]
struct Kept {
    promise: Promise,
    budget: Budget,
    standing: Standing,
    signal: Signal,
    alarm: Option<Alarm>,
}

#[derive(Clone, Debug, Default)]
pub struct Promises {
    kept: BTreeMap<(String, Node), Kept>,
}

impl Promises {
    /// Takes all that are promised now, and returns those that are new: their past may be told with [`Promises::past`].
    pub fn set(&mut self, promises: Vec<Promise>) -> Vec<Promise> {
        let mut new = Vec::new();
        let mut before = std::mem::take(&mut self.kept);
        for promise in promises.into_iter().take(MOST) {
            let key = (promise.name.clone(), promise.node.clone());
            let kept = before.remove(&key).filter(|kept| kept.promise == promise).unwrap_or_else(|| {
                new.push(promise.clone());
                let budget = Budget::new(promise.objective);
                let standing = budget.standing();
                Kept { signal: Signal::Objective(promise.name.clone()), promise, budget, standing, alarm: None }
            });
            self.kept.insert(key, kept);
        }
        new
    }

    /// What came in a span of the past, the oldest first, before the first tick that concerns it.
    pub fn past(&mut self, promise: &Promise, at: Second, bad: u64, all: u64) {
        if let Some(kept) = self.kept.get_mut(&(promise.name.clone(), promise.node.clone())) {
            kept.budget.observe(at, bad, all);
        }
    }

    pub fn observe(&mut self, at: Second, passed: &Each<'_>) {
        for kept in self.kept.values_mut() {
            if let Some(passed) = passed.get(&kept.promise.node) {
                let (bad, all) = match kept.promise.objective.indicator {
                    Indicator::Availability => (passed.errors, passed.requests),
                    Indicator::Latency { under } => {
                        (passed.latency.count().saturating_sub(passed.latency.count_up_to(under)), passed.latency.count())
                    }
                };
                kept.budget.observe(at, bad, all);
            }
            if at.is_multiple_of(EVERY) {
                kept.judge(at);
            }
        }
    }

    /// Those whose budget burns too fast.
    pub fn alarms(&self) -> impl Iterator<Item = (&Node, &Signal, &Alarm)> {
        self.kept.values().filter_map(|kept| Some((&kept.promise.node, &kept.signal, kept.alarm.as_ref()?)))
    }

    /// How it stands with each.
    pub fn standings(&self) -> impl Iterator<Item = (&Promise, &Standing)> {
        self.kept.values().map(|kept| (&kept.promise, &kept.standing))
    }
}

impl Kept {
    fn judge(&mut self, at: Second) {
        self.standing = self.budget.standing();
        let pages = self.standing.fires() == Some(Urgency::Page);
        let burn = self.standing.burns.iter().filter(|burn| burn.urgency == Urgency::Page).map(|burn| burn.over_short.min(burn.over_long));
        let burn = burn.fold(0.0, f64::max);
        self.alarm = match self.alarm.take() {
            Some(alarm) if pages => Some(alarm.goes_on(at, burn)),
            None if pages => Some(Alarm::burning(at, burn)),
            _ => None,
        };
    }
}
