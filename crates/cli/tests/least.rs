//! Least privilege with real processes: policies written from what was seen and applied under load, a plan that names the flow it would break,
//! and from plain text to STRICT by the report alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use support::{Client, Connection, Mesh, PATIENCE, bookstore, eventually, text};

const SHOP: &str = "cluster.local/ns/default/sa/bookinfo-";

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Page views, one after the other, each of which reaches every service of the bookstore.
struct Views {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Views {
    fn start(page: String) -> Self {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (stop.clone(), good.clone());
        let thread = std::thread::spawn(move || {
            let mut bad = Vec::new();
            while !told.load(Relaxed) {
                match Connection::open(&page).and_then(|mut client| client.get("/productpage", "bookstore", &[])) {
                    Ok(reply) if reply.status == 200 && !reply.body.contains("class=bad") => drop(count.fetch_add(1, Relaxed)),
                    other => bad.push(format!("{other:?}")),
                }
                std::thread::park_timeout(Duration::from_millis(15));
            }
            bad
        });
        Self { stop, good, thread }
    }

    /// Some more views are over.
    fn go_on(&self, views: u64) {
        let before = self.good.load(Relaxed);
        eventually(PATIENCE, "pages are viewed", || match self.good.load(Relaxed) {
            now if now >= before + views => Ok(()),
            now => Err(format!("{now} good, {before} before")),
        });
    }

    /// How many were good, and what the others came to.
    fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Relaxed);
        let bad = self.thread.join().unwrap();
        (self.good.load(Relaxed), bad)
    }
}

fn suggested<'a>(answer: &'a Value, service: &str) -> &'a Value {
    answer["suggestions"].as_array().unwrap().iter().find(|one| one["service"] == service).unwrap_or_else(|| panic!("{service} in {answer:#}"))
}

#[test]
fn what_is_suggested_breaks_nothing_and_a_stranger_is_refused_with_the_reason() {
    let mesh = Mesh::bookstore();
    let views = Views::start(format!("{}:9080", mesh.address(1)));
    views.go_on(30);
    let callers = [("details", "productpage"), ("reviews", "productpage"), ("ratings", "reviews"), ("store", "ratings")];
    eventually(PATIENCE, "every caller was seen", || {
        let answer = json(&mesh.taut(&["policy", "suggest", "-o", "json"]));
        let is_seen = |(service, caller): &(&str, &str)| {
            let principals = suggested(&answer, service)["callers"].as_array().unwrap();
            principals.iter().any(|one| one["principal"] == format!("{SHOP}{caller}"))
        };
        if callers.iter().all(is_seen) { Ok(()) } else { Err(format!("{answer:#}")) }
    });
    let suggestion = mesh.taut(&["policy", "suggest", "--since", "10m"]);
    let yaml = text(&suggestion.stdout);
    assert_eq!(suggestion.status.code(), Some(0), "{}", said(&suggestion));
    assert!(yaml.contains("# confidence low: ") && yaml.contains("# note: nobody was seen calling it"), "{yaml}");
    let file = mesh.directory.path().join("least.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let file = file.to_str().unwrap();
    let planned = mesh.taut(&["plan", "-f", file]);
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    assert!(said(&planned).contains("go on as before"), "{}", said(&planned));

    mesh.taut_ok(&["apply", "-f", file, "--wait", "30s"]);
    views.go_on(60);
    let (good, bad) = views.stop();
    println!(
        "{good} page views while {} policies were suggested, planned and applied: {} failed",
        yaml.matches("kind: AuthorizationPolicy").count(),
        bad.len()
    );
    assert!(bad.is_empty(), "{bad:?}");
    a_stranger_is_refused(&mesh);
    a_policy_that_would_break_a_flow_is_named(&mesh);
}

/// The client learns a code. Who may ask the control plane learns the policy, the rule and the attribute.
fn a_stranger_is_refused(mesh: &Mesh) {
    let probe = Client::behind(mesh, 4).get("http://details:9080/details/0", &[]).unwrap();
    assert_eq!((probe.status, probe.header("x-taut-reason")), (403, Some("authorization_denied")), "{probe:?}");
    let told = format!("{:?} {}", probe.headers, probe.body);
    assert!(!told.contains("seen-callers") && !told.contains("Policy") && !told.contains("principal"), "{told}");
    let id = probe.header("x-request-id").unwrap();
    assert!(probe.body.contains(&format!("client authorization_denied (request {id}")), "{told}");
    let why = mesh.taut_ok(&["why", id]);
    let reason = format!("AuthorizationPolicy default/seen-callers-of-details (spec.rules[0]: source.principal is {SHOP}reviews)");
    assert!(why.contains(&reason), "{why}");
    let answer = json(&mesh.taut(&["policy", "suggest", "--service", "details", "-o", "json"]));
    let caught = eventually(PATIENCE, "the refusal is counted", || {
        let answer = json(&mesh.taut(&["policy", "suggest", "--service", "details", "-o", "json"]));
        answer["suggestions"][0]["refused"].as_array().unwrap().first().cloned().ok_or_else(|| format!("{answer:#}"))
    });
    assert_eq!(caught["principal"], format!("{SHOP}reviews"), "{answer:#}");
}

fn a_policy_that_would_break_a_flow_is_named(mesh: &Mesh) {
    let policy = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: seen-callers-of-ratings }}\nspec:\n  selector: {{ matchLabels: {{ app: ratings }} }}\n  rules:\n  - from: [{{ source: {{ principals: [{SHOP}productpage] }} }}]\n"
    );
    let file = mesh.directory.path().join("narrow.yaml");
    std::fs::write(&file, policy).unwrap();
    let file = file.to_str().unwrap();
    let recording = mesh.directory.path().join("flows.parquet");
    let recording = recording.to_str().unwrap();
    mesh.taut_ok(&["record", "--last", "10m", "-o", recording]);
    for more in [&[][..], &["--since", "10m"], &["--recording", recording]] {
        let planned = mesh.taut(&[&["plan", "-f", file, "-o", "json"][..], more].concat());
        assert_eq!(planned.status.code(), Some(2), "{more:?}: {}", said(&planned));
        let answer = json(&planned);
        let flow = answer["flows"].as_array().unwrap().iter().find(|flow| flow["refused"] == true && flow["from"] == "default/reviews-v2").cloned();
        let flow = flow.unwrap_or_else(|| panic!("{more:?}: {answer:#}"));
        assert_eq!(
            (&flow["to"], &flow["by"]["object"]["name"]),
            (&"ratings.default.svc.cluster.local".into(), &"seen-callers-of-ratings".into()),
            "{flow:#}"
        );
        assert!(flow["after"].as_str().unwrap().contains(&format!("(spec.rules[0]: source.principal is {SHOP}reviews)")), "{flow:#}");
        assert!(flow["requests"].as_u64() > Some(0), "{flow:#}");
    }
    let missing = mesh.taut(&["plan", "-f", file, "--recording", "/nowhere.parquet"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("cannot be read"), "{}", said(&missing));
}

#[test]
fn plain_text_is_refused_by_the_report_alone_and_no_request_fails() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    mesh.apply_text(taut_demo::manifests::VERSIONS);
    let page = format!("{}:8000", mesh.address(1));
    for member in bookstore() {
        let member = if member.service == "productpage" { member.with(&["--expose", &page]) } else { member };
        mesh.run(&member);
    }
    mesh.wait_ready(bookstore().len());
    let views = Views::start(page);
    views.go_on(20);
    let report = eventually(PATIENCE, "plain text was seen", || {
        let report = mesh.taut(&["trust", "strict", "--dry-run", "-n", "default"]);
        if said(&report).contains("default/productpage-v1") { Ok(report) } else { Err(said(&report)) }
    });
    assert_eq!(report.status.code(), Some(2), "{}", said(&report));
    let shown = said(&report);
    assert!(shown.contains("⊘") && shown.contains("(no proxy)") && shown.contains("403 mutual_tls_required") && !shown.contains("kind:"), "{shown}");
    let status = mesh.taut_ok(&["status"]);
    assert!(status.contains("plain text in the last hour") && status.contains("(no proxy) -> default/productpage-v1 ("), "{status}");
    let analyzed = said(&mesh.taut(&["analyze"]));
    assert!(analyzed.contains("TAUT0604 PlaintextSeen") && analyzed.contains("default/productpage-v1"), "{analyzed}");
    // Nothing is done while something would break, nor while nobody agrees.
    assert_eq!(mesh.taut(&["trust", "strict", "-n", "default", "--yes"]).status.code(), Some(2));
    let unasked = mesh.taut(&["trust", "strict", "-n", "default", "--except", "productpage"]);
    assert!(unasked.status.code() == Some(2) && said(&unasked).contains("--yes"), "{}", said(&unasked));
    assert!(!mesh.taut_ok(&["get", "peerauthentications"]).contains("default"), "nothing was applied");

    let good = mesh.taut(&["trust", "strict", "--dry-run", "-n", "default", "--except", "productpage"]);
    assert!(good.status.success() && said(&good).contains("mode: STRICT") && said(&good).contains("mode: PERMISSIVE"), "{}", said(&good));
    let done = mesh.taut(&["trust", "strict", "-n", "default", "--except", "productpage", "--yes"]);
    assert!(done.status.success(), "{}", said(&done));
    views.go_on(60);
    let (good, bad) = views.stop();
    println!("{good} page views while the namespace went from PERMISSIVE to STRICT: {} failed", bad.len());
    assert!(bad.is_empty(), "{bad:?}");
    let again = mesh.taut(&["trust", "strict", "-n", "default", "--except", "productpage", "--yes"]);
    assert!(again.status.success() && said(&again).contains("it holds already"), "{}", said(&again));
    let why = mesh.taut_ok(&["why", "--from", "reviews", "--to", "ratings"]);
    assert!(why.contains("let in"), "{why}");
}
