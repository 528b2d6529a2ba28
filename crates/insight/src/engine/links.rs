//! What passed between services: what is usual of each link, and what passed in the last half minute; for the search for causes.

use crate::locate::{Seen, Span, Spread};
use crate::tick::{Flow, Node, Part};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use taut_model::signal::{Reporter, Second, UNKNOWN};

/// Seconds of a cell, and cells that are kept: what is older is what was before.
const CELL: Second = 2;
const CELLS: usize = 15;
/// After how many seconds what was before counts half.
const HALF_LIFE: f64 = 600.0;
/// What began so many seconds before it was noticed.
const LEAD: Second = 2;
/// Links that are remembered; those of which nothing was heard for longest go first.
const MOST: usize = 60_000;
/// A link of which nothing was heard for so long is forgotten.
const FORGET: Second = 24 * 3600;
/// What is noticed may have begun so many seconds before.
const ONSET: Second = 10;
/// When less than this is known of the time before, in seconds, the latest of it counts too.
const SHORT: f64 = 60.0;
/// Requests that were answered, after which a caller is one that is expected.
const KNOWN: f64 = 20.0;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    source: Node,
    destination: Node,
    part: Option<Part>,
    reporter: Reporter,
}

impl Key {
    fn is_of(&self, flow: &Flow) -> bool {
        let part = Some(&flow.part).filter(|part| is_known(part));
        self.source == flow.source && self.destination == flow.destination && self.part.as_ref() == part && self.reporter == flow.reporter
    }
}

fn is_known(part: &Part) -> bool {
    &*part.workload != UNKNOWN
}

/// How it stands with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Well,
    /// It has a part in an incident that is open still.
    Concerned,
    /// Something is wrong with it now.
    Ill,
}

/// What passed in [`CELL`] seconds.
#[derive(Clone, Debug)]
struct Cell {
    begin: Second,
    passed: Span,
    /// One of the two was ill then: it is no example of what is usual.
    ill: bool,
}

#[derive(Clone, Debug)]
struct Link {
    key: Key,
    /// Where its two are, and where the flow went that came after it the last time.
    pair: usize,
    next: usize,
    external: bool,
    before: Span,
    recent: VecDeque<Cell>,
    /// Mean duration per cell: its usual value and how far cells are from it, in milliseconds.
    mean_ms: f64,
    deviation_ms: f64,
    cells: f64,
    heard: Second,
    /// The tick that came last.
    last: Second,
    /// Up to when `before` tells.
    learnt_to: Second,
    /// One of the two was ill at the last look.
    ill: bool,
}

/// Only looked up in: what is told does not depend on its order.
type Places<K> = HashMap<K, usize, BuildHasherDefault<DefaultHasher>>;

/// What passes each link, and how services call each other.
#[derive(Clone, Debug, Default)]
pub struct Links {
    links: Vec<Link>,
    places: Places<Key>,
    /// Requests that were answered, by who asked whom.
    pairs: Vec<f64>,
    places_of_pairs: Places<(Node, Node)>,
    callees: BTreeMap<Node, BTreeSet<Node>>,
    callers: BTreeMap<Node, BTreeSet<Node>>,
    /// Where the latest flow went.
    latest: usize,
}

impl Links {
    /// Takes what passed, and says whether these two have spoken often enough before that one who is refused is missed.
    pub fn observe(&mut self, at: Second, span: Second, flow: &Flow) -> bool {
        let passed = Span::of(&flow.signals, 0.0);
        let place = self.place(flow);
        let link = &mut self.links[place];
        let answered = &mut self.pairs[link.pair];
        let known = *answered >= KNOWN;
        *answered += (passed.requests - passed.failures.iter().map(|(_, times)| times).sum::<f64>()).max(0.0);
        link.external |= flow.external;
        link.heard = at + span;
        let cell = at / CELL * CELL;
        match link.recent.back_mut() {
            // Several routes of a link in one tick stand beside each other.
            Some(newest) if newest.begin >= cell && link.last == at => newest.passed.merge(&passed),
            Some(newest) if newest.begin >= cell => follow(&mut newest.passed, &passed),
            _ => link.recent.push_back(Cell { begin: cell, passed, ill: false }),
        }
        link.last = at;
        known
    }

    /// Where the link of a flow is. Flows mostly come in the order of the tick before: then no name is looked up.
    fn place(&mut self, flow: &Flow) -> usize {
        let expected = self.links.get(self.latest).map_or(0, |link| link.next);
        let place = match self.links.get(expected).is_some_and(|link| link.key.is_of(flow)) {
            true => expected,
            false => self.looked_up(flow),
        };
        if let Some(latest) = self.links.get_mut(self.latest) {
            latest.next = place;
        }
        self.latest = place;
        place
    }

    fn looked_up(&mut self, flow: &Flow) -> usize {
        let part = Some(flow.part.clone()).filter(is_known);
        let key = Key { source: flow.source.clone(), destination: flow.destination.clone(), part, reporter: flow.reporter };
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let pair = self.pair(&key, 0.0);
        self.links.push(Link::new(key.clone(), pair));
        self.places.insert(key, self.links.len() - 1);
        self.links.len() - 1
    }

    /// Where the two of a link are; `answered` so often if they are new.
    fn pair(&mut self, key: &Key, answered: f64) -> usize {
        let (source, destination) = (key.source.clone(), key.destination.clone());
        let place = *self.places_of_pairs.entry((source.clone(), destination.clone())).or_insert(self.pairs.len());
        if place == self.pairs.len() {
            self.callees.entry(source.clone()).or_default().insert(destination.clone());
            self.callers.entry(destination).or_default().insert(source);
            self.pairs.push(answered);
        }
        place
    }

    /// Lets time pass: what left the last half minute is learnt from, unless something was wrong there then.
    pub fn pass(&mut self, at: Second, state: &dyn Fn(&Node) -> State) {
        if !at.is_multiple_of(CELL) {
            return;
        }
        let oldest = at.saturating_sub(CELL * CELLS as Second);
        for link in &mut self.links {
            let state = state(&link.key.destination).max(state(&link.key.source));
            link.pass(oldest, at, state);
        }
        if at.is_multiple_of(600) || self.links.len() > MOST {
            self.forget(at);
        }
    }

    fn forget(&mut self, at: Second) {
        let before = self.links.len();
        self.links.retain(|link| at.saturating_sub(link.heard) < FORGET);
        if self.links.len() > MOST {
            let mut heard: Vec<Second> = self.links.iter().map(|link| link.heard).collect();
            heard.sort_unstable();
            let bound = heard[self.links.len() - MOST * 3 / 4];
            self.links.retain(|link| link.heard > bound);
        }
        if self.links.len() < before {
            self.count_anew();
        }
    }

    /// Some links are gone: the others have other places.
    fn count_anew(&mut self) {
        let pairs = std::mem::take(&mut self.pairs);
        let links = std::mem::take(&mut self.links);
        *self = Self::default();
        for mut link in links {
            link.pair = self.pair(&link.key, pairs[link.pair]);
            self.places.insert(link.key.clone(), self.links.len());
            self.links.push(link);
        }
    }

    /// Services around `nodes`: what they call, over any number of hops, and who calls any of these.
    pub fn seen(&self, nodes: &[Node], began: Second, at: Second) -> Vec<Seen> {
        let from = began.saturating_sub(LEAD).max(at.saturating_sub(CELL * CELLS as Second)) / CELL * CELL;
        let near: BTreeSet<Node> = nodes.iter().flat_map(|node| reach(node, |node| self.callees.get(node).into_iter().flatten())).collect();
        let near: BTreeSet<&Node> = near.iter().chain(near.iter().flat_map(|node| self.callers.get(node)).flatten()).collect();
        let mut wanted: Vec<&Link> = self.links.iter().filter(|link| near.contains(&link.key.destination)).collect();
        wanted.sort_by(|one, other| one.key.cmp(&other.key));
        wanted.into_iter().map(|link| link.seen(from, at)).collect()
    }

    /// A service, all that it calls, and all that call it, over any number of hops. Users are no relation.
    pub fn relatives(&self, node: &Node) -> BTreeSet<Node> {
        let mut all = reach(node, |node| self.callees.get(node).into_iter().flatten());
        all.extend(reach(node, |node| self.callers.get(node).into_iter().flatten()));
        all.remove(&Node::outside());
        all
    }

    /// Calls between a service and those that nobody calls, at least.
    pub fn depth(&self, node: &Node) -> usize {
        let mut ring: BTreeSet<&Node> = [node].into();
        let mut known = ring.clone();
        let mut depth = 0;
        loop {
            let is_edge = |node: &Node| node.is_outside() || self.callers.get(node).is_none_or(BTreeSet::is_empty);
            if ring.iter().any(|node| is_edge(node)) {
                return depth;
            }
            let callers: BTreeSet<&Node> = ring.iter().filter_map(|node| self.callers.get(*node)).flatten().collect();
            ring = callers.difference(&known).copied().collect();
            if ring.is_empty() {
                return usize::MAX;
            }
            known.extend(&ring);
            depth += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }
}

impl Link {
    fn new(key: Key, pair: usize) -> Self {
        let (before, recent) = Default::default();
        let (mean_ms, deviation_ms, cells) = (0.0, 0.0, 0.0);
        Self { key, pair, next: 0, external: false, before, recent, mean_ms, deviation_ms, cells, heard: 0, last: 0, learnt_to: 0, ill: false }
    }

    /// Lets time pass: what is older than `oldest` is learnt, or left out. What came while somebody was ill is left out also when it is that
    /// old only after that has ended.
    fn pass(&mut self, oldest: Second, end: Second, state: State) {
        if self.learnt_to == 0 {
            self.learnt_to = self.recent.front().map_or(oldest, |cell| cell.begin);
        }
        if state == State::Ill {
            let from = end.saturating_sub(if self.ill { CELL } else { ONSET });
            self.recent.iter_mut().filter(|cell| cell.begin >= from).for_each(|cell| cell.ill = true);
        }
        self.ill = state == State::Ill;
        let learn = state == State::Well;
        if learn {
            let ill = self.recent.iter().filter(|cell| cell.begin < oldest && cell.ill).count();
            self.fade(oldest.saturating_sub(self.learnt_to).saturating_sub(ill as Second * CELL));
        }
        self.learnt_to = self.learnt_to.max(oldest);
        while let Some(cell) = self.recent.pop_front_if(|cell| cell.begin < oldest || cell.begin > end) {
            if learn && cell.begin < oldest && !cell.ill {
                self.learn(&cell.passed);
            }
        }
    }

    fn learn(&mut self, cell: &Span) {
        if cell.timed > 0.0 {
            let mean = cell.time_ms / cell.timed;
            self.cells += 1.0;
            let weight = (1.0 / self.cells).max(0.01);
            self.deviation_ms += weight * ((mean - self.mean_ms).abs() - self.deviation_ms);
            self.mean_ms += weight * (mean - self.mean_ms);
        }
        follow(&mut self.before, cell);
    }

    /// Whether anything came or not: seconds that passed count, and make what was before them count less.
    fn fade(&mut self, passed: Second) {
        if passed == 0 {
            return;
        }
        let fade = (-(passed as f64) / HALF_LIFE * std::f64::consts::LN_2).exp();
        let before = &mut self.before;
        for sum in [&mut before.seconds, &mut before.requests, &mut before.timed, &mut before.time_ms, &mut before.squares] {
            *sum *= fade;
        }
        before.failures.iter_mut().for_each(|(_, times)| *times *= fade);
        before.failures.retain(|(_, times)| *times > 1e-3);
        before.seconds += passed as f64;
        before.in_flight *= 1.0 - (passed as f64 * std::f64::consts::LN_2 / HALF_LIFE).min(1.0);
    }

    /// What passed before `from`. Of a link that is new, or was ill most of the time, what is not learnt yet counts too.
    fn before(&self, from: Second) -> Span {
        let mut before = self.before.clone();
        if before.seconds < SHORT {
            for cell in self.recent.iter().filter(|cell| cell.begin < from && !cell.ill) {
                follow(&mut before, &cell.passed);
                before.seconds += CELL as f64;
            }
        }
        before
    }

    fn seen(&self, from: Second, at: Second) -> Seen {
        let mut now = Span::default();
        self.recent.iter().filter(|cell| (from..=at).contains(&cell.begin)).for_each(|cell| follow(&mut now, &cell.passed));
        now.seconds = (at + 1).saturating_sub(from) as f64;
        Seen {
            source: self.key.source.clone(),
            destination: self.key.destination.clone(),
            part: self.key.part.clone(),
            external: self.external,
            reporter: self.key.reporter,
            before: self.before(from),
            now,
            // A mean deviation is 0.8 standard deviations.
            spread: Spread { mean_ms: (self.cells >= 5.0).then_some(1.25 * self.deviation_ms), ..Spread::default() },
        }
    }
}

/// Adds what passed in the span that follows: of what is under way, the most counts.
fn follow(sum: &mut Span, later: &Span) {
    let (seconds, in_flight) = (sum.seconds, sum.in_flight.max(later.in_flight));
    sum.merge(later);
    (sum.seconds, sum.in_flight) = (seconds, in_flight);
}

/// A service and all that can be reached from it.
fn reach<'a, I: Iterator<Item = &'a Node>>(from: &'a Node, next: impl Fn(&Node) -> I) -> BTreeSet<Node> {
    let mut reached = BTreeSet::from([from.clone()]);
    let mut waiting = vec![from];
    while let Some(node) = waiting.pop() {
        for neighbour in next(node) {
            if reached.insert(neighbour.clone()) {
                waiting.push(neighbour);
            }
        }
    }
    reached
}
