//! What only proxies know, asked over their desks: their certificates, and which endpoints they have ejected.

use crate::proxies::Proxy;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;
use std::time::Duration;
use taut_wire::desk::ask;

/// One proxy's patience; a page waits a little longer at most.
const LIMIT: Duration = Duration::from_secs(1);
/// Proxies asked at the same time, and for one page at most.
const AT_ONCE: usize = 64;
const MOST: usize = 2000;

/// The configuration as each proxy tells it, by the proxy's uid; without those that did not answer in time.
pub async fn configurations(proxies: impl IntoIterator<Item = Proxy>) -> Vec<(String, Value)> {
    let questions = proxies.into_iter().take(MOST).map(|proxy| async move {
        let json = proxy.line.ask(ask::What::Config(true), LIMIT).await?;
        Some((proxy.uid, serde_json::from_str::<Value>(&json).ok()?))
    });
    let mut told: Vec<(String, Value)> = stream::iter(questions).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}
