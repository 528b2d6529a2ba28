//! The edges that are told apart: at most so many at a time, the busiest. What finds no room is summed as `other`, so totals stay right
//! however many names the mesh invents.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use taut_model::signal::{Edge, Reporter, Second};

/// An edge that nothing passed for so long makes room.
const EXPIRES_AFTER: Second = 900;
/// How often weights are halved and the lightest looked for.
const WEIGH_EVERY: Second = 60;
/// Counters of edges that have no room: rows of a count-min sketch (Cormode, Muthukrishnan 2005).
const ROWS: usize = 4;
const WIDTH: usize = 1 << 14;

struct Known {
    seen: Second,
    weight: u64,
}

pub struct Table {
    limit: usize,
    edges: HashMap<Arc<Edge>, Known, foldhash::quality::RandomState>,
    /// The lightest of the last weighing, the very lightest last.
    light: Vec<(u64, Arc<Edge>)>,
    /// How busy those without room are.
    outside: Vec<u32>,
    hashers: [RandomState; ROWS],
    weighed: Second,
    others: [Arc<Edge>; 2],
    overflow: u64,
}

impl Table {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            edges: HashMap::default(),
            light: Vec::new(),
            outside: Vec::new(),
            hashers: std::array::from_fn(|_| RandomState::new()),
            weighed: 0,
            others: [Reporter::Source, Reporter::Destination].map(|reporter| Arc::new(Edge::other(reporter))),
            overflow: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Reports of edges that had no room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The one address of an edge, or the edge that stands for all that have no room.
    pub fn admit(&mut self, edge: Arc<Edge>, weight: u64, now: Second) -> Arc<Edge> {
        if edge.is_other() {
            return self.others[edge.reporter as usize].clone();
        }
        if let Some((address, _)) = self.edges.get_key_value(&edge) {
            let address = address.clone();
            if let Some(known) = self.edges.get_mut(&edge) {
                known.seen = now;
                known.weight = known.weight.saturating_add(weight);
            }
            return address;
        }
        let weight = if self.edges.len() < self.limit { weight } else { self.weigh_outside(&edge, weight) };
        if self.edges.len() >= self.limit && !self.make_room(weight) {
            self.overflow += 1;
            return self.others[edge.reporter as usize].clone();
        }
        self.edges.insert(edge.clone(), Known { seen: now, weight });
        edge
    }

    /// How busy an edge without room has been, about.
    fn weigh_outside(&mut self, edge: &Arc<Edge>, weight: u64) -> u64 {
        self.outside.resize(ROWS * WIDTH, 0);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let mut least = u32::MAX;
        for (row, hasher) in self.hashers.iter().enumerate() {
            let counter = &mut self.outside[row * WIDTH + hasher.hash_one(edge) as usize % WIDTH];
            *counter = counter.saturating_add(weight);
            least = least.min(*counter);
        }
        least.into()
    }

    /// Has an edge go that is much lighter, if there is one.
    fn make_room(&mut self, weight: u64) -> bool {
        while let Some((light, edge)) = self.light.last() {
            if light.saturating_mul(2) >= weight {
                return false;
            }
            let still = self.edges.get(edge).is_some_and(|known| known.weight <= *light);
            if still {
                self.edges.remove(edge);
            }
            self.light.pop();
            if still {
                return true;
            }
        }
        false
    }

    /// Forgets what nothing passes any more. To be called now and then.
    pub fn tend(&mut self, now: Second) {
        if self.weighed <= now && now < self.weighed + WEIGH_EVERY {
            return;
        }
        self.weighed = now;
        self.edges.retain(|_, known| {
            known.weight /= 2;
            known.seen + EXPIRES_AFTER >= now
        });
        self.outside.iter_mut().for_each(|counter| *counter /= 2);
        self.light.clear();
        if self.edges.len() * 10 >= self.limit * 9 {
            let mut all: Vec<(u64, Arc<Edge>)> = self.edges.iter().map(|(edge, known)| (known.weight, edge.clone())).collect();
            let some = (self.limit / 10).max(1).min(all.len());
            all.select_nth_unstable_by_key(some - 1, |(weight, _)| *weight);
            all.truncate(some);
            all.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
            self.light = all;
        }
    }
}
