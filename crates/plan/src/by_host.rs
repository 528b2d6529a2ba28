//! What users said about hosts, by name or by wildcard, found by the host that it covers. Same answers as `host::matches`.

use foldhash::fast::FixedState;
use std::collections::{BTreeMap, HashMap};

type Found<'a, T> = HashMap<&'a str, Vec<T>, FixedState>;

pub(crate) struct ByHost<'a, T> {
    named: Found<'a, T>,
    /// By the length of what follows the `*`, then by that: a host has few suffixes that are as long as some wildcard's.
    wild: BTreeMap<usize, Found<'a, T>>,
}

impl<'a, T: Copy> ByHost<'a, T> {
    pub(crate) fn new(said: impl Iterator<Item = (&'a str, T)>) -> Self {
        let mut all = Self { named: HashMap::default(), wild: BTreeMap::new() };
        for (pattern, what) in said {
            let (found, key) = match pattern.strip_prefix('*') {
                Some(suffix) => (all.wild.entry(suffix.len()).or_default(), suffix),
                None => (&mut all.named, pattern),
            };
            found.entry(key).or_default().push(what);
        }
        all
    }

    /// What is said about this host, in no particular order.
    pub(crate) fn covering<'s>(&'s self, host: &'s str) -> impl Iterator<Item = T> + 's {
        let suffixed = self.wild.iter().filter_map(|(length, found)| match length {
            0 => found.get(""),
            _ => found.get(host.get(host.len().checked_sub(*length).filter(|rest| *rest > 0)?..)?),
        });
        self.named.get(host).into_iter().chain(suffixed).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use taut_model::host;

    proptest! {
        #[test]
        fn it_finds_what_looking_at_every_pattern_finds(patterns in proptest::collection::vec("\\*?[ab.é]{0,4}", 0..12), host in "\\*?[ab.é]{0,5}") {
            let by_host = ByHost::new(patterns.iter().enumerate().map(|(position, pattern)| (pattern.as_str(), position)));
            let mut found: Vec<usize> = by_host.covering(&host).collect();
            found.sort_unstable();
            let slowly: Vec<usize> = (0..patterns.len()).filter(|position| host::matches(&patterns[*position], &host)).collect();
            prop_assert_eq!(found, slowly);
        }
    }
}
