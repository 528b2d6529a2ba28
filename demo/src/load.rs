//! Steady traffic: so many visits a second, on a schedule that does not wait for slow answers.

use crate::client::Upstreams;
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the generator saw so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub sent: AtomicU64,
    pub good: AtomicU64,
    pub bad: AtomicU64,
}

/// What visitors ask for, in turn: people open the page, programs ask for the stars alone.
const VISITS: [&str; 5] = ["/productpage", "/productpage", "/productpage", "/api/v1/products/0/ratings", "/productpage"];

/// Visits `site` `rate` times a second until `stop`. Every tenth visitor is `jason`, so that rules on the user show. At most 256 requests are
/// open at a time: beyond that a request counts as bad without being sent, so a stuck mesh is not buried.
pub async fn run(site: String, rate: f64, seen: Arc<Seen>, stop: impl Future<Output = ()>) {
    let client = Upstreams::new("visitor", None, String::new(), None);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate.clamp(0.1, 10_000.0)));
    let open = Arc::new(tokio::sync::Semaphore::new(256));
    let mut stop = std::pin::pin!(stop);
    for (turn, path) in VISITS.iter().cycle().enumerate() {
        tokio::select! {
            biased;
            () = &mut stop => return,
            _ = ticks.tick() => {}
        }
        seen.sent.fetch_add(1, Ordering::Relaxed);
        let Ok(permit) = open.clone().try_acquire_owned() else {
            seen.bad.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (client, url, seen) = (client.clone(), format!("{site}{path}"), seen.clone());
        tokio::spawn(async move {
            let mut headers = HeaderMap::new();
            if turn % 10 == 9 {
                headers.insert("end-user", HeaderValue::from_static("jason"));
            }
            let count = match client.get(&url, &headers, Duration::from_secs(30)).await {
                Ok(reply) if reply.status.is_success() => &seen.good,
                _ => &seen.bad,
            };
            count.fetch_add(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}
