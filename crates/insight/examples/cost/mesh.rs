//! What the engine as a whole costs: a mesh of 1,000 services with 10 callers each, both proxies of each call reporting, second by second.

use super::spent;
use std::sync::Arc;
use taut_insight::engine::{Engine, Settings};
use taut_insight::feed::Feed;
use taut_model::signal::{Edge, Party, Protocol, Reporter, Second, Security, ServiceName, Signals};

const SERVICES: usize = 1000;
const CALLERS: usize = 10;
const WARM: Second = 60;
const SECONDS: Second = 60;
/// Requests per second of an edge.
const RATE: u64 = 10;

pub fn cost() {
    let edges = edges();
    let kinds: Vec<Signals> = (0..64).map(signals).collect();
    let (mut feed, mut engine) = (Feed::default(), Engine::new(Settings::default()));
    let (mut feeding, mut thinking) = (0.0, 0.0);
    let before = resident();
    for second in 0..WARM + SECONDS {
        let passed: Vec<(Arc<Edge>, Signals)> =
            edges.iter().enumerate().map(|(at, edge)| (edge.clone(), kinds[(at + second as usize * 7) % kinds.len()].clone())).collect();
        let start = spent();
        let tick = feed.tick(super::START + second, 1, false, passed);
        let fed = spent();
        let events = engine.step(&tick, &[]);
        let done = spent();
        assert!(events.is_empty(), "made-up traffic is well");
        if second >= WARM {
            feeding += (fed - start).as_secs_f64();
            thinking += (done - fed).as_secs_f64();
        }
    }
    let share = |seconds: f64| 100.0 * seconds / SECONDS as f64;
    println!(
        "\nThe engine with {SERVICES} services and {} edges, each reported by both its proxies, {RATE} requests per second each:\n",
        SERVICES * CALLERS
    );
    println!("| | |\n|---|---|");
    println!("| CPU per second of the mesh, making ticks | {:.1} ms: {:.1} % of a core |", feeding * 1e3 / SECONDS as f64, share(feeding));
    println!("| symptoms, links, incidents | {:.1} ms: {:.1} % of a core |", thinking * 1e3 / SECONDS as f64, share(thinking));
    println!("| memory | {} MiB |", resident().saturating_sub(before) >> 20);
}

fn edges() -> Vec<Arc<Edge>> {
    let party = |number: usize| {
        Arc::new(Party { namespace: "shop".into(), workload: format!("s{number}-v1"), app: format!("s{number}"), ..Party::unknown() })
    };
    let parties: Vec<Arc<Party>> = (0..SERVICES).map(party).collect();
    let mut edges = Vec::new();
    for number in 0..SERVICES {
        let service = Arc::new(ServiceName { host: format!("s{number}.shop"), namespace: "shop".into(), name: format!("s{number}") });
        for caller in 1..=CALLERS {
            for reporter in [Reporter::Source, Reporter::Destination] {
                edges.push(Arc::new(Edge {
                    source: parties[(number + caller * 97) % SERVICES].clone(),
                    service: service.clone(),
                    destination: parties[number].clone(),
                    protocol: Protocol::Http,
                    route: "".into(),
                    reporter,
                    security: Security::MutualTls,
                }));
            }
        }
    }
    edges
}

fn signals(seed: u64) -> Signals {
    let mut signals = Signals { requests: RATE, in_flight: 1, ..Signals::default() };
    signals.outcomes.count(200, None, None, RATE);
    (0..RATE).for_each(|request| signals.latency.record(4000 + (seed * 31 + request * 97) % 2000));
    signals
}

/// Bytes; 0 where the kernel does not tell.
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/statm").ok();
    told.and_then(|told| told.split_whitespace().nth(1)?.parse::<usize>().ok()).map_or(0, |pages| pages * 4096)
}
