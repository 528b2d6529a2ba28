//! What is forecast, as autoscalers ask for it: through the external metrics API of Kubernetes.

use super::Incidents;
use super::loads::STEP;
use crate::api::{External, Measured};
use taut_model::signal::Second;
use taut_observe::names;

const METRICS: [&str; 3] = [names::FORECAST_REQUESTS, names::FORECAST_USED, names::FORECAST_HEADROOM];

/// All that is known of the services of a namespace.
pub fn external(incidents: Incidents) -> External {
    External { metrics: &METRICS, measure: Box::new(move |namespace| measure(&incidents, namespace)) }
}

fn measure(incidents: &Incidents, namespace: &str) -> Vec<Measured> {
    let (loads, rooms) = incidents.forecasts();
    let mut all = Vec::new();
    let mut add = |metric, service: &str, horizon: Second, bound: &str, value| {
        let labels = vec![
            ("namespace", namespace.to_owned()),
            ("service", service.to_owned()),
            ("horizon_seconds", horizon.to_string()),
            ("bound", bound.to_owned()),
        ];
        all.push(Measured { metric, labels, value });
    };
    for node in loads.nodes().filter(|node| node.namespace() == namespace) {
        for said in loads.forecasts(node) {
            let horizon = STEP * said.horizon as Second;
            for (bound, value) in [("low95", said.certain.low.max(0.0)), ("mean", said.mean), ("high95", said.certain.high)] {
                add(names::FORECAST_REQUESTS, node.name(), horizon, bound, value);
            }
        }
    }
    for (node, horizon, bound, free) in rooms.headrooms(&loads).into_iter().filter(|(node, ..)| node.namespace() == namespace) {
        add(names::FORECAST_HEADROOM, node.name(), horizon, bound, free);
        add(names::FORECAST_USED, node.name(), horizon, bound, 1.0 - free);
    }
    all
}
