//! Tables for consistent hashing: a Ketama-like ring, and Maglev's permutation table. Endpoints are positions and names;
//! the same names and weights give the same table on every machine.

use crate::dice::{mix, stable_hash};
use std::sync::OnceLock;

/// Envoy's bounds: memory is what a user could otherwise ask too much of.
const MAX_RING: u64 = 8_388_608;
const MAX_MAGLEV: u64 = 5_000_011;
const DEFAULT_MAGLEV: u64 = 65_537;

/// Which table, and its size as the user gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ring(u64),
    Maglev(u64),
}

/// A table that is built when first asked for.
#[derive(Debug, Default)]
pub struct HashTable(OnceLock<Table>);

#[derive(Debug)]
pub(crate) enum Table {
    /// Sorted points with the position they belong to.
    Ring(Vec<(u64, u32)>),
    Maglev(Vec<u32>),
}

impl HashTable {
    pub(crate) fn get<'a>(&self, kind: Kind, endpoints: impl Iterator<Item = (&'a str, u32)>) -> &Table {
        self.0.get_or_init(|| {
            let endpoints: Vec<(&str, u32)> = endpoints.collect();
            match kind {
                Kind::Ring(size) => Table::Ring(ring(size, &endpoints)),
                Kind::Maglev(size) => Table::Maglev(maglev(size, &endpoints)),
            }
        })
    }
}

impl Table {
    /// The position for `hash` among those that are `usable`: the table is walked from where the hash points, so a key
    /// whose endpoint is usable never moves. `None` if none is usable.
    pub(crate) fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let walk = |start: usize, length: usize, at: &dyn Fn(usize) -> u32| {
            (0..length).map(|step| at((start + step) % length) as usize).find(|position| usable(*position))
        };
        match self {
            Self::Ring(points) => walk(points.partition_point(|(point, _)| *point < hash), points.len(), &|slot| points[slot].1),
            Self::Maglev(slots) if slots.is_empty() => None,
            Self::Maglev(slots) => walk((hash % slots.len() as u64) as usize, slots.len(), &|slot| slots[slot]),
        }
    }
}

/// Every endpoint gets the points of the ring that its weight entitles it to. Point `n` of an endpoint is at the same place in
/// every ring, so when endpoints come and go the others only gain or lose their last points.
fn ring(min_size: u64, endpoints: &[(&str, u32)]) -> Vec<(u64, u32)> {
    let total: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight).max(1)).sum();
    let per_weight = min_size.clamp(1, MAX_RING).div_ceil(total.max(1));
    let mut points = Vec::new();
    for (position, (name, weight)) in endpoints.iter().enumerate() {
        let name = stable_hash(name.as_bytes());
        // The bound holds each endpoint to its part of the largest ring, whatever its weight.
        let count = (u64::from(*weight).max(1) * per_weight).min((MAX_RING / endpoints.len() as u64).max(1));
        points.extend((0..count).map(|point| (mix(name ^ mix(point)), position as u32)));
    }
    points.sort_unstable();
    points
}

/// Maglev, "A Fast and Reliable Software Network Load Balancer" (NSDI 2016) section 3.4, with turns in proportion to weights.
fn maglev(size: u64, endpoints: &[(&str, u32)]) -> Vec<u32> {
    struct Turn {
        offset: u64,
        skip: u64,
        next: u64,
        weight: u64,
        owed: u64,
    }
    const FREE: u32 = u32::MAX;
    if endpoints.is_empty() {
        return Vec::new();
    }
    let size = next_prime(if size == 0 { DEFAULT_MAGLEV } else { size.min(MAX_MAGLEV) });
    let heaviest = endpoints.iter().map(|(_, weight)| u64::from(*weight).max(1)).max().unwrap_or(1);
    let mut turns: Vec<Turn> = endpoints
        .iter()
        .map(|(name, weight)| {
            let hash = stable_hash(name.as_bytes());
            Turn { offset: hash % size, skip: mix(!hash) % (size - 1) + 1, next: 0, weight: u64::from(*weight).max(1), owed: 0 }
        })
        .collect();
    let mut slots = vec![FREE; size as usize];
    let mut left = slots.len();
    while left > 0 {
        for (position, turn) in turns.iter_mut().enumerate() {
            turn.owed += turn.weight;
            if turn.owed < heaviest || left == 0 {
                continue;
            }
            turn.owed -= heaviest;
            // `size` is prime, so the walk meets every slot once; some slot is free.
            let slot = loop {
                let slot = ((turn.offset + turn.skip * turn.next) % size) as usize;
                turn.next += 1;
                if slots[slot] == FREE {
                    break slot;
                }
            };
            slots[slot] = position as u32;
            left -= 1;
        }
    }
    slots
}

/// The smallest prime that is not below `from`, at least 2.
fn next_prime(from: u64) -> u64 {
    let is_prime = |n: u64| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (from.max(2)..).find(|n| is_prime(*n)).unwrap_or(DEFAULT_MAGLEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(kind: Kind, names: &[String]) -> HashTable {
        let table = HashTable::default();
        table.get(kind, names.iter().map(|name| (name.as_str(), 1)));
        table
    }

    fn owner(kind: Kind, table: &HashTable, names: &[String], key: u64) -> String {
        let table = table.get(kind, std::iter::empty());
        names[table.find(mix(key), |_| true).unwrap()].clone()
    }

    #[test]
    fn primes_and_bounds() {
        assert_eq!([0, 2, 8, 65_537].map(next_prime), [2, 2, 11, 65_537]);
        assert!(maglev(u64::MAX, &[("a", 1)]).len() as u64 >= MAX_MAGLEV);
        assert!(ring(u64::MAX, &[("a", u32::MAX), ("b", 1)]).len() as u64 <= MAX_RING);
        assert!(maglev(2, &[("a", 1), ("b", 1), ("c", 1)]).len() == 2);
        assert!(ring(1024, &[]).is_empty());
    }

    #[test]
    fn weights_are_kept() {
        for kind in [Kind::Ring(16_384), Kind::Maglev(0)] {
            let table = HashTable::default();
            let table = table.get(kind, [("a", 1), ("b", 3)].into_iter());
            let heavy = (0..20_000).filter(|key| table.find(mix(*key), |_| true) == Some(1)).count();
            assert!((14_200..15_800).contains(&heavy), "{kind:?} {heavy}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn load_is_even_and_losing_one_endpoint_moves_little_else(count in 3_usize..20, gone in 0_usize..20, salt in 0_u32..1000) {
            let names: Vec<String> = (0..count).map(|n| format!("default/reviews-{salt}-{n}")).collect();
            let gone = names[gone % count].clone();
            let rest: Vec<String> = names.iter().filter(|name| **name != gone).cloned().collect();
            for (kind, slack) in [(Kind::Ring(8192), 0.35), (Kind::Maglev(0), 0.1)] {
                let (before, after) = (build(kind, &names), build(kind, &rest));
                let keys = 20_000_u64;
                let mut load = std::collections::BTreeMap::<String, u64>::new();
                let mut moved = 0;
                for key in 0..keys {
                    let (was, is) = (owner(kind, &before, &names, key), owner(kind, &after, &rest, key));
                    moved += u64::from(was != gone && was != is);
                    *load.entry(was).or_default() += 1;
                }
                let fair = keys as f64 / count as f64;
                for (name, load) in load {
                    prop_assert!((load as f64 - fair).abs() < fair * slack + 60.0, "{:?} {} {} fair {}", kind, name, load, fair);
                }
                // The others' shares of a ring grow by 1 part in `count`; Maglev moves a few per cent.
                let allowed = match kind { Kind::Ring(_) => 1.3 / count as f64 + 0.02, Kind::Maglev(_) => 0.1 };
                prop_assert!((moved as f64) < keys as f64 * allowed, "{:?}: {} of {} moved", kind, moved, keys);
            }
        }

        #[test]
        fn an_unusable_endpoint_moves_only_its_own_keys(count in 2_usize..12, gone in 0_usize..12) {
            let names: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
            let gone = gone % count;
            for kind in [Kind::Ring(1024), Kind::Maglev(251)] {
                let table = build(kind, &names);
                let table = table.get(kind, std::iter::empty());
                for key in (0..500).map(mix) {
                    let (was, is) = (table.find(key, |_| true).unwrap(), table.find(key, |position| position != gone).unwrap());
                    prop_assert!(is != gone && (was == gone || was == is));
                }
                prop_assert_eq!(table.find(7, |_| false), None);
            }
        }
    }
}
