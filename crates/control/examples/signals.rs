//! What the store of signals costs: `cargo xtask bench signals` runs this. An hour of a large mesh, accelerated; then a million distinct
//! edges. Prints a table in Markdown.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use taut_control::signals::{By, Filter, Limits, Store};
use taut_model::signal::{Batch, Edge, Party, Protocol, Reporter, Second, Security, ServiceName, Signals};

const START: Second = 1_767_225_600;
const SERVICES: u64 = 1000;
const CALLERS: u64 = 10;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3600);
    let directory = tempfile::tempdir()?;
    let limits = Limits::default();
    let mut table = Table::default();
    let store = Store::open(directory.path(), limits)?;
    let mut dice = fastrand::Rng::with_seed(7);

    let edges: Vec<Vec<Arc<Edge>>> =
        (0..SERVICES).map(|proxy| (0..CALLERS).map(|n| edge(proxy, (proxy + n * 97 + 1) % SERVICES, 0)).collect()).collect();
    let fill = fill(&store, 0..seconds, &mut dice, |proxy, _| edges[proxy as usize].clone());
    table.part(&format!("{SERVICES} services x {CALLERS} callers, {seconds} s, 10 requests/s per edge"), &fill, &store, directory.path());
    queries(&mut table, &store, START + seconds);
    let begin = Instant::now();
    drop(store);
    let store = Store::open(directory.path(), limits)?;
    table.row("opening it again", millis(begin.elapsed()));
    queries(&mut table, &store, START + seconds);

    let (from, each) = (seconds, 4);
    let flood = self::fill(&store, from..from + 300, &mut dice, |proxy, second| {
        let mut all = edges[proxy as usize].clone();
        all.extend((0..each).map(|n| edge(proxy, n, 1 + (second - from) * each + n)));
        all
    });
    let distinct = 300 * SERVICES * each;
    table.part(&format!("the same with {distinct} distinct edges in 300 s"), &flood, &store, directory.path());
    queries(&mut table, &store, START + from + 300);
    println!("{}", table.text);
    Ok(())
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

/// Ten requests with durations around 8 ms and a long tail; one in a thousand fails.
fn signals(dice: &mut fastrand::Rng) -> Signals {
    let mut signals = Signals { requests: 10, request_bytes: 2000, response_bytes: 40_000, in_flight: 2, ..Signals::default() };
    for _ in 0..10 {
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
}

fn fill(store: &Store, seconds: Range<u64>, dice: &mut fastrand::Rng, edges: impl Fn(u64, u64) -> Vec<Arc<Edge>>) -> Filled {
    let mut filled = Filled { seconds: seconds.end - seconds.start, batches: Duration::ZERO, ticks: Duration::ZERO, slowest_tick: Duration::ZERO };
    for second in seconds {
        let at = START + second;
        for proxy in 0..SERVICES {
            let entries = edges(proxy, second).into_iter().map(|edge| (edge, signals(dice))).collect();
            let batch = Batch { proxy: format!("shop/service-{proxy}"), epoch: 1, sequence: second + 1, second: at, entries, lost: 0, last: false };
            let begin = Instant::now();
            store.add(batch, at + 1);
            filled.batches += begin.elapsed();
        }
        let begin = Instant::now();
        store.tick(at + 1);
        filled.ticks += begin.elapsed();
        filled.slowest_tick = filled.slowest_tick.max(begin.elapsed());
    }
    filled
}

fn queries(table: &mut Table, store: &Store, end: Second) {
    let (all, one) = (Filter::default(), Filter { service: Some("service-7".into()), ..Filter::default() });
    let end = end - 5;
    for (name, window, filter) in
        [("edges, 30 s", 30, &all), ("edges, 15 min", 900, &all), ("edges of one service, 15 min", 900, &one), ("edges, 1 h", 3600, &all)]
    {
        let begin = Instant::now();
        let found = store.edges(end - window..end, filter).len();
        table.row(name, format!("{} ({found} edges)", millis(begin.elapsed())));
    }
    for (name, window, step, filter, by) in [
        ("series by service, 15 min, step 5 s", 900, 5, &all, By::Service),
        ("series of one service by version, 15 min, step 5 s", 900, 5, &one, By::Version),
        ("series by service, 1 h, step 60 s", 3600, 60, &all, By::Service),
    ] {
        let begin = Instant::now();
        let answer = store.series(end - window..end, step, filter, by, 100);
        table.row(name, format!("{} ({} series, step {} s)", millis(begin.elapsed()), answer.series.len(), answer.step));
    }
}

fn millis(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1000.0)
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn part(&mut self, name: &str, filled: &Filled, store: &Store, directory: &Path) {
        self.text += &format!("\n| {name} | |\n|---|---|\n");
        let per_second = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0 / filled.seconds as f64);
        self.row("CPU per second of the mesh: taking reports", per_second(filled.batches));
        self.row("sealing, rolling up and writing", format!("{}, slowest {}", per_second(filled.ticks), millis(filled.slowest_tick)));
        let about = store.about();
        let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        let number = |key: &str| about[key].as_u64().unwrap_or_default();
        self.row("memory: frames (ceiling)", format!("{} ({})", mebibytes(number("memoryBytes")), mebibytes(number("memoryCeiling"))));
        self.row("memory: the whole process", mebibytes(resident()));
        let on_disk: u64 =
            std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum();
        self.row("disk (ceiling)", format!("{} ({})", mebibytes(on_disk), mebibytes(number("diskCeiling"))));
        self.row("edges told apart (ceiling)", format!("{} ({})", number("edges"), number("edgesCeiling")));
        self.row("reports summed as `other`", number("edgesOverflow").to_string());
        for level in about["levels"].as_array().into_iter().flatten() {
            let reach = level["oldest"].as_u64().map_or(0, |oldest| store.latest().saturating_sub(oldest));
            self.row(&format!("reach of {} s", level["seconds"]), format!("{reach} s"));
        }
    }

    fn row(&mut self, name: &str, value: String) {
        self.text += &format!("| {name} | {value} |\n");
    }
}

/// Bytes of memory that the process holds (proc_pid_statm(5)).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    pages * 4096
}
