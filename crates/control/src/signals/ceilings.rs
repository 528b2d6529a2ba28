//! How many requests each application can work on at a time, as far as the sidecars have proven it: the limits in their reports, the last
//! of which is remembered when it is lifted.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use taut_model::signal::Second;

/// A sidecar that reports nothing for so long is gone.
const GONE: Second = 60;
/// Sidecars that are remembered; of more nothing is known.
const MOST: usize = 100_000;

/// By workload (`namespace/name`), and by the lives of its sidecars.
#[derive(Default)]
pub struct Ceilings {
    by: Mutex<BTreeMap<String, BTreeMap<u64, Life>>>,
}

#[derive(Default)]
struct Life {
    heard: Second,
    /// The last limit that was in force, and when that was.
    limit: Option<(u32, Second)>,
}

/// What a workload can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Requests that it can work on at a time, all its sidecars together.
    pub limit: u64,
    /// When the last of these limits was in force.
    pub at: Second,
    /// One of them is in force now.
    pub in_force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// No sidecar of it has found a limit.
    Nothing,
    /// Only so many of so many have.
    Partly(usize, usize),
    All(Ceiling),
}

impl Ceilings {
    /// What a sidecar has reported; a limit of 0 is none.
    pub fn hear(&self, workload: &str, epoch: u64, limit: u32, last: bool, now: Second) {
        let mut by = self.by.lock();
        if last {
            if let Some(lives) = by.get_mut(workload) {
                lives.remove(&epoch);
            }
            return;
        }
        if by.len() >= MOST && !by.contains_key(workload) {
            return;
        }
        if !by.contains_key(workload) {
            by.insert(workload.to_owned(), BTreeMap::new());
        }
        let Some(lives) = by.get_mut(workload) else { return };
        // Those that are gone stay no longer than until another of the workload speaks, or all are looked through.
        lives.retain(|known, life| *known == epoch || life.heard + GONE >= now);
        let life = lives.entry(epoch).or_default();
        life.heard = now;
        if limit > 0 {
            life.limit = Some((limit, now));
        }
    }

    pub fn of(&self, workload: &str, now: Second) -> Known {
        let by = self.by.lock();
        let lives = || by.get(workload).into_iter().flat_map(BTreeMap::values).filter(|life| life.heard + GONE >= now);
        let limits: Vec<(u32, bool, Second)> = lives().filter_map(|life| life.limit.map(|(limit, at)| (limit, at == life.heard, at))).collect();
        match (limits.len(), lives().count()) {
            (0, _) => Known::Nothing,
            (some, all) if some < all => Known::Partly(some, all),
            _ => Known::All(Ceiling {
                limit: limits.iter().map(|(limit, _, _)| u64::from(*limit)).sum(),
                at: limits.iter().map(|(_, _, at)| *at).max().unwrap_or_default(),
                in_force: limits.iter().any(|(_, in_force, _)| *in_force),
            }),
        }
    }

    /// The workloads of which some sidecar has found a limit. Forgets those that are gone.
    pub fn limited(&self, now: Second) -> BTreeSet<String> {
        let mut by = self.by.lock();
        by.retain(|_, lives| {
            lives.retain(|_, life| life.heard + GONE >= now);
            !lives.is_empty()
        });
        by.iter().filter(|(_, lives)| lives.values().any(|life| life.limit.is_some())).map(|(workload, _)| workload.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_remembered_when_it_is_lifted_and_forgotten_with_its_sidecar() {
        let ceilings = Ceilings::default();
        ceilings.hear("shop/cart", 1, 0, false, 100);
        assert_eq!(ceilings.of("shop/cart", 100), Known::Nothing);
        assert!(ceilings.limited(100).is_empty());
        ceilings.hear("shop/cart", 1, 24, false, 101);
        assert_eq!(ceilings.of("shop/cart", 101), Known::All(Ceiling { limit: 24, at: 101, in_force: true }));
        ceilings.hear("shop/cart", 1, 0, false, 102);
        assert_eq!(ceilings.of("shop/cart", 102), Known::All(Ceiling { limit: 24, at: 101, in_force: false }));
        assert_eq!(ceilings.limited(102).into_iter().collect::<Vec<_>>(), ["shop/cart"]);
        assert_eq!(ceilings.of("shop/cart", 102 + GONE + 1), Known::Nothing);
        assert!(ceilings.limited(102 + GONE + 1).is_empty());
    }

    #[test]
    fn what_one_of_its_sidecars_does_not_know_nobody_knows() {
        let ceilings = Ceilings::default();
        ceilings.hear("shop/cart", 1, 24, false, 100);
        ceilings.hear("shop/cart", 2, 0, false, 100);
        assert_eq!(ceilings.of("shop/cart", 100), Known::Partly(1, 2));
        ceilings.hear("shop/cart", 2, 16, false, 101);
        assert_eq!(ceilings.of("shop/cart", 101), Known::All(Ceiling { limit: 40, at: 101, in_force: true }));
        ceilings.hear("shop/cart", 1, 0, true, 102);
        assert_eq!(ceilings.of("shop/cart", 102), Known::All(Ceiling { limit: 16, at: 101, in_force: true }));
    }
}
