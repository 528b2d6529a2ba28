//! `taut plan`: what would change if files were applied, in the objects and for the flows that were seen. Nothing is changed.

use crate::api::Api;
use crate::apply::readings;
use crate::changes::coloured;
use crate::edges::parameters;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use taut_control::recording::Recording;
use taut_control::signals::Filter;
use taut_model::problem::Severity;
use taut_model::signal::{self, Edge, Party, Reporter, Security, Signals};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut plan -f reviews.yaml
  taut plan -f policy.yaml --since 7d                        held against the flows of a week
  taut plan -f policy.yaml --recording incident.parquet      held against those of a recording (taut record)
  taut plan -f ./mesh -o json | jq '.flows[] | select(.refused)'

Exit codes: 0 nothing that was seen would be refused; 1 the files have errors; 2 a flow that was seen would be refused, or some of its requests.")]
pub struct Arguments {
    /// File, directory (its *.yaml, *.yml, *.json) or - for standard input; may be given again
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long)]
    namespace: Option<String>,
    /// How far back a flow counts as seen, as in 30m, 12h or 7d [default: 1h]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Replay the flows of this recording instead of those that the control plane has seen
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    recording: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// A flow that was seen would be refused.
const REFUSED: u8 = 2;

pub async fn plan(place: &Place, arguments: Arguments) -> Outcome<ExitCode> {
    let api = place.api()?;
    let text = documents(&api, &arguments)?;
    let answer = match &arguments.recording {
        Some(recording) => replay(&api, &text, recording).await?,
        None => ask(&api, text, arguments.since.as_deref()).await?,
    };
    match arguments.output {
        Format::Table => output::print(&shown(&answer))?,
        format => output::structured(format, &answer)?,
    }
    let errors = list(&answer, "problems").iter().filter(|problem| problem["severity"] == "error").count();
    if errors > 0 {
        return Err(Failure::no(format!("{errors} error{}; nothing would be applied", if errors == 1 { "" } else { "s" })));
    }
    Ok(if answer["refused"].as_u64().unwrap_or_default() > 0 { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

/// All objects as one text. Mistakes that are seen here have the file's own lines.
fn documents(api: &Api, arguments: &Arguments) -> Outcome<Vec<u8>> {
    let mut text = Vec::new();
    let mut errors = 0;
    for reading in readings(&arguments.filename)? {
        for problem in &reading.problems {
            output::say(&problem.to_string());
            errors += usize::from(problem.severity == Severity::Error);
        }
        for mut object in reading.objects {
            if object.kind.namespaced && object.value["metadata"]["namespace"].is_null() {
                object.value["metadata"]["namespace"] = arguments.namespace.as_deref().unwrap_or_else(|| api.default_namespace()).into();
            }
            text.extend_from_slice(format!("---\n{}\n", object.value).as_bytes());
        }
    }
    match errors {
        0 => Ok(text),
        n => Err(Failure::no(format!("{n} error{} in the files; nothing would be applied", if n == 1 { "" } else { "s" }))),
    }
}

const PLAN: &str = "/taut/v1/plan";

async fn ask(api: &Api, text: Vec<u8>, since: Option<&str>) -> Outcome<Value> {
    let query = parameters(since.map(|since| ("since", since)).into_iter());
    api.send(http::Method::POST, &format!("{PLAN}?{query}"), "application/yaml", "application/json", text).await?.good()
}

/// The same, with the flows of a recording.
async fn replay(api: &Api, text: &[u8], path: &Path) -> Outcome<Value> {
    let recording = Recording::open(path).map_err(|error| Failure::cannot(format!("{} {error}", path.display())))?;
    let window = recording.about().window.clone();
    let edges = recording.edges(&window, &Filter::default(), &mut |_, _| {});
    let edges = edges.map_err(|error| Failure::cannot(format!("{} {error}", path.display())))?;
    let flows: Vec<Value> = edges.iter().filter_map(|(edge, signals)| flow(edge, signals)).collect();
    api.post(PLAN, &json!({"manifests": String::from_utf8_lossy(text), "flows": flows})).await?.good()
}

/// A flow that carried anything, between parties with names.
fn flow(edge: &Edge, signals: &Signals) -> Option<Value> {
    let name = |party: &Party| (party.workload != signal::UNKNOWN).then(|| format!("{}/{}", party.namespace, party.workload));
    let requests = signals.requests.max(signals.opened).max(signals.connections);
    let host = &edge.service.host;
    if requests == 0 || edge.is_other() {
        return None;
    }
    match (edge.reporter, edge.security) {
        (Reporter::Destination, Security::Plaintext) => Some(json!({"at": name(&edge.destination)?, "host": host, "requests": requests})),
        _ => Some(json!({"workload": name(&edge.source)?, "host": host, "requests": requests})),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn shown(answer: &Value) -> String {
    let mut shown = String::new();
    for problem in list(answer, "problems") {
        let object = &problem["object"];
        let about = if object.is_null() {
            String::new()
        } else {
            format!(" ({} {}/{})", word(object, "kind"), word(object, "namespace"), word(object, "name"))
        };
        let hint = problem["hint"].as_str().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
        shown.push_str(&format!("{}[{}]: {}{about}{hint}\n", word(problem, "severity"), word(problem, "code"), word(problem, "message")));
    }
    let (same, changed): (Vec<&Value>, Vec<&Value>) = list(answer, "changes").iter().partition(|change| change["verb"] == "unchanged");
    for change in &changed {
        let namespace = word(change, "namespace");
        let slash = if namespace.is_empty() { "" } else { "/" };
        shown.push_str(&format!("{} {} {namespace}{slash}{}\n", word(change, "verb"), word(change, "kind"), word(change, "name")));
        shown.push_str(&coloured(word(change, "diff")));
    }
    if !same.is_empty() {
        shown.push_str(&format!("{} unchanged\n", same.len()));
    }
    shown.push_str(&flows(answer));
    let left_out = answer["leftOut"].as_u64().unwrap_or_default();
    if left_out > 0 {
        shown.push_str(&format!("{left_out} flows were left out: their workload or their service is not there any more\n"));
    }
    shown
}

fn flows(answer: &Value) -> String {
    let all = list(answer, "flows");
    let seen = answer["seen"].as_u64().unwrap_or_default();
    if all.is_empty() {
        return match seen {
            0 => "\nno flow was seen yet, so nothing can be said of their outcomes\n".to_owned(),
            seen => format!("\nall {seen} flows that were seen go on as before\n"),
        };
    }
    let row = |flow: &Value| {
        let request = match word(flow, "request") {
            "" => "other requests",
            request => request,
        };
        let mark = if flow["refused"] == true { "⊘" } else { "" };
        let host = word(flow, "to");
        let to = taut_model::host::short(host);
        vec![
            mark.to_owned(),
            word(flow, "from").to_owned(),
            to.to_owned(),
            request.to_owned(),
            word(flow, "before").to_owned(),
            word(flow, "after").to_owned(),
        ]
    };
    let mut shown = String::from("\n");
    shown.push_str(&output::table(&["", "from", "to", "requests", "now", "then"], all.iter().map(row)));
    let refused = answer["refused"].as_u64().unwrap_or_default();
    if refused > 0 {
        shown.push_str(&format!("\n{refused} of them would be refused\n"));
    }
    if answer["truncated"] == true {
        shown.push_str("\nthere are more flows than were looked at\n");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn outcomes_are_told_side_by_side() {
        let flow = json!({"from": "default/page-v1", "to": "reviews.default.svc.cluster.local", "request": "", "before": "reviews v1", "after": "refused", "refused": true});
        let text = shown(&json!({"problems": [], "changes": [{"verb": "unchanged"}], "flows": [flow], "seen": 3, "refused": 1}));
        assert!(text.contains("1 unchanged\n") && text.contains("1 of them would be refused"), "{text}");
        assert!(text.contains("⊘   default/page-v1   reviews   other requests   reviews v1   refused\n"), "{text}");
        assert!(shown(&json!({"seen": 3})).contains("all 3 flows"));
        assert!(shown(&json!({"seen": 0})).contains("no flow was seen"));
    }
}
