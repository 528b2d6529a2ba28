//! `cargo xtask bench proxy`: CPU, latency and memory of the two-proxy mutual-TLS path, Tautline's beside other proxies', in one run.
//!
//! All paths are alike: load generator -> client-side proxy (plain text in, mutual TLS out) -> server-side proxy (mutual TLS in, plain text
//! out) -> one backend. Rounds are interleaved, so that what else the machine does falls on all.

mod backend;
mod certificates;
pub mod faultlab;
pub mod insight;
mod measure;
pub mod overload;
mod place;
pub mod plan;
mod process;
mod run;
pub mod signals;
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
use systems::Present;
use table::Sheet;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args)]
pub struct Options {
    /// Systems to compare, by comma: direct, tautline, haproxy, nginx, envoy, ztunnel [default: all that are here]
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
    let Present { systems, mut missing } = systems::present(&options.systems, &place)?;
    let run = Run {
        site: Site { place, directory: directory.path().to_owned() },
        systems,
        quick: options.quick,
        seconds: options.seconds.unwrap_or(if options.quick { 2.0 } else { 4.0 }),
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 3 }).max(1),
    };
    let _backend = backend::start(&run.site)?;
    let asked = |kind: &Kind| options.only.is_empty() || options.only.contains(kind);
    let (loading, quiet): (Vec<Kind>, Vec<Kind>) = measure::ALL.into_iter().filter(asked).partition(|kind| kind.loads());
    let running = if loading.is_empty() { Vec::new() } else { start_all(&run, &mut missing).await? };
    let head = head(&run, &missing, why_loopback.as_deref());
    let show = |text: &str| {
        if options.output == Output::Table {
            println!("{text}");
        }
    };
    show(&head);
    let mut sheets = Vec::new();
    for kind in loading {
        sheets.push(kind.sheet(&run, &running).await);
        show(&sheets.last().map(Sheet::text).unwrap_or_default());
    }
    // What measures from a fresh start has the machine for itself.
    drop(running);
    for kind in quiet {
        sheets.push(kind.sheet(&run, &[]).await);
        show(&sheets.last().map(Sheet::text).unwrap_or_default());
    }
    if options.output == Output::Json {
        let kinds: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!(
            "{:#}",
            json!({ "head": head, "seconds": run.seconds, "rounds": run.rounds, "namespaces": run.site.place.isolated(), "kinds": kinds })
        );
    }
    let failures: Vec<String> = sheets.iter().flat_map(Sheet::failures).collect();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("requests failed, so these figures do not hold: {}", failures.join(", "))),
    }
}

/// The copies that carry load; a system that does not come up is left out, and that is told.
async fn start_all(run: &Run, missing: &mut Vec<String>) -> Result<Vec<Running>, String> {
    let mut all = Vec::new();
    for (number, system) in run.systems.iter().enumerate() {
        let started = Running::start(system.as_ref(), &run.site, &Ports::new(LOADED, number));
        let ready = match started {
            Ok(running) => run.ready(&running).await.map(|()| running),
            Err(why) => Err(why),
        };
        match ready {
            Ok(running) => all.push(running),
            Err(why) => missing.push(format!("{} is left out: {why}", system.name())),
        }
    }
    match all.is_empty() {
        true => Err(missing.join("\n")),
        false => Ok(all),
    }
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
