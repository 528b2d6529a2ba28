//! `cargo xtask bench overload`: what adaptive concurrency, the load-aware balancer and hedging win and cost beside static settings
//! and other balancers, on backends that another tenant slows down at times, from 0.75 to 1.7 of what they can do. A simulation
//! of the mesh with the state machines of the data plane: the same seeds give the same table.

mod application;
mod mesh;
mod real;
mod scenario;

use super::Output;
use clap::Args;
use scenario::{Figures, Protection, Scenario};
use serde_json::{Value, json};
use taut_model::destination::Balancer;

#[derive(Args)]
pub struct Options {
    /// Loads, by comma; 1 is what the backends can do
    #[arg(long, value_delimiter = ',', default_values_t = [0.5, 0.75, 0.9, 1.03, 1.25, 1.7])]
    loads: Vec<f64>,
    /// Simulated seconds of each run
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Runs of each case, with different seeds
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Proxies that send
    #[arg(long, default_value_t = 40)]
    clients: usize,
    /// Only systems with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Percent of answers that are late by 300 ms, whatever the load
    #[arg(long, default_value_t = 0.0)]
    hiccups: f64,
    /// Leave the backends alone
    #[arg(long)]
    no_antagonists: bool,
    /// Real processes instead of a simulation: with and without the mesh's defaults (needs `taut` and `taut-proxy`, as `bench proxy` does)
    #[arg(long)]
    real: bool,
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// What is compared: name, balancer, protection, percent of copies.
fn systems() -> [(&'static str, Balancer, Protection, f64); 9] {
    // Twice the cores, which is right when nobody disturbs; and what is often left as it was set for something larger.
    let (tuned, stale) = (Protection::Static(4), Protection::Static(40));
    [
        ("round robin", Balancer::RoundRobin, Protection::None, 0.0),
        ("P2C least requests", Balancer::LeastRequest, Protection::None, 0.0),
        ("P2C peak EWMA", Balancer::PeakEwma, Protection::None, 0.0),
        ("load-aware", Balancer::LoadAware, Protection::None, 0.0),
        ("P2C + static 4", Balancer::LeastRequest, tuned, 0.0),
        ("P2C + static 40", Balancer::LeastRequest, stale, 0.0),
        ("P2C + adaptive", Balancer::LeastRequest, Protection::Adaptive, 0.0),
        ("load-aware + adaptive", Balancer::LoadAware, Protection::Adaptive, 0.0),
        ("... + hedging 5 %", Balancer::LoadAware, Protection::Adaptive, 5.0),
    ]
}

pub fn run(options: &Options) -> Result<(), String> {
    if options.real {
        return measured(options);
    }
    let mut all = Vec::new();
    for load in options.loads.iter().copied().filter(|load| *load > 0.0) {
        for (name, balancer, protection, hedging) in systems().into_iter().filter(|system| system.0.contains(&options.only)) {
            let mut total = Figures::default();
            for seed in 1..=options.seeds.max(1) {
                let (balancer, seconds, antagonists, clients) = (balancer.clone(), options.seconds, !options.no_antagonists, options.clients.max(1));
                let figures =
                    mesh::run(&Scenario { balancer, protection, hedging, antagonists, hiccups: options.hiccups, clients, load, seconds, seed })?;
                total.add(figures);
            }
            total.latencies.sort_by(f64::total_cmp);
            eprintln!("{load} {name}");
            all.push((load, name, total));
        }
    }
    match options.output {
        Output::Table => println!("{}", table(&all)),
        Output::Json => {
            println!("{:#}", json!({ "overload": all.iter().map(|(load, name, figures)| row(*load, name, figures)).collect::<Vec<_>>() }))
        }
    }
    Ok(())
}

fn measured(options: &Options) -> Result<(), String> {
    let rows = real::run(&options.loads, options.seconds)?;
    if matches!(options.output, Output::Json) {
        println!("{:#}", json!({ "overload": rows.iter().map(real::Row::json).collect::<Vec<_>>() }));
        return Ok(());
    }
    println!(" load  system       asked   errors %     p50 ms     p99 ms");
    for real::Row { load, mode, asked, errors_percent, p50_ms, p99_ms } in rows {
        println!("{load:>5}  {mode:<10}{asked:>8}{errors_percent:>11.1}{p50_ms:>11.0}{p99_ms:>11.0}");
    }
    Ok(())
}

const HEAD: [&str; 10] = ["load", "system", "errors %", "urgent %", "usual %", "least %", "answers/s", "p50 ms", "p99 ms", "sent/asked"];

fn columns(figures: &Figures) -> [f64; 8] {
    let [urgent, usual, least] = figures.classes;
    [
        figures.errors(&figures.classes),
        figures.errors(&[urgent]),
        figures.errors(&[usual]),
        figures.errors(&[least]),
        figures.goodput(),
        figures.percentile(50.0),
        figures.percentile(99.0),
        figures.worked_on as f64 / figures.asked().max(1) as f64,
    ]
}

fn row(load: f64, name: &str, figures: &Figures) -> Value {
    let keys = ["errors_percent", "urgent_percent", "usual_percent", "least_percent", "answers_per_second", "p50_ms", "p99_ms", "sent_per_asked"];
    let mut row = json!({ "load": load, "system": name });
    for (key, figure) in keys.into_iter().zip(columns(figures)) {
        row[key] = json!(figure);
    }
    row
}

fn table(all: &[(f64, &'static str, Figures)]) -> String {
    let [load, system, rest @ ..] = HEAD;
    let mut text = format!("{load:>5}  {system:<22}{}\n", rest.map(|title| format!("{title:>11}")).concat());
    let mut last = f64::NAN;
    for (load, name, figures) in all {
        if last != *load && !last.is_nan() {
            text.push('\n');
        }
        last = *load;
        let [errors, urgent, usual, least, answers, p50, p99, sent] = columns(figures);
        let shares = [errors, urgent, usual, least].map(|share| format!("{share:>11.2}")).concat();
        text += &format!("{load:>5}  {name:<22}{shares}{answers:>11.0}{p50:>11.1}{p99:>11.1}{sent:>11.3}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &'static str, load: f64, antagonists: bool) -> Figures {
        let (_, balancer, protection, hedging) = systems().into_iter().find(|system| system.0 == name).unwrap();
        mesh::run(&Scenario { balancer, protection, hedging, antagonists, hiccups: 0.0, clients: 20, load, seconds: 8.0, seed: 7 }).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_figures() {
        assert_eq!(figures("load-aware + adaptive", 1.03, true), figures("load-aware + adaptive", 1.03, true));
    }

    #[test]
    fn every_request_ends_once() {
        for (name, ..) in systems() {
            let figures = figures(name, 1.25, true);
            let answered = figures.latencies.len() as u64;
            let failed: u64 = figures.classes.iter().map(|class| class.failed).sum();
            assert_eq!(figures.asked(), answered + failed, "{name}");
        }
    }

    #[test]
    fn what_the_defaults_promise_holds() {
        let good = |name, load| figures(name, load, true);
        let (bare, kept) = (good("P2C least requests", 1.25), good("load-aware + adaptive", 1.25));
        assert!(kept.goodput() > 1.5 * bare.goodput(), "{} {}", kept.goodput(), bare.goodput());
        assert!(kept.percentile(50.0) < bare.percentile(50.0) / 2.0);
        let [urgent, _, least] = kept.classes;
        assert!(kept.errors(&[urgent]) < 10.0 && kept.errors(&[least]) > 4.0 * kept.errors(&[urgent]), "{:?}", kept.classes);
        // Who is not overloaded loses nothing.
        let calm = figures("load-aware + adaptive", 0.75, false);
        assert!(calm.errors(&calm.classes) == 0.0, "{:?}", calm.classes);
    }
}
