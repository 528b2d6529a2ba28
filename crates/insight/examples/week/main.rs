//! A long time without a fault, accelerated: `cargo run --release -p taut-insight --example week -- [--seed N] [--days D] [--surprise S] [--faults [--between S]]`. A hundred
//! services live second by second through the engine that runs in the mesh: days and nights, surges, deploys, restarts, noisy neighbours, jobs,
//! pauses. Whatever the engine calls an incident is false, and printed with what went on there. With `--faults`, faults are drawn, too.

#[path = "../mesh/dice.rs"]
#[expect(dead_code, reason = "other examples throw them in more ways")]
mod dice;
mod fault;
mod life;
mod mesh;

use dice::Dice;
use fault::{Fault, Faults};
use life::Life;
use mesh::Mesh;
use std::collections::BTreeMap;
use std::time::Instant;
use taut_insight::change::Change;
use taut_insight::engine::{Engine, Settings};
use taut_insight::incident::{Event, Incident, Place, Signal};
use taut_insight::tick::Tick;

const START: u64 = 1_790_000_000;
const DAY: u64 = 86_400;
const SERVICES: usize = 100;
/// An incident that opens so long after a fault has ended still belongs to it.
const AFTER: u64 = 30;

/// What is asked for on the command line.
struct Wanted {
    seed: u64,
    days: f64,
    faults: bool,
    between: f64,
    settings: Settings,
}

impl Wanted {
    fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let number = |name: &str, usual: f64| {
            let at = words.iter().position(|word| word == name);
            at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(usual)
        };
        let faults = words.iter().any(|word| word == "--faults");
        let settings = Settings { surprise: number("--surprise", Settings::default().surprise), ..Settings::default() };
        Self { seed: number("--seed", 1.0) as u64, days: number("--days", 1.0), faults, between: number("--between", 300.0), settings }
    }
}

/// An incident, as it was when it opened and when it closed.
struct Told {
    opened: u64,
    incident: Incident,
}

fn main() {
    let wanted = Wanted::read();
    let seconds = (wanted.days * DAY as f64) as u64;
    let mut dice = Dice::new(wanted.seed);
    let mut mesh = Mesh::new(SERVICES, &mut dice);
    let mut life = Life::new(&mesh, &mut dice);
    let faults = Faults::new(if wanted.faults { seconds } else { 0 }, wanted.between, &mesh, &mut dice);
    let mut engine = Engine::new(wanted.settings.clone());
    let mut found: Vec<Told> = Vec::new();
    let (mut flows, mut requests, mut thinking) = (0_u64, 0_u64, 0.0);
    for second in 0..seconds {
        let changes: Vec<Change> = life.live(second, START, &mut mesh, &mut dice);
        faults.act(second, &mut mesh);
        let tick = Tick { at: START + second, span: 1, flows: mesh.second(second, &mut dice), ..Tick::default() };
        flows += tick.flows.len() as u64;
        requests += tick.flows.iter().filter(|flow| flow.counts_once()).map(|flow| flow.signals.requests).sum::<u64>();
        let begun = Instant::now();
        let events = engine.step(&tick, &changes);
        thinking += begun.elapsed().as_secs_f64();
        for event in events {
            let (Event::Opened(incident) | Event::Updated(incident) | Event::Closed(incident)) = event;
            match found.iter_mut().rev().find(|told| told.incident.id == incident.id && told.incident.closed.is_none()) {
                Some(known) => known.incident = incident,
                None => found.push(Told { opened: second, incident }),
            }
        }
    }
    println!(
        "Seed {}: {SERVICES} services, {:.2} days, {:.0} requests and {:.0} reports a second, {:.2} ms of the engine for each.\n",
        wanted.seed,
        wanted.days,
        requests as f64 / seconds as f64,
        flows as f64 / seconds as f64,
        thinking * 1e3 / seconds as f64
    );
    println!("What went on: {}.\n", life.summary());
    report(&found, &faults, &life, &mesh, wanted.days);
}

fn report(found: &[Told], faults: &Faults, life: &Life, mesh: &Mesh, days: f64) {
    let belongs = |told: &Told, fault: &Fault| (fault.begin..fault.end + AFTER).contains(&told.opened);
    let stray: Vec<&Told> = found.iter().filter(|told| !faults.all.iter().any(|fault| belongs(told, fault))).collect();
    for told in &stray {
        let signals: Vec<String> = told.incident.symptoms.iter().map(symptom).collect();
        let lasted = told.incident.closed.map_or_else(|| "open".to_owned(), |closed| format!("{} s", closed - START - told.opened));
        let about: Vec<usize> = told.incident.symptoms.iter().filter_map(|symptom| mesh.find(symptom.node.name())).collect();
        println!("- after {:.2} h, {lasted}: {}; there: {}", told.opened as f64 / 3600.0, signals.join(", "), life.around(told.opened, &about, mesh));
    }
    let week = stray.len() as f64 / days * 7.0;
    // Nothing in that time: fewer than three with 95 % (Poisson); some: the upper bound by the normal law is close enough.
    let most = (stray.len() as f64 + 1.92 + 1.96 * (stray.len() as f64 + 0.96).sqrt()) / days * 7.0;
    println!("\n{} false incidents: {week:.1} in a week of {SERVICES} services (95 %: at most {most:.1}).", stray.len());
    if !faults.all.is_empty() {
        seen(found, faults, mesh);
    }
}

fn symptom(symptom: &taut_insight::incident::Symptom) -> String {
    let unit = match symptom.signal {
        Signal::ErrorRatio | Signal::Covered => format!("{:.1} % of {:.1} %", 100.0 * symptom.worst, 100.0 * symptom.baseline),
        _ => format!("{:.0} of {:.0}", symptom.worst, symptom.baseline),
    };
    format!("{} {:?} {unit} (surprise {:.1})", symptom.node.name(), symptom.signal, symptom.surprise)
}

fn seen(found: &[Told], faults: &Faults, mesh: &Mesh) {
    let mut kinds: BTreeMap<&str, Vec<(Option<u64>, bool)>> = BTreeMap::new();
    for fault in &faults.all {
        let first = found.iter().find(|told| (fault.begin..fault.end + AFTER).contains(&told.opened));
        let right = first.is_some_and(|told| {
            let cause = told.incident.causes.first().map(|cause| &cause.place);
            let (Some(Place::Service(node) | Place::Part(node, _) | Place::Link(_, node) | Place::Outside(node)), name) =
                (cause, mesh.name(fault.service))
            else {
                return false;
            };
            node.name() == name
        });
        let row = (first.map(|told| told.opened - fault.begin), right);
        if !right {
            let said = first
                .map_or_else(|| "nothing".to_owned(), |told| format!("{:?}", told.incident.causes.first().map(|cause| (&cause.place, cause.kind))));
            println!("- {} of {} ({:.1} requests a second): {said}", fault.kind.name(), mesh.name(fault.service), fault.rate);
        }
        kinds.entry("all").or_default().push(row);
        kinds.entry(fault.kind.name()).or_default().push(row);
    }
    println!("\n| fault | n | noticed | after s: median | worst | cause first |\n|---|--:|--:|--:|--:|--:|");
    for (kind, rows) in kinds {
        let mut after: Vec<u64> = rows.iter().filter_map(|(after, _)| *after).collect();
        after.sort_unstable();
        let (median, worst) = (after.get(after.len() / 2), after.last());
        let shown = |seconds: Option<&u64>| seconds.map_or("–".to_owned(), u64::to_string);
        let right = rows.iter().filter(|(_, right)| *right).count();
        println!("| {kind} | {} | {} | {} | {} | {right} |", rows.len(), after.len(), shown(median), shown(worst));
    }
}
