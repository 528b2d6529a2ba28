//! `cargo xtask bench insight faultlab`: the bookstore under faults and under benign changes, live, through real proxies, and what the mesh
//! says about them.

mod act;
mod kinds;
mod load;
mod mesh;
mod relay;
mod report;
mod trial;
mod watch;

use clap::Args;
use kinds::{BENIGN, FAULTS, Kind};
use load::Load;
use mesh::{MEMBERS, Mesh};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Handle;
use trial::{Lab, Times, Trial};
use watch::Watch;

#[derive(Args)]
pub struct Options {
    /// Kinds, by comma [default: all]
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// How often each kind comes
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Of the order, the services and the processes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only what hurts nobody
    #[arg(long)]
    benign_only: bool,
    /// Visits a second; each is about five requests in the mesh
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Seconds before the first trial
    #[arg(long, default_value_t = 60)]
    warm: u64,
    /// Seconds that a fault or a change lasts
    #[arg(long, default_value_t = 25)]
    hold: u64,
    /// Seconds without an incident before each. What comes back within five minutes is the same incident to the mesh, and stays open longer each
    /// time: with 310, trials are independent
    #[arg(long, default_value_t = 310)]
    calm: u64,
    /// Judge nothing: show what visitors see
    #[arg(long)]
    dry: bool,
    /// The taut to try [default: built with the profile `demo`]
    #[arg(long, value_name = "FILE")]
    taut: Option<PathBuf>,
    /// Where faultlab.md goes, after a run of all kinds
    #[arg(long, value_name = "DIR", default_value = "bench/insight")]
    page: PathBuf,
    /// Where a JSON of every trial goes [default: faultlab.json where cargo builds]
    #[arg(long, value_name = "FILE")]
    trials: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<(), String> {
    let kinds = chosen(options)?;
    let taut = match &options.taut {
        Some(taut) => taut.clone(),
        None => build()?,
    };
    let runtime = aside()?;
    eprintln!("starting the mesh under test …");
    let mut mesh = Mesh::start(&taut, &runtime)?;
    let load = Load::start(&runtime, mesh.site(), options.rate);
    let watch = match options.dry {
        true => None,
        false => Some(judge(&mesh)?),
    };
    let seconds = Duration::from_secs;
    let times = Times { hold: seconds(options.hold), calm: seconds(options.calm), close: seconds(120) };
    let mut lab = Lab::new(&mut mesh, &load, watch, times);
    eprintln!("warming up for {} s …", options.warm);
    // What it says before it knows the mesh is seen by users too, so it is told.
    let (early, _) = lab.calm(seconds(options.warm));
    if !early.is_empty() {
        eprintln!("{} incidents while it warmed up", early.len());
    }
    let trials = all(options, &kinds, &mut lab)?;
    println!("{}", report::page(&head(options), &trials, services()));
    Ok(())
}

fn all(options: &Options, kinds: &[&'static Kind], lab: &mut Lab<'_>) -> Result<Vec<Trial>, String> {
    let mut dice = fastrand::Rng::with_seed(options.seed);
    let (mut trials, mut told): (Vec<Trial>, Vec<serde_json::Value>) = (Vec::new(), Vec::new());
    let file = options.trials.clone().unwrap_or_else(|| crate::target_directory(root()).join("faultlab.json"));
    let keeps_page = !options.dry && options.kinds.is_empty() && !options.benign_only;
    for round in 0..options.rounds {
        let mut order = kinds.to_vec();
        dice.shuffle(&mut order);
        for (turn, kind) in order.iter().enumerate() {
            let service = kind.services[dice.usize(..kind.services.len())];
            let trial = lab.run(kind, service, dice.usize(..64)).map_err(|why| format!("{} of {service}: {why}", kind.name))?;
            eprintln!("{:3}/{} {}", round * order.len() + turn + 1, options.rounds * order.len(), report::line(&trial));
            told.push(trial.json());
            trials.push(trial);
            // A run that is cut short has shown something too.
            write(&file, &serde_json::to_string_pretty(&told).map_err(|error| error.to_string())?)?;
            if keeps_page {
                write(&root().join(&options.page).join("faultlab.md"), &report::page(&head(options), &trials, services()))?;
            }
        }
    }
    eprintln!("every trial is in {}", file.display());
    Ok(trials)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, text));
    written.map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn chosen(options: &Options) -> Result<Vec<&'static Kind>, String> {
    let all = || FAULTS.iter().filter(|_| !options.benign_only).chain(BENIGN);
    let wanted: BTreeSet<&str> = options.kinds.iter().map(String::as_str).collect();
    if let Some(unknown) = wanted.iter().find(|name| !all().any(|kind| kind.name == **name)) {
        let names: Vec<_> = all().map(|kind| kind.name).collect();
        return Err(format!("there is no kind {unknown:?}: there are {}", names.join(", ")));
    }
    let chosen = all().filter(|kind| wanted.is_empty() || wanted.contains(kind.name));
    Ok(chosen.filter(|kind| kind.lacks().map(|lacks| eprintln!("{} is left out: {lacks} is not here", kind.name)).is_none()).collect())
}

/// Relays and visitors live on a thread of their own, until the process ends.
fn aside() -> Result<Handle, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start tokio: {error}"))?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

fn judge(mesh: &Mesh) -> Result<Watch, String> {
    let watch = Watch::sign_in(&mesh.dashboard()?)?;
    watch.incidents().map_err(|why| format!("this taut tells no incidents ({why}); --dry shows what visitors see"))?;
    Ok(watch)
}

fn build() -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status =
        cargo.args(["build", "--quiet", "--profile", "demo", "--package", "taut"]).status().map_err(|error| format!("cannot run cargo: {error}"))?;
    match status.success() {
        true => Ok(crate::target_directory(root()).join("demo/taut")),
        false => Err("taut does not build".to_owned()),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn services() -> usize {
    MEMBERS.iter().map(|member| member.service).collect::<BTreeSet<_>>().len()
}

fn head(options: &Options) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "`cargo xtask bench insight faultlab --rounds {} --seed {}`: {} services in {} processes with sidecars, {} visits a second, {cores} cores for all of it; {} s of \
         warming up, then each case for {} s, after {} s of calm.",
        options.rounds,
        options.seed,
        services(),
        MEMBERS.len(),
        options.rate,
        options.warm,
        options.hold,
        options.calm
    )
}
