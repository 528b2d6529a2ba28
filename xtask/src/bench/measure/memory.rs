//! Resident memory of fresh proxies: idle, and holding idle client connections.

use crate::bench::run::{QUIET, Run};
use crate::bench::system::{Ports, Running, System};
use crate::bench::table::{Column, Measured, Sheet, column, compared};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

const COLUMNS: [Column; 4] = [
    compared("idle_client_mib", "idle MiB client side", 1),
    column("idle_server_mib", "server side", 1),
    compared("held_client_mib", "with 1,000 connections client side", 1),
    column("held_server_mib", "server side", 1),
];

const CONNECTIONS: u32 = 1000;
/// Proxies let go of what a burst has needed; some sooner than others.
const IDLE: Duration = Duration::from_secs(4);

pub async fn measure(run: &Run) -> Sheet {
    let note = "VmRSS of freshly started proxies that have served one request, and then of 1,000 client connections that carried one request each and are kept; each once it has been idle for 4 s.";
    let mut sheet = Sheet::new("memory", "Resident memory", note, &COLUMNS);
    for (number, system) in run.systems.iter().enumerate() {
        eprintln!("Memory, {}", system.name());
        if let Some(measured) = one(run, system.as_ref(), &Ports::new(QUIET, number)).await.transpose() {
            sheet.add(system.name(), "HTTP/1.1", vec![measured]);
        }
    }
    sheet
}

/// `None` where there is no proxy.
async fn one(run: &Run, system: &dyn System, ports: &Ports) -> Result<Option<Measured>, String> {
    let running = Running::start(system, &run.site, ports)?;
    run.ready(&running).await?;
    tokio::time::sleep(IDLE).await;
    let Some((idle_client, idle_server)) = running.resident_mib() else { return Ok(None) };
    let spec = run.load(&["idle", "--to", &running.entries.http1.to_string(), "--count", &CONNECTIONS.to_string()])?;
    let mut command = run.command(&spec);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut load = command.spawn().map_err(|error| format!("cannot start the load generator: {error}"))?;
    let mut line = String::new();
    if let Some(output) = load.stdout.as_mut() {
        BufReader::new(output).read_line(&mut line).await.map_err(|error| format!("cannot read from the load generator: {error}"))?;
    }
    tokio::time::sleep(IDLE).await;
    let held = running.resident_mib();
    let _ = load.start_kill();
    let output = load.wait_with_output().await.map_err(|error| format!("the load generator: {error}"))?;
    if line.is_empty() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(held.map(|(held_client, held_server)| Measured { figures: vec![idle_client, idle_server, held_client, held_server], failed: 0 }))
}
