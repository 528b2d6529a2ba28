//! Arithmetic on random numbers and hashes: exact, without a source of its own.

/// A number below `n`, uniform when `roll` is uniform over `u64` (bias at most `n / 2^64`). 0 for `n == 0`.
pub(crate) fn below(roll: u64, n: u64) -> u64 {
    ((u128::from(roll) * u128::from(n)) >> 64) as u64
}

/// What [`parts`] are out of: 100 %.
pub(crate) const WHOLE: u64 = 100_000_000;

/// A percentage (0 to 100) in millionths of a percent, at most [`WHOLE`].
pub(crate) fn parts(percent: f64) -> u64 {
    // The cast saturates, and turns NaN into 0: an impossible percentage never or always happens.
    ((percent * 1_000_000.0).round() as u64).min(WHOLE)
}

/// Whether something that happens to `percent` (0 to 100, in steps of a millionth) of all cases happens in this one.
pub(crate) fn chance(percent: f64, roll: u64) -> bool {
    below(roll, WHOLE) < parts(percent)
}

/// The smallest roll that [`below`] makes `number` of, out of `n` (above 0 and at most `u64::MAX`, like `number`).
pub(crate) fn roll_for(number: u128, n: u128) -> u64 {
    u64::try_from((number << 64).div_ceil(n.max(1))).unwrap_or(u64::MAX)
}

/// The position that `roll` falls on when each position takes its weight's share. `None` if all weights are zero.
pub(crate) fn weighted(weights: impl Iterator<Item = u64> + Clone, roll: u64) -> Option<usize> {
    let total = weights.clone().fold(0_u64, u64::saturating_add);
    let mut left = below(roll, total);
    for (position, weight) in weights.enumerate() {
        if left < weight {
            return Some(position);
        }
        left -= weight;
    }
    None
}

/// A 64-bit hash that never changes between releases, threads or machines, so that all proxies agree where a key goes:
/// FNV-1a over the bytes, then [`mix`]. Not for adversarial input where collisions would hurt.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

/// Spreads every input bit over all output bits (the finalizer of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chances_hold_at_their_ends() {
        for (percent, roll, want) in [
            (0.0, 0, false),
            (100.0, u64::MAX, true),
            (50.0, u64::MAX / 2 - 1000, true),
            (50.0, u64::MAX / 2 + 1000, false),
            (f64::NAN, 0, false),
            (-3.0, 0, false),
            (0.000_001, 0, true),
        ] {
            assert_eq!(chance(percent, roll), want, "{percent} {roll}");
        }
    }

    #[test]
    fn a_roll_is_found_for_every_number() {
        for n in [1_u64, 2, 3, 100, 1_000_003, u64::from(u32::MAX) * 7] {
            for number in [0, 1, n / 3, n / 2, n - 1].into_iter().filter(|number| *number < n) {
                let roll = roll_for(number.into(), n.into());
                assert_eq!(below(roll, n), number, "{number} of {n}");
                assert!(roll == 0 || below(roll - 1, n) < number || number == 0, "{number} of {n}");
            }
        }
    }

    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(stable_hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_ne!(stable_hash(b"a"), stable_hash(b"b"));
    }

    proptest! {
        #[test]
        fn shares_follow_weights_over_evenly_spaced_rolls(weights in proptest::collection::vec(0_u64..1000, 1..8)) {
            let total: u64 = weights.iter().sum();
            let mut seen = vec![0_u64; weights.len()];
            let samples = 10_000_u64;
            for sample in 0..samples {
                match weighted(weights.iter().copied(), sample * (u64::MAX / samples)) {
                    Some(position) => seen[position] += 1,
                    None => prop_assert_eq!(total, 0),
                }
            }
            for (weight, seen) in weights.iter().zip(seen).filter(|_| total > 0) {
                let want = *weight as f64 / total as f64 * samples as f64;
                prop_assert!((seen as f64 - want).abs() <= 2.0, "{} of {}: {} not {}", weight, total, seen, want);
            }
        }
    }
}
