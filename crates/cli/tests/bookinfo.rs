//! Istio's Bookinfo manifests, unchanged, against the running bookstore: each is applied with kubectl, must be live within a
//! second, and must move traffic as it says. Prints a table: file, expected, seen. `TAUT_REQUESTS` sets the requests per file
//! (2,000 for the published figures), `TAUT_ROW` picks the files whose names contain it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Client, Mesh, Reply, has, manifests, text};

/// One manifest and what the traffic must look like under it.
struct Row {
    files: &'static [&'static str],
    checks: Vec<Check>,
}

struct Check {
    service: &'static str,
    user: Option<&'static str>,
    expected: Expected,
}

enum Expected {
    /// Percent by version; everything answers 200.
    Split(&'static [(&'static str, f64)]),
    /// Every request answers with this status, at once.
    Status(u16),
    /// Every request answers 200 from v1 after this long.
    Delay(Duration),
}

const RULES: &str = "istio-bookinfo/networking/destination-rule-all.yaml";

fn everyone(service: &'static str, split: &'static [(&'static str, f64)]) -> Check {
    Check { service, user: None, expected: Expected::Split(split) }
}

fn jason(service: &'static str, expected: Expected) -> Check {
    Check { service, user: Some("jason"), expected }
}

macro_rules! row {
    ($($file:literal),+; $($check:expr),+) => { Row { files: &[$(concat!("istio-bookinfo/", $file)),+], checks: vec![$($check),+] } };
}

fn rows() -> Vec<Row> {
    const V1: &[(&str, f64)] = &[("v1", 100.0)];
    const V2: &[(&str, f64)] = &[("v2", 100.0)];
    const V3: &[(&str, f64)] = &[("v3", 100.0)];
    let all_v1 = || vec![everyone("reviews", V1), everyone("ratings", V1), everyone("details", V1)];
    let split = Expected::Split;
    vec![
        row!["networking/virtual-service-reviews-90-10.yaml"; everyone("reviews", &[("v1", 90.0), ("v2", 10.0)])],
        row!["networking/virtual-service-reviews-80-20.yaml"; everyone("reviews", &[("v1", 80.0), ("v2", 20.0)])],
        row!["networking/virtual-service-reviews-50-v3.yaml"; everyone("reviews", &[("v1", 50.0), ("v3", 50.0)])],
        row!["networking/virtual-service-reviews-v2-v3.yaml"; everyone("reviews", &[("v2", 50.0), ("v3", 50.0)])],
        row!["networking/virtual-service-reviews-v3.yaml"; everyone("reviews", V3)],
        row!["networking/virtual-service-reviews-test-v2.yaml"; everyone("reviews", V1), jason("reviews", split(V2))],
        row!["networking/virtual-service-reviews-jason-v2-v3.yaml"; everyone("reviews", V3), jason("reviews", split(V2))],
        Row { files: &["istio-bookinfo/networking/virtual-service-all-v1.yaml"], checks: all_v1() },
        row!["networking/virtual-service-details-v2.yaml"; everyone("details", V2)],
        row!["networking/virtual-service-ratings-db.yaml"; everyone("reviews", V3), everyone("ratings", V2)],
        row!["networking/virtual-service-ratings-test-abort.yaml"; everyone("ratings", V1), jason("ratings", Expected::Status(500))],
        row!["networking/virtual-service-ratings-test-delay.yaml"; everyone("ratings", V1), jason("ratings", Expected::Delay(Duration::from_secs(7)))],
        row!["networking/fault-injection-details-v1.yaml"; Check { service: "details", user: None, expected: Expected::Status(555) }],
        row!["networking/destination-rule-reviews.yaml"; everyone("reviews", &[("v1", 33.3), ("v2", 33.3), ("v3", 33.3)])],
        row!["networking/destination-rule-all-mtls.yaml", "networking/virtual-service-reviews-90-10.yaml"; everyone("reviews", &[("v1", 90.0), ("v2", 10.0)])],
        row!["gateway-api/route-reviews-90-10.yaml"; everyone("reviews", &[("v1", 90.0), ("v2", 10.0)])],
        row!["gateway-api/route-reviews-50-v3.yaml"; everyone("reviews", &[("v1", 50.0), ("v3", 50.0)])],
        row!["gateway-api/route-reviews-v1.yaml"; everyone("reviews", V1)],
        row!["gateway-api/route-reviews-v3.yaml"; everyone("reviews", V3)],
        Row { files: &["istio-bookinfo/gateway-api/route-all-v1.yaml"], checks: all_v1() },
    ]
}

#[test]
fn every_manifest_moves_traffic_as_it_says() {
    if !has("kubectl") {
        eprintln!("kubectl is not installed: Istio's manifests are not tried with it here");
        return;
    }
    let requests: usize = std::env::var("TAUT_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let only = std::env::var("TAUT_ROW").unwrap_or_default();
    let mesh = Mesh::bookstore();
    let mut table = Vec::new();
    let mut wrong = Vec::new();
    for row in rows().into_iter().filter(|row| row.files.iter().any(|file| file.contains(&only))) {
        clear(&mesh);
        let live = apply(&mesh, row.files);
        for check in &row.checks {
            let (expected, seen, good) = check.measure(&mesh, requests);
            let line = format!("| {} | {expected} | {seen} | {live} ms |", row.files.last().unwrap().trim_start_matches("istio-bookinfo/"));
            if !good {
                wrong.push(line.clone());
            }
            table.push(line);
        }
        if live > 1000 {
            wrong.push(format!("{:?} was live only after {live} ms", row.files));
        }
    }
    println!("| file | expected | seen over {requests} requests or n | live after |\n|---|---|---|---|\n{}", table.join("\n"));
    assert!(wrong.is_empty(), "{wrong:#?}\n{:#}", mesh.status());
}

fn clear(mesh: &Mesh) {
    mesh.kubectl_ok(&[
        "delete",
        "virtualservices.networking.istio.io,destinationrules.networking.istio.io,httproutes.gateway.networking.k8s.io",
        "--all",
    ]);
}

/// Applies the files (subsets first) and waits until they are live; milliseconds from the end of `kubectl apply`.
fn apply(mesh: &Mesh, files: &[&str]) -> u128 {
    let needs_rules = files.iter().all(|f| f.contains("virtual-service"));
    let mut objects = Vec::new();
    let all: Vec<&str> = needs_rules.then_some(RULES).into_iter().chain(files.iter().copied()).collect();
    let mut live = 0;
    for file in all {
        let path = manifests().join(file);
        let output = mesh.kubectl_ok(&["apply", "-f", path.to_str().unwrap(), "-o", "name"]);
        let started = Instant::now();
        objects.clear();
        objects.extend(output.lines().map(|line| line.trim().to_owned()));
        let mut arguments = vec!["wait", "--for=live", "--timeout", "5s"];
        arguments.extend(objects.iter().map(String::as_str));
        mesh.taut_ok(&arguments);
        live = started.elapsed().as_millis();
    }
    live
}

impl Check {
    fn measure(&self, mesh: &Mesh, requests: usize) -> (String, String, bool) {
        let who = self.user.map_or_else(|| format!("{}: ", self.service), |user| format!("{} as {user}: ", self.service));
        let (requests, threads) = match self.expected {
            Expected::Delay(_) => ((requests / 10).max(20), (requests / 20).max(20)),
            _ => (requests, 4),
        };
        let replies = fetch(mesh, self.service, self.user, requests, threads);
        let failed = replies.iter().filter(|r| r.status != 200).count();
        match &self.expected {
            Expected::Split(split) => {
                let mut tally = Tally::default();
                tally.count(&replies);
                while !tally.is_split(split) && tally.total < ENOUGH {
                    tally.count(&fetch(mesh, self.service, self.user, requests, threads));
                }
                let expected = split.iter().map(|(v, p)| format!("{v} {p:.0} %")).collect::<Vec<_>>().join(", ");
                (who + &expected, tally.to_string(), tally.is_split(split))
            }
            Expected::Status(status) => {
                let good = replies.iter().filter(|r| r.status == *status).count();
                (format!("{who}{status}"), format!("{status} {:.1} %", good as f64 * 100.0 / replies.len() as f64), good == replies.len())
            }
            Expected::Delay(delay) => {
                let (low, high) = (replies.iter().map(|r| r.took).min().unwrap(), replies.iter().map(|r| r.took).max().unwrap());
                let good = failed == 0 && low >= *delay && high < *delay + Duration::from_secs(2);
                (
                    format!("{who}200 after {} s", delay.as_secs()),
                    format!("200 after {:.2} to {:.2} s (n={requests})", low.as_secs_f64(), high.as_secs_f64()),
                    good,
                )
            }
        }
    }
}

/// Requests after which three points are at least six standard deviations of any split: what is further off is not chance. Two
/// thousand are off that far once in 150 runs of a fair 50/50 split, so a row that looks wrong is asked on.
const ENOUGH: usize = 10_000;

#[derive(Default)]
struct Tally {
    total: usize,
    failed: usize,
    seen: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, replies: &[Reply]) {
        self.total += replies.len();
        self.failed += replies.iter().filter(|r| r.status != 200).count();
        for reply in replies {
            *self.seen.entry(reply.json()["served_by"].as_str().unwrap_or("-").to_owned()).or_default() += 1;
        }
    }

    fn percent(&self, version: &str) -> f64 {
        *self.seen.get(version).unwrap_or(&0) as f64 * 100.0 / self.total as f64
    }

    /// All answered, and no version is more than three points from its share.
    fn is_split(&self, split: &[(&str, f64)]) -> bool {
        self.failed == 0 && self.seen.len() <= split.len() && split.iter().all(|(v, p)| (self.percent(v) - p).abs() <= 3.0)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shares: Vec<String> = self.seen.keys().map(|v| format!("{v} {:.1} %", self.percent(v))).collect();
        write!(f, "{} (n={})", shares.join(", "), self.total)?;
        if self.failed > 0 { write!(f, "; {} failed", self.failed) } else { Ok(()) }
    }
}

/// Requests by way of productpage's sidecar, from several connections at once.
fn fetch(mesh: &Mesh, service: &str, user: Option<&str>, requests: usize, threads: usize) -> Vec<Reply> {
    let url = format!("http://{service}:9080/{service}/0");
    let headers: Vec<(&str, &str)> = user.map(|u| ("end-user", u)).into_iter().collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|n| {
                let mine = requests / threads + usize::from(n < requests % threads);
                let (url, headers) = (&url, &headers);
                scope.spawn(move || {
                    let mut client = Client::behind(mesh, 1);
                    (0..mine).map(|_| client.get(url, headers).unwrap_or_else(|e| panic!("{url}: {e}"))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("client thread")).collect()
    })
}

#[test]
fn kubectl_reads_what_it_wrote() {
    if !has("kubectl") {
        eprintln!("kubectl is not installed: not tried here");
        return;
    }
    let mesh = Mesh::start();
    let path = manifests().join("istio-bookinfo/platform/kube/bookinfo.yaml");
    mesh.kubectl_ok(&["apply", "-f", path.to_str().unwrap()]);
    let rules = manifests().join("istio-bookinfo/networking/virtual-service-reviews-90-10.yaml");
    let route = manifests().join("istio-bookinfo/gateway-api/route-reviews-v1.yaml");
    mesh.kubectl_ok(&["apply", "--server-side", "-f", rules.to_str().unwrap(), "-f", route.to_str().unwrap()]);
    let listed = mesh.kubectl_ok(&["get", "virtualservices,httproutes,services", "-A"]);
    for word in ["virtualservice.networking.istio.io/reviews", "httproute.gateway.networking.k8s.io/reviews", "service/productpage"] {
        assert!(listed.contains(word), "{word} in\n{listed}");
    }
    let gateway = manifests().join("istio-bookinfo/networking/bookinfo-gateway.yaml");
    mesh.kubectl_ok(&["apply", "-f", gateway.to_str().unwrap()]);
    support::eventually(support::PATIENCE, "a kind that does nothing yet says so", || {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Accepted")].reason}"#;
        match mesh.kubectl_ok(&["get", "gateways.networking.istio.io", "bookinfo-gateway", "-o", path]) {
            reason if reason == "UnsupportedValue" => Ok(()),
            reason => Err(reason),
        }
    });
    let explained = mesh.kubectl_ok(&["explain", "virtualservice.spec.http"]);
    assert!(explained.contains("fault") && explained.contains("FIELD: http"), "{explained}");
    mesh.kubectl_ok(&["wait", "--for=condition=Accepted", "virtualservice/reviews", "--timeout=10s"]);
    let refused = mesh.kubectl(&["patch", "virtualservice", "reviews", "--type=merge", "-p", r#"{"spec":{"htpp":[]}}"#]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("htpp"), "{}", text(&refused.stderr));
}
