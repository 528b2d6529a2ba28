//! Series to query: counters that restart, histograms, gauges with odd values, gaps; the same on every run.

use fastrand::Rng;
use std::fmt::Write;
use taut_control::prometheus::{Budget, Failure, LabelSet, Sample, Selector, Series, Source, Window};

/// Unix milliseconds; two hours of samples.
pub const START: i64 = 1_700_000_000_000;
pub const END: i64 = START + 7_200_000;
const SCRAPE: i64 = 15_000;
const BOUNDS: [&str; 6] = ["1", "5", "25", "100", "1000", "+Inf"];

pub struct Scene {
    pub series: Vec<Series>,
}

impl Scene {
    pub fn new() -> Self {
        let mut dice = Rng::with_seed(7);
        let mut series = Vec::new();
        for (number, instance) in ["a", "b", "c"].into_iter().enumerate() {
            for code in ["200", "404", "500"] {
                let labels =
                    [("__name__", "requests_total"), ("job", if number == 2 { "web" } else { "api" }), ("instance", instance), ("code", code)];
                series.push(Series { labels: LabelSet::new(labels), samples: counter(&mut dice) });
            }
            histogram(&mut series, &mut dice, instance);
        }
        for room in ["attic", "cellar", "kitchen", "hall"] {
            let labels = [("__name__", "temperature"), ("room", room), ("floor", if room == "attic" { "2" } else { "1" })];
            series.push(Series { labels: LabelSet::new(labels), samples: gauge(&mut dice, room) });
        }
        for (instance, site) in [("a", "north"), ("b", "south"), ("c", "south")] {
            let labels = [("__name__", "place"), ("instance", instance), ("site", site)];
            series
                .push(Series { labels: LabelSet::new(labels), samples: times(&mut dice).into_iter().map(|at| Sample { at, value: 1.0 }).collect() });
        }
        Self { series }
    }

    /// As `promtool tsdb create-blocks-from openmetrics` reads it.
    pub fn openmetrics(&self) -> String {
        let mut lines: Vec<(i64, String)> = Vec::new();
        for Series { labels, samples } in &self.series {
            for sample in samples {
                let mut line = labels.to_string().replace(", ", ",");
                let value = if sample.value.is_nan() {
                    "NaN".to_owned()
                } else if sample.value == f64::INFINITY {
                    "+Inf".to_owned()
                } else {
                    sample.value.to_string()
                };
                write!(line, " {value} {}.{:03}", sample.at / 1000, sample.at % 1000).unwrap();
                lines.push((sample.at, line));
            }
        }
        lines.sort();
        lines.into_iter().map(|(_, line)| line + "\n").collect::<String>() + "# EOF\n"
    }
}

impl Source for Scene {
    fn select(&self, selector: &Selector, window: Window, budget: &mut Budget<'_>) -> Result<Vec<Series>, Failure> {
        let mut found = Vec::new();
        for series in self.series.iter().filter(|series| selector.matches(&series.labels)) {
            let samples: Vec<Sample> = series.samples.iter().copied().filter(|sample| (window.from..=window.to).contains(&sample.at)).collect();
            budget.spend(samples.len())?;
            if !samples.is_empty() {
                found.push(Series { labels: series.labels.clone(), samples });
            }
        }
        Ok(found)
    }
}

/// Every 15 s with jitter, now and then nothing for a while.
fn times(dice: &mut Rng) -> Vec<i64> {
    let (mut at, mut times) = (START + dice.i64(0..SCRAPE), Vec::new());
    while at < END {
        times.push(at + dice.i64(-400..400));
        at += if dice.f64() < 0.01 { SCRAPE * dice.i64(3..60) } else { SCRAPE };
    }
    times
}

fn counter(dice: &mut Rng) -> Vec<Sample> {
    let mut value = dice.f64() * 1000.0;
    let times = times(dice);
    times
        .into_iter()
        .map(|at| {
            value = if dice.f64() < 0.02 { 0.0 } else { value + (dice.f64() * 40.0).floor() };
            Sample { at, value }
        })
        .collect()
}

fn histogram(series: &mut Vec<Series>, dice: &mut Rng, instance: &str) {
    let mut counts = [0.0; BOUNDS.len()];
    let mut sum = 0.0;
    let mut made: Vec<Vec<Sample>> = vec![vec![]; BOUNDS.len() + 2];
    for at in times(dice) {
        for _ in 0..dice.usize(0..20) {
            let bucket = dice.usize(0..BOUNDS.len());
            counts[bucket..].iter_mut().for_each(|count| *count += 1.0);
            sum += dice.f64() * 50.0;
        }
        counts.iter().chain([&sum, &counts[BOUNDS.len() - 1]]).zip(&mut made).for_each(|(value, samples)| samples.push(Sample { at, value: *value }));
    }
    for (index, samples) in made.into_iter().enumerate() {
        let name = ["latency_bucket", "latency_sum", "latency_count"][index.saturating_sub(BOUNDS.len() - 1)];
        let bound = BOUNDS.get(index).copied().unwrap_or_default();
        let labels = LabelSet::new([("__name__", name), ("instance", instance), ("job", "api"), ("le", bound)]);
        series.push(Series { labels, samples });
    }
}

fn gauge(dice: &mut Rng, room: &str) -> Vec<Sample> {
    let mut value = dice.f64() * 20.0 - 5.0;
    let times = times(dice);
    times
        .into_iter()
        .map(|at| {
            value += dice.f64() - 0.5;
            let odd = dice.f64();
            let shown = match room {
                "cellar" if odd < 0.02 => f64::NAN,
                "hall" if odd < 0.005 => f64::INFINITY,
                "kitchen" => value.round(),
                _ => value,
            };
            Sample { at, value: shown }
        })
        .collect()
}
