//! Start time of the client-side proxy: from exec to the first request served, all else being up.

use crate::bench::run::{Run, STARTED};
use crate::bench::system::{Ports, Running, System};
use crate::bench::table::{Column, Measured, Sheet, compared};

const COLUMNS: [Column; 1] = [compared("start_ms", "ms to the first request served", 1)];

const TIMES: usize = 5;

pub async fn measure(run: &Run) -> Sheet {
    let note = "The client-side proxy, from exec to the first 200 through both proxies; median of 5. Tautline's includes its certificate and its configuration.";
    let mut sheet = Sheet::new("start", "Start", note, &COLUMNS);
    for (number, system) in run.systems.iter().enumerate() {
        eprintln!("Start, {}", system.name());
        let ports = Ports::new(STARTED, number);
        match times(run, system.as_ref(), &ports).await {
            Ok(rounds) if rounds.is_empty() => {}
            Ok(rounds) => sheet.add(system.name(), "client side", rounds.into_iter().map(Ok).collect()),
            Err(why) => sheet.add(system.name(), "client side", vec![Err(why)]),
        }
    }
    sheet
}

/// Empty where there is no proxy.
async fn times(run: &Run, system: &dyn System, ports: &Ports) -> Result<Vec<Measured>, String> {
    let running = Running::without_client(system, &run.site, ports)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let Some(client) = system.client(&run.site, ports)? else { break };
        let spec = run.load(&["start", "--to", &running.entries.http1.to_string(), "--", &client.program.display().to_string()])?;
        let mut spec = spec.arguments(client.arguments.clone());
        spec.environment = client.environment;
        let figures = run.figures(&spec).await.map_err(|why| format!("{why}{}", running.said()))?;
        times.push(Measured { figures: vec![figures.number("ms")?], failed: 0 });
    }
    Ok(times)
}
