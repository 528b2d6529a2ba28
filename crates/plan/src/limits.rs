//! Circuit limits and retry budgets of one cluster, as counters. Connections are the pool's to count: it reads
//! `Cluster::limits.max_connections`.

use crate::cluster::Cluster;
use crate::recent::{Bucket, Recent};
use std::fmt;
use std::time::Duration;

/// A limit that an exchange ran into; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// `max_requests` are in flight.
    Requests(u32),
    /// `max_pending` are waiting for a connection.
    Pending(u32),
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(limit) => {
                write!(f, "{limit} requests are in flight to this service, which is its limit (DestinationRule http2MaxRequests)")
            }
            Self::Pending(limit) => {
                write!(f, "{limit} requests wait for a connection to this service, which is its limit (DestinationRule http1MaxPendingRequests)")
            }
        }
    }
}
impl std::error::Error for Overflow {}

/// What is under way in one cluster, seen by one worker.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: u32,
    pub(crate) pending: u32,
    pub(crate) retries: u32,
    /// For a budget over time.
    recent: Option<Box<Recent>>,
    /// Of the retries that are allowed in any case.
    free: Option<Bucket>,
}

impl Counters {
    pub(crate) fn admit(&mut self, cluster: &Cluster, workers: u32, now: Duration) -> Result<(), Overflow> {
        take(&mut self.requests, cluster.limits.max_requests, workers).map_err(Overflow::Requests)?;
        if !cluster.retry_budget.interval.is_zero() {
            self.recent.get_or_insert_default().request(now, cluster.retry_budget.interval);
        }
        Ok(())
    }

    pub(crate) fn wait(&mut self, cluster: &Cluster, workers: u32) -> Result<(), Overflow> {
        take(&mut self.pending, cluster.limits.max_pending, workers).map_err(Overflow::Pending)
    }

    /// A retry fits when `max_retries` allows it, and retries in flight are below `percent` of the requests in flight or below
    /// `min_concurrency` (Envoy's `RetryBudget`), or within the rate that is allowed in any case; with an interval, those of the interval
    /// count in place of those in flight (GEP-3388). The budget holds for each worker by itself.
    pub(crate) fn retry(&mut self, cluster: &Cluster, workers: u32, now: Duration) -> bool {
        let budget = &cluster.retry_budget;
        let share = |requests: u32| (budget.percent / 100.0 * f64::from(requests)) as u32;
        let by_percent = match &mut self.recent {
            Some(recent) if !budget.interval.is_zero() => {
                let (requests, retries) = recent.counted(now, budget.interval);
                retries < share(requests)
            }
            _ => self.retries < share(self.requests),
        };
        let fits = by_percent || self.retries < budget.min_concurrency || self.is_free(cluster, workers, now);
        let taken = fits && take(&mut self.retries, cluster.limits.max_retries, workers).is_ok();
        if let (true, Some(recent)) = (taken, &mut self.recent) {
            recent.retry(now, budget.interval);
        }
        taken
    }

    fn is_free(&mut self, cluster: &Cluster, workers: u32, now: Duration) -> bool {
        let Some(rate) = cluster.retry_budget.min_rate else { return false };
        let count = rate.count.div_ceil(workers.max(1));
        self.free.get_or_insert_with(|| Bucket::full(count, now)).take(count, rate.interval, now)
    }
}

/// Each worker has its part of a limit, rounded up, so that a limit above 0 lets every worker do something.
fn take(count: &mut u32, limit: Option<u32>, workers: u32) -> Result<(), u32> {
    match limit {
        Some(limit) if *count >= limit.div_ceil(workers.max(1)) => Err(limit),
        _ => {
            *count = count.saturating_add(1);
            Ok(())
        }
    }
}
