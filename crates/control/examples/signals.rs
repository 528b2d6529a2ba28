//! What the store of signals costs: `cargo xtask bench signals` runs this. An hour of a large mesh, accelerated; a day of it; a million
//! paths; a million edges. Prints tables in Markdown.

use std::fmt::Write;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use taut_control::prometheus::{Answer, Budget, MOST_SAMPLES, Times, Traffic, range, read};
use taut_control::signals::{By, Filter, Limits, Store};
use taut_model::signal::{Batch, Edge, Party, Protocol, Reporter, Second, Security, ServiceName, Signals};
use taut_observe::record::{self, ExchangeRecord};
use taut_observe::tally::{MOST_EDGES, Tally};
use taut_observe::text::{Id, Moment, Text};

const START: Second = 1_767_225_600;
const SERVICES: u64 = 1000;
const CALLERS: u64 = 10;
const DAY: Second = 86_400;
/// How often an edge reports in the accelerated day.
const PACE: Second = 300;
/// Different seconds of an edge that are made before the clock runs.
const KINDS: usize = 4096;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3600);
    let mut mesh = Mesh::new(10);
    hour(&mut mesh, seconds)?;
    day(&mut Mesh::new(500))?;
    paths();
    Ok(())
}

/// An hour, then a flood of names, in one store.
fn hour(mesh: &mut Mesh, seconds: Second) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path(), Limits::default())?;
    let filled = fill(&store, mesh, START..START + seconds, 1, 0);
    let mut table = Table::new(&format!("{SERVICES} services x {CALLERS} callers, {seconds} s, 10 requests/s per edge"));
    table.store(&filled, &store, directory.path());
    queries(&mut table, &store, START + seconds);
    table.memory("memory: the whole process, after the queries");
    let begin = Instant::now();
    drop(store);
    let store = Store::open(directory.path(), Limits::default())?;
    table.row("opening it again", &millis(begin.elapsed()));
    queries(&mut table, &store, START + seconds);
    println!("{}", table.text);

    let each = 4;
    let flood = fill(&store, mesh, START + seconds..START + seconds + 300, 1, each);
    let mut table = Table::new(&format!("the same with {} distinct edges in 300 s", 300 * SERVICES * each));
    table.store(&flood, &store, directory.path());
    queries(&mut table, &store, START + seconds + 300);
    println!("{}", table.text);
    Ok(())
}

/// A day in which each edge reports every five minutes.
fn day(mesh: &mut Mesh) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path(), Limits::default())?;
    let filled = fill(&store, mesh, START..START + DAY, PACE, 0);
    let mut table = Table::new(&format!("a day of it: every edge reports 500 requests every {PACE} s"));
    table.store(&filled, &store, directory.path());
    let (end, one) = (START + DAY - 5, one_service());
    table.times("series of one service by version, 24 h, step 5 min", || {
        let answer = store.series(end - DAY..end, PACE, &one, By::Version, 100);
        format!("{} series, step {} s", answer.series.len(), answer.step)
    });
    table.times("edges, 24 h", || format!("{} edges", store.edges(end - DAY..end, &Filter::default()).len()));
    println!("{}", table.text);
    Ok(())
}

/// What a proxy makes of a million paths.
fn paths() {
    let (tally, count) = (Tally::default(), 1_000_000);
    let nobody = || record::Party::nobody();
    let edge = record::Edge {
        reporter: Reporter::Source,
        source: nobody(),
        destination: nobody(),
        service_host: "service-7.shop.svc.cluster.local".into(),
        service_name: "service-7".into(),
        service_namespace: "shop".into(),
        mutual_tls: true,
        protocol: Protocol::Http,
    };
    let before = resident();
    for n in 0..count {
        tally.exchange(&exchange(edge.clone(), format!("/{n}").into()), (0, 0));
    }
    let (taken, overflow) = tally.take();
    let mut table = Table::new(&format!("{count} requests with {count} distinct paths, in a proxy"));
    table.row("series they become (ceiling)", &format!("{} ({MOST_EDGES})", taken.len()));
    table.row("requests in them", &taken.iter().map(|(_, signals)| signals.requests).sum::<u64>().to_string());
    table.row("summed as `other`", &overflow.to_string());
    table.row("memory they took", &mebibytes(resident().saturating_sub(before)));
    println!("{}", table.text);
}

fn exchange(edge: record::Edge, path: Text) -> ExchangeRecord {
    let none = Text::default();
    ExchangeRecord {
        edge,
        started: Moment(jiff::Timestamp::UNIX_EPOCH),
        request_id: Id::None,
        trace_id: Id::None,
        method: "GET".into(),
        authority: none.clone(),
        path,
        status: 200,
        grpc_status: None,
        failure: None,
        would_deny: None,
        request_bytes: 10,
        response_bytes: 100,
        duration_us: 2000,
        waited_us: 0,
        upstream_us: 0,
        attempts: Default::default(),
        plan: 1,
        rule: None,
        route: none,
    }
}

/// Who calls whom, and what their seconds look like.
struct Mesh {
    edges: Vec<Vec<Arc<Edge>>>,
    kinds: Vec<Signals>,
    dice: fastrand::Rng,
}

impl Mesh {
    fn new(requests: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(7);
        let callers = |proxy| (0..CALLERS).map(|n| edge(proxy, (proxy + n * 97 + 1) % SERVICES, 0)).collect();
        let kinds = (0..KINDS).map(|_| signals(&mut dice, requests)).collect();
        Self { edges: (0..SERVICES).map(callers).collect(), kinds, dice }
    }

    fn signals(&mut self) -> Signals {
        self.kinds[self.dice.usize(..KINDS)].clone()
    }
}

fn edge(source: u64, service: u64, version: u64) -> Arc<Edge> {
    let party = |name: String, version: String| {
        let principal = format!("spiffe://cluster.local/ns/shop/sa/{name}");
        Arc::new(Party { workload: format!("{name}-{version}"), namespace: "shop".into(), app: name, version, principal })
    };
    let name = format!("service-{service}");
    Arc::new(Edge {
        source: party(format!("service-{source}"), "v1".into()),
        service: Arc::new(ServiceName { host: format!("{name}.shop.svc.cluster.local"), namespace: "shop".into(), name: name.clone() }),
        destination: party(name, format!("v{version}")),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security: Security::MutualTls,
    })
}

/// Requests with durations around 8 ms and a long tail; one in a thousand fails.
fn signals(dice: &mut fastrand::Rng, requests: u64) -> Signals {
    let mut signals = Signals { requests, request_bytes: 200 * requests, response_bytes: 4000 * requests, in_flight: 2, ..Signals::default() };
    for _ in 0..requests {
        let spread = dice.f64() + dice.f64() + dice.f64() - 1.5;
        signals.latency.record((8000.0 * (spread * 1.5).exp()) as u64);
        signals.outcomes.count(if dice.u32(..1000) == 0 { 503 } else { 200 }, None, None, 1);
    }
    signals
}

struct Filled {
    seconds: u64,
    batches: Duration,
    ticks: Duration,
    slowest_tick: Duration,
    largest: u64,
}

/// `every`: seconds between reports. `flood`: edges that each proxy invents every second.
fn fill(store: &Store, mesh: &mut Mesh, seconds: Range<Second>, every: Second, flood: u64) -> Filled {
    let zero = Duration::ZERO;
    let mut filled = Filled { seconds: seconds.end - seconds.start, batches: zero, ticks: zero, slowest_tick: zero, largest: 0 };
    let first = seconds.start;
    for at in seconds {
        let mut batches = Vec::new();
        for proxy in if at % every == 0 { 0..SERVICES } else { 0..0 } {
            let known = mesh.edges[proxy as usize].clone();
            let invented = (0..flood).map(|n| edge(proxy, n, 1 + (at - first) * flood + n));
            let entries = known.into_iter().chain(invented).map(|edge| (edge, mesh.signals())).collect();
            batches.push(Batch { proxy: format!("shop/service-{proxy}"), epoch: 1, sequence: at, second: at, entries, lost: 0, last: false });
        }
        let begin = on_cpu();
        batches.into_iter().for_each(|batch| store.add(batch, at + 1));
        filled.batches += on_cpu() - begin;
        let (begin, wall) = (on_cpu(), Instant::now());
        store.tick(at + 1);
        filled.ticks += on_cpu() - begin;
        filled.slowest_tick = filled.slowest_tick.max(wall.elapsed());
        if at % 10 == 0 {
            filled.largest = filled.largest.max(resident());
        }
    }
    filled
}

fn one_service() -> Filter {
    Filter { service: Some("service-7".into()), ..Filter::default() }
}

fn queries(table: &mut Table, store: &Store, end: Second) {
    let (all, one) = (Filter::default(), one_service());
    let end = end - 5;
    for (name, window, filter) in
        [("edges, 30 s", 30, &all), ("edges, 15 min", 900, &all), ("edges of one service, 15 min", 900, &one), ("edges, 1 h", 3600, &all)]
    {
        table.times(name, || format!("{} edges", store.edges(end - window..end, filter).len()));
    }
    for (name, window, step, filter, by) in [
        ("series of one service by version, 15 min, step 5 s", 900, 5, &one, By::Version),
        ("series of one service by version, 1 h, step 60 s", 3600, 60, &one, By::Version),
        ("series by service, 15 min, step 5 s", 900, 5, &all, By::Service),
        ("series by service, 1 h, step 60 s", 3600, 60, &all, By::Service),
    ] {
        table.times(name, || {
            let answer = store.series(end - window..end, step, filter, by, 100);
            format!("{} series, step {} s", answer.series.len(), answer.step)
        });
    }
    let traffic = Traffic::new(store.clone());
    let never = AtomicBool::new(false);
    for (query, step) in [
        ("sum by (destination_workload) (rate(istio_requests_total[1m]))", 60),
        ("sum by (destination_workload) (rate(istio_requests_total[1m]))", 15),
        ("histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{destination_service_name=\"service-7\"}[1m])))", 15),
    ] {
        let Ok(expression) = read(query) else { continue };
        let times = Times { start: (end as i64 - 3600) * 1000, end: end as i64 * 1000, step: step * 1000 };
        table.times(&format!("PromQL, 1 h, step {step} s: `{query}`"), || {
            let answer = range(&expression, times, &traffic, Budget::new(MOST_SAMPLES, &never));
            match answer {
                Ok(Answer::Matrix(series)) => format!("{} series", series.len()),
                other => format!("{other:?}"),
            }
        });
    }
}

fn millis(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1000.0)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

struct Table {
    text: String,
}

impl Table {
    fn new(name: &str) -> Self {
        eprintln!("{name}");
        Self { text: format!("\n| {name} | |\n|---|---|\n") }
    }

    fn store(&mut self, filled: &Filled, store: &Store, directory: &Path) {
        let per_second = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0 / filled.seconds as f64);
        self.row("CPU per second of the mesh: taking reports", &per_second(filled.batches));
        self.row("sealing, rolling up, writing and packing", &format!("{}, slowest {}", per_second(filled.ticks), millis(filled.slowest_tick)));
        let about = store.about();
        let number = |key: &str| about[key].as_u64().unwrap_or_default();
        self.row("memory: frames (ceiling)", &format!("{} ({})", mebibytes(number("memoryBytes")), mebibytes(number("memoryCeiling"))));
        self.row("memory: the whole process, the most", &mebibytes(filled.largest));
        self.memory("memory: the whole process, now");
        let on_disk: u64 =
            std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum();
        self.row("disk (ceiling)", &format!("{} ({})", mebibytes(on_disk), mebibytes(number("diskCeiling"))));
        self.row("edges told apart (ceiling)", &format!("{} ({})", number("edges"), number("edgesCeiling")));
        self.row("reports summed as `other`", &number("edgesOverflow").to_string());
        for level in about["levels"].as_array().into_iter().flatten() {
            let reach = level["oldest"].as_u64().map_or(0, |oldest| store.latest().saturating_sub(oldest));
            let (memory, disk) = (level["memoryBytes"].as_u64().unwrap_or_default(), level["diskBytes"].as_u64().unwrap_or_default());
            let row = format!("{reach} s; {} in memory, {} on disk", mebibytes(memory), mebibytes(disk));
            self.row(&format!("reach of {} s", level["seconds"]), &row);
        }
    }

    fn memory(&mut self, name: &str) {
        self.row(name, &mebibytes(resident()));
    }

    /// Runs a query until it is known how long it takes: median and 95th percentile.
    fn times(&mut self, name: &str, mut query: impl FnMut() -> String) {
        let (mut walls, mut cpus, mut found) = (Vec::new(), Vec::new(), String::new());
        let begin = Instant::now();
        while walls.len() < 3 || (walls.len() < 40 && begin.elapsed() < Duration::from_secs(3)) {
            let (cpu, wall) = (on_cpu(), Instant::now());
            found = query();
            walls.push(wall.elapsed());
            cpus.push(on_cpu() - cpu);
        }
        walls.sort();
        cpus.sort();
        let at = |times: &[Duration], share: usize| millis(times[(times.len() - 1) * share / 100]);
        self.row(name, &format!("p50 {}, p95 {}; CPU {} ({found})", at(&walls, 50), at(&walls, 95), at(&cpus, 50)));
    }

    fn row(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "| {name} | {value} |");
    }
}

/// How long this thread has run (the first number of proc_pid_schedstat(5)).
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Bytes of memory that the process holds (proc_pid_statm(5)).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    pages * 4096
}
