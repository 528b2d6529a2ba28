//! How long a program takes from its start to the first request it has served.

use super::{PATIENCE, http};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub fn run(to: SocketAddr, command: &[String]) -> Result<Value, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("there is no program to start".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
    let waited = http::wait(to, PATIENCE);
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
    waited
}
