//! `taut trust strict`: which flows would break if plain text were refused, and refusing it.

use super::{list, text};
use crate::api::Api;
use crate::apply::{How, apply_all};
use crate::edges::parameters;
use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde_json::Value;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use taut_model::object::Object;
use taut_model::problem::Problem;
use taut_model::read;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut trust strict --dry-run                        which flows of the last day would break, of the whole mesh
  taut trust strict --dry-run -n shop --since 7d     of one namespace, in a week
  taut trust strict --except productpage --dry-run   productpage goes on taking plain text
  taut trust strict -n shop --yes                    refuse it, if nothing breaks

Exit codes: 0 nothing that was seen breaks (and without --dry-run, it is done); 1 it was not done; 2 something would break.")]
pub struct Arguments {
    /// Only say what would break
    #[arg(long)]
    dry_run: bool,
    /// Of this namespace only [default: the whole mesh]
    #[arg(short, long)]
    namespace: Option<String>,
    /// How far back flows count, as in 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "1d")]
    since: String,
    /// Go on taking plain text at the workloads of this service (NAME or NAME.NAMESPACE); may be given again
    #[arg(long, value_name = "SERVICE")]
    except: Vec<String>,
    /// Do not ask
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Do it though flows break
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Flows would break.
const BREAKS: u8 = 2;
/// How long to wait until every proxy demands it.
const LIVE_IN: Duration = Duration::from_secs(30);

pub async fn strict(api: &Api, arguments: Arguments) -> Outcome<ExitCode> {
    let report = ask(api, &arguments).await?;
    let safe = report["safe"] == true;
    match arguments.output {
        Format::Table => output::print(&shown(&report, safe || arguments.force)?)?,
        format => output::structured(format, &report)?,
    }
    if !safe && !arguments.force {
        return Ok(ExitCode::from(BREAKS));
    }
    if arguments.dry_run || report["changes"] == false {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && !agreed()? {
        return Err(Failure::no("nothing was changed"));
    }
    let objects = objects(&report)?;
    apply_all(api, &objects, &How { namespace: None, dry_run: false, force_conflicts: false, wait: Some(LIVE_IN) }).await?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(api: &Api, arguments: &Arguments) -> Outcome<Value> {
    let except = arguments.except.join(",");
    let named = [("since", Some(arguments.since.as_str())), ("namespace", arguments.namespace.as_deref()), ("except", Some(except.as_str()))];
    let query = parameters(named.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?))));
    api.get(&format!("/taut/v1/trust/strict?{query}")).await?.good()
}

/// Whoever is not there to be asked has to say it beforehand.
fn agreed() -> Outcome<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::cannot("nobody is there to be asked: say --yes to do it, or --dry-run to look only"));
    }
    let mut err = std::io::stderr();
    // Nobody who could read it is nobody who agrees: the answer tells.
    let _ = write!(err, "refuse plain text from now on? [y/N] ").and_then(|()| err.flush());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| Failure::cannot(format!("standard input: {error}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn objects(report: &Value) -> Outcome<Vec<Object>> {
    let unreadable = |problems: Vec<Problem>| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::cannot(format!("the control plane's answer does not read: {}", problems.join("; ")))
    };
    list(&report["objects"]).iter().map(|object| read::json(object.clone()).map_err(unreadable)).collect()
}

fn shown(report: &Value, with_manifest: bool) -> Outcome<String> {
    let mut out = plaintext(list(&report["plaintext"]));
    let window = &report["window"];
    let (known, seconds) = (report["knownSeconds"].as_u64().unwrap_or_default(), window["seconds"].as_u64().unwrap_or_default());
    out += &format!("# {known} of the {seconds} s since {} are known", text(&window["from"]));
    out += if known < seconds { ": what came in plain text in the others is not\n" } else { "\n" };
    for uid in list(&report["withoutProxy"]) {
        out += &format!("# {} has no proxy: nothing refuses plain text there, and it cannot call who demands mutual TLS\n", text(uid));
    }
    for object in list(&report["narrower"]) {
        out += &format!("# {} goes on taking plain text at its workloads, as it is narrower\n", text(object));
    }
    for error in list(&report["errors"]) {
        out += &format!("# ✗ {}\n", text(error));
    }
    let breaks = report["breaks"].as_u64().unwrap_or_default();
    out += &match (breaks, known, report["changes"] == true) {
        (0, 0, _) => "# ✗ nothing is known of that time, so nothing can be said\n".to_owned(),
        (0, _, true) => "# ✓ nothing that was seen would break\n".to_owned(),
        (0, _, false) => "# ✓ it holds already\n".to_owned(),
        (count, ..) => format!("# ✗ {count} of these flows would break: give their callers a proxy, or leave a service out with --except\n"),
    };
    if with_manifest && report["changes"] == true {
        for object in list(&report["objects"]) {
            out += "---\n";
            out += &serde_saphyr::to_string(object).map_err(|error| Failure::cannot(error.to_string()))?;
        }
    }
    Ok(out)
}

/// As comments, so that the whole can be applied as it is.
fn plaintext(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "# no plain text was carried\n".to_owned();
    }
    let row = |row: &Value| {
        let mark = if row["breaks"] == true { "⊘" } else { "" };
        vec![mark.to_owned(), from(row), text(&row["to"]), text(&row["service"]), text(&row["carried"]), text(&row["last"]), text(&row["after"])]
    };
    let table = output::table(&["", "from", "to", "service", "carried", "last", "then"], rows.iter().map(row));
    table.lines().map(|line| format!("# {line}\n")).collect()
}

/// Who it is that sends plain text.
pub fn from(row: &Value) -> String {
    if row["from"].is_null() { "(no proxy)".to_owned() } else { text(&row["from"]) }
}

/// What was carried in plain text in the last hour; `None` where the control plane does not say.
pub async fn lately(api: &Api) -> Outcome<Option<Value>> {
    let answer = api.get("/taut/v1/trust/plaintext?since=1h").await?;
    Ok(answer.status.is_success().then_some(answer.value))
}

/// A line for each flow of that.
pub fn lines(report: &Value) -> Vec<String> {
    let line = |row: &Value| {
        let (to, service) = (text(&row["to"]), text(&row["service"]));
        format!("{} -> {to} ({service}): {} requests or connections, the last at {}", from(row), text(&row["carried"]), text(&row["last"]))
    };
    list(&report["plaintext"]).iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(breaks: u64) -> Value {
        let row = |breaks: bool| json!({"from": null, "to": "default/page-v1", "service": "page", "carried": 12, "last": "then", "breaks": breaks, "after": "refused"});
        let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}}});
        let rows: Vec<Value> = (0..breaks).map(|_| row(true)).collect();
        json!({"window": {"from": "start", "seconds": 60}, "knownSeconds": 50, "plaintext": rows, "breaks": breaks, "withoutProxy": ["shop/old"],
            "objects": [policy], "changes": true})
    }

    #[test]
    fn what_would_break_is_named_and_no_policy_comes_with_it() {
        let text = shown(&report(1), false).unwrap();
        assert!(text.contains("⊘") && text.contains("(no proxy)") && text.contains("default/page-v1"), "{text}");
        assert!(text.contains("# ✗ 1 of these flows would break") && text.contains("# shop/old has no proxy") && !text.contains("kind:"), "{text}");
        assert!(text.contains("# 50 of the 60 s since start are known: what came"), "{text}");
    }

    #[test]
    fn without_anything_that_breaks_the_whole_is_a_manifest() {
        let text = shown(&report(0), true).unwrap();
        let reading = read::yaml(&text, "strict.yaml");
        assert!(reading.problems.is_empty() && text.contains("# ✓ nothing that was seen would break"), "{text}");
        assert_eq!(reading.objects[0].value["spec"]["mtls"]["mode"], "STRICT", "{text}");
        assert_eq!(objects(&report(0)).unwrap().len(), 1);
    }
}
