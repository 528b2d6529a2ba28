//! Istio's standard metrics as OTLP: the same names and labels as in `/metrics`, cumulative since the start of the proxy.

use super::resource::nanos;
use jiff::Timestamp;
use taut_observe::metrics::{BUCKETS, Standard, Value};
use taut_wire::otlp::{
    AggregationTemporality, AnyValue, Histogram, HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Sum, any_value, metric, number_data_point,
};

/// When the counters began and when they were read.
#[derive(Clone, Copy)]
pub struct Span {
    pub since: Timestamp,
    pub until: Timestamp,
}

/// The metrics, and how many points they have.
pub fn metrics(all: Vec<Standard>, span: Span) -> (Vec<Metric>, u64) {
    let points = all.iter().map(|standard| standard.series.len() as u64).sum();
    (all.into_iter().map(|standard| one(standard, span)).collect(), points)
}

fn one(standard: Standard, span: Span) -> Metric {
    let (start_time_unix_nano, time_unix_nano) = (nanos(span.since), nanos(span.until));
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
    for (labels, value) in standard.series {
        let attributes = labels.into_iter().map(attribute).collect();
        match value {
            Value::Count(count) => {
                let value = Some(number_data_point::Value::AsDouble(count as f64));
                numbers.push(NumberDataPoint { start_time_unix_nano, time_unix_nano, value, attributes });
            }
            Value::Histogram { counts, sum } => histograms.push(HistogramDataPoint {
                start_time_unix_nano,
                time_unix_nano,
                count: counts.iter().sum(),
                sum: Some(sum),
                bucket_counts: counts,
                explicit_bounds: BUCKETS.to_vec(),
                attributes,
            }),
        }
    }
    let data = match histograms.is_empty() {
        true => metric::Data::Sum(Sum { data_points: numbers, aggregation_temporality, is_monotonic: true }),
        false => metric::Data::Histogram(Histogram { data_points: histograms, aggregation_temporality }),
    };
    Metric { name: standard.name.to_owned(), description: String::new(), unit: standard.unit.to_owned(), data: Some(data) }
}

fn attribute((key, value): (String, String)) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }) }
}
