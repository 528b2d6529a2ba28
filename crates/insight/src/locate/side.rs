//! What one of the two sides of a link has seen, before and now: reports of its parts added up.

use super::situation::{Seen, Span, Spread};
use std::borrow::Cow;

/// One side's report; borrowed as long as there is only one of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Side<'a> {
    pub before: Cow<'a, Span>,
    pub now: Cow<'a, Span>,
    pub spread: Spread,
}

impl<'a> Side<'a> {
    pub fn of(seen: &'a Seen) -> Self {
        Self { before: seen.before.sane(), now: seen.now.sane(), spread: seen.spread }
    }

    /// Adds the report of another part.
    pub fn merge(&mut self, seen: &Seen) {
        self.add(&seen.before, &seen.now);
        // Parts of a link are alike: the widest speaks for all.
        let widest = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        self.spread.mean_ms = widest(self.spread.mean_ms, seen.spread.mean_ms);
        self.spread.gap_ms = widest(self.spread.gap_ms, seen.spread.gap_ms);
        self.spread.failures = widest(self.spread.failures, seen.spread.failures);
    }

    pub fn add(&mut self, before: &Span, now: &Span) {
        self.before.to_mut().merge(before);
        self.now.to_mut().merge(now);
    }

    pub fn is_silent(&self) -> bool {
        self.now.attempts() <= 0.0 && self.now.in_flight <= 0.0
    }
}
