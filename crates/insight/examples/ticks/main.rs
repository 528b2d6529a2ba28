//! The detector of each second on made-up traffic: `cargo run --release -p taut-insight --example ticks`. It prints how often it is surprised
//! while nothing is wrong, and how soon it notices what is, beside a static threshold and three sigmas. The same in each run.

mod traffic;

use taut_insight::series::{Detector, Settings, Surprise};
use traffic::{Dice, Fault, KINDS, Kind, Tick, Traffic};

const START: u64 = 1_790_000_000;
const DAY: u64 = 86_400;
/// Series of each kind for false alarms, each for a day; and for each fault, each after two hours.
const QUIET: u64 = 20;
const FAULTY: u64 = 60;
/// What the tables call an alarm, -log10.
const ALARM: f64 = 6.0;
/// Alarms that are closer together are one.
const APART: u64 = 300;

/// What watches a series: rate, errors, latency; and the rules that do so by hand.
struct Watch {
    rate: Detector,
    errors: Detector,
    latency: Detector,
    sigmas: [Sigmas; 2],
}

/// Whether each of the watchers alarms: ours on rate, errors and latency, then the two rules on each.
#[derive(Clone, Copy, Default)]
struct Alarms {
    ours: bool,
    sigmas: bool,
    threshold: bool,
    highest: f64,
}

/// Mean and deviation of the last ten minutes or so.
#[derive(Default)]
struct Sigmas {
    mean: f64,
    square: f64,
    seen: f64,
}

impl Sigmas {
    fn off(&mut self, value: f64) -> f64 {
        let deviation = (self.square - self.mean * self.mean).max(0.0).sqrt();
        let off = if self.seen >= 30.0 && deviation > 0.0 { (value - self.mean).abs() / deviation } else { 0.0 };
        self.seen += 1.0;
        let rate = (1.0 / self.seen).max(1.0 / 600.0);
        self.mean += rate * (value - self.mean);
        self.square += rate * (value * value - self.square);
        off
    }
}

impl Watch {
    fn new() -> Self {
        let [rate, errors, latency] = [Settings::RATE, Settings::ERRORS, Settings::LATENCY].map(Detector::new);
        Self { rate, errors, latency, sigmas: Default::default() }
    }

    fn observe(&mut self, at: u64, tick: &Tick) -> Alarms {
        let told: [Surprise; 3] = [
            self.rate.observe_count(at, tick.requests),
            self.errors.observe_ratio(at, tick.bad, tick.requests),
            self.latency.observe_latency(at, tick.latency, tick.requests),
        ];
        let [rate, latency] = &mut self.sigmas;
        // A second without requests has no latency.
        let latency = if tick.requests > 0 { latency.off(tick.latency) } else { 0.0 };
        let highest = told.iter().filter(|surprise| surprise.ready).map(|surprise| surprise.value).fold(0.0, f64::max);
        Alarms {
            ours: highest >= ALARM,
            sigmas: rate.off(tick.requests as f64).max(latency) > 3.0,
            threshold: tick.requests > 0 && (tick.bad as f64 > 0.05 * tick.requests as f64 || tick.latency > 50.0),
            highest,
        }
    }
}

fn main() {
    quiet();
    faults();
}

/// Counts alarms as the operator would: those close together are one.
#[derive(Default)]
struct Episodes {
    count: u64,
    last: Option<u64>,
}

impl Episodes {
    fn note(&mut self, at: u64, alarm: bool) {
        if alarm {
            self.count += u64::from(self.last.is_none_or(|last| at - last > APART));
            self.last = Some(at);
        }
    }
}

fn quiet() {
    println!("Nothing wrong: {QUIET} services of each kind, a day each; rate, errors and latency are watched.\n");
    println!("| traffic | seconds in which one of three surprises by 3 | by 4 | alarms (6) per service and day | 3 sigma | static threshold |");
    println!("|---|---|---|---|---|---|");
    for kind in KINDS {
        let (mut by_three, mut by_four, mut episodes) = (0, 0, [0_u64; 3]);
        for seed in 0..QUIET {
            let (mut watch, mut traffic) = (Watch::new(), Traffic::new(kind, Dice(seed)));
            let mut noted: [Episodes; 3] = Default::default();
            for second in 0..DAY {
                let alarms = watch.observe(START + second, &traffic.tick(second, None));
                by_three += u64::from(alarms.highest >= 3.0);
                by_four += u64::from(alarms.highest >= 4.0);
                for (noted, alarm) in noted.iter_mut().zip([alarms.ours, alarms.sigmas, alarms.threshold]) {
                    noted.note(second, alarm);
                }
            }
            episodes.iter_mut().zip(noted).for_each(|(sum, noted)| *sum += noted.count);
        }
        let seconds = (QUIET * DAY) as f64;
        let share = |count: u64| format!("1 in {:.0}", seconds / count.max(1) as f64);
        let [ours, sigmas, threshold] = episodes.map(|count| format!("{:.2}", count as f64 / QUIET as f64));
        println!("| {} | {} | {} | {ours} | {sigmas} | {threshold} |", kind.name(), share(by_three), share(by_four));
    }
}

fn faults() {
    println!("\nA fault after two hours: {FAULTY} services of each kind; how many alarm within a minute, and when the median does.\n");
    println!("| fault | {} |", KINDS.map(Kind::name).join(" | "));
    println!("|---|{}", "---|".repeat(KINDS.len()));
    for fault in traffic::FAULTS {
        let cells = KINDS.map(|kind| {
            let mut after: Vec<u64> = (0..FAULTY).filter_map(|seed| noticed(kind, fault, seed)).collect();
            after.sort_unstable();
            let median = after.get(FAULTY as usize / 2).map_or("—".to_owned(), |seconds| format!("{} s", seconds + 1));
            format!("{:.0} %, {median}", 100.0 * after.len() as f64 / FAULTY as f64)
        });
        println!("| {} | {} |", fault.name(), cells.join(" | "));
    }
}

fn noticed(kind: Kind, fault: Fault, seed: u64) -> Option<u64> {
    let (mut watch, mut traffic) = (Watch::new(), Traffic::new(kind, Dice(1000 + seed)));
    let before = 7200;
    for second in 0..before {
        watch.observe(START + second, &traffic.tick(second, None));
    }
    (0..60).find(|second| watch.observe(START + before + second, &traffic.tick(before + second, Some(fault))).ours)
}
