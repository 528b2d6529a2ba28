//! `cargo xtask bench proxy`: CPU and memory of the two-proxy mutual-TLS path, Tautline's beside HAProxy's, in one run.
//!
//! Both paths are alike: load generator -> client-side proxy (plain text in, mutual TLS out) -> server-side proxy (mutual TLS in, plain
//! text out) -> one backend. Rounds are interleaved, so that what else the machine does falls on both.

mod haproxy;
mod process;
mod tautline;

use process::{Pair, Sample};
use std::path::Path;
use std::process::Command;

/// A system under test: two proxies in a row.
pub trait System {
    fn name(&self) -> &str;
    /// Where the load goes: `http://ip:port/`.
    fn url(&self) -> String;
    /// The client-side and the server-side process.
    fn pair(&self) -> Pair;
}

const CONNECTIONS: [u32; 3] = [1, 16, 64];
const ROUNDS: usize = 3;
const IDLE_CONNECTIONS: usize = 1000;

pub fn proxy(seconds: u32) -> Result<(), String> {
    for (tool, package) in [("haproxy", "haproxy"), ("wrk", "wrk"), ("openssl", "openssl")] {
        if Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().map_or(true, |o| !o.status.success()) {
            return Err(format!("{tool} is not installed: apt-get install {package}"));
        }
    }
    let directory = std::env::temp_dir().join(format!("taut-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
    let result = run(&directory, seconds);
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn run(directory: &Path, seconds: u32) -> Result<(), String> {
    let backend = haproxy::backend(directory)?;
    let peer = haproxy::Haproxy::start(directory)?;
    let ours = tautline::Tautline::start(directory)?;
    let systems: [&dyn System; 2] = [&ours, &peer];
    println!(
        "| system | connections | requests/s | CPU µs/request, client side + server side | p50 ms | p99 ms | failed |\n|---|---|---|---|---|---|---|"
    );
    let mut ratios = Vec::new();
    for connections in CONNECTIONS {
        let mut best: Vec<Vec<Sample>> = vec![Vec::new(); systems.len()];
        for _ in 0..ROUNDS {
            for (samples, system) in best.iter_mut().zip(systems) {
                samples.push(process::load(system, connections, seconds)?);
            }
        }
        let medians: Vec<Sample> = best.into_iter().map(process::median).collect();
        for (sample, system) in medians.iter().zip(systems) {
            println!(
                "| {} | {connections} | {:.0} | {:.1} + {:.1} = {:.1} | {:.2} | {:.2} | {} |",
                system.name(),
                sample.rate,
                sample.client_us,
                sample.server_us,
                sample.client_us + sample.server_us,
                sample.p50_ms,
                sample.p99_ms,
                sample.failed
            );
        }
        let cpu = |s: &Sample| s.client_us + s.server_us;
        ratios.push(format!("{connections}: {:.2}", cpu(&medians[0]) / cpu(&medians[1])));
    }
    println!("\nCPU per request, Tautline / HAProxy, by connections: {} (median of {ROUNDS} interleaved rounds of {seconds} s)\n", ratios.join(", "));
    println!("| system | resident MiB idle, client side / server side | with {IDLE_CONNECTIONS} idle connections |\n|---|---|---|");
    let quiet = (haproxy::Haproxy::start_again(directory)?, tautline::Tautline::start_again(directory)?);
    for system in [&quiet.1 as &dyn System, &quiet.0] {
        let before = system.pair().resident_mib();
        let held = process::idle(&system.url(), IDLE_CONNECTIONS)?;
        let after = system.pair().resident_mib();
        drop(held);
        println!("| {} | {:.1} / {:.1} | {:.1} / {:.1} |", system.name(), before.0, before.1, after.0, after.1);
    }
    drop(backend);
    Ok(())
}
