//! HAProxy as the peer: a client side and a server side with mutual TLS 1.3 between them, and HAProxy as everybody's backend.

use super::System;
use super::process::{Pair, Process, wait_for};
use std::path::Path;
use std::process::Command;

pub const BACKEND: &str = "127.99.0.1:9080";

pub struct Haproxy {
    client: Process,
    server: Process,
    url: String,
}

/// Answers every request with 200 and a short body.
pub fn backend(directory: &Path) -> Result<Process, String> {
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 1h\n  timeout server 1h\n  timeout connect 5s\n  timeout http-keep-alive 1h\n\
         frontend in\n  bind {BACKEND}\n  http-request return status 200 content-type text/plain string \"hello from the backend\\n\"\n"
    );
    let process = start(directory, "backend", &text)?;
    wait_for(&format!("http://{BACKEND}/"), &directory.join("backend.log"))?;
    Ok(process)
}

impl Haproxy {
    pub fn start(directory: &Path) -> Result<Self, String> {
        certificates(directory)?;
        Self::launch(directory, 0)
    }

    /// A second pair, for figures that an earlier load would spoil.
    pub fn start_again(directory: &Path) -> Result<Self, String> {
        Self::launch(directory, 1)
    }

    fn launch(directory: &Path, turn: u8) -> Result<Self, String> {
        let (plain, secure) = (format!("127.99.{turn}.2:8080"), format!("127.99.{turn}.3:8443"));
        let common = "global\n  nbthread 1\n  maxconn 4000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n  ssl-default-server-options ssl-min-ver TLSv1.3\n\
             defaults\n  mode http\n  timeout client 1h\n  timeout server 1h\n  timeout connect 5s\n  timeout http-keep-alive 1h\n  option http-keep-alive\n  http-reuse always\n";
        let dir = directory.display();
        let server = format!(
            "{common}frontend in\n  bind {secure} ssl crt {dir}/node.pem ca-file {dir}/ca.crt verify required\n  default_backend app\nbackend app\n  server app {BACKEND}\n"
        );
        let client = format!(
            "{common}frontend in\n  bind {plain}\n  default_backend peer\nbackend peer\n  server peer {secure} ssl crt {dir}/node.pem ca-file {dir}/ca.crt verify required verifyhost bench.test\n"
        );
        let server = start(directory, &format!("haproxy-server-{turn}"), &server)?;
        let client = start(directory, &format!("haproxy-client-{turn}"), &client)?;
        let url = format!("http://{plain}/");
        wait_for(&url, &directory.join(format!("haproxy-client-{turn}.log")))?;
        Ok(Self { client, server, url })
    }
}

impl System for Haproxy {
    fn name(&self) -> &str {
        "HAProxy"
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn pair(&self) -> Pair {
        Pair { client: self.client.id(), server: self.server.id() }
    }
}

fn start(directory: &Path, name: &str, text: &str) -> Result<Process, String> {
    let path = directory.join(format!("{name}.cfg"));
    std::fs::write(&path, text).map_err(|e| e.to_string())?;
    let mut command = Command::new("haproxy");
    // -db: no fork, so the process we start is the one we measure.
    command.arg("-db").arg("-f").arg(path);
    Process::start(command, &directory.join(format!("{name}.log")))
}

/// ECDSA P-256, as Tautline's.
fn certificates(directory: &Path) -> Result<(), String> {
    let script = "openssl ecparam -name prime256v1 -genkey -noout -out ca.key && \
         openssl req -x509 -new -key ca.key -days 2 -subj /CN=bench-ca -out ca.crt && \
         openssl ecparam -name prime256v1 -genkey -noout -out node.key && openssl req -new -key node.key -subj /CN=bench.test -out node.csr && \
         printf 'subjectAltName=DNS:bench.test' > node.ext && \
         openssl x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile node.ext -out node.crt && cat node.crt node.key > node.pem";
    let output = Command::new("sh").args(["-c", script]).current_dir(directory).output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
