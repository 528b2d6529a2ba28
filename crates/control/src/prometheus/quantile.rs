//! Quantiles of values and of histograms' buckets, as Prometheus 2.42 computes them (promql/quantile.go).

/// Interpolated between the two nearest values; `values` are sorted by the call, NaN first.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|one, other| nan_first(*one, *other));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

fn nan_first(one: f64, other: f64) -> std::cmp::Ordering {
    one.partial_cmp(&other).unwrap_or_else(|| other.is_nan().cmp(&one.is_nan()))
}

/// One `le` of a histogram, cumulative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub bound: f64,
    pub count: f64,
}

/// Interpolated within the bucket that the quantile falls into, from 0 in the lowest; at most the highest finite bound.
pub fn histogram_quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|one, other| one.bound.total_cmp(&other.bound));
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    buckets.dedup_by(|later, kept| {
        let same = later.bound == kept.bound;
        if same {
            kept.count += later.count;
        }
        same
    });
    // Buckets of one histogram that were read at different moments need not add up.
    let mut most = f64::NEG_INFINITY;
    for bucket in &mut buckets {
        if bucket.count < most {
            bucket.count = most;
        } else if bucket.count > most {
            most = bucket.count;
        }
    }
    let [rest @ .., last] = &buckets[..] else { return f64::NAN };
    if rest.is_empty() || last.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * last.count;
    let Some(found) = rest.iter().position(|bucket| bucket.count >= rank) else { return rest[rest.len() - 1].bound };
    let Bucket { bound, count } = rest[found];
    if found == 0 {
        return if bound <= 0.0 { bound } else { bound * (rank / count) };
    }
    let below = rest[found - 1];
    below.bound + (bound - below.bound) * ((rank - below.count) / (count - below.count))
}
