//! The Numenta Anomaly Benchmark v1.1: `cargo run --release -p taut-insight --example nab -- DIRECTORY`, with `DIRECTORY/data` and
//! `DIRECTORY/labels` as in <https://github.com/numenta/NAB>. It prints scores at one global threshold, and cross-validated over files.

mod corpus;
mod rules;
mod scorer;

use corpus::Series;
use scorer::{Card, PROFILES};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use taut_insight::series::{Fact, Thorough, ThoroughSettings};

/// How often the files are cut into halves, one for the threshold, one for the score.
const HALVES: u64 = 40;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("error: no directory is named; it holds `data` and `labels` of the Numenta Anomaly Benchmark");
        return ExitCode::FAILURE;
    };
    match corpus::read(directory.as_ref()) {
        Ok(corpus) => {
            print(&corpus);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn print(corpus: &[Series]) {
    let rows: usize = corpus.iter().map(|series| series.values.len()).sum();
    let windows: usize = corpus.iter().map(|series| series.windows.len()).sum();
    println!(
        "{} series, {rows} rows, {windows} windows. One global threshold per profile; causal, no look-ahead, no range of the file told.\n",
        corpus.len()
    );
    println!("| detector | standard | low FP | low FN | standard, cross-validated | windows found | false alarms per 1,000 rows |");
    println!("|---|---|---|---|---|---|---|");
    let mut cost = (Duration::ZERO, 0);
    for (name, facts, calm) in variants() {
        let scores: Vec<Vec<f64>> = corpus.iter().map(|series| thorough(series, &facts, calm, &mut cost)).collect();
        line(name, corpus, &scores);
        if name.starts_with("**") {
            let bytes = cost.1;
            let each = cost.0 / rows.max(1) as u32;
            eprintln!("{each:.1?} per value, {bytes} bytes per series at most");
        }
    }
    type Rule = fn(&Series) -> Vec<f64>;
    let rules: [(&str, Rule); 7] = [
        ("windowed Gaussian (NAB's; published 39.6 / 20.9 / 47.4)", rules::windowed_gaussian),
        ("sigmas from the mean of all", rules::deviations),
        ("the same, records only", |series| rules::cooled(&rules::deviations(series), calm(series))),
        ("steps in their mean, records only", |series| rules::cooled(&rules::changes(series), calm(series))),
        ("static threshold: beyond the probation's range", rules::beyond_probation),
        ("random (published 11.0 / 1.2 / 19.5)", rules::random),
        ("perfect", rules::perfect),
    ];
    for (name, rule) in rules {
        line(name, corpus, &corpus.iter().map(rule).collect::<Vec<_>>());
    }
    line("nothing told", corpus, &corpus.iter().map(|series| vec![0.0; series.values.len()]).collect::<Vec<_>>());
}

/// Tautline's detector, and what it is without its parts.
fn variants() -> Vec<(&'static str, Vec<Fact>, f64)> {
    let all = ThoroughSettings::default().facts;
    let without = |fact: Fact| all.iter().copied().filter(|other| *other != fact).collect();
    vec![
        ("**Tautline: value, range of 32, least of 8, mean of 128**", all.clone(), 0.2),
        ("without the value", without(Fact::Mean(1)), 0.2),
        ("without the range", without(Fact::Range(32)), 0.2),
        ("without the least", without(Fact::Least(8)), 0.2),
        ("without the mean", without(Fact::Mean(128)), 0.2),
        ("the value alone", vec![Fact::Mean(1)], 0.2),
        ("all spans by 3/4", vec![Fact::Mean(1), Fact::Range(24), Fact::Least(6), Fact::Mean(96)], 0.2),
        ("all spans by 3/2", vec![Fact::Mean(1), Fact::Range(48), Fact::Least(12), Fact::Mean(192)], 0.2),
        ("half the calm", all.clone(), 0.1),
        ("twice the calm", all.clone(), 0.4),
        ("no calm: all, not only records", all.clone(), 0.0),
    ]
}

/// Rows in which only a greater surprise is told: a fifth of the probation, as the benchmark lets a detector know how long that is.
fn calm(series: &Series) -> usize {
    series.probation() / 5
}

fn thorough(series: &Series, facts: &[Fact], calm: f64, cost: &mut (Duration, usize)) -> Vec<f64> {
    let calm = (calm * series.probation() as f64) as usize;
    let mut detector = Thorough::new(ThoroughSettings { facts: facts.to_vec(), calm });
    let start = Instant::now();
    let scores = series.values.iter().map(|value| detector.observe(*value).value).collect();
    *cost = (cost.0 + start.elapsed(), cost.1.max(detector.bytes()));
    scores
}

fn line(name: &str, corpus: &[Series], scores: &[Vec<f64>]) {
    let cards: Vec<Card> = corpus.iter().zip(scores).map(|(series, scores)| Card::new(series, scores)).collect();
    let all: Vec<&Card> = cards.iter().collect();
    let [standard, ..] = PROFILES;
    let [a, b, c] = PROFILES.map(|profile| scorer::normalised(scorer::best(&all, profile).1, &all, profile));
    let (threshold, _) = scorer::best(&all, standard);
    let (mean, deviation) = cross_validated(&cards);
    let (found, false_alarms) = all.iter().map(|card| card.counts(threshold)).fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
    let windows: usize = all.iter().map(|card| card.windows()).sum();
    let rows: usize = corpus.iter().map(|series| series.values.len() - series.probation()).sum();
    let rate = 1000.0 * false_alarms as f64 / rows as f64;
    println!("| {name} | {a:.1} | {b:.1} | {c:.1} | {mean:.1} ± {deviation:.1} | {found} of {windows} | {rate:.2} |");
}

/// Mean and standard deviation over halves of the files: the threshold of one half, the score of the other.
fn cross_validated(cards: &[Card]) -> (f64, f64) {
    let [standard, ..] = PROFILES;
    let scores: Vec<f64> = (0..HALVES)
        .map(|seed| {
            let mut shuffled: Vec<(u64, &Card)> = cards.iter().enumerate().map(|(at, card)| (mixed(seed * 1000 + at as u64), card)).collect();
            shuffled.sort_by_key(|(key, _)| *key);
            let cards: Vec<&Card> = shuffled.into_iter().map(|(_, card)| card).collect();
            let (fit, held) = cards.split_at(cards.len() / 2);
            let (threshold, _) = scorer::best(fit, standard);
            let points = held.iter().map(|card| card.points(standard, threshold)).sum();
            scorer::normalised(points, held, standard)
        })
        .collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let variance = scores.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>() / scores.len() as f64;
    (mean, variance.sqrt())
}

/// splitmix64.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
