//! Rolling up: frames of one resolution become those of the next.

use super::cover::Wanted;
use super::frame::{Columns, Frame, Part, Sum};
use super::walk::walk;
use std::collections::BTreeMap;
use taut_model::signal::{Second, SketchSum};

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
    let mut latency = SketchSum::default();
    let seen = walk(wanted, &|_| true, Columns::All, &mut |edge, parts: &[Part<'_>]| {
        let mut ordered = parts.to_vec();
        ordered.sort_by_key(|part| (part.step, part.start));
        for of_step in ordered.chunk_by(|one, other| one.step == other.step) {
            let (start, mut sum) = (of_step[0].step as Second * span, Sum::default());
            sum.add_all(of_step, Columns::All, &mut latency);
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
