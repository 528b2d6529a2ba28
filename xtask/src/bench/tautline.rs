//! Tautline's two proxies, one worker each, with a control plane of their own.

use super::System;
use super::haproxy::BACKEND;
use super::process::{Pair, Process, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Tautline {
    client: Process,
    server: Process,
    _control: Process,
    url: String,
}

impl Tautline {
    pub fn start(directory: &Path) -> Result<Self, String> {
        Self::launch(directory, 0)
    }

    pub fn start_again(directory: &Path) -> Result<Self, String> {
        Self::launch(directory, 1)
    }

    fn launch(directory: &Path, turn: u8) -> Result<Self, String> {
        let state = directory.join(format!("state-{turn}"));
        let host = format!("127.99.{turn}.10");
        let log = |name: &str| directory.join(format!("{name}-{turn}.log"));
        let mut up = Command::new(program("taut")?);
        up.args(["up", "--api", &format!("{host}:15443"), "--grpc", &format!("{host}:15012")]).env("TAUT_STATE", &state);
        let control = Process::start(up, &log("control"))?;
        let (backend, _) = BACKEND.split_once(':').ok_or("the backend has no port")?;
        let (plain, server_ip, client_ip) = (format!("127.99.{turn}.12:8080"), format!("127.99.{turn}.11"), format!("127.99.{turn}.12"));
        let proxy = |name: &str, ip: &str, extra: &[&str]| -> Result<Process, String> {
            let mut command = Command::new(program("taut-proxy")?);
            command.args(["--service", name, "--name", name, "--control", &format!("{host}:15012"), "--outbound", &format!("{ip}:15001")]);
            command.args(["--peer", &format!("{ip}:15008"), "--admin", &format!("{ip}:15000")]).args(extra);
            command.env("TAUT_TOKEN", token(&state)?);
            Process::start(command, &log(name))
        };
        let server = proxy("backend", &server_ip, &["--port", "9080/http", "--address", backend])?;
        let client = proxy("loadgen", &client_ip, &["--upstream", &format!("backend:9080={plain}")])?;
        let url = format!("http://{plain}/");
        wait_for(&url, &log("loadgen"))?;
        Ok(Self { client, server, _control: control, url })
    }
}

impl System for Tautline {
    fn name(&self) -> &str {
        "Tautline"
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn pair(&self) -> Pair {
        Pair { client: self.client.id(), server: self.server.id() }
    }
}

/// A release binary of this workspace.
fn program(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let path = own.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built: cargo build --release -p taut -p taut-proxy", path.display())),
    }
}

/// Asks until the control plane is up.
fn token(state: &Path) -> Result<String, String> {
    for _ in 0..200 {
        let output = Command::new(program("taut")?).args(["token"]).env("TAUT_STATE", state).output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err("the control plane does not hand out tokens".to_owned())
}
