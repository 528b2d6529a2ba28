//! `cargo xtask bench insight nab|forecast|ticks|week|cost|petshop|nezha|causes`: what the engines of `taut-insight` find, on public data and on made-up
//! meshes. The measurements are examples of that crate, so that xtask does not have to link it.

use clap::{Args, Subcommand};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

#[derive(Subcommand)]
pub enum Measure {
    /// Anomalies in the 58 series of the Numenta Anomaly Benchmark, by its protocol and cross-validated
    Nab(FromData),
    /// Forecasts of the load series of the Numenta Anomaly Benchmark, against simple rules
    Forecast(FromData),
    /// Causes in Amazon's PetShop, by its protocol
    Petshop(FromData),
    /// Causes in Nezha's Online Boutique and Train Ticket
    Nezha(FromData),
    /// Causes in made-up meshes: by kind of fault, when nothing is wrong, and how well confidence is calibrated
    Causes,
    /// The detector of each second on made-up traffic: false alarms without a fault, and time to notice one
    Ticks,
    /// A hundred services for days, accelerated, through the whole engine: false incidents of what goes on without a fault, or with --faults
    Week(Lived),
    /// CPU time per observation, bytes per series
    Cost,
}

#[derive(Args)]
pub struct FromData {
    /// Where the data set is; bench/README.md says where it comes from
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Args)]
pub struct Lived {
    /// Simulated days
    #[arg(long, default_value_t = 1.0)]
    days: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw faults, too
    #[arg(long)]
    faults: bool,
}

pub fn run(measure: &Measure) -> Result<(), String> {
    match measure {
        Measure::Nab(from) => example("nab", &[from.data.as_os_str()]),
        Measure::Forecast(from) => example("forecast", &[from.data.as_os_str()]),
        Measure::Petshop(from) => example("petshop", &[from.data.as_os_str()]),
        Measure::Nezha(from) => example("nezha", &[from.data.as_os_str()]),
        Measure::Causes => example("causes", &[]),
        Measure::Ticks => example("ticks", &[]),
        Measure::Week(lived) => week(lived),
        Measure::Cost => example("cost", &[]),
    }
}

fn week(lived: &Lived) -> Result<(), String> {
    let words = ["--days".to_owned(), lived.days.to_string(), "--seed".to_owned(), lived.seed.to_string()];
    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    words.extend(lived.faults.then_some(OsStr::new("--faults")));
    example("week", &words)
}

fn example(name: &str, words: &[&OsStr]) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--release", "--package", "taut-insight", "--example", name, "--"]);
    let status = cargo.args(words).status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended with {status}")) }
}
