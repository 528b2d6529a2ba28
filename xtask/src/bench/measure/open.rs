//! Open loop at a fixed rate: what a user feels of a proxy that is not at its limit.

use crate::bench::run::{MICROSECOND, Run, measured, shares};
use crate::bench::system::Running;
use crate::bench::table::{Column, Measured, Sheet, column, compared};

const COLUMNS: [Column; 6] = [
    compared("p50_us", "p50 us", 0),
    compared("p99_us", "p99 us", 0),
    column("p999_us", "p99.9 us", 0),
    column("cpu_client_us", "CPU us/request client side", 1),
    column("cpu_server_us", "server side", 1),
    compared("cpu_us", "both", 1),
];

const CONNECTIONS: u32 = 8;

pub struct Case {
    rate: u32,
}

pub fn sheet() -> Sheet {
    let note =
        "HTTP/1.1 over 8 connections; requests leave at times set in advance, and latency counts from these (corrected for coordinated omission).";
    Sheet::new("open", "HTTP/1.1, open loop", note, &COLUMNS)
}

pub fn cases() -> impl Iterator<Item = Case> {
    [500, 2000].into_iter().map(|rate| Case { rate })
}

impl Case {
    pub fn label(&self) -> String {
        format!("{}/s", self.rate)
    }

    pub async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        let (to, rate, seconds, connections) =
            (running.entries.http1.to_string(), self.rate.to_string(), seconds.to_string(), CONNECTIONS.to_string());
        let spec = run.load(&["open", "--to", &to, "--rate", &rate, "--seconds", &seconds, "--connections", &connections])?;
        let (figures, spent) = run.charged(running, run.figures(&spec)).await?;
        let latencies = [figures.number("p50_us")?, figures.number("p99_us")?, figures.number("p999_us")?];
        Ok(measured(&latencies, shares(spent, figures.number("requests")?, MICROSECOND), &[], figures.failed()))
    }
}
