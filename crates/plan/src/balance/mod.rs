//! Choosing one of several endpoints. Pure: positions, weights, costs and rolls come in, a position goes out.

pub(crate) mod load_aware;
pub(crate) mod peak_ewma;
pub(crate) mod table;
pub(crate) mod warm_up;

use crate::dice::{below, weighted};
use std::borrow::Cow;

/// The positions that may be chosen, in order: all of `0..n`, or some.
#[derive(Debug)]
pub(crate) enum Usable<'a> {
    All(usize),
    /// Those of a place.
    Place(&'a [usize]),
    Some(Vec<usize>),
}

impl Usable<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Place(positions) => positions.len(),
            Self::Some(positions) => positions.len(),
        }
    }

    fn at(&self, index: usize) -> usize {
        match self {
            Self::All(_) => index,
            Self::Place(positions) => positions.get(index).copied().unwrap_or_default(),
            Self::Some(positions) => positions.get(index).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn contains(&self, position: usize) -> bool {
        match self {
            Self::All(count) => position < *count,
            Self::Place(positions) => positions.binary_search(&position).is_ok(),
            Self::Some(positions) => positions.binary_search(&position).is_ok(),
        }
    }

    pub(crate) fn positions(&self) -> Cow<'_, [usize]> {
        match self {
            Self::All(count) => Cow::Owned((0..*count).collect()),
            Self::Place(positions) => Cow::Borrowed(positions),
            Self::Some(positions) => Cow::Borrowed(positions),
        }
    }
}

/// Power of two choices (Mitzenmacher 1996): two different positions at random, the cheaper one wins. `None` if there is none.
pub(crate) fn two_choices(usable: &Usable<'_>, cost: impl Fn(usize) -> f64, roll: &mut dyn FnMut() -> u64) -> Option<usize> {
    let count = usable.len() as u64;
    match count {
        0 => None,
        1 => Some(usable.at(0)),
        _ => {
            let first = below(roll(), count);
            let second = below(roll(), count - 1);
            let second = second + u64::from(second >= first);
            let (first, second) = (usable.at(first as usize), usable.at(second as usize));
            Some(if cost(second) < cost(first) { second } else { first })
        }
    }
}

/// Each position in proportion to its weight.
pub(crate) fn random(usable: &Usable<'_>, weight: impl Fn(usize) -> u32, roll: u64) -> Option<usize> {
    let positions = usable.positions();
    let index = weighted(positions.iter().map(|position| u64::from(weight(*position))), roll)?;
    positions.get(index).copied()
}

/// Smooth weighted round robin, as in nginx: every position earns its weight, the richest is chosen and pays the total. In any
/// run of `total weight` picks each position comes up exactly its weight. `purse` keeps what each position has.
pub(crate) fn round_robin(usable: &Usable<'_>, weight: impl Fn(usize) -> u32, mut purse: impl FnMut(usize, i64) -> i64) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<(i64, usize)> = None;
    for position in usable.positions().iter().copied() {
        let weight = i64::from(weight(position));
        total += weight;
        let has = purse(position, weight);
        if richest.is_none_or(|(most, _)| has > most) {
            richest = Some((has, position));
        }
    }
    let (_, chosen) = richest?;
    purse(chosen, -total);
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_gives_each_its_weight() {
        let mut purses = [0_i64; 3];
        let weights = [5, 1, 1];
        let picks: Vec<usize> = (0..14)
            .map(|_| {
                let purse = |position: usize, change| {
                    purses[position] += change;
                    purses[position]
                };
                round_robin(&Usable::All(3), |position| weights[position], purse).unwrap()
            })
            .collect();
        assert_eq!(picks[..7], [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks[..7], picks[7..]);
    }

    #[test]
    fn two_choices_prefers_the_cheaper_and_takes_what_there_is() {
        let mut rolls = 0_u64;
        let mut roll = || {
            rolls = crate::dice::mix(rolls + 1);
            rolls
        };
        let chosen = (0..100).map(|_| two_choices(&Usable::Some(vec![1, 4]), |position| position as f64, &mut roll)).collect::<Vec<_>>();
        assert!(chosen.iter().all(|position| *position == Some(1)));
        assert_eq!(two_choices(&Usable::Some(vec![3]), |_| 0.0, &mut roll), Some(3));
        assert_eq!(two_choices(&Usable::All(0), |_| 0.0, &mut roll), None);
    }
}
