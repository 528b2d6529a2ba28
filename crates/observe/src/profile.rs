//! Where a program of ours spends its CPU time and its memory, told while it runs. One profile at a time; nothing of it costs anything
//! while nobody asks.
//!
//! CPU time is sampled by the system's own timer, which counts only time that is spent (`ITIMER_PROF`): 99 times per second of it, a
//! signal has the thread that runs note its stack. So an idle program is not woken up.

mod pprof;
mod sampler;
mod symbols;
mod table;

// Links the allocator that is asked below.
use mimalloc as _;

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Samples per second of CPU time: not a divisor of what programs do regularly.
const FREQUENCY: u32 = 99;
/// More than that needs nobody, and whoever asks waits.
pub const LONGEST_SECONDS: u32 = 20;

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProfile {
    /// Somebody else is taking one.
    Busy,
    /// The time is not between 1 and [`LONGEST_SECONDS`].
    Length,
    /// The system does not let us.
    Refused(String),
}

impl fmt::Display for NoProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("a profile of it is being taken already; try again when that is done"),
            Self::Length => write!(f, "CPU time is sampled for 1 to {LONGEST_SECONDS} seconds"),
            Self::Refused(why) => write!(f, "the system does not let it be sampled: {why}"),
        }
    }
}
impl std::error::Error for NoProfile {}

/// A stack and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stack {
    /// The innermost first.
    functions: Vec<String>,
    times: u64,
}

/// CPU time by function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// `profile.proto` of pprof, compressed with gzip: what `go tool pprof` and most viewers read.
    pub pprof: Vec<u8>,
    /// The hottest functions.
    pub text: String,
}

static TAKING: AtomicBool = AtomicBool::new(false);

/// Sampling that goes on until it is finished or dropped.
pub struct Sampling {
    length: Duration,
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // Of one that was not finished; what was seen is of no interest.
        let _ = sampler::stop();
        TAKING.store(false, Ordering::Release);
    }
}

/// Begins to sample. Whoever asks waits for `seconds`, and then calls [`Sampling::finish`].
///
/// # Errors
/// Another one is under way, the time is out of bounds, or the system refuses.
pub fn sample(seconds: u32) -> Result<Sampling, NoProfile> {
    if seconds == 0 || seconds > LONGEST_SECONDS {
        return Err(NoProfile::Length);
    }
    if TAKING.swap(true, Ordering::Acquire) {
        return Err(NoProfile::Busy);
    }
    let sampling = Sampling { length: Duration::from_secs(seconds.into()) };
    sampler::start(FREQUENCY)?;
    Ok(sampling)
}

impl Sampling {
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Names what was seen. Takes a while: not to be called on a thread that serves.
    ///
    /// # Errors
    /// What was sampled cannot be read.
    pub fn finish(self) -> Result<Cpu, NoProfile> {
        // A call returns to what comes after it, which may be another function.
        let inside = |stack: Vec<usize>| stack.iter().enumerate().map(|(depth, address)| address - usize::from(depth > 0)).collect::<Vec<_>>();
        let mut counts: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
        for stack in sampler::stop()? {
            *counts.entry(inside(stack)).or_default() += 1;
        }
        let names = symbols::names(&counts.keys().flatten().copied().collect());
        let named = |stack: Vec<usize>| stack.iter().filter_map(|address| names.get(address).cloned()).collect();
        let stacks: Vec<Stack> = counts.into_iter().map(|(stack, times)| Stack { functions: named(stack), times }).collect();
        Ok(told(&stacks, self.length))
    }
}

fn told(stacks: &[Stack], length: Duration) -> Cpu {
    let period = Duration::from_secs(1) / FREQUENCY;
    Cpu { pprof: pprof::encode(stacks, period, length), text: table::render(stacks, period, length) }
}

/// What the allocator says of this process, in bytes where not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// In physical memory now, and the most there was.
    pub resident: usize,
    pub peak_resident: usize,
    /// What the allocator has from the system now, and the most it had.
    pub committed: usize,
    pub peak_committed: usize,
    /// Times that something had to come from the disk.
    pub page_faults: usize,
}

/// What mimalloc and the kernel say. What is committed is zero where another allocator is in use that says nothing.
pub fn memory() -> Memory {
    let (mut memory, mut unused) = (Memory::default(), [0_usize; 3]);
    let [elapsed, user, system] = &mut unused;
    mi_process_info(
        elapsed,
        user,
        system,
        &mut memory.resident,
        &mut memory.peak_resident,
        &mut memory.committed,
        &mut memory.peak_committed,
        &mut memory.page_faults,
    );
    // Where the kernel tells more than the allocator knows (proc(5), status): on Linux mimalloc takes what is committed for resident.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let told = |name: &str| {
        let kib = status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse::<usize>().ok()?;
        kib.checked_mul(1024)
    };
    memory.resident = told("VmRSS:").unwrap_or(memory.resident);
    memory.peak_resident = told("VmHWM:").unwrap_or(memory.peak_resident);
    memory
}

#[expect(unsafe_code, reason = "a question to the allocator")]
// SAFETY: `mi_process_info` of mimalloc.h writes one size_t behind each of its pointers, which references are, and keeps none.
unsafe extern "C" {
    safe fn mi_process_info(
        elapsed_ms: &mut usize,
        user_ms: &mut usize,
        system_ms: &mut usize,
        current_rss: &mut usize,
        peak_rss: &mut usize,
        current_commit: &mut usize,
        peak_commit: &mut usize,
        page_faults: &mut usize,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_told_and_never_more_than_the_most_there_was() {
        let memory = memory();
        assert!(0 < memory.resident && memory.resident <= memory.peak_resident, "{memory:?}");
    }

    #[test]
    fn one_profile_at_a_time_and_within_bounds() {
        assert_eq!(sample(0).err(), Some(NoProfile::Length));
        assert_eq!(sample(LONGEST_SECONDS + 1).err(), Some(NoProfile::Length));
        let one = sample(1).unwrap();
        assert_eq!(sample(1).err(), Some(NoProfile::Busy));
        // Spends so much CPU time that the timer must have fired, in whichever thread of this crate's tests.
        let (begin, spent, mut sum) = (std::time::Instant::now(), on_cpu(), 0_u64);
        while on_cpu() < spent + Duration::from_millis(200) && begin.elapsed() < Duration::from_secs(30) {
            for _ in 0..100_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
        }
        let cpu = one.finish().unwrap();
        assert!(cpu.pprof.starts_with(&[0x1f, 0x8b]) && cpu.text.contains("taut_observe::"), "{}", cpu.text);
        drop(sample(1).unwrap());
    }

    /// The CPU time of this thread (/proc/PID/task/TID/schedstat, first field).
    fn on_cpu() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }
}
