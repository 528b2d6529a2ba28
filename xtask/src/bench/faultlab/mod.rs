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
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
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
    /// So many meshes of the same kind beside each other, which share the trials
    #[arg(long, default_value_t = 1)]
    meshes: usize,
    /// Seconds before the first trial
    #[arg(long, default_value_t = 60)]
    warm: u64,
    /// Seconds that a fault or a change lasts
    #[arg(long, default_value_t = 25)]
    hold: u64,
    /// Seconds without an incident before each. What comes back within two minutes is the same incident to the mesh, and stays open longer each
    /// time: with 130, trials are independent
    #[arg(long, default_value_t = 130)]
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
    let queue = Mutex::new(drawn(options, &kinds));
    let told = Told::new(options);
    // One after the other: each looks for addresses that are free.
    let mut meshes = Vec::new();
    for number in 1..=options.meshes.max(1) {
        eprintln!("starting the mesh under test, {number} of {} …", options.meshes.max(1));
        let mesh = Mesh::start(&taut, &runtime)?;
        let load = Load::start(&runtime, mesh.site(), options.rate);
        meshes.push((mesh, load));
    }
    eprintln!("warming up for {} s …", options.warm);
    let ended: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let start = |(number, (mesh, load))| {
            let (queue, told, warm) = (&queue, &told, warm(options, number));
            scope.spawn(move || one(options, warm, mesh, load, queue, told))
        };
        let threads: Vec<_> = meshes.into_iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread of the lab has panicked".to_owned()))).collect()
    });
    ended.into_iter().collect::<Result<Vec<()>, String>>()?;
    eprintln!("every trial is in {}", told.file.display());
    println!("{}", told.page());
    Ok(())
}

/// A case that is to be tried: what, with whom, and the lot for what is left open.
type Case = (&'static Kind, &'static str, usize);

/// All that are wanted, in an order by lot.
fn drawn(options: &Options, kinds: &[&'static Kind]) -> VecDeque<Case> {
    let mut dice = fastrand::Rng::with_seed(options.seed);
    let mut cases = VecDeque::new();
    for _ in 0..options.rounds {
        let mut order = kinds.to_vec();
        dice.shuffle(&mut order);
        cases.extend(order.into_iter().map(|kind| (kind, kind.services[dice.usize(..kind.services.len())], dice.usize(..64))));
    }
    cases
}

/// Meshes begin one after the other: what all of them do at the same moment would be felt by each.
fn warm(options: &Options, number: usize) -> Duration {
    let apart = (options.calm + options.hold) as f64 / options.meshes.max(1) as f64;
    Duration::from_secs(options.warm) + Duration::from_secs_f64(number as f64 * apart)
}

/// One mesh, which takes case after case until none is left.
fn one(options: &Options, warm: Duration, mut mesh: Mesh, load: Load, queue: &Mutex<VecDeque<Case>>, told: &Told<'_>) -> Result<(), String> {
    let watch = match options.dry {
        true => None,
        false => Some(judge(&mesh)?),
    };
    let seconds = Duration::from_secs;
    let times = Times { hold: seconds(options.hold), calm: seconds(options.calm), close: seconds(120) };
    let mut lab = Lab::new(&mut mesh, &load, watch, times);
    // What it says before it knows the mesh is seen by users too, so it is told.
    let (early, _) = lab.calm(warm);
    if !early.is_empty() {
        eprintln!("{} incidents while it warmed up", early.len());
    }
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((kind, service, lot)) = next else { return Ok(()) };
        told.add(lab.run(kind, service, lot).map_err(|why| format!("{} of {service}: {why}", kind.name))?)?;
    }
}

/// The trials so far, and where they are written.
struct Told<'o> {
    options: &'o Options,
    file: PathBuf,
    trials: Mutex<Vec<Trial>>,
}

impl<'o> Told<'o> {
    fn new(options: &'o Options) -> Self {
        let file = options.trials.clone().unwrap_or_else(|| crate::target_directory(root()).join("faultlab.json"));
        Self { options, file, trials: Mutex::default() }
    }

    /// A run that is cut short has shown something too: everything is written after each trial.
    fn add(&self, trial: Trial) -> Result<(), String> {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        trials.push(trial);
        if let Some(trial) = trials.last() {
            eprintln!("{:3} {}", trials.len(), report::line(trial));
        }
        let all: Vec<serde_json::Value> = trials.iter().map(Trial::json).collect();
        write(&self.file, &serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?)?;
        if !self.options.dry && self.options.kinds.is_empty() && !self.options.benign_only {
            write(&root().join(&self.options.page).join("faultlab.md"), &report::page(&head(self.options), &trials, services()))?;
        }
        Ok(())
    }

    fn page(&self) -> String {
        report::page(&head(self.options), &self.trials.lock().unwrap_or_else(PoisonError::into_inner), services())
    }
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
        "`cargo xtask bench insight faultlab --rounds {} --seed {} --meshes {} --hold {} --calm {}`: {} services in {} processes with sidecars, {} visits a second, each of the meshes, \
         {cores} cores for all of it; {} s of warming up, then each case for {} s, after {} s of calm.",
        options.rounds,
        options.seed,
        options.meshes,
        options.hold,
        options.calm,
        services(),
        MEMBERS.len(),
        options.rate,
        options.warm,
        options.hold,
        options.calm
    )
}
