//! Our evaluation of PromQL against Debian's Prometheus 2.42: the same series in both, hundreds of queries, the same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod generate;
mod oracle;
mod scene;
mod table;

use generate::Generator;
use oracle::Oracle;
use scene::{END, START, Scene};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use taut_control::prometheus::{Answer, Budget, Failure, MOST_SAMPLES, Times, instant, range, read};

/// Random queries beside those of the table.
const RANDOM: usize = 500;

fn ours(scene: &Scene, query: &str, times: Times) -> Result<Value, Failure> {
    let given_up = AtomicBool::new(false);
    let budget = Budget::new(MOST_SAMPLES, &given_up);
    let expression = read(query)?;
    let answer: Answer = match times.start == times.end {
        true => instant(&expression, times.start, scene, budget)?,
        false => range(&expression, times, scene, budget)?,
    };
    Ok(serde_json::to_value(answer).unwrap())
}

/// Labels, and then times and values.
type Row = (String, Vec<(f64, f64)>);

/// In an order that does not depend on who answered.
fn rows(data: &Value) -> Vec<Row> {
    let point = |pair: &Value| (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse::<f64>().unwrap_or(f64::NAN));
    let result = &data["result"];
    if data["resultType"] == "scalar" {
        return vec![(String::new(), vec![point(result)])];
    }
    if data["resultType"] == "string" {
        return vec![(result[1].to_string(), vec![])];
    }
    let row = |row: &Value| {
        let labels: BTreeMap<String, Value> = serde_json::from_value(row["metric"].clone()).unwrap();
        let points = row["values"].as_array().map_or_else(|| vec![point(&row["value"])], |values| values.iter().map(point).collect());
        (serde_json::to_string(&labels).unwrap(), points)
    };
    let mut rows: Vec<_> = result.as_array().unwrap().iter().map(row).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

fn near(one: f64, other: f64) -> bool {
    one == other || (one.is_nan() && other.is_nan()) || (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1e-3)
}

fn same(ours: &Value, theirs: &Value) -> bool {
    let (mine, yours) = (rows(ours), rows(theirs));
    let same_row = |((labels, points), (other_labels, others)): (&Row, &Row)| {
        labels == other_labels
            && points.len() == others.len()
            && points.iter().zip(others).all(|(one, other)| near(one.0, other.0) && near(one.1, other.1))
    };
    ours["resultType"] == theirs["resultType"] && mine.len() == yours.len() && mine.iter().zip(&yours).all(same_row)
}

/// What differs, in a line.
fn difference(scene: &Scene, oracle: &Oracle, query: &str, times: Times) -> Option<String> {
    let when = format!("{query}   @ {}..{} / {}", times.start, times.end, times.step);
    match (ours(scene, query, times), oracle.ask(query, times)) {
        (Ok(ours), Ok(theirs)) if same(&ours, &theirs) => None,
        (Ok(ours), Ok(theirs)) => Some(format!("{when}\n  ours   {:.400}\n  theirs {:.400}", ours.to_string(), theirs.to_string())),
        (Err(_), Err(_)) => None,
        (Ok(ours), Err(error)) => Some(format!("{when}\n  ours   {:.400}\n  theirs refuse: {error}", ours.to_string())),
        (Err(error), Ok(theirs)) => Some(format!("{when}\n  we refuse: {error}\n  theirs {:.400}", theirs.to_string())),
    }
}

#[test]
fn the_same_answers_as_prometheus() {
    let Some(oracle) = Oracle::start(&Scene::new()) else {
        eprintln!("prometheus and promtool 2.42 are not installed: nothing is compared (apt-get install prometheus)");
        return;
    };
    let scene = Scene::new();
    let (middle, late) = ((START + END) / 2 / 1000 * 1000, END - 7_000);
    let once = |at| Times { start: at, end: at, step: 1 };
    let over = Times { start: middle - 600_000, end: middle + 600_000, step: 61_000 };
    let mut asked: Vec<(String, Times)> = Vec::new();
    for query in table::QUERIES {
        asked.extend([once(middle), once(late), over].map(|times| ((*query).to_owned(), times)));
    }
    let mut generator = Generator::new(20_260_101);
    for number in 0..RANDOM {
        let query = generator.query();
        let at = START + generator.below(END - START + 400_000);
        asked.push((query, if number % 3 == 0 { Times { start: at, end: at + 1_200_000, step: 97_000 } } else { once(at) }));
    }
    let differences: Vec<String> = asked.iter().filter_map(|(query, times)| difference(&scene, &oracle, query, *times)).collect();
    let answered = asked.iter().filter(|(query, times)| ours(&scene, query, *times).is_ok_and(|data| !rows(&data).is_empty())).count();
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), asked.len(), differences[..differences.len().min(25)].join("\n"));
    // A comparison of nothing with nothing proves little.
    assert!(answered * 2 > asked.len(), "only {answered} of {} queries have an answer", asked.len());
    eprintln!("{} queries, {answered} with an answer", asked.len());
}
