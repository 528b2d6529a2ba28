//! Symptoms in words: what users feel, now against before.

use super::words::{count, milliseconds, percent};
use crate::incident::{Signal, Symptom};

/// For a title: `is slow`.
pub(super) fn short(symptom: &Symptom) -> &'static str {
    match symptom.signal {
        Signal::ErrorRatio => "fails requests",
        Signal::LatencyP50 | Signal::LatencyP99 => "is slow",
        Signal::Rate => "is called less than it was",
        Signal::Saturation => "is nearly full",
        Signal::Covered => "fails, which retries cover",
        Signal::Objective(_) => "misses its objective",
    }
}

pub(super) fn sentence(symptom: &Symptom) -> String {
    let Symptom { node, signal, baseline, worst, now, until, .. } = symptom;
    let told = match signal {
        Signal::ErrorRatio => figures("of the requests to", node, "fail", [*now, *baseline, *worst].map(percent)),
        Signal::LatencyP50 => slow("half of the requests", "take", node, [*now, *baseline, *worst]),
        Signal::LatencyP99 => slow("one request in 100", "takes", node, [*now, *baseline, *worst]),
        Signal::Rate => format!("{node} gets {} requests per second, {} before", count(*now), count(*baseline)),
        Signal::Saturation => format!("{node} is {} full, {} before, {} at worst", percent(*now), percent(*baseline), percent(*worst)),
        Signal::Covered => figures("of the tries at", node, "fail and are covered by retries", [*now, *baseline, *worst].map(percent)),
        Signal::Objective(name) => {
            format!("{node} spends the error budget of {name} at {} times what it lasts for, {} at worst", count(*now), count(*worst))
        }
    };
    match until {
        Some(_) => format!("Over: {told}."),
        None => format!("{}.", upper(&told)),
    }
}

fn figures(of: &str, node: &crate::tick::Node, verb: &str, [now, before, worst]: [String; 3]) -> String {
    format!("{now} {of} {node} {verb}, {before} before, {worst} at worst")
}

fn slow(which: &str, verb: &str, node: &crate::tick::Node, [now, before, worst]: [f64; 3]) -> String {
    format!("{which} to {node} {verb} {} or more, {} before, {} at worst", milliseconds(now), milliseconds(before), milliseconds(worst))
}

/// Names of services stay as they are written.
fn upper(text: &str) -> String {
    let name = text.split_whitespace().next().is_some_and(|word| word.contains('/'));
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !name => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}
