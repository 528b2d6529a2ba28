//! Texts that others may start with: which of them a given text starts with, without looking at all of them.

use std::collections::HashMap;
use std::hash::BuildHasher;

/// In the order of their bytes. All texts that some value starts with begin the greatest text that is not greater than the
/// value, since whatever sorts between a text and what starts with it starts with it too. So one search finds them all.
#[derive(Debug, Default)]
pub(crate) struct Starts(Vec<Start>);

#[derive(Debug)]
struct Start {
    text: Box<str>,
    positions: Vec<usize>,
    /// Where the longest of the other texts stands that this one starts with.
    shorter: Option<usize>,
}

impl Starts {
    pub(crate) fn new<S: BuildHasher>(texts: HashMap<&str, Vec<usize>, S>) -> Self {
        let mut texts: Vec<(&str, Vec<usize>)> = texts.into_iter().collect();
        texts.sort_unstable_by_key(|(text, _)| *text);
        let mut sorted: Vec<Start> = Vec::with_capacity(texts.len());
        for (text, positions) in texts {
            let mut shorter = sorted.len().checked_sub(1);
            while let Some(start) = shorter.and_then(|at| sorted.get(at)).filter(|start| !text.starts_with(&*start.text)) {
                shorter = start.shorter;
            }
            sorted.push(Start { text: text.into(), positions, shorter });
        }
        Self(sorted)
    }

    /// What is filed under each text that `value` starts with, the longest first.
    pub(crate) fn of<'s>(&'s self, value: &'s str) -> impl Iterator<Item = &'s Vec<usize>> + 's {
        let mut at = self.0.partition_point(|start| *start.text <= *value).checked_sub(1);
        std::iter::from_fn(move || {
            loop {
                let start = self.0.get(at?)?;
                at = start.shorter;
                if value.starts_with(&*start.text) {
                    return Some(&start.positions);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_that_comparing_with_every_text_finds(texts in proptest::collection::vec("[/aé]{0,4}", 0..20), value in "[/aé]{0,6}") {
            let starts = Starts::new(texts.iter().map(|text| (text.as_str(), vec![text.len()])).collect::<HashMap<_, _>>());
            let found: Vec<usize> = starts.of(&value).flatten().copied().collect();
            let mut slowly: Vec<usize> = texts.iter().filter(|text| value.starts_with(text.as_str())).map(String::len).collect();
            slowly.sort_unstable();
            slowly.dedup();
            slowly.reverse();
            prop_assert_eq!(found, slowly);
        }
    }
}
