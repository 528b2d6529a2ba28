//! `/taut/v1/profile`: where the CPU time or the memory of a proxy or of the control plane goes. For operators; one at a time in each
//! process, bounded, and nobody else can ask a proxy: its own admin listener has no such path.

use crate::proxies::{Proxies, Proxy};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use taut_observe::profile::{self, LONGEST_SECONDS, NoProfile};
use taut_wire::desk::{Profile, ask};

/// What stands for the control plane itself.
const OWN: &str = "control-plane";
const DEFAULT_SECONDS: u32 = 10;
/// To sample for the longest time, to name what was sampled, and to send it: just less than clients wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(29);

/// Whoever is no operator is to be kept away by the caller.
pub fn router<S: Clone + Send + Sync + 'static>(proxies: Proxies) -> Router<S> {
    Router::new().route("/taut/v1/profile", get(taken)).with_state(proxies)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `namespace/name`, a name that only one has, or `control-plane`.
    proxy: String,
    #[serde(default)]
    seconds: Option<u32>,
    /// Memory, not CPU time.
    #[serde(default)]
    heap: bool,
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({"error": why.into()}))).into_response()
}

async fn taken(State(proxies): State<Proxies>, Query(wanted): Query<Wanted>) -> Response {
    let seconds = if wanted.heap { 0 } else { wanted.seconds.unwrap_or(DEFAULT_SECONDS) };
    if !wanted.heap && !(1..=LONGEST_SECONDS).contains(&seconds) {
        return refuse(StatusCode::BAD_REQUEST, NoProfile::Length.to_string());
    }
    let told = match wanted.proxy == OWN {
        true => own(seconds).await.unwrap_or_else(|error| json!({"error": error.to_string()})),
        false => match named(&proxies, &wanted.proxy) {
            Ok(proxy) => of_proxy(&proxy, seconds).await,
            Err(why) => return refuse(StatusCode::NOT_FOUND, why),
        },
    };
    match told["error"].as_str() {
        Some(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
        None => Json(told).into_response(),
    }
}

async fn own(seconds: u32) -> Result<Value, NoProfile> {
    if seconds == 0 {
        return Ok(json!({"heap": profile::memory()}));
    }
    let sampling = profile::sample(seconds)?;
    tokio::time::sleep(sampling.length()).await;
    let cpu = tokio::task::spawn_blocking(|| sampling.finish()).await.map_err(|error| NoProfile::Refused(error.to_string()))??;
    Ok(json!({"pprof": STANDARD.encode(&cpu.pprof), "text": cpu.text}))
}

async fn of_proxy(proxy: &Proxy, seconds: u32) -> Value {
    let answer = proxy.line.ask(ask::What::Profile(Profile { seconds }), ANSWER_LIMIT).await;
    answer.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_else(
        || json!({"error": format!("{} has not answered; is its taut-proxy {} too old for it?", proxy.uid, proxy.hello.proxy_version)}),
    )
}

fn named(proxies: &Proxies, name: &str) -> Result<Proxy, String> {
    let all = proxies.all();
    let mut fitting = all.iter().filter(|proxy| proxy.uid == name || proxy.hello.name == name);
    match (fitting.next(), fitting.next()) {
        (Some(proxy), None) => Ok(proxy.clone()),
        (Some(one), Some(other)) => Err(format!("both {} and {} are called {name}; say which one", one.uid, other.uid)),
        (None, _) => {
            let known: Vec<&str> = all.iter().map(|proxy| proxy.uid.as_str()).collect();
            Err(format!("there is no proxy {name:?}; there are {OWN}, {}", known.join(", ")))
        }
    }
}
