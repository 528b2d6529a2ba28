//! Bad and all requests by time, in a ring of buckets.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use taut_model::signal::Second;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Seconds in a bucket.
    width: Second,
    most: usize,
    /// Which bucket the last is, counted from 1970.
    newest: u64,
    /// Bad ones and all, the oldest first.
    buckets: VecDeque<(u64, u64)>,
}

impl Counts {
    /// `span` seconds in buckets of `width`.
    pub fn new(width: Second, span: Second) -> Self {
        // One more, as the newest is not whole.
        Self { width, most: (span / width) as usize + 1, newest: 0, buckets: VecDeque::new() }
    }

    pub fn covers(&self, window: Second) -> bool {
        window <= self.width * (self.most as u64 - 1)
    }

    pub fn add(&mut self, at: Second, bad: u64, all: u64) {
        let bucket = at / self.width;
        let (ahead, behind) = (bucket.saturating_sub(self.newest), self.newest.saturating_sub(bucket));
        if ahead.max(behind) >= self.most as u64 {
            self.buckets.clear();
        }
        if self.buckets.is_empty() {
            self.newest = bucket;
            self.buckets.push_back((0, 0));
        }
        while self.newest < bucket {
            self.newest += 1;
            self.buckets.push_back((0, 0));
            if self.buckets.len() > self.most {
                self.buckets.pop_front();
            }
        }
        // What is late counts where it belongs, if that is still kept.
        let late = (self.newest - bucket) as usize;
        let place = self.buckets.len().saturating_sub(late + 1);
        if let Some((bad_there, all_there)) = self.buckets.get_mut(place) {
            *bad_there = bad_there.saturating_add(bad);
            *all_there = all_there.saturating_add(all);
        }
    }

    /// Bad ones and all of a window that ends at `at`, to the width of a bucket.
    pub fn sum(&self, at: Second, window: Second) -> (u64, u64) {
        let first = (at.saturating_sub(window) / self.width).saturating_add(1);
        let last = at / self.width;
        let from_newest = self.buckets.iter().rev().zip((0..=self.newest).rev());
        from_newest
            .filter(|(_, bucket)| (first..=last).contains(bucket))
            .fold((0, 0), |(bad, all): (u64, u64), (counts, _)| (bad.saturating_add(counts.0), all.saturating_add(counts.1)))
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.buckets.capacity() * size_of::<(u64, u64)>()
    }
}
