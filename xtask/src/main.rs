//! Project chores: `cargo xtask <chore>`.

mod proto;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Project chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Generate Rust from the protobuf schemas
    Proto {
        /// Change nothing; fail when what is committed is stale
        #[arg(long)]
        check: bool,
    },
    /// Check the house rules: crate edges, module cycles, file and function length, and the like
    Tidy {
        /// Shrink the ratchet list to what is still too long
        #[arg(long)]
        update: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Proto { check } => proto::run(check),
        Chore::Tidy { update } => tidy::run(update),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
