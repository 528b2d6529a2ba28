//! Functions of a range of samples, as Prometheus 2.42 defines them (promql/functions.go).

use super::quantile::quantile;
use super::series::Sample;

type Each = fn(&[Sample]) -> Option<f64>;

/// The function of this name that needs nothing but the samples.
pub fn each(name: &str) -> Option<Each> {
    Some(match name {
        "avg_over_time" => |samples| Some(mean(samples.iter().map(|s| s.value))),
        "changes" => |samples| Some(steps(samples, |before, after| before != after && !(before.is_nan() && after.is_nan()))),
        "count_over_time" => |samples| Some(samples.len() as f64),
        "deriv" => |samples| (samples.len() > 1).then(|| regression(samples, samples[0].at).0),
        "idelta" => |samples| last_two(samples, false),
        "irate" => |samples| last_two(samples, true),
        "max_over_time" => |samples| Some(extreme(samples, |value, most| value > most)),
        "min_over_time" => |samples| Some(extreme(samples, |value, least| value < least)),
        "present_over_time" => |_| Some(1.0),
        "resets" => |samples| Some(steps(samples, |before, after| after < before)),
        "stddev_over_time" => |samples| Some(variance(samples.iter().map(|s| s.value)).sqrt()),
        "stdvar_over_time" => |samples| Some(variance(samples.iter().map(|s| s.value))),
        "sum_over_time" => |samples| {
            let mut sum = Sum::default();
            samples.iter().for_each(|sample| sum.add(sample.value));
            Some(sum.total())
        },
        _ => return None,
    })
}

/// `quantile_over_time`.
pub fn quantile_over(samples: &[Sample], q: f64) -> f64 {
    quantile(q, &mut samples.iter().map(|sample| sample.value).collect::<Vec<_>>())
}

/// `predict_linear`: the value `seconds` after `now`, by linear regression.
pub fn predict(samples: &[Sample], now: i64, seconds: f64) -> Option<f64> {
    let (slope, intercept) = regression(samples, now);
    (samples.len() > 1).then_some(slope * seconds + intercept)
}

/// `rate`, `increase` and `delta`: the difference of the last and the first sample, extrapolated to the ends of the window where
/// the samples are near enough to them. A counter that falls has started anew; it is not taken back to before it was 0.
pub fn extrapolated(samples: &[Sample], (from, to): (i64, i64), counter: bool, per_second: bool) -> Option<f64> {
    let ([first, ..], [.., last]) = (samples, samples) else { return None };
    if samples.len() < 2 {
        return None;
    }
    let mut difference = last.value - first.value;
    if counter {
        difference += samples.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value).sum::<f64>();
    }
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let sampled = seconds(first.at, last.at);
    let between = sampled / (samples.len() - 1) as f64;
    let mut to_start = seconds(from, first.at);
    if counter && difference > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / difference));
    }
    let near = |gap: f64| if gap < between * 1.1 { gap } else { between / 2.0 };
    let covered = sampled + near(to_start) + near(seconds(last.at, to));
    let divisor = if per_second { seconds(from, to) } else { 1.0 };
    Some(difference * (covered / sampled / divisor))
}

fn last_two(samples: &[Sample], rate: bool) -> Option<f64> {
    let [.., before, last] = samples else { return None };
    let difference = if rate && last.value < before.value { last.value } else { last.value - before.value };
    Some(if rate { difference / ((last.at - before.at) as f64 / 1000.0) } else { difference })
}

fn steps(samples: &[Sample], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
}

/// NaN loses against every number.
fn extreme(samples: &[Sample], beats: impl Fn(f64, f64) -> bool) -> f64 {
    samples.iter().map(|sample| sample.value).reduce(|best, value| if beats(value, best) || best.is_nan() { value } else { best }).unwrap_or(f64::NAN)
}

/// A sum that keeps what floating point would lose (Neumaier).
#[derive(Clone, Copy, Default)]
pub struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// An average that does not overflow where its result would not. An infinity stays, unless one of the other sign comes.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0_f64);
    for value in values {
        count += 1.0;
        let stays = mean.is_infinite() && (value.is_finite() || (value.is_infinite() && (value > 0.0) == (mean > 0.0)));
        if !stays {
            mean += value / count - mean / count;
        }
    }
    if count == 0.0 { f64::NAN } else { mean }
}

/// Of a population (Welford).
pub fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// Slope per second, and the value at `origin`.
fn regression(samples: &[Sample], origin: i64) -> (f64, f64) {
    let Some(first) = samples.first() else { return (f64::NAN, f64::NAN) };
    if samples.iter().all(|sample| sample.value == first.value) {
        return if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) };
    }
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for sample in samples {
        let at = (sample.at - origin) as f64 / 1000.0;
        x.add(at);
        y.add(sample.value);
        xy.add(at * sample.value);
        xx.add(at * at);
    }
    let (n, x, y) = (samples.len() as f64, x.total(), y.total());
    let slope = (xy.total() - x * y / n) / (xx.total() - x * x / n);
    (slope, y / n - slope * x / n)
}
