//! `taut wait --for=live`: until every proxy that needs an object runs its newest generation.

use crate::api::{Api, collection, shown};
use crate::apply::unknown_kind;
use crate::output;
use crate::place::Place;
use crate::{Failure, Outcome};
use http::StatusCode;
use std::time::{Duration, Instant};
use taut_model::kinds::{self, Kind};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut wait --for=live
  taut wait --for=live virtualservice/reviews destinationrule/reviews --timeout 5s")]
pub struct Arguments {
    /// What to wait for
    #[arg(long = "for", value_name = "live", value_parser = ["live"])]
    wanted: String,
    /// KIND/NAME; none for everything that proxies can run
    objects: Vec<String>,
    #[arg(short, long)]
    namespace: Option<String>,
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

pub type Target = (&'static Kind, String, String);

pub async fn wait(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let namespace = arguments.namespace.as_deref().unwrap_or_else(|| api.default_namespace());
    let mut targets = Vec::new();
    for object in &arguments.objects {
        let (kind, name) =
            object.split_once('/').ok_or_else(|| Failure::cannot(format!("{object:?}: expected KIND/NAME, e.g. virtualservice/reviews")))?;
        let kind = kinds::named(kind).ok_or_else(|| Failure::cannot(unknown_kind(kind)))?;
        targets.push((kind, namespace.to_owned(), name.to_owned()));
    }
    match targets.is_empty() {
        true => until_all_live(&api, arguments.timeout).await,
        false => until_live(&api, &targets, arguments.timeout).await,
    }
}

/// Asks often at first, so that a change that is live in milliseconds is seen so.
fn pauses() -> impl Iterator<Item = Duration> {
    (0..).map(|n: u32| Duration::from_millis(5 << n.min(5)))
}

pub async fn until_live(api: &Api, targets: &[Target], limit: Duration) -> Outcome {
    let started = Instant::now();
    for (kind, namespace, name) in targets {
        for pause in pauses() {
            let namespace = if kind.namespaced { namespace } else { "-" };
            let group = if kind.group.is_empty() { kind.plural.to_owned() } else { format!("{}.{}", kind.plural, kind.group) };
            let answer = api.get(&format!("/taut/v1/live/{group}/{namespace}/{name}")).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Err(Failure::no(format!("there is no {}", shown(kind, name))));
            }
            let value = answer.good()?;
            if value["accepted"].as_bool() == Some(false) {
                return Err(Failure::no(format!("{} is not accepted: {}", shown(kind, name), value["message"].as_str().unwrap_or_default())));
            }
            let message = value["message"].as_str().unwrap_or_default().to_owned();
            if value["live"].as_bool() == Some(true) {
                output::tell(&format!("{} live after {} ms: {message}", shown(kind, name), started.elapsed().as_millis()));
                warn(api, kind, namespace, name).await?;
                break;
            }
            if started.elapsed() > limit {
                return Err(Failure::no(format!("{} is not live after {} ms: {message}", shown(kind, name), limit.as_millis())));
            }
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// Live is not the same as useful: says what the mesh found wrong with the object.
async fn warn(api: &Api, kind: &'static Kind, namespace: &str, name: &str) -> Outcome {
    let object = api.get(&format!("{}/{name}", collection(kind, Some(namespace)))).await?.value;
    let conditions = object["status"]["conditions"].as_array().into_iter().chain(object["status"]["parents"][0]["conditions"].as_array());
    for condition in conditions.flatten().filter(|condition| condition["status"] == "False") {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        output::say(&format!("warning: {}: {} ({}): {}", shown(kind, name), text("type"), text("reason"), text("message")));
    }
    Ok(())
}

async fn until_all_live(api: &Api, limit: Duration) -> Outcome {
    let started = Instant::now();
    for pause in pauses() {
        let status = api.get("/taut/v1/status").await?.good()?;
        let lagging = crate::status::lagging(&status).len();
        if lagging == 0 {
            output::tell(&format!(
                "everything is live in {} proxies after {} ms",
                status["proxies"].as_array().map_or(0, Vec::len),
                started.elapsed().as_millis()
            ));
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(Failure::no(format!("{lagging} objects are not live after {} ms; `taut status` names them", limit.as_millis())));
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
