//! Stacks as a table of the hottest functions, for people.

use super::Stack;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// Rows of the table.
const MOST: usize = 40;

/// How often a function was running, and how often it or what it called was.
#[derive(Clone, Copy, Default)]
struct Counts {
    own: u64,
    all: u64,
}

pub fn render(stacks: &[Stack], period: Duration, length: Duration) -> String {
    let mut functions: BTreeMap<&str, Counts> = BTreeMap::new();
    let total: u64 = stacks.iter().map(|stack| stack.times).sum();
    for stack in stacks {
        if let Some(innermost) = stack.functions.first() {
            functions.entry(innermost).or_default().own += stack.times;
        }
        // One that calls itself counts once.
        for name in stack.functions.iter().collect::<BTreeSet<_>>() {
            functions.entry(name).or_default().all += stack.times;
        }
    }
    let mut rows: Vec<(&str, Counts)> = functions.into_iter().collect();
    rows.sort_by(|(name, one), (than, other)| (other.own, other.all, name).cmp(&(one.own, one.all, than)));
    let share = |times: u64| format!("{:.1}%", 100.0 * times as f64 / total.max(1) as f64);
    let spent = period.as_secs_f64() * total as f64;
    let mut out = format!("{total} samples: {spent:.2} s of CPU time in {} s\n{:>7} {:>7}  FUNCTION\n", length.as_secs(), "SELF", "ALL");
    for (name, counts) in rows.iter().take(MOST) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:>7} {:>7}  {name}", share(counts.own), share(counts.all));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_comes_first() {
        let stack = |names: &[&str], times| Stack { functions: names.iter().map(|name| (*name).to_owned()).collect(), times };
        let table = render(&[stack(&["inner", "main", "main"], 3), stack(&["main"], 1)], Duration::from_millis(10), Duration::from_secs(2));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines, ["4 samples: 0.04 s of CPU time in 2 s", "   SELF     ALL  FUNCTION", "  75.0%   75.0%  inner", "  25.0%  100.0%  main"]);
    }
}
