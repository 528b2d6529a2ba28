//! Closed loop, gRPC-like calls over HTTP/2: a small POST, a small message and trailers back.

use crate::bench::backend::{MESSAGE, METHOD};
use crate::bench::run::{MICROSECOND, Run, measured, shares};
use crate::bench::system::Running;
use crate::bench::table::{Column, Measured, Sheet, column, compared};

const COLUMNS: [Column; 5] = [
    column("per_second", "requests/s", 0),
    column("cpu_client_us", "CPU us/request client side", 1),
    column("cpu_server_us", "server side", 1),
    compared("cpu_us", "both", 1),
    column("mean_ms", "mean ms", 2),
];

pub struct Case {
    connections: u32,
    streams: u32,
}

pub fn sheet() -> Sheet {
    let note =
        "h2load, prior knowledge: POST with a message of 26 bytes, `content-type: application/grpc`; nghttpd answers with a message and trailers.";
    Sheet::new("http2", "gRPC-like calls over HTTP/2", note, &COLUMNS)
}

pub fn cases(quick: bool) -> impl Iterator<Item = Case> {
    let cases: &[(u32, u32)] = if quick { &[(4, 8)] } else { &[(1, 1), (4, 8), (16, 1), (64, 1)] };
    cases.iter().map(|(connections, streams)| Case { connections: *connections, streams: *streams })
}

impl Case {
    pub fn label(&self) -> String {
        format!("{} x {} streams", self.connections, self.streams)
    }

    pub async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        let message = run.site.directory.join("message");
        std::fs::write(&message, MESSAGE).map_err(|error| format!("cannot write {}: {error}", message.display()))?;
        let (connections, streams) = (format!("-c{}", self.connections), format!("-m{}", self.streams));
        // h2load takes whole seconds.
        let spec = run.tool("h2load", &["-t1", &connections, &streams, "-D", &format!("{}", seconds.ceil())]);
        let spec = spec.arguments(["-d", &message.display().to_string(), "-H", "content-type: application/grpc", "-H", "te: trailers"]);
        let spec = spec.arguments([format!("http://{}{METHOD}", running.entries.http2)]);
        let (text, spent) = run.charged(running, run.output(&spec)).await?;
        let report = read(&text)?;
        Ok(measured(&[report.per_second], shares(spent, report.succeeded, MICROSECOND), &[report.mean_ms], report.failed))
    }
}

#[derive(Debug, PartialEq)]
struct Report {
    per_second: f64,
    succeeded: f64,
    failed: u64,
    mean_ms: f64,
}

/// What h2load prints at its end.
fn read(text: &str) -> Result<Report, String> {
    let not_understood = || format!("h2load says: {}", text.trim());
    let line = |mark: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(mark)).ok_or_else(not_understood);
    let counted =
        |line: &str, what: &str| -> Option<u64> { line.split(',').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok()) };
    let finished = line("finished in")?;
    let per_second = finished.split(',').find_map(|part| part.trim().strip_suffix("req/s")?.trim().parse().ok()).ok_or_else(not_understood)?;
    let requests = line("requests:")?;
    let succeeded = counted(requests, "succeeded").filter(|count| *count > 0).ok_or_else(not_understood)?;
    let failed = counted(requests, "failed").ok_or_else(not_understood)?;
    let mean = line("time for request:")?.split_whitespace().nth(2).and_then(milliseconds).ok_or_else(not_understood)?;
    Ok(Report { per_second, succeeded: succeeded as f64, failed, mean_ms: mean })
}

fn milliseconds(shown: &str) -> Option<f64> {
    let unit_at = shown.find(|character: char| character.is_ascii_alphabetic())?;
    let number: f64 = shown[..unit_at].parse().ok()?;
    match &shown[unit_at..] {
        "us" => Some(number / 1e3),
        "ms" => Some(number),
        "s" => Some(number * 1e3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_h2load_prints() {
        let said = "finished in 2.00s, 33000.50 req/s, 2.90MB/s\nrequests: 66010 total, 66010 started, 66003 done, 66001 succeeded, 2 failed, 2 errored, 0 timeout\nstatus codes: 66001 2xx, 0 3xx, 0 4xx, 2 5xx\ntraffic: 5.80MB (6081234) total\n                     min         max         mean         sd        +/- sd\ntime for request:      110us     10.05ms       968us       200us    80.00%\ntime for connect:      150us       300us       220us        50us    50.00%\n";
        assert_eq!(read(said), Ok(Report { per_second: 33000.5, succeeded: 66001.0, failed: 2, mean_ms: 0.968 }));
    }

    #[test]
    fn a_run_without_success_is_an_error() {
        assert!(
            read("finished in 1.00s, 0.00 req/s, 0B/s\nrequests: 8 total, 8 started, 8 done, 0 succeeded, 8 failed, 8 errored, 0 timeout\n").is_err()
        );
    }
}
