//! Project chores: `cargo xtask <chore>`.

mod bench;
mod features;
mod fuzz;
mod load;
mod pgo;
mod proto;
mod schemas;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
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
    /// Write crates/model/schemas from a directory of CustomResourceDefinitions and JSON Schema documents
    Schemas { directory: PathBuf },
    /// Write docs/features.md from the table docs/features.yaml
    Features {
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
    /// What `bench proxy` runs in its network namespaces
    #[command(hide = true)]
    Load {
        #[command(subcommand)]
        load: load::Load,
    },
    /// Feed the parsers that read a peer's bytes (needs cargo-fuzz)
    Fuzz {
        /// One of fuzz/fuzz_targets [default: each]
        target: Option<String>,
        /// For each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Add the inputs that reached new code to fuzz/corpus
        #[arg(long)]
        keep: bool,
    },
    /// Build taut-proxy for what it does most, as a run under load shows: profile-guided optimization (needs rustup's llvm-tools)
    Pgo,
    /// Benchmarks against other proxies on this machine
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// The two-proxy mutual-TLS path beside other proxies': throughput, CPU, latency, memory, start
    Proxy(bench::Options),
    /// Compile and decide times of the plan, for 10 to 50,000 routes and policies
    Plan(bench::plan::Options),
    /// Overload in a simulated mesh: adaptive against static limits, load-aware against other balancers
    Overload(bench::overload::Options),
    /// The control plane's store of signals: an hour of a large mesh, then a million distinct edges
    Signals(bench::signals::Options),
    /// What the mesh makes of its signals: incidents, causes, forecasts
    Insight {
        #[command(subcommand)]
        what: Insight,
    },
}

#[derive(Subcommand)]
enum Insight {
    /// The bookstore under faults and benign changes, live, through real proxies: time to detect, causes, false incidents
    Faultlab(bench::faultlab::Options),
    #[command(flatten)]
    Engines(bench::insight::Measure),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Proto { check } => proto::run(check),
        Chore::Schemas { directory } => schemas::run(&directory),
        Chore::Features { check } => features::run(check),
        Chore::Tidy { update } => tidy::run(update),
        Chore::Load { load } => load::run(load),
        Chore::Bench { what: Bench::Proxy(options) } => bench::proxy(&options),
        Chore::Bench { what: Bench::Plan(options) } => bench::plan::run(&options),
        Chore::Bench { what: Bench::Overload(options) } => bench::overload::run(&options),
        Chore::Bench { what: Bench::Signals(options) } => bench::signals::run(&options),
        Chore::Bench { what: Bench::Insight { what: Insight::Faultlab(options) } } => bench::faultlab::run(&options),
        Chore::Bench { what: Bench::Insight { what: Insight::Engines(measure) } } => bench::insight::run(&measure),
        Chore::Pgo => pgo::run(),
        Chore::Fuzz { target, seconds, keep } => fuzz::run(target.as_deref(), seconds, keep),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Where cargo builds.
fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
