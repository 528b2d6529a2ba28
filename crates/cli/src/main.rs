//! The `taut` command: arguments in, one of the modules below does the work, an exit code out.
//!
//! Exit codes: 0 done; 1 the answer is no (findings, not live in time, not found); 2 the command cannot be carried out
//! (bad arguments, no control plane, no permission).

mod analyze;
mod api;
mod apply;
mod audit;
mod bookstore;
mod changes;
mod dashboard;
mod demo;
mod duration;
mod edges;
mod get;
mod incidents;
mod kubeconfig;
mod output;
mod place;
mod plan;
mod policy;
mod profile;
mod record;
mod replay;
mod run;
mod slo;
mod status;
mod tap;
mod terminal;
mod test;
mod token;
mod top;
mod trust;
mod up;
mod wait;
mod why;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One small program that finds services, secures every connection, routes traffic, and says why.
#[derive(Parser)]
#[command(name = "taut", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    place: place::Place,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  taut demo                                         see a mesh work: five services, mutual TLS, a page to open
  taut up --config ./mesh                           run a control plane with the YAML of a directory
  taut run --service hello --port 8080 -- ./hello   run a program with a sidecar
  taut apply -f reviews.yaml && taut wait --for=live
  taut why --from productpage --to reviews --request 'GET /reviews/1' -H 'end-user: jason'";

#[derive(Subcommand)]
enum Command {
    /// Start the bookstore: a control plane, nine processes with sidecars, steady traffic, a page
    Demo(demo::Arguments),
    /// Run the control plane: resource API, certificate authority, configuration for proxies
    Up(up::Arguments),
    /// Run a program with a sidecar
    Run(run::Arguments),
    /// Create or change the objects of files (server-side apply)
    Apply(apply::Arguments),
    /// Show objects
    Get(get::Arguments),
    /// Delete objects
    Delete(apply::DeleteArguments),
    /// What is wrong now, then who is connected and what is live
    Status(status::Arguments),
    /// Who calls whom, how often, how well, how fast, and whether it is secured
    Edges(edges::Arguments),
    /// The same, live: the busiest, the slowest or the most troubled edges
    Top(top::Arguments),
    /// Requests of the whole mesh as they happen, by filter
    Tap(tap::Arguments),
    /// Where a proxy's CPU time or memory goes, or the control plane's
    Profile(profile::Arguments),
    /// Write what is known of a span of time into one file, for taut replay, pandas or DuckDB
    Record(record::Arguments),
    /// Look into a recording, without a control plane
    Replay(replay::Arguments),
    /// Whether users are hurt, where it comes from, and on what evidence
    Incidents(incidents::Arguments),
    /// Whether objectives are kept, and how long their budgets last
    Slo(slo::Arguments),
    /// What load comes to a service, with how sure that is
    Forecast(slo::ForecastArguments),
    /// Find mistakes in files, without a control plane, or in the mesh that runs
    Analyze(analyze::Arguments),
    /// Try assertions over configuration, without a mesh: where requests go, in which shares, and what happens to them
    Test(test::Arguments),
    /// Explain what the mesh would do with a request, or did with one that happened
    Why(why::Arguments),
    /// Wait until objects are live in every proxy that needs them
    Wait(wait::Arguments),
    /// What would change if files were applied, in the objects and for the flows that were seen
    Plan(plan::Arguments),
    /// The smallest policies that let in every caller that was seen
    Policy(policy::Arguments),
    /// Who changed what of the configuration, when, and where it is live
    Changes(changes::Arguments),
    /// Take a change of configuration back
    Rollback(changes::RollbackArguments),
    /// Whom the mesh believes, who holds what; replace the root, revoke certificates, refuse plain text
    Trust(trust::Arguments),
    /// Who did what to the mesh's trust and configuration, and whether the log of it was touched
    Audit(audit::Arguments),
    /// Make a join token, for one proxy, once; or a token for a person
    Token(token::Arguments),
    /// Print shell completions
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
    /// One process of the demo's bookstore
    #[command(hide = true)]
    Bookstore(bookstore::Arguments),
}

/// Why a command ended early: a sentence for the user and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl Failure {
    /// The command cannot be carried out.
    pub fn cannot(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// It was carried out, and the answer is no.
    pub fn no(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }
}

pub type Outcome<T = ()> = Result<T, Failure>;

fn main() -> ExitCode {
    end_with_parent();
    let arguments = Arguments::parse();
    log_to_stderr(matches!(arguments.command, Command::Up(_) | Command::Run(_) | Command::Bookstore(_)));
    match start(arguments) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::error(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn start(arguments: Arguments) -> Outcome<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::cannot(format!("cannot start: {e}")))?;
    let place = &arguments.place;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let done = |()| ExitCode::SUCCESS;
        match arguments.command {
            Command::Demo(a) => demo::demo(place, a).await.map(done),
            Command::Up(a) => up::up(place, a).await.map(done),
            Command::Run(a) => run::run(place, a).await,
            Command::Apply(a) => apply::apply(place, a).await.map(done),
            Command::Get(a) => get::get(place, a).await.map(done),
            Command::Delete(a) => apply::delete(place, a).await.map(done),
            Command::Status(a) => status::status(place, a).await.map(done),
            Command::Edges(a) => edges::edges(place, a).await.map(done),
            Command::Top(a) => top::top(place, a).await.map(done),
            Command::Tap(a) => tap::tap(place, a).await.map(done),
            Command::Profile(a) => profile::profile(place, a).await.map(done),
            Command::Record(a) => record::record(place, a).await.map(done),
            Command::Replay(a) => replay::replay(a).map(done),
            Command::Analyze(a) => analyze::analyze(place, a).await.map(done),
            Command::Test(a) => test::test(a).map(done),
            Command::Why(a) => why::why(place, a).await.map(done),
            Command::Wait(a) => wait::wait(place, a).await.map(done),
            Command::Plan(a) => plan::plan(place, a).await,
            Command::Policy(a) => policy::policy(place, a).await,
            Command::Changes(a) => changes::changes(place, a).await.map(done),
            Command::Rollback(a) => changes::rollback(place, a).await.map(done),
            Command::Incidents(a) => incidents::incidents(place, a).await.map(done),
            Command::Trust(a) => trust::trust(place, a).await,
            Command::Slo(a) => slo::slo(place, a).await.map(done),
            Command::Forecast(a) => slo::forecast(place, a).await.map(done),
            Command::Audit(a) => audit::audit(place, a).await.map(done),
            Command::Token(a) => token::token(place, a).await.map(done),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Arguments::command(), "taut", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
            Command::Man => clap_mangen::Man::new(Arguments::command())
                .render(&mut std::io::stdout())
                .map(done)
                .map_err(|e| Failure::cannot(format!("cannot write the manual page: {e}"))),
            Command::Bookstore(a) => bookstore::bookstore(a).await.map(done),
        }
    })
}

/// Processes that `taut demo` starts end with it, even when it is killed.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(demo::END_WITH_PARENT).is_some() {
        // Only a convenience: without it they go on until they are stopped.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    }
}

/// Servers log what happens; other commands only what goes wrong. `RUST_LOG` decides when it is set.
fn log_to_stderr(server: bool) {
    let default = if server { "info" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let colours = output::colours(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }
}
