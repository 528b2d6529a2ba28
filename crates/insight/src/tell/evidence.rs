//! Evidence in words: one sentence each, with its figures.

use super::words::{count, milliseconds, percent, seconds, with_unit};
use crate::change::{Change, What};
use crate::incident::Evidence;

/// What one piece of evidence says.
pub fn sentence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::OwnTime { node, per_second, share, surprise } => format!(
            "{node} adds {} request-seconds per second by itself, what it waits for taken off: {} of the hurt{}.",
            count(*per_second),
            percent(*share),
            chance(*surprise)
        ),
        Evidence::OwnFailures { node, per_second: failures, share, surprise } => {
            format!(
                "{} failures per second begin at {node}, what it only passes on taken off: {} of the hurt{}.",
                count(*failures),
                percent(*share),
                chance(*surprise)
            )
        }
        Evidence::Gap { source, destination, before, now } => format!(
            "{source} waits {} longer for {destination} than that one takes, {} before: the time is spent between them.",
            milliseconds(*now),
            milliseconds(*before)
        ),
        Evidence::Reason { source, destination, reason, before, now } => {
            format!("{} requests per second from {source} to {destination} end with {reason}, {} before.", count(*now), count(*before))
        }
        Evidence::Covered { source, destination, before, now, felt } => format!(
            "{} of what {source} tries at {destination} fails, {} before; after retries it is {}.",
            percent(*now),
            percent(*before),
            percent(*felt)
        ),
        Evidence::Part { node, part, own, others, unit } => {
            let (own, others) = (with_unit(*own, *unit), with_unit(*others, *unit));
            let what = if *unit == crate::incident::Unit::Share { "fails" } else { "has" };
            format!("{} (version {}) of {node} {what} {own}, the others of it {others}.", part.workload, part.version)
        }
        Evidence::Pressure { node, what, before, now } => {
            let what = if what == "cpu" { "CPU" } else { what };
            format!("The {what} of {node} is {} full, {} before.", percent(*now), percent(*before))
        }
        Evidence::Load { node, before, now } => format!("{node} gets {} requests per second, {} before.", count(*now), count(*before)),
        Evidence::Change { change, before } => format!("{} {}.", changed(change), when(*before)),
        Evidence::Well { node } => format!("{node} is as well as ever."),
    }
}

/// How probable it is that nothing is behind it: a power of ten, where it is worth saying.
fn chance(surprise: f64) -> String {
    let power = if surprise.is_finite() { surprise.clamp(0.0, 16.0) as u32 } else { 0 };
    if power >= 2 { format!("; chance alone does that less than once in {}", count(10_f64.powi(power as i32))) } else { String::new() }
}

fn when(before: i64) -> String {
    match before {
        0 => "in the second it began".into(),
        1.. => format!("{} before it began", seconds(before as f64)),
        _ => format!("{} after it began", seconds(before.unsigned_abs() as f64)),
    }
}

/// Of a change of configuration, so many objects are named.
const NAMED: usize = 3;

fn changed(change: &Change) -> String {
    let whom = || super::words::list(&change.nodes.iter().map(ToString::to_string).collect::<Vec<_>>());
    match &change.what {
        What::Configuration { generation, by, objects } => {
            let mut named: Vec<String> = objects.iter().take(NAMED).cloned().collect();
            if objects.len() > NAMED {
                named.push(format!("{} more", objects.len() - NAMED));
            }
            let what = if named.is_empty() { "the configuration".into() } else { super::words::list(&named) };
            let by = if by.is_empty() { String::new() } else { format!("{by} changed ") };
            let verb = if by.is_empty() { " changed" } else { "" };
            format!("{by}{what}{verb} (generation {generation})")
        }
        What::Version { version } => format!("Version {version} of {} began to serve", whom()),
        What::Endpoints { before, after } => format!("{} went from {before} to {after} endpoints", whom()),
        What::Certificate { detail } => match whom() {
            nobody if nobody.is_empty() => format!("A certificate: {detail},"),
            whom => format!("Certificate of {whom}: {detail},"),
        },
    }
}
