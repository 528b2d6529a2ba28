//! Project chores: `cargo xtask <chore>`.

mod proto;
mod schemas;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Project chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Generate crates/wire/src/generated from crates/wire/proto
    Proto {
        /// Change nothing; fail when what is committed is stale
        #[arg(long)]
        check: bool,
    },
    /// Write crates/model/schemas from a directory of CustomResourceDefinitions and JSON Schema documents
    Schemas { directory: PathBuf },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Proto { check } => proto::run(check),
        Chore::Schemas { directory } => schemas::run(&directory),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
