//! `cargo run --release -p taut-insight --example nezha -- DIR`: causes in Nezha's data at service level, with false alarms in minutes
//! without a fault. DIR is a day, or holds several.

mod asked;
mod day;
#[path = "../read/mod.rs"]
mod read;
mod rivals;

use asked::Moment;
use day::Day;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("usage: nezha DIR, where DIR is a day such as 2022-08-22, or holds some");
        return ExitCode::FAILURE;
    };
    match day::all(Path::new(&directory)) {
        Ok(days) => {
            days.iter().for_each(|day| println!("{}", report(day)));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// How many deviations off a rule must see before it names anybody: from what one window in 700 exceeds to what hardly any does.
const GATES: [f64; 4] = [3.0, 5.0, 8.0, 12.0];
/// The gate at which cases are listed, and the last one for comparison: named whatever it is.
const LISTED: f64 = 5.0;
/// A fault may show for that long, in seconds; a window without one is this far from each.
const SHOWS: i64 = 600;

fn report(day: &Day) -> String {
    let quiet: Vec<i64> = quiet(day);
    let faults = day.faults.len();
    let head = format!(
        "## {}\n\n{faults} faults: share named first / among three / among five. Beside it, windows of three minutes without a fault in which \
         somebody is blamed, of {}.\n\n| rule |",
        day.name,
        quiet.len()
    );
    let gates: String = GATES.iter().map(|gate| format!(" {gate} deviations | false |")).collect();
    let mut out = format!("{head} named always |{gates}\n|---|---|{}\n", "---|---|".repeat(GATES.len()));
    for rule in rivals::NAMES {
        out += &format!("| {rule} | {} |", recall(day, rule, 0.0));
        for gate in GATES {
            let alarms = quiet.iter().filter(|at| !rivals::answer(rule, &Moment::new(day, **at), gate).is_empty()).count();
            out += &format!(" {} | {alarms} |", recall(day, rule, gate));
        }
        out += "\n";
    }
    out + &by_kind(day) + &cases(day)
}

fn place(day: &Day, rule: &str, gate: f64, fault: &day::Fault) -> Option<usize> {
    let named = rivals::answer(rule, &Moment::new(day, fault.at), gate);
    named.iter().position(|name| *name == fault.service)
}

fn recall(day: &Day, rule: &str, gate: f64) -> String {
    let places: Vec<Option<usize>> = day.faults.iter().map(|fault| place(day, rule, gate, fault)).collect();
    let share = |most: usize| places.iter().filter(|place| place.is_some_and(|place| place < most)).count() as f64 / places.len().max(1) as f64;
    format!("{:.2} / {:.2} / {:.2}", share(1), share(3), share(5))
}

fn by_kind(day: &Day) -> String {
    let mut kinds: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for fault in &day.faults {
        let place = place(day, "locate", LISTED, fault);
        let (asked, first, third) = kinds.entry(&fault.kind).or_default();
        (*asked, *first) = (*asked + 1, *first + usize::from(place == Some(0)));
        *third += usize::from(place.is_some_and(|place| place < 3));
    }
    let rows: String = kinds.iter().map(|(kind, (asked, first, third))| format!("| {kind} | {asked} | {first} | {third} |\n")).collect();
    format!("\nBy kind, at {LISTED} deviations:\n\n| kind | faults | first | among three |\n|---|---|---|---|\n{rows}")
}

fn cases(day: &Day) -> String {
    let mut out = format!("\nNot named first at {LISTED} deviations:\n\n| time | fault | named |\n|---|---|---|\n");
    for fault in day.faults.iter().filter(|fault| place(day, "locate", LISTED, fault) != Some(0)) {
        let named = rivals::answer("locate", &Moment::new(day, fault.at), LISTED);
        let named = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
        out += &format!("| {} | {} of {} | {named} |\n", fault.time, fault.kind, fault.service);
    }
    out
}

/// Windows that no fault can show in, each three minutes after the one before.
fn quiet(day: &Day) -> Vec<i64> {
    let times = || day.front.values().chain(day.callers.values()).flat_map(day::Series::ends);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Vec::new() };
    let far = |at: &i64| day.faults.iter().all(|fault| *at + SHOWS / 2 < fault.at || *at > fault.at + SHOWS);
    (first + SHOWS..last - SHOWS).step_by(180).filter(far).collect()
}
