//! Events of incidents in a Kubernetes cluster: written to its API server by server-side apply, so that `kubectl get events` there tells them.

use crate::kubernetes::Kubernetes;
use crate::outside::Outside;
use crate::world::World;
use http::request::Builder;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait; when there are more, new ones are left out.
pub const MOST_WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;

/// Writes what comes, one after the other. Ends with the channel.
pub async fn send(kubernetes: Kubernetes, mut events: mpsc::Receiver<Value>, world: World) {
    let outside = Outside::new(world).trusting(kubernetes.roots.clone());
    let mut failing = false;
    while let Some(event) = events.recv().await {
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            let written = tokio::time::timeout(PATIENCE, write(&kubernetes, &outside, &event)).await;
            match written.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
                Ok(()) => {
                    last.clear();
                    break;
                }
                Err(why) => last = why,
            }
            tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
        }
        // Once is enough while nothing changes.
        if !last.is_empty() && !failing {
            tracing::warn!(api = %kubernetes.api, why = %last, "Events of incidents are not written to the cluster");
        }
        failing = !last.is_empty();
    }
}

async fn write(kubernetes: &Kubernetes, outside: &Outside, event: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&event["metadata"]["namespace"]), text(&event["metadata"]["name"]));
    let (kind, service) = (&event["involvedObject"]["kind"], text(&event["involvedObject"]["name"]));
    let mut said = event.clone();
    // Its objects have other uids there, and incidents are none of its objects.
    said["metadata"] = json!({"name": name, "namespace": namespace, "labels": event["metadata"]["labels"]});
    if let Some(fields) = said.as_object_mut() {
        fields.remove("related");
    }
    if let Some(about) = said["involvedObject"].as_object_mut() {
        about.remove("uid");
    }
    if kind == "Service" {
        let request = bearing(kubernetes, Request::get(format!("{}/services/{service}", place(kubernetes, &namespace))))?;
        let (status, answer) = outside.ask(request.body(String::new()).map_err(|error| error.to_string())?).await?;
        let found: Value = serde_json::from_str(&answer).unwrap_or_default();
        // Without it `kubectl describe service` does not find the Event, and `kubectl get events` does.
        if let (StatusCode::OK, Some(uid)) = (status, found["metadata"]["uid"].as_str()) {
            said["involvedObject"]["uid"] = uid.into();
        }
    }
    let uri = format!("{}/events/{name}?fieldManager=tautline.dev&force=true", place(kubernetes, &namespace));
    let request = bearing(kubernetes, Request::patch(uri).header(header::CONTENT_TYPE, "application/apply-patch+yaml"))?;
    let (status, _) = outside.ask(request.body(said.to_string()).map_err(|error| error.to_string())?).await?;
    match status {
        status if status.is_success() => Ok(()),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(format!("it answered {status}: let the control plane's service account create and patch events, and get services"))
        }
        status => Err(format!("it answered {status}")),
    }
}

fn place(kubernetes: &Kubernetes, namespace: &str) -> String {
    format!("{}/api/v1/namespaces/{namespace}", kubernetes.api.trim_end_matches('/'))
}

fn bearing(kubernetes: &Kubernetes, request: Builder) -> Result<Builder, String> {
    Ok(match kubernetes.bearer()? {
        Some(bearer) => request.header(header::AUTHORIZATION, bearer),
        None => request,
    })
}
