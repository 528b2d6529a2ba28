//! Debian's Prometheus scrapes a mesh, found by the list of targets; queries that Kiali and Flagger send give what the load generator
//! has counted, from Prometheus and from the control plane's own Prometheus API alike.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Client, Mesh, bookstore, eventually, has, text};

/// Rounds of the generator: each is ten found, three wrong, three refused on the way.
const ROUNDS: u64 = 110;
/// The generator takes this long, so that what `rate` extrapolates at either end (half a scrape) is little.
const LASTS: Duration = Duration::from_secs(36);
const SCRAPE: &str = "200ms";
/// In all queries; longer than the test.
const WINDOW: u64 = 180;

/// A fault on the way to `details` for those who ask for it; it never reaches the destination.
const FAULT: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec:
  hosts: [details]
  http:
  - match: [{headers: {wants: {exact: refusal}}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: details}}]
  - route: [{destination: {host: details}}]
"#;

/// What the generator has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    found: u64,
    wrong: u64,
    refused: u64,
    /// Bytes of the bodies that came from the destination.
    bytes: u64,
}

impl Counted {
    fn round(&mut self, client: &mut Client) {
        let mut get = |path: &str, headers: &[(&str, &str)], status: u16| {
            let reply = client.get(&format!("http://details:9080{path}"), headers).expect("the mesh answers");
            assert_eq!(reply.status, status, "{path}: {}", reply.body);
            reply.body.len() as u64
        };
        for _ in 0..10 {
            self.bytes += get("/details/1", &[], 200);
            self.found += 1;
        }
        for _ in 0..3 {
            self.bytes += get("/nothing/here", &[], 400);
            self.wrong += 1;
            get("/details/1", &[("wants", "refusal")], 503);
            self.refused += 1;
        }
    }
}

/// A Prometheus of this test.
struct Prometheus {
    child: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// With the configuration of docs/prometheus.md, but quicker.
    fn start(mesh: &Mesh) -> Self {
        let (at, state) = (format!("{}:19090", mesh.address(200)), mesh.state());
        let configuration = mesh.directory.path().join("prometheus.yml");
        let scrape = format!(
            "scrape_configs:\n- job_name: mesh\n  scrape_interval: {SCRAPE}\n  scrape_timeout: {SCRAPE}\n  http_sd_configs:\n  \
             - url: https://{}:15443/taut/v1/prometheus/targets\n    refresh_interval: 1s\n    \
             authorization: {{type: Bearer, credentials_file: {}}}\n    tls_config: {{ca_file: {}}}\n",
            mesh.address(250),
            state.join("admin.token").display(),
            state.join("ca/root.pem").display(),
        );
        std::fs::write(&configuration, scrape).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", mesh.directory.path().join("prometheus").display()))
            .arg(format!("--web.listen-address={at}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://{at}") }
    }
}

/// Who answers queries: a URL, and what curl needs to ask there.
struct Answering {
    name: &'static str,
    url: String,
    options: Vec<String>,
}

impl Answering {
    fn ask(&self, query: &str, at: u64) -> Result<Value, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "30", "--get"]).args(&self.options);
        curl.args(["--data-urlencode", &format!("query={query}"), "--data-urlencode", &format!("time={at}")]);
        let output = curl.arg(format!("{}/api/v1/query", self.url)).output().unwrap();
        let answer: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))?;
        if answer["status"] == "success" { Ok(answer["data"]["result"].clone()) } else { Err(answer.to_string()) }
    }

    /// The sum of all that a query gives.
    fn sum(&self, query: &str, at: u64) -> Result<f64, String> {
        let result = self.ask(query, at)?;
        let values =
            result.as_array().into_iter().flatten().map(|row| row["value"][1].as_str().unwrap_or_default().parse::<f64>().unwrap_or(f64::NAN));
        Ok(values.sum())
    }
}

/// A query and what its values add up to: what the generator counted, or the same for both who answer.
struct Asked {
    query: String,
    expected: Option<fn(&Counted) -> f64>,
    tolerance: f64,
}

fn all(expected: fn(&Counted) -> f64, query: String) -> Asked {
    Asked { query, expected: Some(expected), tolerance: 0.01 }
}

/// The first requests, which Prometheus does not count, are the slowest; and buckets of the sketch are within 1 %.
fn alike(query: String, tolerance: f64) -> Asked {
    Asked { query, expected: None, tolerance }
}

fn kiali() -> Vec<Asked> {
    let kiali = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,destination_cluster,\
        destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,destination_workload,\
        destination_canonical_service,destination_canonical_revision";
    let edge = "source_workload=\"productpage-v1\",destination_service_name=\"details\"";
    let window = format!("[{WINDOW}s]");
    let per_window = |query: String| format!("({query}) * {WINDOW}");
    vec![
        // Kiali, the graph: HTTP as destinations and as sources see it.
        all(
            |c| (c.found + c.wrong) as f64,
            per_window(format!(
                "sum(rate(istio_requests_total{{reporter=~\"waypoint|destination\",source_workload_namespace=\"default\",{edge}}}{window})) \
             by ({kiali},request_protocol,response_code,grpc_response_status,response_flags) > 0"
            )),
        ),
        all(
            |c| (c.found + c.wrong + c.refused) as f64,
            per_window(format!(
                "sum(rate(istio_requests_total{{reporter=\"source\",source_workload_namespace=\"default\",{edge}}}{window})) \
             by ({kiali},request_protocol,response_code,grpc_response_status,response_flags) > 0"
            )),
        ),
        // Kiali, a service: volume, errors, durations, sizes.
        all(
            |c| (c.found + c.wrong + c.refused) as f64,
            per_window(format!(
                "sum(rate(istio_requests_total{{reporter=\"source\",destination_service_name=\"details\",destination_service_namespace=\"default\"}}{window}))"
            )),
        ),
        all(
            |c| (c.wrong + c.refused) as f64,
            per_window(format!("sum(rate(istio_requests_total{{reporter=\"source\",{edge},response_code=~\"^0$|^[4-5]\\\\d\\\\d$\"}}{window}))")),
        ),
        all(|c| c.refused as f64, per_window(format!("sum(rate(istio_requests_total{{reporter=\"source\",{edge},response_flags=\"FI\"}}{window}))"))),
        all(
            |c| (c.found + c.wrong) as f64,
            per_window(format!(
                "sum(rate(istio_request_duration_milliseconds_count{{reporter=\"destination\",{edge}}}{window})) by ({kiali},request_protocol)"
            )),
        ),
        all(
            |c| c.bytes as f64,
            per_window(format!("sum(rate(istio_response_bytes_sum{{reporter=\"destination\",{edge}}}{window})) by ({kiali},request_protocol)")),
        ),
        alike(
            format!(
                "sum(rate(istio_request_duration_milliseconds_sum{{reporter=\"destination\",{edge}}}{window})) / \
             sum(rate(istio_request_duration_milliseconds_count{{reporter=\"destination\",{edge}}}{window}))"
            ),
            0.05,
        ),
    ]
}

fn flagger() -> Vec<Asked> {
    let target = "reporter=\"destination\",destination_workload_namespace=\"default\",destination_workload=~\"details-v1|details-v2\"";
    let window = format!("[{WINDOW}s]");
    vec![
        // Flagger: success rate, duration, and its manual's share of requests with one status (there 404).
        all(
            |_| 100.0,
            format!(
                "sum(rate(istio_requests_total{{{target},response_code!~\"5.*\"}}{window})) / sum(rate(istio_requests_total{{{target}}}{window})) * 100"
            ),
        ),
        alike(format!("histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{{{target}}}{window})) by (le))"), 0.05),
        all(
            |c| 100.0 * c.wrong as f64 / (c.found + c.wrong) as f64,
            format!(
                "100 - sum(rate(istio_requests_total{{{target},response_code!=\"400\"}}{window})) / sum(rate(istio_requests_total{{{target}}}{window})) * 100"
            ),
        ),
        all(|c| (c.found + c.wrong) as f64, format!("sum(increase(istio_requests_total{{{target}}}{window}))")),
    ]
}

fn near(one: f64, other: f64, tolerance: f64) -> bool {
    (one - other).abs() <= tolerance * other.abs()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The control plane's own API.
fn control_plane(mesh: &Mesh) -> Answering {
    let state = mesh.state();
    let token = std::fs::read_to_string(state.join("admin.token")).unwrap();
    let options = ["--cacert", &state.join("ca/root.pem").display().to_string(), "--header", &format!("authorization: Bearer {}", token.trim())];
    let url = format!("https://{}:15443/prometheus", mesh.address(250));
    Answering { name: "Tautline", url, options: options.map(str::to_owned).to_vec() }
}

#[test]
fn kialis_and_flaggers_queries_give_what_was_sent() {
    if let Some(missing) = ["prometheus", "curl"].into_iter().find(|program| !has(program)) {
        eprintln!("{missing} is not installed: nothing is scraped here");
        return;
    }
    let mesh = Mesh::bookstore();
    mesh.apply_text(FAULT);
    mesh.taut_ok(&["wait", "--for=live", "virtualservice/details"]);
    // Prometheus sees no increase in what a series has when it first sees it: that comes before its first look, and is not counted for it.
    let mut client = Client::behind(&mesh, 1);
    let (mut first, mut sent) = (Counted::default(), Counted::default());
    (0..3).for_each(|_| first.round(&mut client));
    let prometheus = Prometheus::start(&mesh);
    let theirs = Answering { name: "Prometheus", url: prometheus.url.clone(), options: vec![] };
    let members = bookstore().len();
    eventually(Duration::from_secs(60), "every target is up", || {
        let up = theirs.sum("sum(up{job=\"mesh\"})", unix_seconds())?;
        if up as usize == members { Ok(()) } else { Err(format!("{up} of {members} are up")) }
    });
    let ours = control_plane(&mesh);

    let born = "sum(istio_requests_total{destination_service_name=\"details\",reporter=\"source\"})";
    let seen = |who: &Answering, count: u64, at: Option<u64>| {
        eventually(Duration::from_secs(60), "what was sent is seen", || {
            let value = who.sum(born, at.unwrap_or_else(unix_seconds))?;
            if value as u64 == count { Ok(()) } else { Err(format!("{} has {value} of {count}", who.name)) }
        });
    };
    seen(&theirs, 48, None);
    let started = Instant::now();
    for round in 1..=ROUNDS {
        sent.round(&mut client);
        let due = LASTS.mul_f64(round as f64 / ROUNDS as f64);
        std::thread::park_timeout(due.saturating_sub(started.elapsed()));
    }
    let total = 16 * (ROUNDS + 3);
    seen(&theirs, total, None);
    let at = unix_seconds() + 1;
    seen(&theirs, total, Some(at));
    seen(&ours, total, Some(at));
    // The store tells a second when it has waited for every proxy.
    eventually(Duration::from_secs(60), "the second of the queries is over", || {
        let newest = ours.sum("max(timestamp(istio_requests_total{destination_service_name=\"details\"}))", at)?;
        if newest as u64 == at { Ok(()) } else { Err(format!("{newest} of {at}")) }
    });
    let whole = Counted {
        found: first.found + sent.found,
        wrong: first.wrong + sent.wrong,
        refused: first.refused + sent.refused,
        bytes: first.bytes + sent.bytes,
    };
    compare(&theirs, &sent, &ours, &whole, at);
}

/// Prints a table; fails with every row that is off.
fn compare(theirs: &Answering, sent: &Counted, ours: &Answering, whole: &Counted, at: u64) {
    let (mut wrong, mut table) = (Vec::new(), Vec::new());
    for Asked { query, expected, tolerance } in kiali().into_iter().chain(flagger()) {
        let (their, our) = (theirs.sum(&query, at).unwrap(), ours.sum(&query, at).unwrap());
        let good = match expected {
            Some(expected) => near(their, expected(sent), tolerance) && near(our, expected(whole), tolerance),
            None => their > 0.0 && near(our, their, tolerance),
        };
        let counts = expected.map_or_else(String::new, |expected| format!("{} {}", expected(sent), expected(whole)));
        table.push(format!("{their:.3} {our:.3} of {counts}: {:.90}", query));
        if !good {
            wrong.push(format!("{query}\n  {} {their}, {} {our}, counted {counts}", theirs.name, ours.name));
        }
    }
    println!("{}", table.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
