//! Samples the stacks of this process: the system's timer counts CPU time that is spent and sends a signal, in whose handler the thread
//! that runs notes where it is. The handler takes no lock, allocates nothing, and touches nothing but a table that is always there; its
//! pages come into memory when something is noted.

#![expect(unsafe_code, reason = "a signal handler, and the unwinder it calls")]

use super::NoProfile;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Frames of a stack that are noted, from the innermost on.
const DEPTH: usize = 48;
/// Stacks of one profile: 20 seconds of two busy processors.
const SLOTS: usize = 4096;
/// Of the handler itself, and of the system's return from it.
const OWN_FRAMES: usize = 2;

/// A stack: addresses, the innermost first; 0 ends it.
struct Slot([AtomicUsize; DEPTH]);

static TABLE: [Slot; SLOTS] = [const { Slot([const { AtomicUsize::new(0) }; DEPTH]) }; SLOTS];
/// The next slot; beyond the last one nothing is noted.
static NEXT: AtomicUsize = AtomicUsize::new(SLOTS);
static OPEN: AtomicBool = AtomicBool::new(false);

// SAFETY: declarations of what GCC's and LLVM's libunwind export, which the standard library links.
unsafe extern "C" {
    fn _Unwind_Backtrace(each: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// Where a walk is.
struct Walk {
    slot: usize,
    frame: usize,
}

const GO_ON: c_int = 0;
const END: c_int = 4;

extern "C" fn note(context: *mut c_void, walk: *mut c_void) -> c_int {
    // SAFETY: it is the one that `on_sample` passes, which outlives the walk and is used by nobody else.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let place = walk.frame.checked_sub(OWN_FRAMES);
    walk.frame += 1;
    let Some(place) = place else { return GO_ON };
    match TABLE.get(walk.slot).and_then(|slot| slot.0.get(place)) {
        Some(cell) => {
            // SAFETY: the context is the unwinder's own, of this call.
            cell.store(unsafe { _Unwind_GetIP(context) }, Ordering::Relaxed);
            GO_ON
        }
        None => END,
    }
}

extern "C" fn on_sample(_: c_int) {
    // Never wraps: at 99 signals per second.
    let slot = NEXT.fetch_add(1, Ordering::Relaxed);
    if slot < SLOTS {
        let mut walk = Walk { slot, frame: 0 };
        // SAFETY: the unwinder reads the stack and the tables of the program. Where glibc is older than 2.35 it takes a lock that the same
        // thread may hold already, and may take again.
        unsafe { _Unwind_Backtrace(note, (&raw mut walk).cast()) };
    }
}

/// Begins to sample, so many times per second of CPU time.
///
/// # Errors
/// The system refuses.
pub fn start(frequency: u32) -> Result<(), NoProfile> {
    NEXT.store(0, Ordering::Release);
    OPEN.store(true, Ordering::Release);
    let action = SigAction::new(SigHandler::Handler(on_sample), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does only what a handler may: see above.
    unsafe { sigaction(Signal::SIGPROF, &action) }.map_err(|error| NoProfile::Refused(error.to_string()))?;
    timer(1_000_000 / i64::from(frequency.max(1)))
}

/// Ends it, and gives the stacks.
///
/// # Errors
/// The system refuses.
pub fn stop() -> Result<Vec<Vec<usize>>, NoProfile> {
    if !OPEN.swap(false, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    timer(0)?;
    let taken = NEXT.swap(SLOTS, Ordering::AcqRel).min(SLOTS);
    // One may be under way still: it is ignored, not deadly.
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler of ours is set.
    unsafe { sigaction(Signal::SIGPROF, &ignore) }.map_err(|error| NoProfile::Refused(error.to_string()))?;
    let stack = |slot: &Slot| slot.0.iter().map(|cell| cell.swap(0, Ordering::Relaxed)).take_while(|address| *address != 0).collect::<Vec<_>>();
    Ok(TABLE[..taken].iter().map(stack).filter(|stack| !stack.is_empty()).collect())
}

fn timer(micros: i64) -> Result<(), NoProfile> {
    let every = libc::timeval { tv_sec: 0, tv_usec: micros };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: it reads the one and writes nothing through the other, which is null.
    match unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(NoProfile::Refused(std::io::Error::last_os_error().to_string())),
    }
}
