//! One run of `bench proxy`: what it works with, and how a load is run and read in the client's namespace.

use super::place::Side;
use super::process::Spec;
use super::system::{Running, Site, Slot, Spent, System};
use super::table::Measured;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

pub struct Run {
    pub site: Site,
    pub systems: Vec<Box<dyn System>>,
    /// Short and single rounds of the cases that matter most.
    pub quick: bool,
    /// Of one round.
    pub seconds: f64,
    pub rounds: usize,
}

/// The copy that carries the load, and those that measure from a fresh start.
pub const LOADED: Slot = Slot(0);
pub const QUIET: Slot = Slot(1);
pub const STARTED: Slot = Slot(2);

impl Run {
    /// This program again, as load generator.
    pub fn load(&self, arguments: &[&str]) -> Result<Spec, String> {
        let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        Ok(self.tool(&own.display().to_string(), &["load"]).arguments(arguments.iter().copied()))
    }

    /// A program on the client's side.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Spec {
        Spec::new(Side::Client, program, self.site.directory.join("load.log")).arguments(arguments.iter().copied())
    }

    /// As a tokio command that ends when nobody waits for it any more.
    pub fn command(&self, spec: &Spec) -> tokio::process::Command {
        let mut command = tokio::process::Command::from(self.site.place.command(spec));
        command.kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// What it prints.
    pub async fn output(&self, spec: &Spec) -> Result<String, String> {
        let shown = spec.program.display();
        let output = self.command(spec).output().await.map_err(|error| format!("cannot start {shown}: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// The same, as JSON.
    pub async fn figures(&self, spec: &Spec) -> Result<Figures, String> {
        let text = self.output(spec).await?;
        serde_json::from_str(&text).map(Figures).map_err(|error| format!("{}: {error}: {text:?}", spec.program.display()))
    }

    /// Runs a load, and says what the proxies spent meanwhile.
    pub async fn charged<T>(&self, running: &Running, load: impl Future<Output = Result<T, String>>) -> Result<(T, Option<Spent>), String> {
        let before = running.cpu()?;
        let outcome = load.await?;
        let after = running.cpu()?;
        let spent = before
            .zip(after)
            .map(|(before, after)| Spent { client: after.client.saturating_sub(before.client), server: after.server.saturating_sub(before.server) });
        Ok((outcome, spent))
    }

    /// Until a request comes through.
    pub async fn ready(&self, running: &Running) -> Result<(), String> {
        let waited = self.output(&self.load(&["wait", "--to", &running.entries.http1.to_string()])?).await;
        waited.map(drop).map_err(|why| format!("{} does not serve: {why}{}", running.name, running.said()))
    }
}

/// What a load generator of ours printed.
pub struct Figures(Value);

impl Figures {
    pub fn number(&self, key: &str) -> Result<f64, String> {
        self.0.get(key).and_then(Value::as_f64).ok_or_else(|| format!("the load generator says no {key}: {}", self.0))
    }

    pub fn failed(&self) -> u64 {
        self.0.get("failed").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// Client side, server side, both: CPU time, in this unit, for each of so many.
pub fn shares(spent: Option<Spent>, count: f64, unit: Duration) -> [f64; 3] {
    let Some(spent) = spent.filter(|_| count > 0.0) else { return [f64::NAN; 3] };
    let per = |time: Duration| time.as_secs_f64() / unit.as_secs_f64() / count;
    [per(spent.client), per(spent.server), per(spent.client + spent.server)]
}

pub const MICROSECOND: Duration = Duration::from_micros(1);

/// Figures in the order of their columns: some, the three of [`shares`], some more.
pub fn measured(first: &[f64], shares: [f64; 3], rest: &[f64], failed: u64) -> Measured {
    Measured { figures: [first, &shares, rest].concat(), failed }
}
