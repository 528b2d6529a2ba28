//! `cargo xtask bench plan`: how long the plan takes to compile and to decide, from ten routes and policies to fifty thousand.

mod mesh;

use super::Output;
use clap::Args;
use mesh::{Request, SHAPES, Shape};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};
use taut_plan::{Plan, Rolls, Snapshot, Verdict};

#[derive(Args)]
pub struct Options {
    /// Numbers of routes or policies, by comma
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000, 50_000])]
    counts: Vec<usize>,
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// Times of one shape and size.
struct Times {
    shape: Shape,
    count: usize,
    compile: Duration,
    /// Mean over requests for routes or policies that are spread evenly over all.
    decide: Duration,
    /// Of the one that is looked at last.
    decide_last: Duration,
}

/// Requests that the mean is over, at most.
const SAMPLE: usize = 500;

pub fn run(options: &Options) -> Result<(), String> {
    if cfg!(debug_assertions) {
        eprintln!("warning: these are times of a debug build; run with --release");
    }
    let mut all = Vec::new();
    for shape in SHAPES {
        for count in options.counts.iter().copied().filter(|count| *count > 0) {
            eprintln!("{count} {}", shape.name());
            all.push(times(shape, count)?);
        }
    }
    match options.output {
        Output::Table => println!("{}", table(&all)),
        Output::Json => println!("{:#}", json!({ "plan": all.iter().map(Times::json).collect::<Vec<_>>() })),
    }
    Ok(())
}

fn times(shape: Shape, count: usize) -> Result<Times, String> {
    let snapshot = shape.snapshot(count);
    let compile = compile(&snapshot);
    let plan = Plan::compile(&snapshot);
    let step = count.div_ceil(SAMPLE);
    let spread: Vec<Request> = (0..count).step_by(step).map(|number| shape.request(number)).collect();
    let last = [shape.request(count - 1)];
    Ok(Times { shape, count, compile, decide: decide(&plan, &spread)?, decide_last: decide(&plan, &last)? })
}

/// The median of five; of one, where it takes long.
fn compile(snapshot: &Snapshot) -> Duration {
    const LONG: Duration = Duration::from_secs(2);
    let mut times = Vec::new();
    while times.len() < 5 {
        let begin = Instant::now();
        black_box(Plan::compile(black_box(snapshot)));
        times.push(begin.elapsed());
        if begin.elapsed() > LONG {
            break;
        }
    }
    times.sort();
    times[times.len() / 2]
}

/// The mean of one decision, in the fastest of several batches: what else the machine does only adds.
fn decide(plan: &Plan, requests: &[Request]) -> Result<Duration, String> {
    const BATCHES: usize = 5;
    const BATCH: Duration = Duration::from_millis(40);
    let rolls = Rolls::default();
    for request in requests {
        let verdict = plan.decide(&request.facts(), &rolls);
        if !matches!(verdict, Verdict::Go(_)) {
            return Err(format!("the benchmark's own request is not let through: {verdict:?}"));
        }
    }
    let batch = || {
        let begin = Instant::now();
        let mut decided = 0_u32;
        while begin.elapsed() < BATCH {
            for request in requests {
                black_box(plan.decide(black_box(&request.facts()), &rolls));
                decided += 1;
            }
        }
        begin.elapsed() / decided
    };
    Ok((0..BATCHES).map(|_| batch()).min().unwrap_or_default())
}

impl Times {
    fn json(&self) -> Value {
        json!({
            "shape": self.shape.name(),
            "count": self.count,
            "compile_ms": self.compile.as_secs_f64() * 1e3,
            "decide_ns": self.decide.as_nanos(),
            "decide_last_ns": self.decide_last.as_nanos(),
        })
    }
}

fn table(all: &[Times]) -> String {
    let mut text = String::from(
        "# The plan\n\nCompile: the whole snapshot, median of up to 5. Decide: mean over requests for routes or policies spread evenly; and for the last one. One thread.\n\n",
    );
    text += &format!("| {:<27} | {:>6} | {:>10} | {:>9} | {:>20} |\n", "shape", "number", "compile ms", "decide ns", "decide ns, last one");
    text += &format!("| {:-<27} | {:->5}: | {:->9}: | {:->8}: | {:->19}: |\n", "", "", "", "", "");
    for times in all {
        let compile = times.compile.as_secs_f64() * 1e3;
        let (decide, last) = (times.decide.as_nanos(), times.decide_last.as_nanos());
        text += &format!("| {:<27} | {:>6} | {compile:>10.3} | {decide:>9} | {last:>20} |\n", times.shape.name(), times.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_policy_lets_its_own_request_through_and_no_other() {
        for shape in SHAPES {
            let plan = Plan::compile(&shape.snapshot(25));
            assert!(plan.problems().is_empty(), "{:?}", plan.problems());
            let requests: Vec<Request> = (0..25).map(|number| shape.request(number)).collect();
            assert!(decide(&plan, &requests).is_ok(), "{shape:?}");
            assert!(decide(&plan, &[shape.request(25)]).is_err(), "{shape:?}");
        }
    }
}
