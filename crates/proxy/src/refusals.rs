//! How often policies refuse requests, by reason, and how often dry runs would have.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use taut_observe::record::{ExchangeRecord, Reporter};

/// Policies come and go; their counters stay until there are so many.
const MOST: usize = 1000;

/// Counted by `AuthorizationPolicy namespace/name`.
#[derive(Default)]
pub struct Refusals {
    /// By reason, too.
    refused: Mutex<BTreeMap<(String, String), u64>>,
    would_be: Mutex<BTreeMap<String, u64>>,
}

impl Refusals {
    /// What a policy has not refused costs two comparisons.
    pub fn note(&self, record: &ExchangeRecord) {
        if record.edge.reporter != Reporter::Destination {
            return;
        }
        if let Some((failure, origin)) = record.failure.as_ref().and_then(|failure| Some((failure, failure.origin.as_ref()?))) {
            count(&mut self.refused.lock(), (failure.reason.clone(), origin.object.to_string()));
        }
        if let Some(origin) = &record.would_deny {
            count(&mut self.would_be.lock(), origin.object.to_string());
        }
    }

    /// Reason, policy and count.
    pub fn refused(&self) -> Vec<((String, String), u64)> {
        self.refused.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// Policy and count.
    pub fn would_be(&self) -> Vec<(String, u64)> {
        self.would_be.lock().iter().map(|(policy, count)| (policy.clone(), *count)).collect()
    }
}

fn count<K: Ord>(counters: &mut BTreeMap<K, u64>, key: K) {
    if counters.len() < MOST || counters.contains_key(&key) {
        *counters.entry(key).or_default() += 1;
    }
}
