//! One trial: a case begins, the mesh says something or nothing, the case ends, and the mesh is calm again.

use super::act::{Of, Stage};
use super::kinds::Kind;
use super::load::{Load, Seen};
use super::mesh::Mesh;
use super::watch::{Incident, Place, Watch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the mesh is asked.
const LOOK: Duration = Duration::from_millis(250);

/// The times of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a case lasts.
    pub hold: Duration,
    /// Without an incident, before a case.
    pub calm: Duration,
    /// How long incidents may stay after a repair.
    pub close: Duration,
}

/// Where the right answer stands among the causes, from 1; and whether the first one is of a right kind too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    pub place: Option<usize>,
    pub kind: bool,
}

#[derive(Debug)]
pub struct Trial {
    pub kind: &'static Kind,
    pub service: &'static str,
    /// Unix seconds of its beginning.
    pub began: i64,
    /// Seconds from the beginning to the first look that showed an incident.
    pub detected: Option<f64>,
    /// As it stood when it was first seen, and when the case ended.
    pub first: Ranking,
    pub last: Ranking,
    /// Whether the first cause names the one process that was hit; none: it was not one.
    pub version: Option<bool>,
    /// Seconds from the repair until all of it was closed.
    pub closed: Option<f64>,
    /// That began with it, or as long as it lasted: what they said last.
    pub incidents: Vec<Incident>,
    /// In the calm before it, which is a mistake of the mesh.
    pub strays: Vec<Incident>,
    /// Seconds in which nothing was wrong.
    pub faultless: f64,
    pub before: Seen,
    pub during: Seen,
    /// An earlier incident was still open, or visits still failed: what is said cannot be told from what was said before.
    pub unjudged: bool,
    /// What the mesh counted while it lasted, where it said nothing.
    pub signals: Value,
}

/// What was told before, and whether it was over.
#[derive(Debug, Default)]
struct Known(BTreeMap<String, bool>);

impl Known {
    /// Without what is known. What is known to be over and is open again counts as new.
    fn fresh(&mut self, list: Vec<Incident>) -> Vec<Incident> {
        let mut fresh = list;
        fresh.retain(|incident| match self.0.get_mut(&incident.id) {
            Some(over) if *over && !incident.closed => self.0.remove(&incident.id).is_some(),
            Some(over) => {
                *over = incident.closed;
                false
            }
            None => true,
        });
        fresh
    }

    fn add(&mut self, incidents: &[Incident]) {
        self.0.extend(incidents.iter().map(|incident| (incident.id.clone(), incident.closed)));
    }
}

pub struct Lab<'a> {
    pub mesh: &'a mut Mesh,
    pub load: &'a Load,
    /// None: nobody judges, and only what visitors see is told.
    pub watch: Option<Watch>,
    pub times: Times,
    known: Known,
    /// Whether any incident was open at the last look, known or not.
    open: bool,
}

impl<'a> Lab<'a> {
    pub fn new(mesh: &'a mut Mesh, load: &'a Load, watch: Option<Watch>, times: Times) -> Self {
        Self { mesh, load, watch, times, known: Known::default(), open: false }
    }

    /// What is new since it was last marked as known, or has come back. A control plane that is away says nothing; one that came back knows no sessions.
    fn look(&mut self) -> Vec<Incident> {
        let Some(watch) = &self.watch else { return Vec::new() };
        match watch.incidents() {
            Ok(list) => {
                self.open = list.iter().any(|incident| !incident.closed);
                self.known.fresh(list)
            }
            Err(_) => {
                if let Ok(again) = self.mesh.dashboard().and_then(|url| Watch::sign_in(&url)) {
                    self.watch = Some(again);
                }
                Vec::new()
            }
        }
    }

    /// Waits for so long without an open incident and without a visit that fails, at most as long as incidents may stay. What came up, and
    /// seconds in which nothing was wrong: fewer than asked for when it did not become calm.
    pub fn calm(&mut self, least: Duration) -> (Vec<Incident>, f64) {
        let (began, mut since, mut seen, mut failed) = (Instant::now(), Instant::now(), Vec::new(), self.load.failed());
        while since.elapsed() < least && began.elapsed() < least + self.times.close {
            std::thread::sleep(LOOK);
            seen = self.look();
            if self.open || self.load.failed() != failed {
                (since, failed) = (Instant::now(), self.load.failed());
            }
        }
        self.known.add(&seen);
        (seen, since.elapsed().as_secs_f64())
    }

    pub fn run(&mut self, kind: &'static Kind, service: &'static str, lot: usize) -> Result<Trial, String> {
        for act in kind.prepare {
            self.stage(service, lot).begin(act)?;
        }
        if !kind.prepare.is_empty() {
            // What a case needs is no part of it: the mesh may get used to it, unjudged.
            let (seen, _) = self.calm(self.times.calm);
            self.known.add(&seen);
        }
        self.load.take();
        let (strays, mut faultless) = self.calm(self.times.calm);
        let (before, unjudged) = (self.load.take(), faultless < self.times.calm.as_secs_f64());
        let mut trial = Trial { strays, before, unjudged, ..Trial::new(kind, service) };
        let began = Instant::now();
        for act in kind.acts {
            self.stage(service, lot).begin(act)?;
        }
        let hit = match kind.truth.and(kind.acts.first()) {
            Some(super::act::Act::Trouble(of @ Of::One, _)) => self.stage(service, lot).version(*of),
            _ => None,
        };
        self.hold(&mut trial, began, lot, hit)?;
        if kind.truth.is_none() {
            faultless += began.elapsed().as_secs_f64();
        }
        trial.faultless = faultless;
        for act in kind.acts.iter().rev() {
            self.stage(service, lot).end(act)?;
        }
        self.close(&mut trial);
        for act in kind.prepare.iter().rev() {
            self.stage(service, lot).end(act)?;
        }
        Ok(trial)
    }

    fn stage(&mut self, service: &'static str, lot: usize) -> Stage<'_> {
        Stage { mesh: self.mesh, load: self.load, service, lot }
    }

    /// As long as the case lasts: when something is said, and what.
    fn hold(&mut self, trial: &mut Trial, began: Instant, lot: usize, hit: Option<&str>) -> Result<(), String> {
        let mut acted = Instant::now();
        while began.elapsed() < self.times.hold {
            std::thread::sleep(LOOK);
            for act in trial.kind.acts {
                if self.stage(trial.service, lot).go_on(act, acted.elapsed())? {
                    acted = Instant::now();
                }
            }
            let seen = self.look();
            trial.hear(seen, began.elapsed(), hit);
        }
        trial.during = self.load.take();
        if trial.incidents.is_empty()
            && trial.kind.truth.is_some()
            && let Some(watch) = &self.watch
        {
            trial.signals = watch.json(&format!("/taut/v1/signals?since={}s", self.times.hold.as_secs())).unwrap_or(Value::Null);
        }
        Ok(())
    }

    /// After the repair: until everything is closed, or as long as it may take.
    fn close(&mut self, trial: &mut Trial) {
        let repaired = Instant::now();
        while repaired.elapsed() < self.times.close {
            let seen = self.look();
            let open = seen.iter().any(|incident| !incident.closed);
            if !seen.is_empty() {
                trial.incidents = oldest_first(seen);
            }
            if !open {
                break;
            }
            std::thread::sleep(LOOK);
        }
        if !trial.incidents.is_empty() && trial.incidents.iter().all(|incident| incident.closed) {
            trial.closed = Some(repaired.elapsed().as_secs_f64());
        }
        self.known.add(&trial.incidents);
    }
}

fn oldest_first(mut incidents: Vec<Incident>) -> Vec<Incident> {
    incidents.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
    incidents
}

impl Trial {
    fn new(kind: &'static Kind, service: &'static str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            kind,
            service,
            began: i64::try_from(now).unwrap_or(i64::MAX),
            detected: None,
            first: Ranking::default(),
            last: Ranking::default(),
            version: None,
            closed: None,
            incidents: Vec::new(),
            strays: Vec::new(),
            faultless: 0.0,
            unjudged: false,
            before: Seen::default(),
            during: Seen::default(),
            signals: Value::Null,
        }
    }

    /// The first incident of a case is the one that is ranked: it is what somebody would look at.
    fn hear(&mut self, seen: Vec<Incident>, after: Duration, hit: Option<&str>) {
        self.incidents = oldest_first(seen);
        let Some(oldest) = self.incidents.first() else { return };
        let ranking = self.ranking(oldest);
        if self.detected.is_none() {
            (self.detected, self.first) = (Some(after.as_secs_f64()), ranking);
        }
        self.last = ranking;
        self.version = hit.map(|version| matches!(oldest.causes.first().map(|cause| &cause.place), Some(Place::Part(_, said)) if said == version));
    }

    fn ranking(&self, incident: &Incident) -> Ranking {
        let Some(truth) = self.kind.truth else { return Ranking::default() };
        let right = |cause: &super::watch::Cause| truth.at(cause, self.service);
        let place = incident.causes.iter().position(right).map(|at| at + 1);
        let first = incident.causes.first().is_some_and(|cause| right(cause) && truth.kinds.contains(&cause.kind.as_str()));
        Ranking { place, kind: first }
    }

    pub fn json(&self) -> Value {
        let ranking = |ranking: Ranking| json!({ "place": ranking.place, "kindOfFirst": ranking.kind });
        let whole = |all: &[Incident]| all.iter().map(|incident| incident.whole.clone()).collect::<Vec<_>>();
        json!({
            "kind": self.kind.name, "benign": self.kind.truth.is_none(), "service": self.service, "began": self.began,
            "detectedAfter": self.detected, "first": ranking(self.first), "last": ranking(self.last), "version": self.version, "unjudged": self.unjudged,
            "closedAfter": self.closed, "faultless": self.faultless, "visitorsBefore": self.before.json(), "visitorsDuring": self.during.json(),
            "incidents": whole(&self.incidents), "strays": whole(&self.strays), "signals": self.signals,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::faultlab::kinds::FAULTS;

    fn incident(id: &str, opened: i64, causes: Value) -> Incident {
        Incident::read(&json!({ "id": id, "opened": opened, "state": "open", "verdict": "found", "causes": causes })).expect("an incident")
    }

    fn failing() -> Trial {
        Trial::new(FAULTS.iter().find(|kind| kind.name == "failing").expect("a kind"), "ratings")
    }

    #[test]
    fn the_first_incident_is_ranked_and_its_last_word_counts() {
        let mut trial = failing();
        let cause = |service: &str, kind: &str| json!({ "place": { "service": format!("default/{service}") }, "kind": kind });
        trial.hear(vec![], Duration::from_secs(1), None);
        assert_eq!(trial.detected, None);
        trial.hear(vec![incident("a", 5, json!([cause("reviews", "failing"), cause("ratings", "failing")]))], Duration::from_secs(4), None);
        assert_eq!((trial.detected, trial.first), (Some(4.0), Ranking { place: Some(2), kind: false }));
        let more = vec![incident("b", 9, json!([cause("store", "slow")])), incident("a", 5, json!([cause("ratings", "failing")]))];
        trial.hear(more, Duration::from_secs(9), None);
        assert_eq!((trial.detected, trial.last), (Some(4.0), Ranking { place: Some(1), kind: true }));
        assert_eq!(trial.incidents.len(), 2);
    }

    #[test]
    fn what_is_over_and_comes_back_is_new() {
        let (mut known, open) = (Known::default(), incident("a", 5, json!([])));
        let over = Incident { closed: true, ..open.clone() };
        assert_eq!(known.fresh(vec![open.clone()]).len(), 1);
        known.add(std::slice::from_ref(&open));
        assert!(known.fresh(vec![open.clone()]).is_empty() && known.fresh(vec![over]).is_empty());
        assert_eq!(known.fresh(vec![open.clone()]), vec![open.clone()]);
        assert_eq!(known.fresh(vec![open.clone()]), vec![open], "until it is marked as known");
    }

    #[test]
    fn the_right_place_with_a_wrong_kind_is_told_apart() {
        let mut trial = failing();
        let cause = json!([{ "place": { "part": ["default/ratings", { "workload": "ratings-v2", "version": "v2" }] }, "kind": "network" }]);
        trial.hear(vec![incident("a", 5, cause)], Duration::from_secs(2), Some("v1"));
        assert_eq!((trial.last, trial.version), (Ranking { place: Some(1), kind: false }, Some(false)));
    }
}
