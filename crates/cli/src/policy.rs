//! `taut policy suggest`: the smallest AuthorizationPolicies that let in every caller that was seen, with what they rest on.

use crate::api::Api;
use crate::edges::parameters;
use crate::place::Place;
use crate::{Failure, Outcome, output};
use serde_json::Value;
use std::process::ExitCode;
use taut_control::signal_routes;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut policy suggest -n default > least.yaml
  taut plan -f least.yaml && taut apply -f least.yaml --wait 10s")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Write policies that let in who was seen calling, and nobody else
    Suggest(Suggest),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut policy suggest                                    of the default namespace, from the calls of the last day
  taut policy suggest -n shop --since 7d > shop.yaml     then: taut plan -f shop.yaml; taut apply -f shop.yaml
  taut policy suggest --service reviews                  one service
  taut policy suggest -o json | jq '.suggestions[] | {service, confidence, withheld}'

The output is YAML: a policy for each group of workloads that serve the same services, and what it rests on as comments.

Exit codes: 0 a policy for every service that was called; 1 nothing was seen; 2 for some there is none, as comments say, or one would refuse what was seen.")]
struct Suggest {
    /// Whose workloads are to be protected [default: that of the kubeconfig]
    #[arg(short, long)]
    namespace: Option<String>,
    /// How far back calls count, as in 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "1d")]
    since: String,
    /// Only for the workloads of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Policies, and comments
    Yaml,
    /// Policies and all that was seen, for programs
    Json,
}

/// Gaps that are told one by one.
const GAPS: usize = 5;

/// Some service got no policy, or one would refuse what was seen.
const WITHHELD: u8 = 2;

pub async fn policy(place: &Place, arguments: Arguments) -> Outcome<ExitCode> {
    let Command::Suggest(wanted) = arguments.command;
    let answer = ask(&place.api()?, &wanted).await?;
    match wanted.output {
        Format::Json => output::structured(output::Format::Json, &answer)?,
        Format::Yaml => output::print(&written(&answer)?)?,
    }
    let suggestions = list(&answer["suggestions"]);
    let is_short = |one: &&Value| !list(&one["withheld"]).is_empty() || !list(&one["claimed"]).is_empty();
    let withheld = suggestions.iter().filter(is_short).count();
    let (errors, refused) = (list(&answer["check"]["errors"]).len(), list(&answer["check"]["refused"]).len());
    if withheld + errors + refused > 0 {
        return Ok(ExitCode::from(WITHHELD));
    }
    match suggestions.iter().any(|one| !one["policy"].is_null()) {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Failure::no("nobody was seen calling a workload with a proxy: let traffic pass first, or look further back with --since")),
    }
}

async fn ask(api: &Api, wanted: &Suggest) -> Outcome<Value> {
    let namespace = wanted.namespace.as_deref().unwrap_or_else(|| api.default_namespace());
    let named = [("namespace", Some(namespace)), ("since", Some(wanted.since.as_str())), ("service", wanted.service.as_deref())];
    let query = parameters(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
    api.get(&format!("/taut/v1/policy/suggest?{query}")).await?.good()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// On one line, whoever has named it.
fn text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn joined(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Comments and policies as one file of YAML.
fn written(answer: &Value) -> Outcome<String> {
    let window = &answer["window"];
    let (from, to) = (text(&window["from"]), text(&window["to"]));
    let mut out =
        comment(&format!("Who was seen calling in namespace {} from {from} to {to} may go on, and nobody else.", text(&answer["namespace"])));
    out += &comment("Neither methods nor paths are restricted: what was seen holds routes by name, and no paths. Whoever calls less often than");
    out += &comment("the window is long (a job at the end of the month) was not seen and would be refused: add it by hand.");
    let gaps = list(&answer["gaps"]);
    for gap in gaps.iter().take(GAPS) {
        let span = |field: &str| signal_routes::text(gap[field].as_u64().unwrap_or_default());
        out += &comment(&format!("gap: {} to {}: {}", span("from"), span("to"), text(&gap["why"])));
    }
    if gaps.len() > GAPS {
        out += &comment(&format!("and {} more gaps", gaps.len() - GAPS));
    }
    for suggestion in list(&answer["suggestions"]) {
        out += &one(suggestion, window)?;
    }
    let check = &answer["check"];
    for error in list(&check["errors"]) {
        out += &comment(&format!("WARNING: {}", text(error)));
    }
    for flow in list(&check["refused"]) {
        let (from, to, after) = (text(&flow["from"]), text(&flow["to"]), text(&flow["after"]));
        out += &comment(&format!("WARNING: {from} -> {to} was carried and would be {after}"));
    }
    Ok(out)
}

fn comment(line: &str) -> String {
    format!("# {line}\n")
}

fn one(suggestion: &Value, window: &Value) -> Outcome<String> {
    let confidence = &suggestion["confidence"];
    let percent = |value: &Value| format!("{:.1} %", value.as_f64().unwrap_or_default() * 100.0);
    let mut out = String::from("---\n");
    out += &comment(&format!("{}: {}", text(&suggestion["service"]), joined(&suggestion["workloads"])));
    out += &comment(&format!(
        "confidence {}: {} of {} s are known ({}), calls in {} s; {} of callers' hours may be of callers that were not seen",
        text(&confidence["level"]),
        text(&confidence["knownSeconds"]),
        text(&window["seconds"]),
        percent(&confidence["knownShare"]),
        text(&suggestion["secondsWithCalls"]),
        percent(&confidence["unseen"])
    ));
    for caller in list(&suggestion["callers"]) {
        let workloads = joined(&caller["workloads"]);
        let named = if workloads.is_empty() { String::new() } else { format!(" ({workloads})") };
        out += &comment(&format!(
            "  {}{named}: {} requests or connections to {}, in {} hours, {} to {}",
            text(&caller["principal"]),
            text(&caller["carried"]),
            joined(&caller["ports"]),
            text(&caller["hours"]),
            text(&caller["first"]),
            text(&caller["last"])
        ));
    }
    for refused in list(&suggestion["refused"]) {
        let (principal, count) = (text(&refused["principal"]), text(&refused["refused"]));
        out +=
            &comment(&format!("  not let in: {principal}, of whom policies refused all there was ({count}), the last at {}", text(&refused["last"])));
    }
    for claimed in list(&suggestion["claimed"]) {
        let (principal, count, last) = (text(&claimed["principal"]), text(&claimed["carried"]), text(&claimed["last"]));
        let why = "says of itself that it called, and no proxy here has seen it";
        out += &comment(&format!("NOT LET IN: {principal} {why} ({count} requests or connections, the last at {last}): look again in a minute"));
    }
    for note in list(&suggestion["notes"]) {
        out += &comment(&format!("note: {}", text(note)));
    }
    for why in list(&suggestion["withheld"]) {
        out += &comment(&format!("NO POLICY: {}", text(why)));
    }
    if !suggestion["policy"].is_null() {
        out += &serde_saphyr::to_string(&suggestion["policy"]).map_err(|error| Failure::cannot(error.to_string()))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use taut_model::read;

    #[test]
    fn a_file_holds_the_policies_and_says_what_they_rest_on() {
        let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "seen-callers-of-reviews", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "reviews"}}, "action": "ALLOW", "rules": [{"from": [{"source": {"principals": ["m/ns/default/sa/page"]}}]}]}});
        let confidence = json!({"level": "low", "unseen": 1.0, "knownSeconds": 60, "knownShare": 0.5});
        let caller = json!({"principal": "m/ns/default/sa/page", "workloads": ["default/page\n---\nkind: Evil"], "ports": [9080], "carried": 7, "hours": 1, "first": "a", "last": "b"});
        let answer = json!({"namespace": "default", "window": {"from": "a", "to": "b", "seconds": 120}, "suggestions": [
            {"service": "reviews", "workloads": ["default/reviews-v1"], "confidence": confidence, "secondsWithCalls": 4, "policy": policy, "callers": [caller]},
            {"service": "page", "workloads": ["default/page-v1"], "confidence": confidence, "policy": null, "withheld": ["3 requests came in plain text"]}],
            "gaps": [{"from": 0, "to": 60, "why": "the proxy was away"}], "check": {"refused": [{"from": "a", "to": "b", "after": "refused"}]}});
        let text = written(&answer).unwrap();
        let reading = read::yaml(&text, "least.yaml");
        assert!(reading.problems.is_empty(), "{:?}\n{text}", reading.problems);
        assert_eq!(reading.objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["seen-callers-of-reviews"], "{text}");
        for line in [
            "# confidence low: 60 of 120 s are known (50.0 %), calls in 4 s; 100.0 % of callers' hours may be of callers that were not seen",
            "#   m/ns/default/sa/page (default/page --- kind: Evil): 7 requests or connections to 9080, in 1 hours, a to b",
            "# NO POLICY: 3 requests came in plain text",
            "# gap: 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z: the proxy was away",
            "# WARNING: a -> b was carried and would be refused",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
