//! wrk: run it, read what it says.

use super::run::Run;
use std::net::SocketAddr;

#[derive(Debug, PartialEq)]
pub struct Report {
    pub requests: f64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Socket errors and answers other than 2xx and 3xx.
    pub failed: u64,
}

/// One round; `headers` are added to each request.
pub async fn run(run: &Run, to: SocketAddr, connections: u32, seconds: f64, headers: &[&str]) -> Result<Report, String> {
    // wrk takes whole seconds.
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{}s", seconds.ceil()));
    let spec = run.tool("wrk", &["-t1", &connections, &seconds, "--latency"]);
    let spec = spec.arguments(headers.iter().flat_map(|header| ["-H", *header])).arguments([format!("http://{to}/")]);
    read(&run.output(&spec).await?)
}

fn read(text: &str) -> Result<Report, String> {
    let line = |mark: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(mark));
    let requests = text.lines().find(|line| line.contains(" requests in ")).and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let requests = requests.filter(|count| *count > 0.0).ok_or_else(|| format!("no request came through: {text}"))?;
    let failures = ["Socket errors:", "Non-2xx or 3xx responses:"].into_iter().filter_map(line);
    let failed = failures.flat_map(|line| line.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok())).sum();
    let per_second = line("Requests/sec:").and_then(|rate| rate.trim().parse().ok()).ok_or_else(|| format!("wrk says no rate: {text}"))?;
    Ok(Report { requests, per_second, p50_ms: milliseconds(line("50%"))?, p99_ms: milliseconds(line("99%"))?, failed })
}

fn milliseconds(shown: Option<&str>) -> Result<f64, String> {
    let value = shown.ok_or("wrk says no latencies")?.trim();
    let unit_at = value.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(value.len());
    let number: f64 = value[..unit_at].parse().map_err(|_| format!("wrk says a latency of {value:?}"))?;
    match &value[unit_at..] {
        "us" => Ok(number / 1e3),
        "ms" => Ok(number),
        "s" => Ok(number * 1e3),
        "m" => Ok(number * 6e4),
        unit => Err(format!("wrk says a latency in {unit:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.02ms  500.00us  10.00ms   90.00%\n  Latency Distribution\n     50%  970.00us\n     75%    1.10ms\n     90%    1.30ms\n     99%    2.50ms\n  120000 requests in 2.00s, 15.00MB read\n  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 7\nRequests/sec:  59990.12\nTransfer/sec:      7.50MB\n";

    #[test]
    fn reads_what_wrk_prints() {
        assert_eq!(read(SAID), Ok(Report { requests: 120000.0, per_second: 59990.12, p50_ms: 0.97, p99_ms: 2.5, failed: 11 }));
    }

    #[test]
    fn nothing_came_through_is_an_error() {
        assert!(read("  0 requests in 2.00s, 0.00B read\n").is_err());
    }
}
