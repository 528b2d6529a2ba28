//! Whether services can do what is forecast of them: the limits that sidecars have proven of their applications, against requests under way.

use super::loads::{Loads, STEP};
use crate::signals::{self, Columns, Filter, Known, Reports};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use taut_insight::forecast::{Capacity, Demand};
use taut_insight::tick::Node;
use taut_model::signal::{Edge, Reporter, Second};
use taut_observe::names;

/// How often it is looked at, and the length of the windows that are looked at.
pub const EVERY: Second = 60;
/// How many such windows: what a request takes is the median of their means, so that a short overload does not count.
const WINDOWS: usize = 60;
/// Of the newest of them it is said what is under way now.
const NOW: usize = 5;
/// Services of which it is said.
const MOST: usize = 500;
/// The share of a limit that is meant to be used, so that there is time to start more.
const TARGET: f64 = 0.8;

const UNKNOWN: &str = "no sidecar of it has found how much its application can do: latency has not grown with load";

/// The workload of a service that is full first.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// `namespace/name`.
    workload: String,
    /// Requests of this service that it can work on at a time: what its other services take is taken off.
    limit: f64,
    /// When the limit was in force last, and whether it is now.
    at: Second,
    in_force: bool,
    /// Of the service's requests that come to it.
    share: f64,
    /// Seconds that a request is with it.
    latency: f64,
    /// Requests of the service under way there now.
    in_flight: f64,
}

/// What is known of each service, or why it is not.
#[derive(Clone, Debug, Default)]
pub struct Rooms {
    by: BTreeMap<Node, Result<Room, String>>,
}

/// What came to a workload for a service.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    requests: u64,
    /// Microseconds.
    took: u64,
}

type ByWorkload = BTreeMap<String, Vec<Came>>;

impl Came {
    fn latency(self) -> Option<f64> {
        (self.requests > 0).then(|| self.took as f64 / self.requests as f64 / 1e6)
    }
}

impl Room {
    fn capacity(&self) -> Capacity {
        Capacity { limit: self.limit, latency: self.latency * self.share }
    }

    /// Shares of the limit that are free; below 0 requests wait or are sent away.
    fn free(&self, in_flight: f64) -> f64 {
        1.0 - in_flight / self.limit
    }

    fn shown(&self, demands: &[(Second, Demand)]) -> Value {
        let reached = |full: &dyn Fn(&Demand) -> f64| match self.in_flight >= self.limit {
            true => Some(0),
            false => demands.iter().find(|(_, demand)| full(demand) >= self.limit).map(|(horizon, _)| *horizon),
        };
        let forecast = demands.iter().map(|(horizon, demand)| {
            json!({
                "horizonSeconds": horizon, "inFlight": demand.expected, "high80": demand.likely, "high95": demand.certain,
                "headroom": self.free(demand.expected), "scale": demand.scale,
            })
        });
        json!({
            "workload": self.workload, "limit": self.limit, "limitAt": self.at, "inForce": self.in_force, "share": self.share,
            "latencyMs": self.latency * 1e3, "inFlight": self.in_flight, "headroom": self.free(self.in_flight), "forecast": forecast.collect::<Vec<_>>(),
            "reachedIn": reached(&|demand| demand.expected), "mayBeReachedIn": reached(&|demand| demand.likely),
        })
    }
}

impl Rooms {
    /// Looks at the services of which some sidecar knows a limit. May read from disk.
    pub fn look(signals: &signals::Store, now: Second) -> Self {
        let latest = signals.latest() + 1;
        let start = latest.saturating_sub(EVERY * WINDOWS as Second);
        let mut services: BTreeMap<Node, String> = BTreeMap::new();
        for workload in signals.ceilings().limited(now) {
            let Some((namespace, name)) = workload.split_once('/') else { continue };
            let filter = Filter { workload: Some(name.to_owned()), ..arrived() };
            for (edge, _) in signals.edges(start..latest, &filter) {
                let came_to_it = edge.destination.workload == name && edge.destination.namespace == namespace;
                if came_to_it && services.len() < MOST {
                    services.extend(served(&edge).map(|node| (node, edge.service.host.clone())));
                }
            }
        }
        let windows: Vec<_> = (0..WINDOWS as Second).map(|at| start + at * EVERY..start + (at + 1) * EVERY).collect();
        let came = services.iter().map(|(node, host)| {
            let mut by = ByWorkload::new();
            let filter = Filter { service: Some(host.clone()), ..arrived() };
            signals.steps(&windows, &filter, Columns::All, &mut |edge, step, signals| {
                let to = by
                    .entry(format!("{}/{}", edge.destination.namespace, edge.destination.workload))
                    .or_insert_with(|| vec![Came::default(); WINDOWS]);
                if let Some(came) = to.get_mut(step) {
                    came.requests = came.requests.saturating_add(signals.requests);
                    came.took = came.took.saturating_add(signals.latency.sum());
                }
                true
            });
            (node.clone(), by)
        });
        let came: BTreeMap<Node, ByWorkload> = came.collect();
        let by = came.keys().filter_map(|node| Some((node.clone(), room(node, &came, &|workload| signals.ceilings().of(workload, now))?)));
        Self { by: by.collect() }
    }

    /// As JSON: what is known of a service, and against its forecasts.
    pub fn shown(&self, node: &Node, loads: &Loads) -> Value {
        match self.by.get(node) {
            Some(Ok(room)) => room.shown(&demands(room, node, loads)),
            Some(Err(why)) => json!({"unknown": why}),
            None => json!({"unknown": UNKNOWN}),
        }
    }

    /// As Prometheus text, for autoscalers among others.
    pub fn metrics(&self, loads: &Loads) -> String {
        let (headroom, used, limit) = (names::FORECAST_HEADROOM, names::FORECAST_USED, names::CAPACITY_LIMIT);
        let mut text = format!("# HELP {limit} Requests that the workload that is full first can work on at a time.\n# TYPE {limit} gauge\n");
        for (node, room) in self.known() {
            let _ = writeln!(text, "{limit}{{{},workload={:?}}} {}", labels(node), room.workload, room.limit);
        }
        let all = self.headrooms(loads);
        let mut family = |name: &str, what: &str, value: &dyn Fn(f64) -> f64| {
            let help = format!("Share of the concurrency limit that is {what} now (horizon 0) and on average over the next so many seconds.");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (node, horizon, bound, free) in &all {
                let _ = writeln!(text, "{name}{{{},horizon_seconds=\"{horizon}\",bound=\"{bound}\"}} {}", labels(node), value(*free));
            }
        };
        family(headroom, "free", &|free| free);
        family(used, "used", &|free| 1.0 - free);
        text
    }

    /// The share of its limit that a service has free, over each horizon (0: now), if as many requests come as each bound says.
    pub fn headrooms(&self, loads: &Loads) -> Vec<(Node, Second, &'static str, f64)> {
        let mut all = Vec::new();
        for (node, room) in self.known() {
            all.push((node.clone(), 0, "mean", room.free(room.in_flight)));
            for (horizon, demand) in demands(room, node, loads) {
                let bounds = [("mean", demand.expected), ("high80", demand.likely), ("high95", demand.certain)];
                all.extend(bounds.map(|(bound, in_flight)| (node.clone(), horizon, bound, room.free(in_flight))));
            }
        }
        all
    }

    fn known(&self) -> impl Iterator<Item = (&Node, &Room)> {
        self.by.iter().filter_map(|(node, room)| Some((node, room.as_ref().ok()?)))
    }
}

/// Names of Kubernetes need no escaping.
fn labels(node: &Node) -> String {
    format!("namespace=\"{}\",service=\"{}\"", node.namespace(), node.name())
}

/// What sidecars have seen come to their applications: each request once.
fn arrived() -> Filter {
    Filter { reports: Reports::Of(Reporter::Destination), ..Filter::default() }
}

fn served(edge: &Edge) -> Option<Node> {
    let service = &edge.service;
    let named = !edge.is_other() && !service.namespace.is_empty() && service.host != taut_model::signal::UNKNOWN;
    named.then(|| Node::new(&service.namespace, &service.name))
}

fn demands(room: &Room, node: &Node, loads: &Loads) -> Vec<(Second, Demand)> {
    let capacity = room.capacity();
    let forecasts = loads.forecasts(node);
    forecasts.iter().filter_map(|forecast| Some((STEP * forecast.horizon as Second, capacity.demand(forecast, TARGET)?))).collect()
}

/// The workload of a service that is full first; `None`: nothing came.
fn room(node: &Node, came: &BTreeMap<Node, ByWorkload>, ceiling: &dyn Fn(&str) -> Known) -> Option<Result<Room, String>> {
    let workloads = came.get(node)?;
    let all: u64 = workloads.values().map(|came| requests(came)).sum();
    let mut missing = BTreeSet::new();
    let mut first: Option<Room> = None;
    for (workload, windows) in workloads.iter().filter(|(_, came)| requests(came) > 0) {
        let known = match ceiling(workload) {
            Known::All(known) => known,
            Known::Partly(some, of) => {
                missing.insert(format!("{workload} (of {some} of its {of} sidecars it is)"));
                continue;
            }
            Known::Nothing => {
                missing.insert(workload.clone());
                continue;
            }
        };
        let Some(latency) = median(windows.iter().filter_map(|came| came.latency()).collect()) else { continue };
        // Other services of the same workload have their part of it.
        let others = came.iter().filter(|(other, _)| *other != node).filter_map(|(_, of)| of.get(workload));
        let limit = known.limit as f64 - others.map(|came| under_way(came)).sum::<f64>();
        let share = requests(windows) as f64 / all.max(1) as f64;
        let room = Room {
            workload: workload.clone(),
            limit: limit.max(1.0),
            at: known.at,
            in_force: known.in_force,
            share,
            latency,
            in_flight: under_way(windows),
        };
        let fuller = |other: &Room| room.share * room.latency / room.limit > other.share * other.latency / other.limit;
        if first.as_ref().is_none_or(fuller) {
            first = Some(room);
        }
    }
    match first {
        Some(room) => Some(Ok(room)),
        None if missing.is_empty() => None,
        None => Some(Err(format!("it is not known how much can be done by {}", missing.into_iter().collect::<Vec<_>>().join(", ")))),
    }
}

fn requests(came: &[Came]) -> u64 {
    came.iter().map(|came| came.requests).sum()
}

/// Requests under way in the mean of the newest windows (Little's law: the time they took together, by the time that passed).
fn under_way(came: &[Came]) -> f64 {
    let newest = &came[came.len().saturating_sub(NOW)..];
    newest.iter().map(|came| came.took as f64 / 1e6).sum::<f64>() / (newest.len().max(1) as f64 * EVERY as f64)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Ceiling;

    fn came(requests: u64, took_ms: u64) -> Vec<Came> {
        vec![Came { requests, took: requests * took_ms * 1000 }; WINDOWS]
    }

    fn all(limit: u64) -> Known {
        Known::All(Ceiling { limit, at: 900, in_force: false })
    }

    #[test]
    fn the_workload_that_is_full_first_counts() {
        let node = Node::new("shop", "cart");
        // 100 requests a second to one, 50 to the other, which takes four times as long.
        let workloads = BTreeMap::from([("shop/cart-v1".to_owned(), came(6000, 20)), ("shop/cart-v2".to_owned(), came(3000, 80))]);
        let came_to = BTreeMap::from([(node.clone(), workloads)]);
        let found = room(&node, &came_to, &|_| all(10)).unwrap().unwrap();
        assert_eq!((found.workload.as_str(), found.latency), ("shop/cart-v2", 0.08));
        assert!((found.in_flight - 4.0).abs() < 1e-9 && (found.free(found.in_flight) - 0.6).abs() < 1e-9, "{found:?}");
        // By Little's law the service's 150 requests a second are what is under way there.
        let capacity = found.capacity();
        assert!((150.0 * capacity.latency - 4.0).abs() < 1e-9, "{capacity:?}");
        let only = room(&node, &came_to, &|workload| if workload.ends_with("v1") { all(10) } else { Known::Nothing }).unwrap().unwrap();
        assert_eq!(only.workload, "shop/cart-v1");
    }

    #[test]
    fn nobody_invents_a_limit() {
        let node = Node::new("shop", "cart");
        let workloads = BTreeMap::from([("shop/cart-v1".to_owned(), came(6000, 20)), ("shop/cart-v2".to_owned(), came(0, 0))]);
        let came_to = BTreeMap::from([(node.clone(), workloads)]);
        let why = room(&node, &came_to, &|_| Known::Partly(1, 3)).unwrap().unwrap_err();
        assert_eq!(why, "it is not known how much can be done by shop/cart-v1 (of 1 of its 3 sidecars it is)");
        assert!(Rooms::default().shown(&node, &Loads::default())["unknown"].is_string());
        assert!(!Rooms::default().metrics(&Loads::default()).contains("shop"));
    }

    #[test]
    fn what_other_services_of_a_workload_take_is_not_free() {
        let (cart, api) = (Node::new("shop", "cart"), Node::new("shop", "api"));
        let by = |requests| BTreeMap::from([("shop/one".to_owned(), came(requests, 100))]);
        let came_to = BTreeMap::from([(cart.clone(), by(600)), (api, by(1200))]);
        let found = room(&cart, &came_to, &|_| all(10)).unwrap().unwrap();
        assert!((found.limit - 8.0).abs() < 1e-9 && (found.in_flight - 1.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn when_it_is_reached_is_said_for_what_is_expected_and_for_what_is_likely() {
        let found = Room { workload: "shop/one".into(), limit: 10.0, at: 900, in_force: false, share: 1.0, latency: 0.1, in_flight: 5.0 };
        let demand = |expected: f64, likely: f64| Demand { expected, likely, certain: likely, share: likely / 10.0, scale: likely / 8.0 };
        let shown = found.shown(&[(600, demand(6.0, 8.0)), (1800, demand(8.0, 11.0)), (3600, demand(10.5, 14.0))]);
        assert_eq!((&shown["reachedIn"], &shown["mayBeReachedIn"], &shown["headroom"]), (&json!(3600), &json!(1800), &json!(0.5)));
        assert_eq!(shown["forecast"][0]["headroom"], json!(0.4));
        let full = Room { in_flight: 12.0, ..found };
        assert_eq!((&full.shown(&[])["reachedIn"], full.free(12.0) < 0.0), (&json!(0), true));
    }
}
