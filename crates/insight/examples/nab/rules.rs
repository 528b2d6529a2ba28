//! What is measured beside Tautline's detector: simple rules, and what is usually done, each causal and without look-ahead.

use crate::corpus::Series;

/// 1 less how probable a value is by the normal law of the latest 6,400: NAB's own "windowed Gaussian", whose published score checks the scorer.
pub fn windowed_gaussian(series: &Series) -> Vec<f64> {
    let (mut window, mut next): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let (mut mean, mut deviation) = (0.0, 0.0);
    let score = |value: &f64| {
        // Beyond 8.2 deviations the original's `1 - p` is 1.
        let score = if window.is_empty() { 0.0 } else { f64::abs((value - mean) / deviation).min(8.2) };
        if window.len() < 6400 {
            window.push(*value);
        } else {
            next.push(*value);
            if next.len() < 100 {
                return score;
            }
            window.drain(..100);
            window.append(&mut next);
        }
        let count = window.len() as f64;
        mean = window.iter().sum::<f64>() / count;
        deviation = (window.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count).sqrt().max(1e-6);
        score
    };
    series.values.iter().map(score).collect()
}

/// Standard deviations from the mean of all before: "3 sigma", at the best number of sigmas.
pub fn deviations(series: &Series) -> Vec<f64> {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    let score = |value: &f64| {
        let off = value - mean;
        let deviation = f64::sqrt(squares / f64::max(count, 1.0));
        count += 1.0;
        mean += off / count;
        squares += off * (value - mean);
        if deviation > 0.0 { off.abs() / deviation } else { 0.0 }
    };
    series.values.iter().map(score).collect()
}

/// How far above the greatest or below the least of the probation a value is, in its range: a threshold set by hand once.
pub fn beyond_probation(series: &Series) -> Vec<f64> {
    let known = &series.values[..series.probation()];
    let (least, greatest) =
        known.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
    let range = (greatest - least).max(1e-9);
    series.values.iter().map(|value| ((value - greatest).max(least - value) / range).max(0.0)).collect()
}

/// Steps from one value to the next, in their mean.
pub fn changes(series: &Series) -> Vec<f64> {
    let (mut last, mut mean) = (series.values.first().copied().unwrap_or(0.0), 0.0);
    let score = |(row, value): (usize, &f64)| {
        let step = (value - last).abs();
        let score = if mean > 0.0 { step / mean } else { 0.0 };
        last = *value;
        mean += (step - mean) / (row + 1) as f64;
        score
    };
    series.values.iter().enumerate().map(score).collect()
}

/// Keeps what is greater than all of the `calm` scores before it.
pub fn cooled(scores: &[f64], calm: usize) -> Vec<f64> {
    let record = |row: usize| scores[row.saturating_sub(calm)..row].iter().copied().fold(0.0, f64::max);
    scores.iter().enumerate().map(|(row, score)| if *score > record(row) { *score } else { 0.0 }).collect()
}

/// A number that looks random, from the name and the row: what any score must be better than.
pub fn random(series: &Series) -> Vec<f64> {
    let mut state = series.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let next = |_: &f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    series.values.iter().map(next).collect()
}

/// Tells the first row of each window, and nothing else.
pub fn perfect(series: &Series) -> Vec<f64> {
    (0..series.values.len()).map(|row| f64::from(u8::from(series.windows.iter().any(|(first, _)| *first == row)))).collect()
}
