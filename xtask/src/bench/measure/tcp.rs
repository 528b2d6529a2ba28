//! Bulk over one raw TCP connection, each way.

use crate::bench::run::{Run, measured, shares};
use crate::bench::system::Running;
use crate::bench::table::{Column, Measured, Sheet, column, compared};
use std::time::Duration;

const COLUMNS: [Column; 4] = [
    column("gigabits_per_second", "Gbit/s", 2),
    column("cpu_client_s_per_gigabyte", "CPU s/GB client side", 3),
    column("cpu_server_s_per_gigabyte", "server side", 3),
    compared("cpu_s_per_gigabyte", "both", 3),
];

pub struct Case {
    direction: &'static str,
}

pub fn sheet() -> Sheet {
    let note = "One connection, as fast as it goes; down is from server to client. A gigabyte is 10^9 bytes.";
    Sheet::new("tcp", "Bulk raw TCP", note, &COLUMNS)
}

pub fn cases() -> impl Iterator<Item = Case> {
    ["down", "up"].into_iter().map(|direction| Case { direction })
}

impl Case {
    pub fn label(&self) -> String {
        self.direction.to_owned()
    }

    pub async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        let (to, seconds) = (running.entries.tcp.to_string(), seconds.to_string());
        let spec = run.load(&["bulk", "--to", &to, "--seconds", &seconds, "--direction", self.direction])?;
        let (figures, spent) = run.charged(running, run.figures(&spec)).await?;
        let gigabytes = figures.number("bytes")? / 1e9;
        let rate = gigabytes * 8.0 / figures.number("seconds")?;
        Ok(measured(&[rate], shares(spent, gigabytes, Duration::from_secs(1)), &[], figures.failed()))
    }
}
