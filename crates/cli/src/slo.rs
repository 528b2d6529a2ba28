//! `taut slo` and `taut forecast`: whether objectives are kept, how long their budgets last, and what load comes.

use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use http::StatusCode;
use serde_json::Value;
use taut_control::signal_routes;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut slo
  taut slo -n shop
  taut slo -o json | jq '.objectives[] | select(.alert == \"page\")'

An objective is an object:
  apiVersion: tautline.dev/v1alpha1
  kind: ServiceLevelObjective
  metadata: {name: reviews-available}
  spec:
    targetRefs: [{name: reviews}]
    target: 99.9              # percent of requests that must be good
    latency: {threshold: 250ms}   # leave it out, and requests that fail are bad")]
pub struct Arguments {
    /// Only objectives of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut forecast reviews
  taut forecast reviews.shop -o json | jq '.forecast'

Prometheus has taut_forecast_requests_per_second, for KEDA and the like.")]
pub struct ForecastArguments {
    /// NAME or NAME.NAMESPACE
    service: String,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub async fn slo(place: &Place, arguments: Arguments) -> Outcome {
    let mut answer = place.api()?.get("/taut/v1/objectives").await?.good()?;
    if let (Some(namespace), Some(all)) = (&arguments.namespace, answer["objectives"].as_array_mut()) {
        all.retain(|objective| objective["namespace"] == namespace.as_str());
    }
    match arguments.output {
        Format::Table => output::print(&standings(&answer)),
        format => output::structured(format, &answer),
    }
}

fn standings(answer: &Value) -> String {
    let all = rows(&answer["objectives"]);
    if all.is_empty() {
        return "no objective is set; `taut slo --help` shows one\n".to_owned();
    }
    let row = |objective: &Value| {
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let threshold = objective["thresholdMs"].as_f64().map_or_else(String::new, |threshold| format!(" under {threshold} ms"));
        let burn = |window: &str| {
            let found = rows(&objective["burn"]).iter().find(|burn| burn["window"] == window);
            found.map_or_else(|| "-".to_owned(), |burn| format!("{:.1}", number(&burn["rate"])))
        };
        let left = objective["exhaustedIn"].as_u64().map_or_else(|| "-".to_owned(), lasts);
        vec![
            format!("{}/{}", text(&objective["namespace"]), text(&objective["name"])),
            text(&objective["service"]),
            format!("{}%{threshold}", (number(&objective["target"]) * 1e7).round() / 1e5),
            format!("{:.1}%", number(&objective["budgetLeft"]) * 100.0),
            burn("5m"),
            burn("1h"),
            burn("6h"),
            left,
            text(&objective["alert"]),
        ]
    };
    output::table(&["objective", "service", "target", "budget left", "burn 5m", "burn 1h", "burn 6h", "gone in", "alert"], all.iter().map(row))
}

fn lasts(seconds: u64) -> String {
    match seconds {
        seconds @ 0..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

pub async fn forecast(place: &Place, arguments: ForecastArguments) -> Outcome {
    let api = place.api()?;
    let (name, namespace) = arguments.service.split_once('.').unwrap_or((&arguments.service, api.default_namespace()));
    let path = format!("/taut/v1/forecast/{}/{}", crate::get::escape(namespace), crate::get::escape(name));
    let answer = api.get(&path).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Failure::no(format!("no request to {name} in {namespace} was seen yet: a forecast needs some, and five minutes")));
    }
    let answer = answer.good()?;
    match arguments.output {
        Format::Table => output::print(&ahead(&answer)),
        format => output::structured(format, &answer),
    }
}

fn ahead(answer: &Value) -> String {
    let room = room(&answer["capacity"], answer["at"].as_u64().unwrap_or_default()) + &certificates(&answer["certificates"]);
    let forecast = rows(&answer["forecast"]);
    if forecast.is_empty() {
        return format!("too little is known of its load yet: a forecast needs five minutes\n{room}");
    }
    let rate = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let row = |ahead: &Value| {
        let until = ahead["at"].as_u64().map_or_else(String::new, signal_routes::text);
        let likely = format!("{} to {}", rate(&ahead["low80"]), rate(&ahead["high80"]));
        let certain = format!("{} to {}", rate(&ahead["low95"]), rate(&ahead["high95"]));
        vec![until, rate(&ahead["rate"]), likely, certain]
    };
    let table = output::table(&["until", "requests/s on average", "4 of 5 times", "19 of 20 times"], forecast.iter().map(row));
    let kept = match (answer["ready"].as_bool(), answer["coverage95"].as_f64(), answer["wape"].as_f64()) {
        (Some(true), Some(coverage), Some(off)) => {
            let times = rows(&answer["past"]).len();
            format!(
                "of the last {times} such forecasts {:.0}% held what came in 19 of 20; they were {:.0}% off on average\n",
                coverage * 100.0,
                off * 100.0
            )
        }
        _ => "less than an hour of forecasts was compared with what came: the intervals are guesses\n".to_owned(),
    };
    format!("{table}{kept}{room}")
}

/// How much of what it can do is used, and when all of it will be.
fn room(capacity: &Value, now: u64) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    if let Some(why) = capacity["unknown"].as_str() {
        return format!("capacity: not known; {why}\n");
    }
    let Some(workload) = capacity["workload"].as_str() else { return String::new() };
    let known = match capacity["inForce"].as_bool() {
        Some(true) => "its sidecar holds it to that now".to_owned(),
        _ => format!("its sidecar found that out {} before", lasts(now.saturating_sub(capacity["limitAt"].as_u64().unwrap_or(now)))),
    };
    let percent = |value: &Value| format!("{:.0}%", number(value) * 100.0);
    let when = |seconds: &Value, verb: &str| match seconds.as_u64() {
        Some(0) => Some("it is full now".to_owned()),
        Some(seconds) => Some(format!("it {verb} full within {}", lasts(seconds))),
        None => None,
    };
    let full = when(&capacity["reachedIn"], "is").or_else(|| when(&capacity["mayBeReachedIn"], "may be"));
    let full = full.unwrap_or_else(|| "it is not expected to be full within the forecast".to_owned());
    let farthest = rows(&capacity["forecast"]).last().map_or_else(String::new, |last| {
        format!(", {} on average over the next {}", percent(&last["headroom"]), lasts(last["horizonSeconds"].as_u64().unwrap_or_default()))
    });
    format!(
        "capacity: {workload} can work on {:.0} requests at a time ({known}); {:.1} are under way, {} is free{farthest}; {full}\n",
        number(&capacity["limit"]),
        number(&capacity["inFlight"]),
        percent(&capacity["headroom"]),
    )
}

/// Whose certificate ends first, and whether that is as it should be.
fn certificates(all: &Value) -> String {
    let first = &all["first"];
    let (Some(workload), Some(ends), Some(renewed)) = (first["workload"].as_str(), first["ends"].as_u64(), first["renewedFrom"].as_u64()) else {
        return String::new();
    };
    let (ends, renewed) = (signal_routes::text(ends), signal_routes::text(renewed));
    match first["alarm"].is_null() {
        true => format!("certificates: the first to end is that of {workload}, at {ends}; its sidecar renews it from {renewed} on\n"),
        false => format!(
            "certificates: that of {workload} ends at {ends}, and its sidecar has not renewed it since {renewed}: look at its log, and at `taut status`\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn room_is_told_in_a_line() {
        let forecast = json!([{"horizonSeconds": 600, "headroom": 0.7}, {"horizonSeconds": 3600, "headroom": 0.25}]);
        let capacity = json!({"workload": "shop/cart-v1", "limit": 24.0, "limitAt": 1000, "inForce": false, "inFlight": 6.04, "headroom": 0.75,
            "forecast": forecast, "reachedIn": null, "mayBeReachedIn": 3600});
        assert_eq!(
            room(&capacity, 1300),
            "capacity: shop/cart-v1 can work on 24 requests at a time (its sidecar found that out 5m before); 6.0 are under way, 75% is free, \
             25% on average over the next 60m; it may be full within 60m\n"
        );
        assert_eq!(room(&json!({"unknown": "nobody has said"}), 0), "capacity: not known; nobody has said\n");
    }

    #[test]
    fn the_first_certificate_to_end_is_told() {
        let first = json!({"workload": "shop/cart-v1", "ends": 86_400, "renewedFrom": 43_200, "alarm": null});
        assert_eq!(
            certificates(&json!({"workloads": 2, "first": first})),
            "certificates: the first to end is that of shop/cart-v1, at 1970-01-02T00:00:00Z; its sidecar renews it from 1970-01-01T12:00:00Z on\n"
        );
        let late = json!({"workload": "shop/cart-v1", "ends": 86_400, "renewedFrom": 43_200, "alarm": "warning"});
        assert!(certificates(&json!({"first": late})).contains("has not renewed it since 1970-01-01T12:00:00Z"));
        assert_eq!(certificates(&json!({"workloads": 0, "first": null})), "");
    }

    #[test]
    fn an_objective_is_a_line() {
        let burn = json!([{"window": "5m", "rate": 20.04}, {"window": "1h", "rate": 15.0}]);
        let objective = json!({"namespace": "shop", "name": "fast", "service": "shop/cart", "target": 0.999, "thresholdMs": 250.0, "budgetLeft": -0.5,
            "burn": burn, "alert": "page", "exhaustedIn": 0});
        let shown = standings(&json!({"objectives": [objective]}));
        let line = shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "shop/fast shop/cart 99.9% under 250 ms -50.0% 20.0 15.0 - 0m page");
    }
}
