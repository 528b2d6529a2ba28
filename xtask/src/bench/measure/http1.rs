//! Closed loop, HTTP/1.1, connections kept: throughput, CPU per request, latency under full load.

use crate::bench::run::{MICROSECOND, Run, measured, shares};
use crate::bench::system::Running;
use crate::bench::table::{Column, Measured, Sheet, column, compared};
use crate::bench::wrk;

const COLUMNS: [Column; 6] = [
    column("per_second", "requests/s", 0),
    column("cpu_client_us", "CPU us/request client side", 1),
    column("cpu_server_us", "server side", 1),
    compared("cpu_us", "both", 1),
    column("p50_ms", "p50 ms", 2),
    column("p99_ms", "p99 ms", 2),
];

pub struct Case {
    connections: u32,
}

pub fn sheet() -> Sheet {
    let note = "wrk, one thread, closed loop; the latency is that of a system under all the load it takes.";
    Sheet::new("http1", "HTTP/1.1, connections kept", note, &COLUMNS)
}

pub fn cases(quick: bool) -> impl Iterator<Item = Case> {
    let connections: &[u32] = if quick { &[64] } else { &[1, 16, 64] };
    connections.iter().map(|connections| Case { connections: *connections })
}

impl Case {
    pub fn label(&self) -> String {
        match self.connections {
            1 => "1 connection".to_owned(),
            many => format!("{many} connections"),
        }
    }

    pub async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        let load = wrk::run(run, running.entries.http1, self.connections, seconds, &[]);
        let (report, spent) = run.charged(running, load).await?;
        Ok(measured(&[report.per_second], shares(spent, report.requests, MICROSECOND), &[report.p50_ms, report.p99_ms], report.failed))
    }
}
