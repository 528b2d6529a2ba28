//! What the operating system says about this process.

use std::time::Duration;

/// Linux's `/proc/self`; parts that cannot be read (other systems) are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    pub resident_bytes: Option<u64>,
    pub cpu: Option<Duration>,
    /// Unix time in seconds.
    pub started: Option<f64>,
}

/// `USER_HZ`, which Linux fixes at 100 for what it shows to programs.
const TICKS: u64 = 100;

impl Process {
    pub fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").ok();
        let status = std::fs::read_to_string("/proc/self/status").ok();
        let machine = std::fs::read_to_string("/proc/stat").ok();
        Self::parse(stat.as_deref().unwrap_or_default(), status.as_deref().unwrap_or_default(), machine.as_deref().unwrap_or_default())
    }

    /// proc(5): `/proc/[pid]/stat` fields 14, 15 (CPU) and 22 (start), `/proc/[pid]/status` VmRSS, `/proc/stat` btime.
    fn parse(stat: &str, status: &str, machine: &str) -> Self {
        // The second field, the name in parentheses, may hold spaces and parentheses.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |number: usize| after_name.split_whitespace().nth(number - 3).and_then(|text| text.parse::<u64>().ok());
        let line = |text: &str, key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok());
        let ticks = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000 / TICKS));
        Self {
            resident_bytes: line(status, "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            cpu: field(14).zip(field(15)).map(|(user, system)| ticks(user.saturating_add(system))),
            started: field(22).zip(line(machine, "btime ")).map(|(after, boot)| boot as f64 + ticks(after).as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "42 (a (strange) name) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 1000 1 2";
        let process = Process::parse(stat, "Name:\tx\nVmRSS:\t  2048 kB\n", "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(process, Process { resident_bytes: Some(2 << 20), cpu: Some(Duration::from_secs(2)), started: Some(1_700_000_010.0) });
        assert_eq!(Process::parse("", "", ""), Process::default());
    }
}
