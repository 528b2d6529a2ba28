//! Forecasts of load, on the load series of the Numenta Anomaly Benchmark: `cargo run --release -p taut-insight --example forecast -- DIRECTORY`,
//! with `DIRECTORY/data` as in <https://github.com/numenta/NAB>. It prints errors against simple rules, and how often the intervals hold.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use taut_insight::forecast::{Expert, Forecaster, Settings};

/// Files that count requests, messages, passengers or bytes, and steps in their day.
const LOADS: [(&str, usize); 13] = [
    ("realAWSCloudwatch/elb_request_count_8c0756", 288),
    ("realAWSCloudwatch/ec2_network_in_257a54", 288),
    ("realKnownCause/nyc_taxi", 48),
    ("realTweets/Twitter_volume_AAPL", 288),
    ("realTweets/Twitter_volume_AMZN", 288),
    ("realTweets/Twitter_volume_CRM", 288),
    ("realTweets/Twitter_volume_CVS", 288),
    ("realTweets/Twitter_volume_FB", 288),
    ("realTweets/Twitter_volume_GOOG", 288),
    ("realTweets/Twitter_volume_IBM", 288),
    ("realTweets/Twitter_volume_KO", 288),
    ("realTweets/Twitter_volume_PFE", 288),
    ("realTweets/Twitter_volume_UPS", 288),
];
const HORIZONS: [usize; 3] = [2, 6, 12];
/// The blend, and each expert by itself.
const ROWS: usize = 8;

/// Of one series and horizon: sums of absolute errors by row, and how often the intervals held.
#[derive(Clone, Copy, Default)]
struct Sums {
    errors: [f64; ROWS],
    likely: f64,
    certain: f64,
    tried: f64,
}

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("error: no directory is named; it holds `data` of the Numenta Anomaly Benchmark");
        return ExitCode::FAILURE;
    };
    match measure(directory.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(directory: &Path) -> Result<(), String> {
    let mut all = Vec::new();
    let (mut steps, mut bytes, mut names) = (0, 0, Vec::new());
    let start = Instant::now();
    for (name, day) in LOADS {
        let values = read(&directory.join("data").join(format!("{name}.csv")))?;
        let mut forecaster = Forecaster::new(&Settings { day, horizons: HORIZONS.to_vec() });
        all.push(run(&mut forecaster, &values, day));
        names = forecaster.experts(0).iter().map(|(expert, ..)| *expert).collect();
        steps += values.len();
        bytes = bytes.max(forecaster.bytes());
    }
    eprintln!("{:.1?} per step (three horizons), {bytes} bytes per series at most", start.elapsed() / steps.max(1) as u32);
    print(&all, &names, steps);
    Ok(())
}

fn run(forecaster: &mut Forecaster, values: &[f64], day: usize) -> [Sums; HORIZONS.len()] {
    let mut sums = [Sums::default(); HORIZONS.len()];
    for (step, value) in values.iter().enumerate() {
        forecaster.observe(Some(*value));
        // Two days to learn.
        if step < 2 * day {
            continue;
        }
        for (index, (forecast, sums)) in forecaster.forecasts().zip(&mut sums).enumerate() {
            let Some(next) = values.get(step + 1..step + 1 + forecast.horizon) else { continue };
            let actual = next.iter().sum::<f64>() / forecast.horizon as f64;
            sums.errors[0] += (forecast.mean - actual).abs();
            for (sum, (_, said, _)) in sums.errors[1..].iter_mut().zip(forecaster.experts(index)) {
                *sum += (said - actual).abs();
            }
            sums.likely += f64::from(u8::from((forecast.likely.low..=forecast.likely.high).contains(&actual)));
            sums.certain += f64::from(u8::from((forecast.certain.low..=forecast.certain.high).contains(&actual)));
            sums.tried += 1.0;
        }
    }
    sums
}

fn print(all: &[[Sums; HORIZONS.len()]], names: &[Expert], steps: usize) {
    println!(
        "{} series, {steps} steps; mean of the next H steps, from the third day on. Errors in those of the last value (geometric mean).\n",
        all.len()
    );
    println!("| forecast | H=2 | H=6 | H=12 |\n|---|---|---|---|");
    for row in 0..ROWS {
        let name =
            row.checked_sub(1).and_then(|at| names.get(at)).map_or("**Tautline: all, weighted**".to_owned(), |expert| title(*expert).to_owned());
        let cells: Vec<String> = (0..HORIZONS.len())
            .map(|horizon| {
                let logarithms = all.iter().map(|sums| (sums[horizon].errors[row] / sums[horizon].errors[1]).ln());
                format!("{:.2}", (logarithms.sum::<f64>() / all.len() as f64).exp())
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!("\n| intervals hold | H=2 | H=6 | H=12 | worst series |\n|---|---|---|---|---|");
    type Held = fn(&Sums) -> f64;
    let held: [(&str, Held); 2] = [("80 %", |sums| sums.likely / sums.tried), ("95 %", |sums| sums.certain / sums.tried)];
    for (name, share) in held {
        let mean = |horizon: usize| all.iter().map(|sums| share(&sums[horizon])).sum::<f64>() / all.len() as f64;
        let worst = all.iter().flatten().map(share).fold(1.0, f64::min);
        let cells: Vec<String> = (0..HORIZONS.len()).map(|horizon| format!("{:.1} %", 100.0 * mean(horizon))).collect();
        println!("| {name} | {} | {:.1} % |", cells.join(" | "), 100.0 * worst);
    }
}

fn title(expert: Expert) -> &'static str {
    match expert {
        Expert::Last => "last value",
        Expert::Smoothed => "exponential smoothing, 0.3",
        Expert::Recent => "mean of the last 6",
        Expert::DayAgo => "day ago",
        Expert::DayShape => "day ago, in relation to the hour before",
        Expert::Seasonal => "damped Holt-Winters",
        Expert::Regressed => "ridge regression",
    }
}

fn read(path: &Path) -> Result<Vec<f64>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; the directory is to be one of github.com/numenta/NAB", path.display()))?;
    let value = |(line, row): (usize, &str)| {
        let value = row.split_once(',').and_then(|(_, value)| value.trim().parse().ok());
        value.ok_or_else(|| format!("{}:{}: expected `timestamp,value`, found `{row}`", path.display(), line + 1))
    };
    text.lines().enumerate().skip(1).map(value).collect()
}
