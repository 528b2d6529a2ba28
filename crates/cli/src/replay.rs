//! `taut replay`: a recording, shown as the live commands would have shown the mesh then. Needs no control plane.

use crate::edges::{self, Which};
use crate::output::{self, Format};
use crate::{Failure, Outcome};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taut_control::incidents;
use taut_control::recording::{Recording, Totals};
use taut_control::signal_routes;
use taut_control::signals::{Filter, Reports};
use taut_insight::engine::Settings;
use taut_model::signal::{Reporter, Second};
use taut_model::tree::{self, Content};

const EXAMPLES: &str = "Examples:
  taut replay incident.parquet                                      span, totals, gaps, changes of configuration
  taut replay incident.parquet edges                                who called whom, over all of it
  taut replay incident.parquet edges --at 2026-01-02T03:04:05Z      the 30 seconds before then
  taut replay incident.parquet top --sort errors --limit 5 --from 2026-01-02T03:00:00Z --to 2026-01-02T03:10:00Z
  taut replay incident.parquet --insight                            the incidents in it
  taut replay incident.parquet edges -o json | jq '.edges[0]'";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A file that `taut record` has written
    file: PathBuf,
    #[command(subcommand)]
    view: Option<View>,
    /// The incidents that insight finds in it, as it would have live
    #[arg(long)]
    insight: bool,
    /// What insight takes for unusual and for over: a YAML file of its settings (docs/incidents.md)
    #[arg(long, value_name = "FILE", requires = "insight")]
    settings: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Subcommand, Debug)]
enum View {
    /// Who called whom, how often, how well, how fast, and whether it was secured
    Edges(Window),
    /// The same, of which the busiest, slowest or most troubled twenty are shown
    Top(Window),
}

#[derive(clap::Args, Debug)]
struct Window {
    #[command(flatten)]
    which: Which,
    /// Where the window begins: RFC 3339 or seconds since 1970 [default: where the recording does]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["at", "window"])]
    from: Option<String>,
    /// Where it ends [default: where the recording does]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["at", "window"])]
    to: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What `top` shows without `--limit`.
const TOP: usize = 20;

pub fn replay(arguments: Arguments) -> Outcome {
    let path = &arguments.file;
    let recording = Recording::open(path).map_err(|error| failure(path, &error))?;
    match &arguments.view {
        None if arguments.insight => insight(path, &recording, &arguments),
        None => summary(path, &recording, arguments.output),
        Some(View::Edges(window)) => view(path, &recording, window, arguments.output, usize::MAX),
        Some(View::Top(window)) => view(path, &recording, window, arguments.output, TOP),
    }
}

/// What the engine finds, with its settings or the user's.
fn insight(path: &Path, recording: &Recording, arguments: &Arguments) -> Outcome {
    let settings = arguments.settings.as_deref().map_or_else(|| Ok(Settings::default()), settings)?;
    let found = incidents::replay(recording, settings, &mut progress()).map_err(|error| failure(path, &error))?;
    let shown: Vec<Value> = found.into_iter().map(|incident| incidents::view(&incident.into())).collect();
    let answer = json!({"at": recording.about().window.end, "incidents": shown});
    match arguments.output {
        Format::Table => output::print(&crate::incidents::list(&answer, true)),
        format => output::structured(format, &answer),
    }
}

fn settings(file: &Path) -> Outcome<Settings> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::cannot(format!("{} cannot be read: {error}", file.display())))?;
    read_settings(&text, &file.display().to_string()).map_err(Failure::cannot)
}

/// Mistakes are told with file, line and column.
fn read_settings(text: &str, file: &str) -> Result<Settings, String> {
    let documents = tree::documents(text, file);
    let problems: Vec<String> = documents.iter().flat_map(|document| &document.problems).map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let Some(root) = documents.iter().find_map(|document| document.root.as_ref()) else { return Ok(Settings::default()) };
    let Content::Map(entries) = &root.content else { return Err(format!("{}: settings are fields and values", root.place.location(file))) };
    let at = |entry: &tree::Entry, why: &dyn std::fmt::Display| format!("{}: {}: {why}", entry.key_place.location(file), entry.key);
    for entry in entries {
        // Every field has a default, so each can be read alone.
        let alone = json!({ entry.key.as_str(): entry.value.value() });
        serde_json::from_value::<Settings>(alone).map_err(|error| at(entry, &error))?;
    }
    let settings: Settings = serde_json::from_value(root.value()).map_err(|error| format!("{file}: {error}"))?;
    match settings.nonsense() {
        None => Ok(settings),
        Some((name, why)) => {
            Err(entries.iter().find(|entry| entry.key == name).map_or_else(|| format!("{file}: {name} {why}"), |entry| at(entry, &why)))
        }
    }
}

fn failure(path: &Path, error: &taut_control::recording::Unreadable) -> Failure {
    Failure::cannot(format!("{} {error}", path.display()))
}

/// Says on a terminal how far it is, once that takes longer than a moment.
fn progress() -> impl FnMut(usize, usize) {
    const MOMENT: Duration = Duration::from_millis(500);
    let (mut said, mut shown) = (Instant::now(), false);
    move |done, all| {
        let finished = done == all;
        if std::io::stderr().is_terminal() && (said.elapsed() > MOMENT || (shown && finished)) {
            (said, shown) = (Instant::now(), true);
            let text = if finished { String::new() } else { format!("reading: {} %", 100 * done / all.max(1)) };
            // To the beginning of the line, which is cleared (ECMA-48).
            let _ = write!(std::io::stderr(), "\r\u{1b}[K{text}");
        }
    }
}

/// One line: what a recording is of.
pub fn headline(recording: &Recording) -> String {
    let about = recording.about();
    let namespace = about.namespace.as_ref().map_or_else(String::new, |namespace| format!(", namespace {namespace}"));
    let Range { start, end } = about.window;
    format!("{} to {} of mesh {}{namespace}", signal_routes::text(start), signal_routes::text(end), about.mesh)
}

fn summary(path: &Path, recording: &Recording, output: Format) -> Outcome {
    let totals = recording.totals(&mut progress()).map_err(|error| failure(path, &error))?;
    match output {
        Format::Table => output::print(&described(recording, &totals)),
        format => output::structured(format, &as_json(recording, &totals)),
    }
}

fn as_json(recording: &Recording, totals: &Totals) -> Value {
    let about = recording.about();
    let Totals { rows, edges, services, requests, errors, bytes, finest, coarsest } = totals;
    json!({
        "mesh": about.mesh, "version": about.version, "namespace": about.namespace,
        "from": signal_routes::text(about.window.start), "to": signal_routes::text(about.window.end),
        "rows": rows, "edges": edges, "services": services, "requests": requests, "errors": errors, "bytes": bytes,
        "finestSeconds": finest, "coarsestSeconds": coarsest, "gaps": about.gaps, "changes": about.changes,
    })
}

fn described(recording: &Recording, totals: &Totals) -> String {
    let about = recording.about();
    let seconds = about.window.end.saturating_sub(about.window.start).max(1);
    let mut out = format!("{}\n", headline(recording));
    let resolution = match (totals.finest, totals.coarsest) {
        (finest, coarsest) if finest == coarsest => format!("{finest} s"),
        (finest, coarsest) => format!("{finest} s to {coarsest} s"),
    };
    out += &format!("{seconds} s, at a resolution of {resolution}; recorded by taut {}\n", about.version);
    out += &format!(
        "{} services, {} edges, {} requests ({:.1}/s), {} errors, {}\n",
        totals.services,
        totals.edges,
        totals.requests,
        totals.requests as f64 / seconds as f64,
        totals.errors,
        edges::bytes(totals.bytes as f64)
    );
    for gap in &about.gaps {
        out += &format!("! incomplete: {} to {}: {}\n", signal_routes::text(gap.from), signal_routes::text(gap.to), gap.why);
    }
    if !about.changes.is_empty() {
        out += &format!("\n{}", crate::changes::rows(&about.changes));
    }
    out
}

fn view(path: &Path, recording: &Recording, wanted: &Window, output: Format, most: usize) -> Outcome {
    let window = window(recording, wanted).map_err(Failure::cannot)?;
    let which = &wanted.which;
    let filter = filter(which).map_err(Failure::cannot)?;
    let sums = recording.edges(&window, &filter, &mut progress()).map_err(|error| failure(path, &error))?;
    let inside = |gap: &&taut_control::signals::Gap| gap.from < window.end && gap.to > window.start;
    let gaps: Vec<_> = recording.about().gaps.iter().filter(inside).cloned().collect();
    let mut answer = signal_routes::edges_json(sums, &window, &gaps, usize::MAX);
    edges::arrange(&mut answer, which, most)?;
    let output = if wanted.output == Format::Table { output } else { wanted.output };
    match output {
        Format::Table => output::print(&edges::render(&answer)),
        format => output::structured(format, &answer),
    }
}

/// All of the recording, or what was asked for, as far as it is in the recording.
fn window(recording: &Recording, wanted: &Window) -> Result<Range<Second>, String> {
    let whole = recording.about().window.clone();
    let time = |text: &Option<String>| text.as_deref().map(signal_routes::time).transpose();
    let (at, from, to) = (time(&wanted.which.at)?, time(&wanted.from)?, time(&wanted.to)?);
    let length = wanted.which.window.as_deref().map(crate::duration::duration).transpose()?.map(|length| length.as_secs().max(1));
    let asked = match (at, length) {
        (None, None) => from.unwrap_or(whole.start)..to.unwrap_or(whole.end),
        (at, length) => {
            let end = at.unwrap_or(whole.end);
            end.saturating_sub(length.unwrap_or(edges::WINDOW_SECONDS))..end
        }
    };
    let window = asked.start.max(whole.start)..asked.end.min(whole.end);
    match window.start < window.end {
        true => Ok(window),
        false => Err(format!(
            "the recording is of {} to {}; nothing of that was asked for",
            signal_routes::text(whole.start),
            signal_routes::text(whole.end)
        )),
    }
}

fn filter(which: &Which) -> Result<Filter, String> {
    let reports = match which.reporter.as_str() {
        "once" => Reports::Once,
        "source" => Reports::Of(Reporter::Source),
        "destination" => Reports::Of(Reporter::Destination),
        "both" => Reports::Both,
        other => return Err(format!("--reporter is {other:?}; expected source, destination, both, or once")),
    };
    Ok(Filter { namespace: which.namespace.clone(), service: which.service.clone(), workload: which.workload.clone(), reports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_have_a_place() {
        assert_eq!(read_settings("", "s.yaml"), Ok(Settings::default()));
        assert_eq!(read_settings("slow: 0.5\nquietSeconds: 3\n", "s.yaml"), Ok(Settings { slow: 0.5, quiet_seconds: 3, ..Settings::default() }));
        for (text, place) in [
            ("slow: 0.5\nsupprise: 3", "s.yaml:2:1: supprise: "),
            ("surprise: lots", "s.yaml:1:1: surprise: "),
            ("errors: 0.1\nslow: -3", "s.yaml:2:1: slow: must be a share"),
            ("surprise: 0", "s.yaml:1:1: surprise: must be above 0"),
            ("patienceSeconds: 18446744073709551615", "s.yaml:1:1: patienceSeconds: "),
            ("- 1", "s.yaml:1:1: settings are fields"),
            ("surprise: .nan", "s.yaml:1:11: "),
        ] {
            let said = read_settings(text, "s.yaml").unwrap_err();
            assert!(said.starts_with(place), "{text}: {said}");
        }
    }
}
