//! What the engines cost: `cargo run --release -p taut-insight --example cost`. Time per observation, bytes per series, and CPU seconds per
//! series and day where a value comes each second. The traffic is made up, the same in each run.

mod mesh;

use std::hint::black_box;
use std::time::{Duration, Instant};
use taut_insight::forecast::{Forecaster, Settings as ForecastSettings};
use taut_insight::objective::{Budget, Indicator, Objective};
use taut_insight::series::{Detector, Period, Settings, Surprise, Thorough, ThoroughSettings};

const SERIES: usize = 10_000;
const SECONDS: u64 = 120;
const START: u64 = 1_790_000_000;

fn main() {
    println!("{SERIES} series, {SECONDS} observations each, in turn, so that their state comes from memory as it does in a mesh.\n");
    println!("| what | per observation | bytes per series | CPU seconds per series and day |\n|---|---|---|---|");
    detectors("rate (`observe_count`)", Settings::RATE, |detector, at, dice| detector.observe_count(at, 80 + dice % 40));
    let season = Settings { season: Some(Period::DAY), ..Settings::RATE };
    detectors("rate, with a season of a day", season, |detector, at, dice| detector.observe_count(at, 80 + dice % 40));
    detectors("error ratio, none (`observe_ratio`)", Settings::ERRORS, |detector, at, dice| detector.observe_ratio(at, 0, 80 + dice % 40));
    detectors("error ratio, some", Settings::ERRORS, |detector, at, dice| detector.observe_ratio(at, dice % 3, 80 + dice % 40));
    detectors("latency (`observe_latency`)", Settings::LATENCY, |detector, at, dice| {
        detector.observe_latency(at, 20.0 + (dice % 100) as f64 / 20.0, 80 + dice % 40)
    });
    detectors("saturation (`observe`)", Settings::SATURATION, |detector, at, dice| detector.observe(at, 0.4 + (dice % 100) as f64 / 2000.0));
    objectives();
    println!("\nOf what does not run each second:\n");
    println!("| what | per observation | bytes per series | CPU seconds per series and day, every five minutes |\n|---|---|---|---|");
    thorough();
    forecasts();
    mesh::cost();
}

fn row(name: &str, nanoseconds: f64, bytes: usize, observations: f64) {
    println!("| {name} | {nanoseconds:.0} ns | {bytes} | {:.4} |", nanoseconds * observations / 1e9);
}

/// Runs all series in turn; nanoseconds per observation.
fn time<T>(series: &mut [T], rounds: u64, mut observe: impl FnMut(&mut T, u64, u64)) -> f64 {
    let mut state = 42_u64;
    let start = spent();
    for round in 0..rounds {
        for one in series.iter_mut() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            observe(one, round, state >> 33);
        }
    }
    (spent() - start).as_nanos() as f64 / (rounds * series.len() as u64) as f64
}

/// CPU time of this process, so that others do not count; where the kernel does not tell, the time of day.
fn spent() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn detectors(name: &str, settings: Settings, observe: impl Fn(&mut Detector, u64, u64) -> Surprise) {
    let mut series: Vec<Detector> = (0..SERIES).map(|_| Detector::new(settings)).collect();
    let nanoseconds = time(&mut series, SECONDS, |detector, second, dice| {
        black_box(observe(detector, START + second, dice));
    });
    row(name, nanoseconds, series[0].bytes(), 86_400.0);
}

fn objectives() {
    let objective = Objective { indicator: Indicator::Availability, target: 0.999, window: 30 * 86_400 };
    let mut series: Vec<Budget> = (0..SERIES / 10).map(|_| Budget::new(objective)).collect();
    // A month, so that all buckets are there.
    for budget in &mut series {
        (0..2_600_000).step_by(100).for_each(|second| budget.observe(START + second, second / 100 % 7, 1000));
    }
    // The kernel tells CPU time in milliseconds: what costs little is done often.
    let nanoseconds = time(&mut series, 20 * SECONDS, |budget, second, dice| {
        budget.observe(START + 2_600_000 + second, dice % 2, 100);
    });
    row("service level objective: counts", nanoseconds, series[0].bytes(), 86_400.0);
    let nanoseconds = time(&mut series, SECONDS, |budget, _, _| {
        black_box(budget.standing());
    });
    row("its burn rates and what is left, each ten seconds", nanoseconds, series[0].bytes(), 8640.0);
}

fn thorough() {
    let mut series: Vec<Thorough> = (0..100).map(|_| Thorough::new(ThoroughSettings::default())).collect();
    let nanoseconds = time(&mut series, 5000, |detector, _, dice| {
        black_box(detector.observe((dice % 10_007) as f64));
    });
    row("novelty (`Thorough`)", nanoseconds, series[0].bytes(), 288.0);
}

fn forecasts() {
    let mut series: Vec<Forecaster> = (0..100).map(|_| Forecaster::new(&ForecastSettings::default())).collect();
    let nanoseconds = time(&mut series, 2000, |forecaster, _, dice| {
        forecaster.observe(Some((dice % 1000) as f64));
        black_box(forecaster.forecasts().count());
    });
    row("forecast, three horizons", nanoseconds, series[0].bytes(), 288.0);
}
