//! `cargo xtask bench insight nab|forecast|ticks|cost|petshop|nezha|causes`: what the engines of `taut-insight` find, on public data and on made-up
//! meshes. The measurements are examples of that crate, so that xtask does not have to link it.

use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
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
    /// CPU time per observation, bytes per series
    Cost,
}

#[derive(Args)]
pub struct FromData {
    /// Where the data set is; bench/README.md says where it comes from
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub fn run(measure: &Measure) -> Result<(), String> {
    match measure {
        Measure::Nab(from) => example("nab", Some(&from.data)),
        Measure::Forecast(from) => example("forecast", Some(&from.data)),
        Measure::Petshop(from) => example("petshop", Some(&from.data)),
        Measure::Nezha(from) => example("nezha", Some(&from.data)),
        Measure::Causes => example("causes", None),
        Measure::Ticks => example("ticks", None),
        Measure::Cost => example("cost", None),
    }
}

fn example(name: &str, data: Option<&Path>) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--release", "--package", "taut-insight", "--example", name, "--"]);
    let status = cargo.args(data).status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended with {status}")) }
}
