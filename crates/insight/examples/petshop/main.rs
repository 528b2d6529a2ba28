//! `cargo run --release -p taut-insight --example petshop -- DIR`: causes in the PetShop data set by its protocol, beside simple rules,
//! `locate` with ideas taken away, and published figures. DIR holds the scenarios.

mod asked;
#[path = "../read/mod.rs"]
mod read;
mod rivals;
mod scenario;

use asked::Question;
use scenario::{AFTER, Noticed, Scenario, TRIGGER};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("usage: petshop DIR, where DIR holds low_traffic, high_traffic, …");
        return ExitCode::FAILURE;
    };
    match report(Path::new(&directory), std::env::args().any(|argument| argument == "--cases")) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Hits among the first one and three, and how many were asked.
#[derive(Clone, Copy, Debug, Default)]
struct Recall {
    asked: usize,
    first: usize,
    third: usize,
    empty: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Alarms {
    asked: usize,
    raised: usize,
}

/// By rule, then by scenario and metric.
type Table<T> = BTreeMap<(&'static str, (String, String)), T>;

fn report(directory: &Path, cases: bool) -> Result<String, String> {
    let scenarios = scenario::all(directory)?;
    let recalls = recalls(&scenarios, cases);
    let (by_protocol, everywhere) = (alarms(&scenarios, false), alarms(&scenarios, true));
    let columns: BTreeSet<(String, String)> = recalls.keys().map(|(_, column)| column.clone()).collect();
    let issues: usize = scenarios.iter().map(|scenario| scenario.issues.len()).sum();
    let mut out = format!("PetShop, {issues} issues: recall among the first 1 / 3, and how many were asked.\n\n| rule |");
    let heading = |(scenario, metric): &(String, String)| format!(" {} {metric} |", scenario.replace("_traffic", ""));
    let all: String = columns.iter().map(heading).collect();
    let line = "---|".repeat(columns.len() + 1);
    out += &format!("{all} all |\n|---|{line}\n");
    for rule in rivals::NAMES {
        out += &format!("| {rule} |");
        let mut sum = Recall::default();
        for column in &columns {
            let recall = recalls.get(&(rule, column.clone())).copied().unwrap_or_default();
            out += &format!(" {} |", told(recall));
            sum = Recall { asked: sum.asked + recall.asked, first: sum.first + recall.first, third: sum.third + recall.third, ..sum };
        }
        out += &format!(" {} |\n", told(sum));
    }
    let what = "Somebody is blamed in fault-free rows, of those asked: by the protocol, and at every place there is.";
    out += &format!("\n{what}\n\n| rule |{}\n|---|{}\n", specificity_heading(&by_protocol), "---|".repeat(2 * quiet_columns(&by_protocol).len()));
    for rule in rivals::NAMES {
        out += &format!("| {rule} |");
        for column in quiet_columns(&by_protocol) {
            for table in [&by_protocol, &everywhere] {
                let Alarms { asked, raised } = table.get(&(rule, column.clone())).copied().unwrap_or_default();
                out += &format!(" {raised} of {asked} |");
            }
        }
        out += "\n";
    }
    Ok(out)
}

fn quiet_columns<T>(table: &Table<T>) -> BTreeSet<(String, String)> {
    table.keys().map(|(_, column)| column.clone()).collect()
}

fn specificity_heading(table: &Table<Alarms>) -> String {
    let columns = quiet_columns(table).into_iter();
    columns.map(|(scenario, metric)| format!(" {} {metric}, protocol | everywhere |", scenario.replace("_traffic", ""))).collect()
}

fn told(recall: Recall) -> String {
    let share = |hits: usize| if recall.asked > 0 { format!("{:.2}", hits as f64 / recall.asked as f64) } else { "-".into() };
    format!("{} / {} ({})", share(recall.first), share(recall.third), recall.asked)
}

fn recalls(scenarios: &[Scenario], cases: bool) -> Table<Recall> {
    let mut table = Table::new();
    for scenario in scenarios {
        for issue in &scenario.issues {
            let Some(normal) = scenario::normal(scenarios, scenario, &issue.noticed, &issue.metrics) else {
                eprintln!("left out: {} {}: no scenario has fault-free rows", scenario.name, issue.name);
                continue;
            };
            let question = Question::new(&scenario.calls, &issue.noticed, normal, &issue.metrics);
            // A cause that must be right in its metric too is told with that of the target.
            let right = |name: &String| *name == issue.truth && issue.truth_metric.as_ref().is_none_or(|metric| *metric == issue.noticed.metric);
            for rule in rivals::NAMES {
                let named = rivals::answer(rule, &question);
                let at = named.iter().position(right);
                let kind = scenario.name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned();
                let recall: &mut Recall = table.entry((rule, (kind, issue.noticed.metric.clone()))).or_default();
                recall.asked += 1;
                recall.first += usize::from(at == Some(0));
                recall.third += usize::from(at.is_some_and(|at| at < 3));
                recall.empty += usize::from(named.is_empty());
                if cases && rule == "locate" {
                    let located = question.located(&Default::default());
                    eprintln!("{} {} {}: {at:?} of {} {located:.2?}", scenario.name, issue.name, issue.noticed.metric, issue.truth);
                }
            }
        }
    }
    table
}

/// Fault-free rows split in two: by the protocol from the middle on in tenths, or at every row from the middle on. A method sees rows from
/// the split on as those of an issue: what would be its trigger is the third.
fn alarms(scenarios: &[Scenario], everywhere: bool) -> Table<Alarms> {
    let mut table = Table::new();
    for scenario in scenarios {
        let Some(normal) = &scenario.normal else { continue };
        let noticed: BTreeSet<&Noticed> = scenario.issues.iter().map(|issue| &issue.noticed).collect();
        let step = if everywhere { 1 } else { (normal.rows / 10).max(1) };
        for split in (normal.rows / 2..normal.rows.saturating_sub(TRIGGER + AFTER - 1)).step_by(step) {
            let (before, after) = (normal.slice(0, split), normal.slice(split, split + TRIGGER + AFTER));
            for noticed in &noticed {
                let question = Question::new(&scenario.calls, noticed, &before, &after);
                for rule in rivals::NAMES {
                    let alarms: &mut Alarms = table.entry((rule, (scenario.name.clone(), noticed.metric.clone()))).or_default();
                    alarms.asked += 1;
                    alarms.raised += usize::from(!rivals::answer(rule, &question).is_empty());
                }
            }
        }
    }
    table
}
