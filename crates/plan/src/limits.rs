//! Circuit limits and retry budgets of one cluster, as counters. Connections are the pool's to count: it reads
//! `Cluster::limits.max_connections`.

use crate::cluster::Cluster;
use std::fmt;

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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: u32,
    pub(crate) pending: u32,
    pub(crate) retries: u32,
}

impl Counters {
    pub(crate) fn admit(&mut self, cluster: &Cluster, workers: u32) -> Result<(), Overflow> {
        take(&mut self.requests, cluster.limits.max_requests, workers).map_err(Overflow::Requests)
    }

    pub(crate) fn wait(&mut self, cluster: &Cluster, workers: u32) -> Result<(), Overflow> {
        take(&mut self.pending, cluster.limits.max_pending, workers).map_err(Overflow::Pending)
    }

    /// A retry fits when `max_retries` allows it, and retries in flight are below `percent` of the requests in flight or below
    /// `min_concurrency` (Envoy's `RetryBudget`; the budget holds for each worker by itself).
    pub(crate) fn retry(&mut self, cluster: &Cluster, workers: u32) -> bool {
        let budget = &cluster.retry_budget;
        let by_percent = (budget.percent / 100.0 * f64::from(self.requests)) as u32;
        let fits = self.retries < by_percent.max(budget.min_concurrency);
        fits && take(&mut self.retries, cluster.limits.max_retries, workers).is_ok()
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
