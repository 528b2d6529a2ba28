//! What only proxies know, asked over their desks: their certificates, which endpoints they have ejected, which exchanges failed.

use crate::proxies::Proxy;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use taut_wire::desk::{Failed, ask};

/// One proxy's patience; a page waits a little longer at most.
const LIMIT: Duration = Duration::from_secs(1);
/// Exchanges that are shown of each reason.
const SHOWN: usize = 5;
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

/// The newest exchanges of a service that failed, as the proxies tell them that remember any; some of each reason. Each exchange once,
/// though two proxies may have seen it.
pub async fn failures(proxies: impl IntoIterator<Item = Proxy>, host: &str) -> Vec<Value> {
    let questions = proxies.into_iter().take(MOST).map(|proxy| async move {
        let asked = Failed { host: host.to_owned(), most: SHOWN as u32 };
        let json = proxy.line.ask(ask::What::Failed(asked), LIMIT).await?;
        let mut told: Value = serde_json::from_str(&json).ok()?;
        match told.get_mut("exchanges").map(Value::take) {
            Some(Value::Array(exchanges)) => Some(exchanges),
            _ => None,
        }
    });
    let told: Vec<Vec<Value>> = stream::iter(questions).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    newest(told.into_iter().flatten().collect())
}

/// Some of each reason, the newest first.
fn newest(mut exchanges: Vec<Value>) -> Vec<Value> {
    let text = |exchange: &Value, field: &str| exchange[field].as_str().unwrap_or_default().to_owned();
    // RFC 3339 in UTC: the order of the text is that of time but for fractions of a second.
    exchanges.sort_by_cached_key(|exchange| std::cmp::Reverse((text(exchange, "at"), text(exchange, "requestId"))));
    let (mut seen, mut by_reason) = (HashSet::new(), HashMap::<String, usize>::new());
    exchanges.retain(|exchange| {
        let reason = text(exchange, "reason");
        let new = seen.insert((text(exchange, "requestId"), reason.clone()));
        let count = by_reason.entry(reason).or_default();
        *count += usize::from(new);
        new && *count <= SHOWN
    });
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_exchange_is_told_once_and_the_newest_of_each_reason() {
        let at = |second: usize, id: &str, reason: &str| json!({"at": format!("2026-01-01T00:00:{second:02}Z"), "requestId": id, "reason": reason});
        let mut all: Vec<Value> = (0..9).map(|n| at(n, &format!("r{n}"), "timeout")).collect();
        all.extend([at(8, "r8", "timeout"), at(3, "x", "http_5xx"), json!("no exchange"), json!(null)]);
        let told = newest(all);
        let ids: Vec<&str> = told.iter().filter_map(|exchange| exchange["requestId"].as_str()).collect();
        assert_eq!(ids, ["r8", "r7", "r6", "r5", "r4", "x"]);
    }
}
