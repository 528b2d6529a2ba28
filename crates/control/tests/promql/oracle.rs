//! A real Prometheus that holds the scene, in a directory of its own, on loopback.

use crate::scene::Scene;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use taut_control::prometheus::Times;

pub struct Oracle {
    child: Child,
    address: std::net::SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Oracle {
    /// `None` where Prometheus is not installed.
    pub fn start(scene: &Scene) -> Option<Self> {
        let version = Command::new("prometheus").arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned() + &String::from_utf8_lossy(&version.stderr);
        // Later versions mean other things by some queries.
        version.contains("version 2.42.").then_some(())?;
        let directory = tempfile::tempdir().unwrap();
        let (metrics, data, configuration) = ["metrics", "data", "prometheus.yml"].map(|name| directory.path().join(name)).into();
        std::fs::write(&metrics, scene.openmetrics()).unwrap();
        std::fs::write(&configuration, "global: {}\n").unwrap();
        let made = Command::new("promtool").args(["tsdb", "create-blocks-from", "openmetrics"]).args([&metrics, &data]).output().ok()?;
        assert!(made.status.success(), "promtool: {}", String::from_utf8_lossy(&made.stderr));
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let oracle = Self { child, address, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(60);
        while oracle.get("/-/ready").is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < deadline, "prometheus does not get ready at {address}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Some(oracle)
    }

    fn get(&self, target: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {target} HTTP/1.0\r\nhost: prometheus\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Its data, or its error.
    pub fn ask(&self, query: &str, times: Times) -> Result<Value, String> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let escaped = query.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "%{byte:02x}").unwrap();
            text
        });
        let target = match times.start == times.end {
            true => format!("/api/v1/query?query={escaped}&time={}", seconds(times.start)),
            false => {
                format!("/api/v1/query_range?query={escaped}&start={}&end={}&step={}", seconds(times.start), seconds(times.end), seconds(times.step))
            }
        };
        let (_, body) = self.get(&target).expect("prometheus answers");
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        match answer["status"] == "success" {
            true => Ok(answer["data"].take()),
            false => Err(answer["error"].to_string()),
        }
    }
}
