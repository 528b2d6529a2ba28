//! Figures, times, names and kinds as words.

use crate::incident::{CauseKind, Place, Unit};
use crate::tick::Node;
use taut_model::signal::Second;

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Three digits that count, no more than one behind the point from ten on, and groups of three from ten thousand on.
pub(super) fn count(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".into();
    }
    match value.abs() {
        10_000.0.. => grouped(value),
        100.0.. => format!("{value:.0}"),
        10.0.. => short(format!("{value:.1}")),
        1.0.. => short(format!("{value:.2}")),
        0.0 => "0".into(),
        0.001.. => short(format!("{value:.3}")),
        _ => "less than 0.001".into(),
    }
}

fn short(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

/// Of a share, 0 to 1.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", count(100.0 * share))
}

pub(super) fn milliseconds(value: f64) -> String {
    if value.abs() >= 10_000.0 { format!("{} s", count(value / 1000.0)) } else { format!("{} ms", count(value)) }
}

pub(super) fn per_second(value: f64) -> String {
    format!("{} per second", count(value))
}

pub(super) fn with_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => percent(value),
        Unit::Milliseconds => milliseconds(value),
        Unit::PerSecond => per_second(value),
    }
}

/// `40 s`, `5 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn seconds(value: f64) -> String {
    let whole = if value.is_finite() { value.abs().min(1e15) as u64 } else { 0 };
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => pair(whole / 60, "min", whole % 60, "s"),
        3600..86_400 => pair(whole / 3600, "h", whole / 60 % 60, "min"),
        _ => pair(whole / 86_400, "d", whole / 3600 % 24, "h"),
    }
}

/// The time of day, in UTC.
pub(super) fn clock(second: Second) -> String {
    format!("{:02}:{:02}:{:02} UTC", second / 3600 % 24, second / 60 % 60, second % 60)
}

pub(super) fn place(place: &Place) -> String {
    match place {
        Place::Service(node) => node.to_string(),
        Place::Part(node, part) => format!("version {} of {node} ({})", part.version, part.workload),
        Place::Link(source, destination) => format!("what lies between {source} and {destination}"),
        Place::Outside(node) if node.is_outside() => "whoever calls the mesh".into(),
        Place::Outside(node) => format!("{}, outside the mesh,", node.name()),
    }
}

/// What a place does wrong.
pub(super) fn is(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::Slow => "is slow",
        CauseKind::Failing => "fails requests",
        CauseKind::Unreachable => "cannot be reached",
        CauseKind::Network => "has a bad network",
        CauseKind::Refused => "has requests refused by the mesh",
        CauseKind::Saturated => "has more to do than it can",
        CauseKind::Surge => "asks much more than before",
        CauseKind::Quiet => "calls others less than before",
    }
}

/// The same of what lies between two services.
pub(super) fn between(kind: CauseKind, source: &Node, destination: &Node) -> String {
    match kind {
        CauseKind::Unreachable => format!("{source} cannot reach {destination}"),
        CauseKind::Refused => format!("the mesh refuses requests from {source} to {destination}"),
        CauseKind::Surge => format!("{source} asks much more of {destination} than before"),
        CauseKind::Network | CauseKind::Slow => format!("the network between {source} and {destination} is bad"),
        kind => format!("what lies between {source} and {destination} {}", is(kind)),
    }
}
