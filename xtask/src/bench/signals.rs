//! `cargo xtask bench signals`: memory, disk and query times of the store of signals. The measurement is an example of `taut-control`, so
//! that xtask does not have to link the control plane.

use clap::Args;
use std::process::Command;

#[derive(Args)]
pub struct Options {
    /// Seconds of the mesh's life, accelerated
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

pub fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--profile", "demo", "--package", "taut-control", "--example", "signals", "--"]);
    let status = cargo.arg(options.seconds.to_string()).status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended with {status}")) }
}
