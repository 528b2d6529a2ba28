//! `taut incidents`: whether users are hurt, where it comes from, and on what evidence.

use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use http::StatusCode;
use serde_json::{Value, json};
use taut_control::signal_routes;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut incidents                        those that are open
  taut incidents --all                  and those that are over
  taut incidents ratings-6921f3c0       one: who is hurt, the likely causes, what happened when
  taut incidents ratings-6921f3c0 --evidence    and the figures that it rests on
  taut incidents -o json | jq '.incidents[0].causes[0]'

kubectl get incidents -A shows the same; Prometheus has taut_incidents_open.")]
pub struct Arguments {
    /// One incident, by its id
    id: Option<String>,
    /// Those that are over, too
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// The figures behind each sentence
    #[arg(long, requires = "id")]
    evidence: bool,
    /// How many to list
    #[arg(long, value_name = "COUNT", default_value_t = 20, conflicts_with = "id")]
    limit: usize,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn incidents(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    if let Some(id) = &arguments.id {
        let answer = api.get(&format!("/taut/v1/incidents/{}", crate::get::escape(id))).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Failure::no(format!("there is no incident {id}; `taut incidents --all` lists them")));
        }
        let view = answer.good()?;
        match arguments.output {
            Format::Table => output::print(&one(&view, arguments.evidence))?,
            format => output::structured(format, &view)?,
        }
        return Ok(());
    }
    let state = if arguments.all { "all" } else { "open" };
    let answer = api.get(&format!("/taut/v1/incidents?state={state}&limit={}", arguments.limit)).await?.good()?;
    match arguments.output {
        Format::Table => output::print(&list(&answer, arguments.all)),
        format => output::structured(format, &answer),
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn when(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), signal_routes::text)
}

/// `45s`, `12m`, `3h`.
fn lasted(incident: &Value, now: u64) -> String {
    let until = incident["closed"].as_u64().unwrap_or(now);
    match until.saturating_sub(incident["began"].as_u64().unwrap_or(until)) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

fn percent(share: &Value) -> String {
    share.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

/// `default/ratings`, `default/reviews v2`, `default/a -> default/b`.
pub fn place_of(place: &Value) -> String {
    let pair = |value: &Value, mark: &str| match value {
        Value::Array(two) if two.len() == 2 => format!("{}{mark}{}", text(&two[0]), two[1]["version"].as_str().unwrap_or(text(&two[1]))),
        other => text(other).to_owned(),
    };
    let Some((kind, value)) = place.as_object().and_then(|place| place.iter().next()) else { return "-".to_owned() };
    match kind.as_str() {
        "link" => pair(value, " -> "),
        "part" => pair(value, " "),
        "outside" => format!("{} (outside the mesh)", text(value)),
        _ => text(value).to_owned(),
    }
}

fn cause(incident: &Value) -> (String, String) {
    match rows(&incident["causes"]).first() {
        Some(first) => (format!("{} {}", place_of(&first["place"]), text(&first["kind"])), percent(&first["confidence"])),
        None => (text(&incident["verdict"]).to_owned(), "-".to_owned()),
    }
}

/// The table of an answer of `/taut/v1/incidents`, or of a replay.
pub fn list(answer: &Value, all: bool) -> String {
    let incidents = rows(&answer["incidents"]);
    if incidents.is_empty() {
        return if all { "no incident is known\n" } else { "nobody is hurt: no incident is open\n" }.to_owned();
    }
    let now = answer["at"].as_u64().unwrap_or_default();
    let row = |incident: &Value| {
        let (cause, confidence) = cause(incident);
        let began = when(&incident["began"]);
        let hurt = incident["hurt"].to_string();
        [text(&incident["id"]), text(&incident["state"]), &began, &lasted(incident, now), text(&incident["subject"]), &cause, &confidence, &hurt]
            .map(str::to_owned)
            .to_vec()
    };
    output::table(&["id", "state", "since", "for", "who is hurt", "likely cause", "confidence", "requests hurt"], incidents.iter().map(row))
}

/// One incident, told.
pub fn one(view: &Value, evidence: bool) -> String {
    let story = &view["story"];
    let mut out = format!("{}\n{}\n\n", text(&story["title"]), text(&story["summary"]));
    for line in rows(&story["lines"]) {
        let marks: Vec<&str> = rows(&line["evidence"]).iter().map(text).collect();
        let marks = if evidence && !marks.is_empty() { format!("  [{}]", marks.join(" ")) } else { String::new() };
        out += &format!("  {}{marks}\n", text(&line["text"]));
    }
    let causes = rows(&view["causes"]);
    if !causes.is_empty() {
        let row =
            |cause: &Value| vec![place_of(&cause["place"]), text(&cause["kind"]).to_owned(), percent(&cause["share"]), percent(&cause["confidence"])];
        out += &format!("\n{}", output::table(&["cause", "kind", "share", "confidence"], causes.iter().map(row)));
    }
    if evidence {
        out += "\n";
        for (at, cause) in causes.iter().enumerate() {
            for (number, item) in rows(&cause["evidence"]).iter().enumerate() {
                out += &format!("{at}.{number}  {}\n", figures(item));
            }
        }
    }
    let symptom = |symptom: &Value| {
        let figure = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let until = if symptom["until"].is_null() { "now".to_owned() } else { when(&symptom["until"]) };
        let signal = symptom["signal"].as_str().map_or_else(|| symptom["signal"].to_string(), str::to_owned);
        vec![
            text(&symptom["node"]).to_owned(),
            signal,
            when(&symptom["since"]),
            until,
            figure(&symptom["baseline"]),
            figure(&symptom["worst"]),
            format!("{:.0}", symptom["surprise"].as_f64().unwrap_or_default()),
        ]
    };
    let symptoms = rows(&view["symptoms"]).iter().map(symptom);
    out += &format!("\n{}", output::table(&["symptom of", "signal", "since", "until", "usual", "worst", "surprise"], symptoms));
    let entry = |entry: &Value| vec![when(&entry["at"]), happening(entry)];
    out + &format!("\n{}", output::table(&["time", "what happened"], rows(&view["timeline"]).iter().map(entry)))
}

/// The fields of a piece of evidence on one line.
fn figures(item: &Value) -> String {
    let shown = |value: &Value| match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| format!("{}", (number * 1000.0).round() / 1000.0)),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = item.as_object().into_iter().flatten().filter(|(key, _)| *key != "kind");
    let fields: Vec<String> = fields.map(|(key, value)| format!("{key}={}", shown(value))).collect();
    format!("{} {}", text(&item["kind"]), fields.join(" "))
}

fn happening(entry: &Value) -> String {
    let at = |key: &str| entry[key].as_str().map_or_else(|| entry[key].to_string(), str::to_owned);
    match text(&entry["event"]) {
        "began" => "it began".to_owned(),
        "opened" => "the incident opened".to_owned(),
        "symptom" => format!("{} of {} is not as it was", at("signal"), at("node")),
        "relieved" => format!("{} of {} is well again", at("signal"), at("node")),
        "cause" => format!("likely cause: {} {} ({})", place_of(&entry["place"]), at("cause"), percent(&entry["confidence"])),
        "change" => changed(&entry["change"]),
        "closed" => "the incident closed".to_owned(),
        other => other.to_owned(),
    }
}

fn changed(change: &Value) -> String {
    match text(&change["kind"]) {
        "configuration" => {
            let objects: Vec<&str> = rows(&change["objects"]).iter().map(text).collect();
            format!("change {} by {}: {} (`taut changes {}`)", change["generation"], text(&change["by"]), objects.join(", "), change["generation"])
        }
        "version" => format!("version {} of {} appeared", text(&change["version"]), json!(change["nodes"])),
        other => format!("{other}: {}", figures(change)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_people_name_them() {
        assert_eq!(place_of(&json!({"service": "shop/cart"})), "shop/cart");
        assert_eq!(place_of(&json!({"part": ["shop/cart", {"workload": "cart-2", "version": "v2"}]})), "shop/cart v2");
        assert_eq!(place_of(&json!({"link": ["shop/web", "shop/cart"]})), "shop/web -> shop/cart");
        assert_eq!(place_of(&json!({"outside": "/bank.example"})), "/bank.example (outside the mesh)");
    }

    #[test]
    fn no_incident_is_said() {
        assert_eq!(list(&json!({"at": 5, "incidents": []}), false), "nobody is hurt: no incident is open\n");
    }
}
