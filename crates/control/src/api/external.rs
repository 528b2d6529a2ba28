//! The external metrics API of Kubernetes (external.metrics.k8s.io/v1beta1) over what the control plane forecasts, so that a
//! HorizontalPodAutoscaler scales by what comes. Source: k8s.io/metrics, pkg/apis/external_metrics/v1beta1/types.go.

use super::answer::Answer;
use super::asked::Asked;
use super::discovery;
use super::refusal::Refusal;
use super::{Api, discovery::group_entry};
use serde_json::{Map, Value, json};

pub(super) const GROUP: &str = "external.metrics.k8s.io";
pub(super) const VERSION: &str = "v1beta1";

/// An autoscaler adds up all values that it is given. A selector that says nothing of these labels means these values, which are of one
/// forecast.
const USUAL: [(&str, &str); 2] = [("bound", "mean"), ("horizon_seconds", "600")];

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub metric: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// All values of the services of a namespace.
pub type Measure = dyn Fn(&str) -> Vec<Measured> + Send + Sync;

/// What there is to measure, and how it stands.
pub struct External {
    /// The names of all metrics.
    pub metrics: &'static [&'static str],
    pub measure: Box<Measure>,
}

impl Default for External {
    /// Nothing.
    fn default() -> Self {
        Self { metrics: &[], measure: Box::new(|_| Vec::new()) }
    }
}

pub(super) fn group() -> Value {
    let mut group = group_entry(GROUP, &[VERSION]);
    (group["kind"], group["apiVersion"]) = (json!("APIGroup"), json!("v1"));
    group
}

pub(super) fn resources(api: &Api) -> Value {
    let resource = |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]});
    let resources: Vec<Value> = api.external.metrics.iter().map(resource).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": discovery::group_version(GROUP, VERSION), "resources": resources})
}

/// The values of a metric in a namespace that the label selector accepts.
pub(super) fn values(api: &Api, asked: &Asked, namespace: &str, metric: &str) -> Result<Answer, Refusal> {
    if !api.external.metrics.contains(&metric) {
        return Err(Refusal::no_such_metric(metric, api.external.metrics));
    }
    let selector = &asked.options.labels;
    let accepted = |one: &Measured| {
        let label = |key: &str| one.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
        let usual = |(key, value): &(&str, &str)| selector.names(key) || label(key).is_none_or(|own| own == *value);
        one.metric == metric && selector.accepts(&label) && USUAL.iter().all(usual)
    };
    let timestamp = (api.clock)();
    let item = |one: Measured| {
        let labels: Map<String, Value> = one.labels.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({"metricName": metric, "metricLabels": labels, "timestamp": timestamp, "value": quantity(one.value)})
    };
    let items: Vec<Value> = (api.external.measure)(namespace).into_iter().filter(accepted).map(item).collect();
    let version = discovery::group_version(GROUP, VERSION);
    Ok(Answer::json(&json!({"kind": "ExternalMetricValueList", "apiVersion": version, "metadata": {}, "items": items})))
}

/// A Quantity in thousandths.
fn quantity(value: f64) -> String {
    // What does not fit becomes the nearest that does; what is no number becomes 0.
    format!("{}m", (value * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::quantity;

    #[test]
    fn quantities_are_thousandths() {
        for (value, want) in [(4.4, "4400m"), (0.0, "0m"), (-0.25, "-250m"), (12.0, "12000m"), (0.0004, "0m"), (f64::NAN, "0m")] {
            assert_eq!(quantity(value), want);
        }
    }
}
