//! `cargo xtask bench proxy`: CPU, latency and memory of the two-proxy mutual-TLS path, Tautline's beside other proxies', in one run.
//!
//! All paths are alike: load generator -> client-side proxy (plain text in, mutual TLS out) -> server-side proxy (mutual TLS in, plain text
//! out) -> one backend. Rounds are interleaved, so that what else the machine does falls on all.

mod backend;
mod certificates;
mod measure;
mod place;
mod process;
mod run;
mod system;
mod systems;
mod table;
mod wrk;

use clap::{Args, ValueEnum};
use measure::Kind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use place::Place;
use run::{LOADED, Run};
use serde_json::json;
use std::process::Command;
use system::{Ports, Running, Site};
use table::Sheet;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args)]
pub struct Options {
    /// Systems to compare, by comma: direct, tautline, haproxy, nginx, envoy [default: all that are here]
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Kinds of measurement, by comma [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// One short round of the cases that matter most
    #[arg(long)]
    quick: bool,
    /// Length of a round [default: 4, quick: 2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds of each case; figures are medians [default: 3, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    #[arg(long, short, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

const TOOLS: [(&str, &str); 5] =
    [("haproxy", "haproxy"), ("wrk", "wrk"), ("openssl", "openssl"), ("h2load", "nghttp2-client"), ("nghttpd", "nghttp2-server")];

pub fn proxy(options: &Options) -> Result<(), String> {
    for (tool, package) in TOOLS {
        if Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().map_or(true, |output| !output.status.success()) {
            return Err(format!("{tool} is not installed: apt-get install {package}"));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start tokio: {error}"))?;
    runtime.block_on(async {
        let cannot = |error: std::io::Error| format!("cannot wait for signals: {error}");
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        // What a run started ends with it: dropping it kills the processes and removes the namespaces.
        tokio::select! {
            biased;
            _ = interrupt.recv() => Err("interrupted".to_owned()),
            _ = terminate.recv() => Err("terminated".to_owned()),
            outcome = compare(options) => outcome,
        }
    })
}

async fn compare(options: &Options) -> Result<(), String> {
    raise_file_limit();
    let directory = tempfile::Builder::new().prefix("taut-bench-").tempdir().map_err(|error| format!("cannot make a directory: {error}"))?;
    certificates::make(directory.path())?;
    let (place, why_loopback) = Place::make();
    let (systems, missing) = systems::present(&options.systems)?;
    missing.iter().for_each(|line| eprintln!("{line}"));
    let run = Run {
        site: Site { place, directory: directory.path().to_owned() },
        systems,
        quick: options.quick,
        seconds: options.seconds.unwrap_or(if options.quick { 2.0 } else { 4.0 }),
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 3 }).max(1),
    };
    let _backend = backend::start(&run.site)?;
    let kinds = if options.only.is_empty() { measure::ALL.to_vec() } else { options.only.clone() };
    let running = start_all(&run, &kinds).await?;
    let mut sheets = Vec::new();
    let head = head(&run, &missing, why_loopback.as_deref());
    if options.output == Output::Table {
        println!("{head}");
    }
    for kind in kinds {
        let sheet = kind.sheet(&run, &running).await;
        if options.output == Output::Table {
            println!("{}", sheet.text());
        }
        sheets.push(sheet);
    }
    if options.output == Output::Json {
        let kinds: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!(
            "{:#}",
            json!({ "head": head, "seconds": run.seconds, "rounds": run.rounds, "namespaces": run.site.place.isolated(), "kinds": kinds })
        );
    }
    Ok(())
}

/// The copies that carry load, if anything loads them.
async fn start_all(run: &Run, kinds: &[Kind]) -> Result<Vec<Running>, String> {
    let mut all = Vec::new();
    if !kinds.iter().any(|kind| kind.loads()) {
        return Ok(all);
    }
    for (number, system) in run.systems.iter().enumerate() {
        let running = Running::start(system.as_ref(), &run.site, &Ports::new(LOADED, number))?;
        run.ready(&running).await?;
        all.push(running);
    }
    Ok(all)
}

fn head(run: &Run, missing: &[String], why_loopback: Option<&str>) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let place = match why_loopback {
        None => "two network namespaces joined by a veth pair".to_owned(),
        Some(why) => format!("loopback, for namespaces cannot be made: {why}"),
    };
    let (rounds, seconds) = (run.rounds, run.seconds);
    let mut lines = vec![
        "# Two proxies with mutual TLS between them".to_owned(),
        String::new(),
        format!(
            "{cores} cores; {place}; one worker thread per proxy; median of {rounds} interleaved round(s) of {seconds} s; failures are of all rounds."
        ),
    ];
    lines.extend(missing.iter().cloned());
    lines.join("\n") + "\n"
}

/// A thousand connections need more than the usual 1,024 files; what we start inherits it. Best effort.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
