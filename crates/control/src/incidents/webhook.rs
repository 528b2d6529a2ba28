//! Tells a webhook of incidents, in the format in which Alertmanager does (version 4 of its webhook receivers), so that whatever listens to
//! that listens to this.

use super::object::where_is;
use super::{Shown, word};
use crate::outside::Outside;
use crate::signal_routes::text;
use crate::world::World;
use http::{Request, header};
use serde_json::{Value, json};
use std::time::Duration;
use taut_insight::incident::Incident;
use tokio::sync::mpsc;

/// Messages that wait; when it is full the oldest matter least, and new ones are left out.
pub const MOST_WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts, in seconds: about a minute in all.
const ATTEMPTS: [u64; 5] = [1, 3, 8, 20, 30];

/// Sends what comes, one after the other, each until it is taken or a minute is over. Ends with the channel.
pub async fn send(url: String, mut messages: mpsc::Receiver<Value>, world: World) {
    let outside = Outside::new(world);
    while let Some(message) = messages.recv().await {
        let mut last = String::new();
        for (attempt, wait) in ATTEMPTS.iter().enumerate() {
            match post(&outside, &url, &message).await {
                Ok(()) => {
                    last.clear();
                    break;
                }
                Err(why) => last = why,
            }
            if attempt + 1 < ATTEMPTS.len() {
                tokio::time::sleep(Duration::from_secs(*wait)).await;
            }
        }
        if !last.is_empty() {
            tracing::warn!(%url, why = %last, "the webhook could not be told of an incident");
        }
    }
}

async fn post(outside: &Outside, url: &str, message: &Value) -> Result<(), String> {
    let request = Request::post(url).header(header::CONTENT_TYPE, "application/json").body(message.to_string()).map_err(|error| error.to_string())?;
    let answered = tokio::time::timeout(PATIENCE, outside.ask(request)).await.map_err(|_| "it did not answer in time".to_owned())?;
    let (status, _) = answered?;
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// One incident as Alertmanager tells of one alert.
pub fn message(shown: &Shown) -> Value {
    let Incident { id, opened, closed, subject, causes, .. } = &shown.incident;
    let status = if closed.is_some() { "resolved" } else { "firing" };
    let labels =
        json!({"alertname": "Incident", "incident": id, "namespace": subject.namespace(), "service": subject.name(), "severity": "critical"});
    let cause = causes.first().map_or_else(String::new, |cause| format!("{} {}", where_is(&cause.place), word(&cause.kind)));
    let annotations = json!({"summary": shown.story.title, "description": shown.story.summary, "cause": cause});
    let alert = json!({
        "status": status, "labels": labels, "annotations": annotations, "startsAt": text(*opened),
        "endsAt": closed.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), text), "generatorURL": "", "fingerprint": id,
    });
    json!({
        "version": "4", "groupKey": format!("{{}}:{{incident=\"{id}\"}}"), "truncatedAlerts": 0, "status": status, "receiver": "tautline",
        "groupLabels": {"incident": id}, "commonLabels": labels, "commonAnnotations": annotations, "externalURL": "", "alerts": [alert],
    })
}
