//! What the workers of a proxy share about the health of endpoints: which services are in use, and who fails the checks. Whoever asks
//! the endpoints is `probe`.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use taut_plan::ClusterKey;
use taut_plan::health::Unwell;
use tokio::sync::Notify;

/// A service that was not used for this long is not asked about any more.
const KEPT: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Checks {
    unwell: ArcSwap<Unwell>,
    version: AtomicU64,
    /// When each was used last, by host and port.
    used: Mutex<BTreeMap<(Arc<str>, u16), Duration>>,
    noted: Notify,
}

impl Checks {
    /// Cheap: tells a worker that it is time for `Live::judge`.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn unwell(&self) -> Arc<Unwell> {
        self.unwell.load_full()
    }

    pub fn publish(&self, unwell: Unwell) {
        self.unwell.store(Arc::new(unwell));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Notes that traffic went to these clusters.
    pub fn note_used(&self, keys: Vec<ClusterKey>, now: Duration) {
        if !keys.is_empty() {
            self.used.lock().extend(keys.into_iter().map(|key| ((key.host, key.port), now)));
            self.noted.notify_one();
        }
    }

    /// Resolves when traffic was noted since the last time.
    pub async fn in_use_again(&self) {
        self.noted.notified().await;
    }

    /// The services that are in use, as clusters without a subset.
    pub fn in_use(&self, now: Duration) -> Vec<ClusterKey> {
        let mut used = self.used.lock();
        used.retain(|_, last| now < *last + KEPT);
        used.keys().map(|(host, port)| ClusterKey { host: host.clone(), port: *port, subset: None }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_in_use_for_a_while_and_once_for_all_its_subsets() {
        let checks = Checks::default();
        let key = |subset: Option<&str>| ClusterKey { host: "a".into(), port: 80, subset: subset.map(Into::into) };
        checks.note_used(vec![key(Some("v1")), key(Some("v2")), key(None)], Duration::from_secs(1));
        assert_eq!(checks.in_use(Duration::from_secs(300)), [key(None)]);
        assert!(checks.in_use(Duration::from_secs(301)).is_empty());
    }
}
