//! Istio's standard metrics as values, for whoever does not read text.

use super::relabel::{changed, pairs};
use super::{Connections, Exchanges, Histogram, Registry};
use crate::names;
use taut_model::telemetry::MetricOverride;

/// One metric with all its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    pub name: &'static str,
    /// As OpenTelemetry writes it: `ms`, `By`, `1`.
    pub unit: &'static str,
    pub series: Vec<(Vec<(String, String)>, Value)>,
}

/// Since the start of the proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Count(u64),
    /// By [`super::BUCKETS`], not cumulative, the last one without an upper bound.
    Histogram {
        counts: Vec<u64>,
        sum: f64,
    },
}

impl Registry {
    /// All that are counted, as these overrides want them.
    pub fn standard(&self, rules: &[MetricOverride]) -> Vec<Standard> {
        let exchanges = self.exchanges.read(Exchanges::clone);
        let connections = self.connections.read(|value| *value);
        type OfExchanges = fn(&Exchanges) -> Value;
        let of_exchanges: [(&str, &str, OfExchanges); 4] = [
            (names::REQUESTS, "1", |value| Value::Count(value.duration_ms.counts.iter().sum())),
            (names::REQUEST_DURATION, "ms", |value| histogram(&value.duration_ms)),
            (names::REQUEST_BYTES, "By", |value| histogram(&value.request_bytes)),
            (names::RESPONSE_BYTES, "By", |value| histogram(&value.response_bytes)),
        ];
        type OfConnections = fn(&Connections) -> Value;
        let of_connections: [(&str, &str, OfConnections); 4] = [
            (names::TCP_OPENED, "1", |value| Value::Count(value.opened)),
            (names::TCP_CLOSED, "1", |value| Value::Count(value.closed)),
            (names::TCP_SENT, "By", |value| Value::Count(value.sent)),
            (names::TCP_RECEIVED, "By", |value| Value::Count(value.received)),
        ];
        let owned = |text: &str| pairs(text).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let first = of_exchanges.into_iter().map(|(name, unit, of)| {
            let series = changed(rules, name, &exchanges).iter().map(|(text, value)| (owned(text), of(value))).collect();
            Standard { name, unit, series }
        });
        let second = of_connections.into_iter().map(|(name, unit, of)| {
            let series = changed(rules, name, &connections).iter().map(|(text, value)| (owned(text), of(value))).collect();
            Standard { name, unit, series }
        });
        first.chain(second).filter(|standard| !standard.series.is_empty()).collect()
    }
}

fn histogram(histogram: &Histogram) -> Value {
    Value::Histogram { counts: histogram.counts.to_vec(), sum: histogram.sum }
}
