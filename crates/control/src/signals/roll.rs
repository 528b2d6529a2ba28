//! Rolling up: frames of one resolution become those of the next.

use super::cover::Wanted;
use super::frame::{Columns, Frame, Part, Sum};
use super::walk::{tell, walk};
use std::collections::BTreeMap;
use taut_model::signal::Second;

/// What a level takes up: frames without numbers.
pub struct Rolled {
    /// The highest number of what is in them.
    pub through: u64,
    pub frames: Vec<Frame>,
}

/// Adds up, edge after edge, so that no more than one is taken apart at a time. `span`: seconds of the frames that are made; steps of
/// what is wanted are of this length since 1970. May read from disk.
pub fn roll_up(wanted: Wanted, span: Second) -> Option<Rolled> {
    let mut made: BTreeMap<Second, Frame> = BTreeMap::new();
    let mut sums: Vec<(usize, Sum)> = Vec::new();
    let seen = walk(wanted, &|_| true, Columns::All, &mut |edge, parts: &[Part<'_>]| {
        for part in parts {
            let known = sums.iter().rposition(|(step, _)| *step == part.step).unwrap_or_else(|| {
                sums.push((part.step, Sum::default()));
                sums.len() - 1
            });
            tell(sums[known].1.add(part, Columns::All));
        }
        for (step, sum) in sums.drain(..) {
            let start = step as Second * span;
            let signals = sum.finish(start.saturating_add(span));
            made.entry(start).or_insert_with(|| Frame::new(start, span, 0)).push(edge.clone(), |out| signals.write(out));
        }
    });
    // Seconds in which nothing passed are known as well.
    for start in &seen.starts {
        let start = start / span * span;
        made.entry(start).or_insert_with(|| Frame::new(start, span, 0));
    }
    Some(Rolled { through: seen.highest?, frames: made.into_values().collect() })
}
