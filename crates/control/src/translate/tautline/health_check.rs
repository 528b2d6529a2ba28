//! HealthCheck -> what is added to the destinations of the Services that it names.

use super::{api, services};
use crate::translate::meaning::Meaning;
use crate::translate::reader::Reader;
use std::time::Duration;
use taut_model::destination::{Destination, HealthCheck, Probe, TrafficPolicy};
use taut_model::host::service_host;

/// Kuma's defaults (MeshHealthCheck).
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(15);
const UNHEALTHY_AFTER: u32 = 5;
const HEALTHY_AFTER: u32 = 1;
/// More often would be load, not a check.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

pub fn health_check(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::HealthCheck = reader.spec(&[]);
    let interval = reader.positive_duration("spec.interval", spec.interval.as_deref()).unwrap_or(INTERVAL);
    if interval < SHORTEST_INTERVAL {
        reader.invalid("spec.interval", "is shorter than 100ms, the shortest interval there is");
    }
    let check = HealthCheck {
        origin: reader.origin(""),
        interval,
        timeout: reader.positive_duration("spec.timeout", spec.timeout.as_deref()).unwrap_or(TIMEOUT),
        unhealthy_after: threshold(reader, "spec.unhealthyThreshold", spec.unhealthy_threshold, UNHEALTHY_AFTER),
        healthy_after: threshold(reader, "spec.healthyThreshold", spec.healthy_threshold, HEALTHY_AFTER),
        probe: probe(reader, spec.http, spec.grpc, spec.tcp),
    };
    let namespace = reader.namespace().to_owned();
    let addition = |service: String| {
        let policy = TrafficPolicy { health_check: Some(check.clone()), ..TrafficPolicy::default() };
        Destination::addition(check.origin.clone(), service_host(&service, &namespace), policy)
    };
    let additions = services(reader, spec.target_refs).into_iter().map(addition).collect();
    Meaning::Additions(additions)
}

fn threshold(reader: &mut Reader<'_>, at: &str, written: Option<i64>, default: u32) -> u32 {
    let count = reader.count(at, written);
    if count == Some(0) {
        reader.invalid(at, "must be at least 1");
    }
    count.unwrap_or(default)
}

fn probe(reader: &mut Reader<'_>, http: Option<api::HttpProbe>, grpc: Option<api::GrpcProbe>, tcp: Option<api::TcpProbe>) -> Probe {
    match (http, grpc, tcp) {
        (Some(http), None, None) => {
            let path = http.path.unwrap_or_else(|| "/".to_owned());
            if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
                reader.invalid("spec.http.path", format_args!("{path:?} is not a path such as /healthz"));
            }
            let statuses = http.expected_statuses.iter().enumerate();
            let statuses: Vec<(u16, u16)> =
                statuses.filter_map(|(index, text)| reader.taken(&format!("spec.http.expectedStatuses[{index}]"), statuses_of(text))).collect();
            Probe::Http { path, statuses: if statuses.is_empty() { vec![(200, 299)] } else { statuses } }
        }
        (None, Some(grpc), None) => Probe::Grpc { service: grpc.service_name.unwrap_or_default() },
        (None, None, Some(_)) => Probe::Tcp,
        _ => {
            reader.invalid("spec", "must name one of http, grpc and tcp: what endpoints are asked");
            Probe::Tcp
        }
    }
}

/// `200` or `200-299`.
fn statuses_of(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..600).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("{text:?} is neither a status such as 200 nor a range such as 200-299")),
    }
}
