//! The life of incidents: symptoms that belong together are one; it opens when they are sure, closes by itself when they are gone for
//! long enough, and opens again, rather than a new one, when they come back.

use super::settings::Settings;
use super::watch::Alarm;
use crate::change::Change;
use crate::incident::{Entry, Event, Happening, Incident, Place, Signal, Symptom, Verdict};
use crate::locate::Ranking;
use crate::tick::Node;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::signal::Second;

/// Causes are looked for again so often while an incident is open.
const AGAIN: Second = 3;
/// Lines of a timeline, symptoms and incidents that closed: what is kept at most.
const MOST_LINES: usize = 200;
const MOST_SYMPTOMS: usize = 200;
const MOST_CLOSED: usize = 100;
/// Services so many calls from the edge are called by users: those outside the mesh, and programs that nobody calls, are the edge itself.
const ENTRY: usize = 1;
/// When so many are open, what comes on top has something in common with them: it joins the newest.
const MOST_OPEN: usize = 25;
/// Searches for causes in one step: when everything is wrong at once, the others wait for the next.
const MOST_SEARCHES: usize = 5;
/// How often the quiet that is asked for doubles: a minute is long enough to tell one trouble from the next.
const MOST_DOUBLINGS: u32 = 2;
/// What changed so long before it began belongs to the timeline.
const BEFORE: Second = 300;

/// An alarm that is sure, and where.
#[derive(Clone, Debug)]
pub struct Raised<'a> {
    pub node: &'a Node,
    pub signal: &'a Signal,
    pub alarm: &'a Alarm,
}

/// What the life of incidents asks of the rest of the engine.
pub trait Surroundings {
    /// A service, all that it calls, and all that call it, over any number of hops.
    fn relatives(&self, node: &Node) -> BTreeSet<Node>;
    /// How many calls lie between users and a service, at least.
    fn depth(&self, node: &Node) -> usize;
    fn locate(&self, incident: &Incident) -> Ranking;
    /// Requests to a service that hurt in this tick.
    fn hurt(&self, node: &Node) -> u64;
    fn changes(&self) -> &[Change];
}

#[derive(Clone, Debug)]
struct Kept {
    incident: Incident,
    relapses: u32,
    /// Who was found to be the cause when it closed last.
    before: Option<Node>,
    /// When nothing was wrong any more.
    calm: Option<Second>,
    located: Second,
}

#[derive(Clone, Debug, Default)]
pub struct Incidents {
    open: Vec<Kept>,
    closed: Vec<Kept>,
}

impl Incidents {
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|kept| &kept.incident)
    }

    pub fn step(&mut self, at: Second, raised: &[Raised<'_>], around: &dyn Surroundings, settings: &Settings) -> Vec<Event> {
        let mut touched: BTreeMap<String, Touch> = BTreeMap::new();
        for symptom in raised {
            let (id, touch) = self.take(at, symptom, around, settings);
            let known = touched.entry(id).or_insert(Touch::Nothing);
            *known = (*known).max(touch);
        }
        let mut searches = MOST_SEARCHES;
        for kept in &mut self.open {
            let touch = touched.remove(&kept.incident.id).unwrap_or(Touch::Nothing);
            let relieved = relieve(&mut kept.incident, at, raised);
            kept.incident.hurt += around.hurt(&kept.incident.subject);
            let touch = if relieved { touch.max(Touch::Changed) } else { touch };
            let looked = if kept.is_due(at, touch) && searches > 0 { kept.look(at, around) } else { Touch::Nothing };
            searches -= usize::from(searches > 0 && kept.located == at);
            touched.insert(kept.incident.id.clone(), touch.max(looked));
        }
        let events = self.open.iter_mut().filter_map(|kept| kept.tell(touched.get(&kept.incident.id).copied())).collect::<Vec<_>>();
        events.into_iter().chain(self.close(at, settings)).collect()
    }

    /// Puts a symptom where it belongs; a new incident if nowhere.
    fn take(&mut self, at: Second, raised: &Raised<'_>, around: &dyn Surroundings, settings: &Settings) -> (String, Touch) {
        if let Some(kept) = self.open.iter_mut().find(|kept| kept.has(raised)) {
            return (kept.incident.id.clone(), kept.note(at, raised, around));
        }
        let relatives = around.relatives(raised.node);
        let full = self.open.len() >= MOST_OPEN;
        let newest = self.open.len().saturating_sub(1);
        let joins = self.open.iter_mut().enumerate().find(|(index, kept)| kept.is_about(&relatives) || full && *index == newest);
        if let Some((_, kept)) = joins {
            return (kept.incident.id.clone(), kept.note(at, raised, around));
        }
        let recent = |kept: &Kept| at.saturating_sub(kept.incident.closed.unwrap_or_default()) <= settings.relapse_seconds;
        let (kept, touch) = match self.closed.iter().position(|kept| recent(kept) && kept.has(raised)) {
            Some(index) => {
                let mut kept = self.closed.remove(index);
                kept.relapses = kept.relapses.saturating_add(1);
                kept.before = kept.culprit().cloned();
                kept.incident.closed = None;
                // It may be another one that looks like it.
                kept.incident.causes.clear();
                kept.incident.verdict = Verdict::TooEarly;
                kept.incident.enter(at, Happening::Opened);
                kept.note(at, raised, around);
                (kept, Touch::Changed)
            }
            None => (Kept::new(at, raised, around), Touch::Opened),
        };
        let id = kept.incident.id.clone();
        self.open.push(kept);
        (id, touch)
    }

    fn close(&mut self, at: Second, settings: &Settings) -> Vec<Event> {
        let over = |kept: &Kept| {
            let doublings = if kept.is_another() { 0 } else { kept.relapses.min(MOST_DOUBLINGS) };
            kept.calm.is_some_and(|calm| at.saturating_sub(calm) >= settings.quiet_seconds.saturating_mul(1 << doublings))
        };
        let (over, open): (Vec<Kept>, Vec<Kept>) = std::mem::take(&mut self.open).into_iter().partition(over);
        self.open = open;
        let mut events = Vec::new();
        for mut kept in over {
            kept.relapses = if kept.is_another() { 0 } else { kept.relapses };
            kept.incident.closed = Some(at);
            kept.incident.revision += 1;
            kept.incident.enter(at, Happening::Closed);
            events.push(Event::Closed(kept.incident.clone()));
            self.closed.push(kept);
        }
        let surplus = self.closed.len().saturating_sub(MOST_CLOSED);
        self.closed.drain(..surplus);
        events
    }
}

/// How much an incident has changed in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touch {
    Nothing,
    Changed,
    Opened,
}

impl Kept {
    fn new(at: Second, raised: &Raised<'_>, around: &dyn Surroundings) -> Self {
        let began = raised.alarm.since;
        let incident = Incident {
            id: format!("{}-{began:x}", raised.node.name()),
            revision: 0,
            opened: at,
            began,
            closed: None,
            subject: raised.node.clone(),
            users: Vec::new(),
            symptoms: Vec::new(),
            verdict: Verdict::TooEarly,
            causes: Vec::new(),
            timeline: vec![Entry { at: began, what: Happening::Began }],
            hurt: 0,
        };
        let mut kept = Self { incident, relapses: 0, before: None, calm: None, located: 0 };
        for change in around.changes().iter().filter(|change| change.at <= at && change.at.saturating_add(BEFORE) >= began) {
            kept.incident.enter(change.at, Happening::Change { change: change.clone() });
        }
        kept.incident.enter(at, Happening::Opened);
        kept.note(at, raised, around);
        kept
    }

    fn note(&mut self, at: Second, raised: &Raised<'_>, around: &dyn Surroundings) -> Touch {
        let incident = &mut self.incident;
        let alarm = raised.alarm;
        if let Some(known) = incident.symptoms.iter_mut().find(|symptom| symptom.node == *raised.node && symptom.signal == *raised.signal) {
            let back = known.until.take().is_some();
            (known.now, known.worst, known.surprise) = (alarm.now, alarm.worst.max(known.worst), alarm.surprise.max(known.surprise));
            if back {
                known.since = alarm.since;
                incident.enter(at, Happening::Symptom { node: raised.node.clone(), signal: raised.signal.clone() });
            }
            return if back { Touch::Changed } else { Touch::Nothing };
        }
        if incident.symptoms.len() >= MOST_SYMPTOMS {
            return Touch::Nothing;
        }
        incident.symptoms.push(Symptom {
            node: raised.node.clone(),
            signal: raised.signal.clone(),
            since: alarm.since,
            until: None,
            baseline: alarm.baseline,
            worst: alarm.worst,
            now: alarm.now,
            surprise: alarm.surprise,
        });
        incident.began = incident.began.min(alarm.since);
        incident.enter(at, Happening::Symptom { node: raised.node.clone(), signal: raised.signal.clone() });
        let nearest = incident.symptoms.iter().min_by_key(|symptom| (around.depth(&symptom.node), &symptom.node));
        if let Some(nearest) = nearest.map(|symptom| symptom.node.clone()) {
            incident.subject = nearest;
        }
        if around.depth(raised.node) <= ENTRY && !incident.users.contains(raised.node) {
            incident.users.push(raised.node.clone());
        }
        Touch::Changed
    }

    /// Whose trouble it is, as far as is known.
    fn culprit(&self) -> Option<&Node> {
        self.incident.causes.first().map(|cause| match &cause.place {
            Place::Service(node) | Place::Part(node, _) | Place::Outside(node) | Place::Link(_, node) => node,
        })
    }

    /// Somebody else is the cause than the time before: that is no relapse, though users feel the same.
    fn is_another(&self) -> bool {
        self.before.as_ref().zip(self.culprit()).is_some_and(|(before, now)| before != now)
    }

    fn has(&self, raised: &Raised<'_>) -> bool {
        self.incident.symptoms.iter().any(|symptom| symptom.node == *raised.node && symptom.signal == *raised.signal)
    }

    fn is_about(&self, nodes: &BTreeSet<Node>) -> bool {
        self.incident.symptoms.iter().any(|symptom| nodes.contains(&symptom.node))
    }

    /// Notes whether all is well again, and says whether causes are to be looked for.
    fn is_due(&mut self, at: Second, touch: Touch) -> bool {
        let ill = self.incident.symptoms.iter().any(|symptom| symptom.until.is_none());
        self.calm = if ill { None } else { self.calm.or(Some(at)) };
        ill && (touch > Touch::Nothing || at.saturating_sub(self.located) >= AGAIN)
    }

    /// Looks for causes.
    fn look(&mut self, at: Second, around: &dyn Surroundings) -> Touch {
        self.located = at;
        let ranking = around.locate(&self.incident);
        let (before, now) = (self.incident.causes.first(), ranking.causes.first());
        let same = before.map(|cause| (&cause.place, cause.kind)) == now.map(|cause| (&cause.place, cause.kind));
        // What was found stays when later looks find nothing: the first seconds of trouble tell most.
        if ranking.causes.is_empty() && !self.incident.causes.is_empty() {
            return Touch::Nothing;
        }
        if let Some(cause) = now.filter(|_| !same) {
            let what = Happening::Cause { place: cause.place.clone(), cause: cause.kind, confidence: cause.confidence };
            self.incident.enter(at, what);
        }
        let touch = if same && self.incident.verdict == ranking.verdict { Touch::Nothing } else { Touch::Changed };
        (self.incident.verdict, self.incident.causes) = (ranking.verdict, ranking.causes);
        touch
    }

    fn tell(&mut self, touch: Option<Touch>) -> Option<Event> {
        let touch = touch.filter(|touch| *touch > Touch::Nothing)?;
        self.incident.revision += 1;
        let incident = self.incident.clone();
        Some(if touch == Touch::Opened { Event::Opened(incident) } else { Event::Updated(incident) })
    }
}

/// Ends symptoms that are raised no more. Returns whether any ended.
fn relieve(incident: &mut Incident, at: Second, raised: &[Raised<'_>]) -> bool {
    let mut over = Vec::new();
    for symptom in incident.symptoms.iter_mut().filter(|symptom| symptom.until.is_none()) {
        if !raised.iter().any(|raised| *raised.node == symptom.node && *raised.signal == symptom.signal) {
            symptom.until = Some(at);
            over.push((symptom.node.clone(), symptom.signal.clone()));
        }
    }
    let any = !over.is_empty();
    for (node, signal) in over {
        incident.enter(at, Happening::Relieved { node, signal });
    }
    any
}

impl Incident {
    fn enter(&mut self, at: Second, what: Happening) {
        if self.timeline.len() < MOST_LINES {
            // What was changed before it was noticed is told late, and belongs before it.
            let place = self.timeline.partition_point(|entry| entry.at <= at);
            self.timeline.insert(place, Entry { at, what });
        }
    }
}
