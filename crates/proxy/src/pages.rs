//! Lets go of the pages of the program that only its start, or a burst, has needed: they count as its memory for as long as they are mapped.

use crate::world::World;
use rustix::mm::{Advice, madvise};
use std::fs;
use std::io;
use std::time::Duration;

/// By then a proxy has its certificate and its first configuration.
const STARTED: Duration = Duration::from_secs(2);

/// A mapping as `/proc/self/smaps` tells it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    /// Of a file, private, and never writable.
    constant: bool,
    /// Some page is a copy of this process.
    changed: bool,
}

/// Once a proxy has started, most of its program is not needed any more.
pub async fn settle_down(world: World) {
    if world.is_simulated() {
        return;
    }
    tokio::time::sleep(STARTED).await;
    let_go();
}

/// Those that are needed again come back by themselves.
pub fn let_go() {
    match unmap() {
        Ok(bytes) => tracing::debug!(bytes, "let go of the program's pages"),
        Err(error) => tracing::debug!(%error, "the program's pages stay mapped"),
    }
}

/// Unmaps the pages of the program and its libraries. Those that are used again are mapped again from the page cache, a few at a time.
/// Gives the bytes of address space it spoke of.
///
/// # Errors
/// The system does not tell what is mapped, or does not take the advice.
fn unmap() -> io::Result<usize> {
    let constant = constant(&fs::read_to_string("/proc/self/smaps")?);
    for (start, length) in &constant {
        advise(*start, *length)?;
    }
    Ok(constant.iter().map(|(_, length)| length).sum())
}

#[expect(unsafe_code, reason = "advice about memory")]
fn advise(start: usize, length: usize) -> io::Result<()> {
    // SAFETY: `start..start + length` is a private mapping of a file that is not writable and none of whose pages this process has
    // changed, so each page holds what the file holds. MADV_DONTNEED drops the pages; the next access reads them again from the same
    // file (madvise(2)), which the kernel lets nobody write to while it is executed (ETXTBSY), and which stays when its name is given
    // to another. So no memory changes as the program sees it. Should the mapping be gone by now, the call fails.
    unsafe { madvise(std::ptr::without_provenance_mut(start), length, Advice::LinuxDontNeed) }?;
    Ok(())
}

/// Start and length of each mapping that is as its file is.
fn constant(smaps: &str) -> Vec<(usize, usize)> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        match (first.split_once('-'), mappings.last_mut()) {
            (Some((start, end)), _) if !first.ends_with(':') => {
                let address = |text| usize::from_str_radix(text, 16).unwrap_or_default();
                // Offset, device, inode, name.
                let is_file = words.nth(3).is_some_and(|name| name.starts_with('/'));
                let constant = is_file && matches!(second, "r-xp" | "r--p");
                mappings.push(Mapping { start: address(start), end: address(end), constant, changed: false });
            }
            (None, Some(mapping)) => {
                mapping.changed |= matches!(first, "Private_Dirty:" | "Anonymous:" | "Swap:") && second != "0";
            }
            _ => {}
        }
    }
    mappings.into_iter().filter(|of| of.constant && !of.changed && of.end > of.start).map(|of| (of.start, of.end - of.start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_its_file_is_may_be_dropped() {
        let text = "\
5000-6000 r--p 00000000 08:01 12 /usr/bin/taut-proxy
Rss: 4 kB
Private_Dirty: 0 kB
Anonymous: 0 kB
6000-8000 r-xp 00001000 08:01 12 /usr/bin/taut-proxy
Private_Dirty: 0 kB
8000-9000 r--p 00003000 08:01 12 /usr/bin/taut-proxy
Private_Dirty: 4 kB
9000-a000 rw-p 00004000 08:01 12 /usr/bin/taut-proxy
Private_Dirty: 0 kB
a000-b000 r--p 00000000 00:00 0
b000-c000 r--s 00000000 08:01 13 /usr/share/file
c000-d000 r-xp 00000000 00:00 0 [vdso]
d000-e000 r-xp 00000000 08:01 14 /usr/lib/libc.so.6
Anonymous: 4 kB
";
        assert_eq!(constant(text), [(0x5000, 0x1000), (0x6000, 0x2000)]);
        assert!(constant("nonsense\n- -\n1-2\n").is_empty());
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        assert!(unmap().unwrap() > 4096);
        assert_eq!("read again".len(), 10);
    }
}
