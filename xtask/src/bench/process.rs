//! Processes, their CPU time and memory, and the load on them.

use super::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the benchmark.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("cannot start {:?}: {e}", command.get_program());
        let file = std::fs::File::create(log).map_err(cannot)?;
        let errors = file.try_clone().map_err(cannot)?;
        let shown = format!("{:?}", command.get_program());
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        child.map(Self).map_err(|e| format!("cannot start {shown}: {e}"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone, Copy)]
pub struct Pair {
    pub client: u32,
    pub server: u32,
}

impl Pair {
    fn cpu(self) -> Result<(Duration, Duration), String> {
        Ok((cpu(self.client)?, cpu(self.server)?))
    }

    pub fn resident_mib(self) -> (f64, f64) {
        (resident(self.client), resident(self.server))
    }
}

/// User and system time of a process, all threads (proc(5), fields 14 and 15 in ticks of 10 ms).
fn cpu(pid: u32) -> Result<Duration, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| format!("process {pid} is gone: {e}"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub rate: f64,
    pub client_us: f64,
    pub server_us: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub failed: u64,
}

/// One round of wrk.
pub fn load(system: &dyn System, connections: u32, seconds: u32) -> Result<Sample, String> {
    let before = system.pair().cpu()?;
    let arguments = ["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", &system.url()];
    let output = Command::new("wrk").args(arguments).output().map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = system.pair().cpu()?;
    let requests = text.lines().find(|l| l.contains(" requests in ")).and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    let requests = requests.filter(|n| *n > 0.0).ok_or_else(|| format!("wrk against {}:\n{text}", system.name()))?;
    let failed = text
        .lines()
        .filter(|l| l.contains("Non-2xx") || l.contains("Socket errors"))
        .flat_map(|l| l.split([' ', ',']).filter_map(|w| w.parse::<u64>().ok()))
        .sum();
    let us = |a: Duration, b: Duration| (b - a).as_secs_f64() * 1e6 / requests;
    let rate = text.lines().find_map(|l| l.strip_prefix("Requests/sec:")).and_then(|r| r.trim().parse().ok()).unwrap_or(0.0);
    Ok(Sample {
        rate,
        client_us: us(before.0, after.0),
        server_us: us(before.1, after.1),
        p50_ms: percentile(&text, "50%"),
        p99_ms: percentile(&text, "99%"),
        failed,
    })
}

fn percentile(text: &str, which: &str) -> f64 {
    let value = text.lines().find_map(|l| l.trim().strip_prefix(which)).unwrap_or("0us").trim();
    let unit_at = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
    let number: f64 = value[..unit_at].parse().unwrap_or(0.0);
    match &value[unit_at..] {
        "us" => number / 1000.0,
        "s" => number * 1000.0,
        _ => number,
    }
}

/// The round in the middle by CPU.
pub fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|a, b| (a.client_us + a.server_us).total_cmp(&(b.client_us + b.server_us)));
    let middle = samples.len() / 2;
    samples.into_iter().nth(middle).unwrap_or_default()
}

/// Connections that have carried one request each and stay open.
pub fn idle(url: &str, count: usize) -> Result<Vec<TcpStream>, String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|e| e.to_string())?;
        let mut first = [0; 512];
        let read = stream.read(&mut first).map_err(|e| e.to_string())?;
        if !first[..read].starts_with(b"HTTP/1.1 200") {
            return Err(format!("{address} answered {:?}", String::from_utf8_lossy(&first[..read])));
        }
        held.push(stream);
    }
    Ok(held)
}

/// Waits until `url` answers 200.
pub fn wait_for(url: &str, log: &Path) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match idle(url, 1) {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => {
                return Err(format!("{url} does not answer: {why}\n{}", std::fs::read_to_string(log).unwrap_or_default()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
