//! `cargo run --release -p taut-insight --example causes`: `locate` on synthetic meshes: how often it is right by kind of fault, whom it
//! blames when nothing is wrong, how well its confidence is calibrated, and what it costs. `--fit` fits the confidence anew, `--cost` measures the cost alone,
//! `--cases` lists what was wrong.

mod fit;
#[path = "../mesh/mod.rs"]
mod mesh;

use mesh::{Case, fault};
use std::collections::BTreeMap;
use taut_insight::incident::{Place, Verdict};
use taut_insight::locate::{Features, Limits, locate, located};

/// Meshes of each kind, for fitting and for measuring: odd and even seeds.
const SEEDS: u64 = 200;

fn main() {
    if std::env::args().any(|argument| argument == "--fit") {
        println!("{}", fit::fit(&weighed(1)));
        return;
    }
    if std::env::args().any(|argument| argument == "--cost") {
        println!("{}", cost());
        return;
    }
    println!("{}\n{}\n{}\n{}", by_kind(), pairs(), calibration(&weighed(0)), cost());
}

fn services(seed: u64) -> usize {
    [6, 10, 15, 25, 40, 60][(seed % 6) as usize]
}

/// Causes that were told, with what their confidence is made of, and whether they were right.
fn weighed(odd: u64) -> Vec<(Features, f64, bool)> {
    let mut all = Vec::new();
    for seed in (0..SEEDS).map(|seed| 2 * seed + odd) {
        let cases = fault::FAULTS.iter().enumerate().filter_map(|(at, kind)| {
            // In one of five something else goes wrong at the same time.
            let other = fault::FAULTS[(at * 7 + seed as usize) % fault::FAULTS.len()];
            let kinds = if seed % 10 < 2 { vec![*kind, other] } else { vec![*kind] };
            mesh::broken(seed * 100 + at as u64, services(seed), &kinds)
        });
        let benign = fault::BENIGN.iter().enumerate().map(|(at, kind)| mesh::benign(seed * 100 + 50 + at as u64, services(seed), kind));
        for case in cases.chain(benign) {
            let found = located(&case.situation, &Limits::default());
            all.extend(found.into_iter().map(|(cause, features)| (features, cause.confidence, is_right(&case, &cause.place))));
        }
    }
    all
}

fn is_right(case: &Case, place: &Place) -> bool {
    case.truths.iter().any(|truth| truth.contains(place))
}

#[derive(Default)]
struct Row {
    felt: usize,
    unfelt: usize,
    first: usize,
    third: usize,
    nobody: usize,
}

fn by_kind() -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut blamed: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seed in 0..SEEDS {
        for (at, kind) in fault::FAULTS.iter().enumerate() {
            let Some(case) = mesh::broken(1_000_000 + seed * 100 + at as u64, services(seed), &[kind]) else { continue };
            count(kind, rows.entry(kind).or_default(), &case);
        }
        for (at, kind) in fault::BENIGN.iter().enumerate() {
            let case = mesh::benign(2_000_000 + seed * 100 + at as u64, services(seed), kind);
            let (asked, named) = blamed.entry(kind).or_default();
            *asked += 1;
            *named += usize::from(!locate(&case.situation).causes.is_empty());
        }
    }
    let mut out = "| fault | felt by users | named first | among three | nobody named | not felt |\n|---|---|---|---|---|---|\n".to_owned();
    let mut sum = Row::default();
    for kind in fault::FAULTS {
        let Some(row) = rows.get(kind) else { continue };
        out += &line(kind, row);
        sum = Row {
            felt: sum.felt + row.felt,
            unfelt: sum.unfelt + row.unfelt,
            first: sum.first + row.first,
            third: sum.third + row.third,
            nobody: sum.nobody + row.nobody,
        };
    }
    out += &line("all", &sum);
    out += "\n| harmless | meshes | somebody blamed |\n|---|---|---|\n";
    for kind in fault::BENIGN {
        let (asked, named) = blamed.get(kind).copied().unwrap_or_default();
        out += &format!("| {kind} | {asked} | {named} |\n");
    }
    out
}

fn line(kind: &str, row: &Row) -> String {
    let share = |of: usize| format!("{:.2}", of as f64 / row.felt.max(1) as f64);
    format!("| {kind} | {} | {} | {} | {} | {} |\n", row.felt, share(row.first), share(row.third), share(row.nobody), row.unfelt)
}

/// A fault that no user feels opens no incident: nobody need be named.
fn count(kind: &str, row: &mut Row, case: &Case) {
    let ranking = locate(&case.situation);
    if ranking.causes.is_empty() && !is_felt(case) {
        row.unfelt += 1;
        return;
    }
    let at = ranking.causes.iter().position(|cause| is_right(case, &cause.place));
    if at != Some(0) && std::env::args().any(|argument| argument == "--cases") {
        let named: Vec<_> = ranking.causes.iter().map(|cause| (&cause.place, cause.kind, cause.share)).collect();
        eprintln!("{kind}: {:?} but {named:?}", case.truths);
    }
    row.felt += 1;
    row.first += usize::from(at == Some(0));
    row.third += usize::from(at.is_some_and(|at| at < 3));
    row.nobody += usize::from(ranking.causes.is_empty());
}

/// Whether a target is off at all, whoever is blamed for it.
fn is_felt(case: &Case) -> bool {
    let limits = Limits { cause: 0.0, share: 0.0, ..Limits::default() };
    !matches!(taut_insight::locate::locate_with(&case.situation, &limits).verdict, Verdict::NoCause | Verdict::TooEarly)
}

/// Two faults at once, of different kinds.
fn pairs() -> String {
    let (mut asked, mut first, mut both, mut one) = (0, 0, 0, 0);
    for seed in 0..SEEDS * 5 {
        let kinds = [seed as usize % fault::FAULTS.len(), (seed as usize * 7 + 3) % fault::FAULTS.len()].map(|at| fault::FAULTS[at]);
        let Some(case) = mesh::broken(3_000_000 + seed, services(seed), &kinds) else { continue };
        let ranking = locate(&case.situation);
        if ranking.causes.is_empty() {
            continue;
        }
        let named = |truth: &fault::Truth| ranking.causes.iter().take(3).any(|cause| truth.contains(&cause.place));
        asked += 1;
        first += usize::from(is_right(&case, &ranking.causes[0].place));
        let found = case.truths.iter().filter(|truth| named(truth)).count();
        both += usize::from(found == 2);
        one += usize::from(found >= 1);
    }
    let share = |of: usize| of as f64 / f64::from(asked.max(1));
    format!(
        "Two faults at once, {asked} meshes in which users feel it: the first cause is one of them in {:.2}; one is among three in {:.2}, both are in \
         {:.2} (users need not feel both).\n",
        share(first),
        share(one),
        share(both)
    )
}

fn calibration(causes: &[(Features, f64, bool)]) -> String {
    let mut out = "| confidence | causes | said | were right |\n|---|---|---|---|\n".to_owned();
    let mut error = 0.0;
    for bin in 0..10 {
        let (low, high) = (f64::from(bin) / 10.0, f64::from(bin + 1) / 10.0);
        let within: Vec<&(Features, f64, bool)> =
            causes.iter().filter(|(_, said, _)| (low..high).contains(said) || (bin == 9 && *said >= high)).collect();
        if within.is_empty() {
            continue;
        }
        let mean = |of: &dyn Fn(&(Features, f64, bool)) -> f64| within.iter().map(|cause| of(cause)).sum::<f64>() / within.len() as f64;
        let (said, right) = (mean(&|cause| cause.1), mean(&|cause| f64::from(u8::from(cause.2))));
        error += (said - right).abs() * within.len() as f64 / causes.len() as f64;
        out += &format!("| {low:.1} to {high:.1} | {} | {said:.2} | {right:.2} |\n", within.len());
    }
    out + &format!("\nExpected calibration error {error:.3}, {} causes of other seeds than those that were fitted.\n", causes.len())
}

/// Processor time of this process in seconds, as Linux counts it: what else the machine does is not in it.
fn spent() -> f64 {
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    told.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// A thousand services and ten thousand links.
fn cost() -> String {
    let case = mesh::large(1, 1000, 10_000);
    let mut times: Vec<f64> = (0..301)
        .map(|_| {
            let start = spent();
            let ranking = locate(&case.situation);
            assert!(ranking.causes.len() < 100);
            (spent() - start) * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let named = locate(&case.situation).causes.first().is_some_and(|cause| is_right(&case, &cause.place));
    format!(
        "1,000 services, {} reports of 10,000 links: {:.2} ms of processor time in the middle, {:.2} ms at worst, of 301; the right one is named first: {named}.",
        case.situation.seen.len(),
        times[150],
        times[300]
    )
}
