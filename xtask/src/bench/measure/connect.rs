//! A new client connection each: for one HTTP request, and for one byte each way of raw TCP.

use crate::bench::run::{MICROSECOND, Run, measured, shares};
use crate::bench::system::Running;
use crate::bench::table::{Column, Measured, Sheet, column, compared};
use crate::bench::wrk;

const COLUMNS: [Column; 4] = [
    column("per_second", "connections/s", 0),
    column("cpu_client_us", "CPU us/connection client side", 1),
    column("cpu_server_us", "server side", 1),
    compared("cpu_us", "both", 1),
];

const CONNECTIONS: u32 = 16;

pub enum Case {
    Http,
    Tcp,
}

pub fn sheet() -> Sheet {
    let note = "Closed loop, 16 at a time. HTTP: one request with `Connection: close`; proxies keep their own connections. TCP: connect, a byte each way, close.";
    Sheet::new("connect", "New connections", note, &COLUMNS)
}

pub fn cases() -> impl Iterator<Item = Case> {
    [Case::Http, Case::Tcp].into_iter()
}

impl Case {
    pub fn label(&self) -> String {
        match self {
            Case::Http => "HTTP/1.1".to_owned(),
            Case::Tcp => "raw TCP".to_owned(),
        }
    }

    pub async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        match self {
            Case::Http => {
                let load = wrk::run(run, running.entries.http1, CONNECTIONS, seconds, &["Connection: close"]);
                let (report, spent) = run.charged(running, load).await?;
                Ok(measured(&[report.per_second], shares(spent, report.requests, MICROSECOND), &[], report.failed))
            }
            Case::Tcp => {
                let (to, seconds, connections) = (running.entries.tcp.to_string(), seconds.to_string(), CONNECTIONS.to_string());
                let spec = run.load(&["connect", "--to", &to, "--seconds", &seconds, "--connections", &connections])?;
                let (figures, spent) = run.charged(running, run.figures(&spec)).await?;
                let made = figures.number("connections")?;
                Ok(measured(&[figures.number("per_second")?], shares(spent, made, MICROSECOND), &[], figures.failed()))
            }
        }
    }
}
