//! What a packed file holds, and where: kept in memory so that a reader goes straight to the edges it wants.

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use taut_model::signal::{Edge, Second};

/// Edges and frames of a packed file.
#[derive(Debug)]
pub struct Directory {
    pub edges: Vec<Arc<Edge>>,
    /// Start and number of each frame.
    pub heads: Vec<(Second, u64)>,
    /// Where the counts of each edge begin in the file, and where those of the last end.
    pub counts: Vec<u32>,
    /// The same of durations.
    pub latency: Vec<u32>,
}

impl Directory {
    /// Bytes of memory, without those of the edges themselves.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.edges.len() * (size_of::<Arc<Edge>>() + 2 * size_of::<u32>()) + self.heads.len() * size_of::<(Second, u64)>()
    }
}

/// Where the bytes of the edge at a place are.
pub fn place(ends: &[u32], edge: usize) -> Range<u64> {
    match ends.get(edge..edge + 2) {
        Some([from, to]) => u64::from(*from)..u64::from(*to),
        _ => 0..0,
    }
}

/// The one address of each edge that files name, so that an edge in thirty files is in memory once.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashSet<Arc<Edge>, RandomState>>);

impl Addresses {
    pub fn of(&self, edge: Edge) -> Arc<Edge> {
        let mut known = self.0.lock();
        if let Some(address) = known.get(&edge) {
            return address.clone();
        }
        let address = Arc::new(edge);
        known.insert(address.clone());
        address
    }

    /// The address that others should have too.
    pub fn adopt(&self, edge: &Arc<Edge>) {
        self.0.lock().replace(edge.clone());
    }

    /// Forgets what nobody holds.
    pub fn tend(&self) {
        self.0.lock().retain(|edge| Arc::strong_count(edge) > 1);
    }
}
