//! `taut test` on the demo's own assertions: they hold, and a planted mistake fails with its line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo").join(name).canonicalize().unwrap()
}

fn test(config: &[&Path], more: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taut"));
    command.args(["test", "-o", "json"]).arg(demo("tests.yaml")).args(more);
    for path in config {
        command.arg("--config").arg(path);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}")))
}

#[test]
fn the_demo_keeps_its_promises() {
    let (code, report) = test(&[&demo("manifests")], &[]);
    assert_eq!((code, &report["failed"]), (Some(0), &Value::from(0)), "{report:#}");
    assert!(report["passed"].as_u64().unwrap() >= 7, "{report:#}");
}

/// The mistake, the case that it breaks, and the line of the mistake.
const MISTAKES: &[(&str, &str, u64, &str)] = &[
    (
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts: [reviews]
  http:
  - route:
    - { destination: { host: reviews }, weight: 99 }
    - { destination: { host: ratings }, weight: 1 }
",
        "the page gets reviews over mutual TLS",
        9,
        "99 % reviews:9080, 1 % ratings:9080",
    ),
    (
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: store }
spec:
  host: store
  trafficPolicy:
    tls: { mode: DISABLE }
",
        "ratings keep a connection to the store",
        0,
        "mutual TLS to 0 of 1 endpoints",
    ),
    (
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ratings }
spec:
  selector: { matchLabels: { app: ratings } }
  action: DENY
  rules:
  - from: [{ source: { principals: [cluster.local/ns/default/sa/bookinfo-reviews] } }]
",
        "reviews get ratings",
        8,
        "100 % refused with 403 authorization_denied",
    ),
];

#[test]
fn a_planted_mistake_fails_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    for (index, (mistake, case, line, got)) in MISTAKES.iter().enumerate() {
        let file = directory.path().join(format!("mistake-{index}.yaml"));
        std::fs::write(&file, mistake).unwrap();
        let (code, report) = test(&[&demo("manifests"), &file], &[]);
        assert_eq!(code, Some(1), "{report:#}");
        let cases = report["cases"].as_array().unwrap();
        let failed: Vec<&Value> = cases.iter().filter(|case| case["passed"] == false).collect();
        assert!(failed.iter().any(|failed| failed["name"] == *case), "{report:#}");
        let mismatch = &failed.iter().find(|failed| failed["name"] == *case).unwrap()["mismatches"][0];
        assert!(mismatch["got"].as_str().unwrap().contains(got), "{mismatch:#}");
        assert!(mismatch["location"]["line"].as_u64().unwrap() > 10, "{mismatch:#}");
        let because = &mismatch["because"]["location"];
        assert!(
            *line == 0 || (because["line"] == *line && because["file"].as_str().unwrap().ends_with(&format!("mistake-{index}.yaml"))),
            "{mismatch:#}"
        );
    }
}

#[test]
fn a_report_for_ci_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.xml");
    let (code, _) = test(&[&demo("manifests")], &["--junit", report.to_str().unwrap(), "--only", "store"]);
    assert_eq!(code, Some(0));
    let text = std::fs::read_to_string(report).unwrap();
    assert!(text.contains(r#"<testsuites tests="1" failures="0""#) && text.contains("ratings keep a connection to the store"), "{text}");
}
