//! Who speaks: the resource that everything a proxy exports belongs to, and the small values that attributes are made of.

use crate::metadata::own_party;
use crate::options::OwnWorkload;
use jiff::Timestamp;
use taut_observe::names::{UNKNOWN, attribute};
use taut_observe::text::Moment;
use taut_wire::otlp::{AnyValue, KeyValue, Resource, Scope, any_value};

/// As Istio names services in traces: `reviews.default`.
pub fn resource(own: &OwnWorkload) -> Resource {
    let party = own_party(own, None);
    let mut attributes = Attributes::default();
    attributes.text(attribute::SERVICE_NAME, &format!("{}.{}", party.app, party.namespace));
    attributes.text(attribute::SERVICE_NAMESPACE, &party.namespace);
    attributes.text(attribute::SERVICE_INSTANCE, &format!("{}/{}", party.namespace, party.workload));
    attributes.text(attribute::SERVICE_VERSION, &party.version);
    Resource { attributes: attributes.0 }
}

pub fn scope() -> Scope {
    Scope { name: "tautline".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Nanoseconds since 1970, as OTLP counts.
pub fn nanos(moment: Timestamp) -> u64 {
    u64::try_from(moment.as_nanosecond()).unwrap_or_default()
}

/// When something began and when it ended.
pub fn interval(started: Moment, duration_us: u64) -> (u64, u64) {
    let start = nanos(started.0);
    (start, start.saturating_add(duration_us.saturating_mul(1000)))
}

#[derive(Default)]
pub struct Attributes(pub Vec<KeyValue>);

impl Attributes {
    /// What is empty or not known is left out.
    pub fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() && value != UNKNOWN {
            self.put(key, any_value::Value::StringValue(value.to_owned()));
        }
    }

    pub fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.put(key, any_value::Value::IntValue(value.try_into().unwrap_or(i64::MAX)));
    }

    pub fn truth(&mut self, key: &str, value: bool) {
        self.put(key, any_value::Value::BoolValue(value));
    }

    fn put(&mut self, key: &str, value: any_value::Value) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) });
    }
}
