//! Processes of the benchmark: how one is started and ended, the CPU time it used, the memory it holds.

use super::place::{Place, Side};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Spec {
    pub side: Side,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub log: PathBuf,
}

impl Spec {
    pub fn new(side: Side, program: impl Into<PathBuf>, log: PathBuf) -> Self {
        Self { side, program: program.into(), arguments: Vec::new(), environment: Vec::new(), log }
    }

    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// What the program said, for errors.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A process with the children it makes; all end with the benchmark.
pub struct Process(Child);

impl Process {
    pub fn start(place: &Place, spec: &Spec) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot start {}: {error}", spec.program.display());
        let log = fs::File::create(&spec.log).map_err(cannot)?;
        let errors = log.try_clone().map_err(cannot)?;
        let mut command = place.command(spec);
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        command.spawn().map(Self).map_err(cannot)
    }

    /// User and system time, of all threads and children.
    pub fn cpu(&self) -> Result<Duration, String> {
        let mut total = Duration::ZERO;
        for process in family(self.0.id()) {
            total += cpu(process)?;
        }
        Ok(total)
    }

    /// VmRSS with that of the children.
    pub fn resident_mib(&self) -> f64 {
        family(self.0.id()).into_iter().map(resident_mib).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// A process, its children, theirs.
fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        for thread in threads(parent) {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        at += 1;
    }
    all
}

fn threads(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// User and system time. Nanoseconds that the threads were on a CPU (/proc/PID/task/TID/schedstat, first field), which leave out threads that
/// have ended; or, if more, the ticks of 10 ms of the whole process (proc(5), stat, fields 14 and 15).
fn cpu(process: u32) -> Result<Duration, String> {
    let ran = |thread: u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let threads = Duration::from_nanos(threads(process).into_iter().filter_map(ran).sum());
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).map_err(|error| format!("process {process} is gone: {error}"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(threads.max(Duration::from_millis((ticks(11) + ticks(12)) * 10)))
}

fn resident_mib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_process_that_works_has_spent_what_it_worked() {
        let process = std::process::id();
        let (before, deadline) = (cpu(process).unwrap(), Instant::now() + Duration::from_secs(20));
        let mut work = 1_u64;
        while cpu(process).unwrap() < before + Duration::from_millis(30) {
            work = std::hint::black_box(work.wrapping_mul(3));
            assert!(Instant::now() < deadline, "no CPU time is counted");
        }
        assert!(resident_mib(process) > 0.0);
        assert!(cpu(u32::MAX).is_err());
    }
}
