//! What a listener on the wire sees between two sidecars: nothing of the application's bytes. Needs tcpdump and the right to capture.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Connection, Member, Mesh, PATIENCE, eventually, has};

struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    /// Captures what matches `filter` on loopback; `None` where that is not allowed.
    fn start(directory: &Path, name: &str, filter: &str) -> Option<Self> {
        let file = directory.join(name);
        let mut process = Command::new("tcpdump")
            .args(["-i", "lo", "-U", "-s", "0", "-w"])
            .arg(&file)
            .arg(filter)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut messages = BufReader::new(process.stderr.take().unwrap());
        while messages.read_line(&mut line).is_ok_and(|n| n > 0) {
            if line.contains("listening on") {
                return Some(Self { process, file });
            }
        }
        let _ = process.wait();
        eprintln!("no capture: {line}");
        None
    }

    fn holds(&self, text: &str) -> bool {
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |m| m.len())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn between_sidecars_there_is_no_plain_text() {
    if !has("tcpdump") {
        eprintln!("tcpdump is not installed: the wire is not looked at here");
        return;
    }
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    mesh.run(&Member::new("store", "v1", 9));
    mesh.run(&Member::new("ratings", "v1", 7));
    mesh.run(&Member::new("productpage", "v1", 1));
    mesh.wait_ready(3);
    let at = mesh.address(7);
    // The second capture proves that the first one would have seen it: the last hop, sidecar to application, is plain.
    let (Some(between), Some(beside)) = (
        Capture::start(mesh.directory.path(), "between.pcap", &format!("host {at} and tcp port 15008")),
        Capture::start(mesh.directory.path(), "beside.pcap", &format!("host {at} and tcp port 9080")),
    ) else {
        return;
    };
    let known = "a-body-that-nobody-else-would-write-0123456789";
    let body = format!(r#"{{"Reviewer1":5,"Reviewer2":4,"{known}":1}}"#);
    let mut client = Connection::open(&mesh.outbound(1)).unwrap();
    for _ in 0..20 {
        let reply = client.exchange("POST", "http://ratings:9080/ratings/0", "ratings:9080", &[("x-secret", known)], &body).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    eventually(PATIENCE, "the captures have been written", || match beside.holds(known) && between.size() > 10_000 {
        true => Ok(()),
        false => Err(format!("{} and {} bytes", between.size(), beside.size())),
    });
    assert!(!between.holds(known) && !between.holds("Reviewer1"), "a known body was seen between the sidecars");
    println!("20 requests with a known body: {} bytes captured between the sidecars, the body in none of them", between.size());
}
