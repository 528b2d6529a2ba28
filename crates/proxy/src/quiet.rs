//! When a worker gives back the memory that a burst has needed: the allocator keeps it for the next one, and looks at it only when it is used.

// Brings the allocator's code along.
use mimalloc as _;

/// A worker is quiet when it does less than this part of what it did in its busiest time.
const PART: u64 = 8;
/// Exchanges between two looks that are worth it.
const BURST: u64 = 64;
/// Looks in a row. By then idle connections have let go of what they held.
const LOOKS: u32 = 2;

#[derive(Default)]
pub struct Quiet {
    seen: u64,
    /// The most between two looks since memory was given back.
    busiest: u64,
    looks: u32,
}

impl Quiet {
    /// A look at how many exchanges and connections there have been. `true`: a burst is over.
    pub fn look(&mut self, counted: u64) -> bool {
        let since = counted.saturating_sub(std::mem::replace(&mut self.seen, counted));
        self.busiest = self.busiest.max(since);
        self.looks = if since * PART < self.busiest { self.looks + 1 } else { 0 };
        let over = self.busiest >= BURST && self.looks >= LOOKS;
        if over {
            (self.busiest, self.looks) = (0, 0);
        }
        over
    }
}

/// Gives what this thread has freed, and the allocator keeps, back to the system.
pub fn give_back() {
    mi_collect(true);
}

#[expect(unsafe_code, reason = "a word to the allocator")]
// SAFETY: `void mi_collect(bool force)` of mimalloc.h takes no pointer, and gives back only memory that holds nothing. Where another
// allocator is in use, mimalloc has nothing to give.
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which looks memory is given back when so much happens before each.
    fn given_back(happens: &[u64]) -> Vec<usize> {
        let (mut quiet, mut counted) = (Quiet::default(), 0);
        let looks = happens.iter().enumerate().filter(|(_, since)| {
            counted += **since;
            quiet.look(counted)
        });
        looks.map(|(at, _)| at).collect()
    }

    #[test]
    fn memory_is_given_back_once_after_each_burst() {
        assert_eq!(given_back(&[1000, 0, 0, 0, 0]), [2]);
        assert_eq!(given_back(&[1000, 3, 500, 3, 3, 3, 3, 700, 0, 0, 0]), [4, 9]);
        assert!(given_back(&[500; 20]).is_empty());
        assert!(given_back(&[5, 0, 0, 0, 7, 0, 0]).is_empty(), "not worth it");
    }

    #[test]
    fn the_program_goes_on_after_it() {
        let kept = vec![7; 100_000];
        drop(vec![8; 10_000_000]);
        give_back();
        assert_eq!(kept.iter().sum::<i32>(), 700_000);
    }
}
