//! A recording of a real mesh: read by Python as anybody's Parquet file, and by `taut replay` when the mesh is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use support::{Client, Member, Mesh, PATIENCE, eventually, text};

/// What pyarrow makes of the file: sums of what counts once, by service, and the quantiles that its buckets say.
const PYTHON: &str = "
import json, sys, pyarrow.parquet as parquet
table = parquet.read_table(sys.argv[1])
meta = {k.decode(): v.decode() for k, v in table.schema.metadata.items() if k.startswith(b'taut.')}
services = {}
for row in table.to_pylist():
    if not row['counts_once']:
        continue
    one = services.setdefault(row['service'], {'requests': 0, 'errors': 0, 'statuses': {}, 'timed': 0, 'start': row['start'].isoformat()})
    one['requests'] += row['requests']
    one['errors'] += row['errors']
    for outcome in row['outcomes']:
        status = str(outcome['status'])
        one['statuses'][status] = one['statuses'].get(status, 0) + outcome['count']
        if outcome['failure']:
            one.setdefault('failures', {}).setdefault(outcome['failure'], 0)
            one['failures'][outcome['failure']] += outcome['count']
    one['timed'] += sum(bucket['count'] for bucket in row['latency'])
print(json.dumps({'services': services, 'rows': table.num_rows, 'format': meta['taut.format'], 'changes': json.loads(meta['taut.changes']), 'mesh': meta['taut.mesh']}))
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Requests of a service as `taut edges -o json` says.
fn requests(answer: &Value, service: &str) -> u64 {
    let edges = answer["edges"].as_array().unwrap().iter().filter(|edge| edge["service"]["name"] == service);
    edges.map(|edge| edge["requests"].as_u64().unwrap()).sum()
}

#[test]
fn a_recording_is_read_by_anybody_and_outlives_the_mesh() {
    let mut mesh = Mesh::start();
    let details = Member::new("details", "v1", 2);
    mesh.run(&details);
    mesh.run(&Member::new("reviews", "v1", 4));
    mesh.wait_ready(2);
    mesh.apply_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: details }\nspec:\n  hosts: [details]\n  http:\n  - match: [{ uri: { prefix: /gone } }]\n    fault: { abort: { percentage: { value: 100 }, httpStatus: 503 } }\n    route: [{ destination: { host: details } }]\n  - route: [{ destination: { host: details } }]\n",
    );
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    let mut client = Client::behind(&mesh, 4);
    for number in 0..40 {
        let path = if number % 4 == 0 { "gone" } else { "details/0" };
        client.get(&format!("http://details:9080/{path}"), &[]).unwrap();
    }
    let live = eventually(PATIENCE, "all forty are counted", || {
        let answer = json(&mesh.taut_ok(&["edges", "--window", "10m", "-o", "json"]));
        if requests(&answer, "details") == 40 { Ok(answer) } else { Err(format!("{answer:#}")) }
    });

    let file = mesh.directory.path().join("a.parquet");
    let name = file.to_str().unwrap();
    let said = mesh.taut_ok(&["record", "--last", "10m", "-o", name]);
    assert!(said.contains("a.parquet: ") && said.contains(" of mesh cluster.local, "), "{said}");
    let again = mesh.taut(&["record", "-o", name]);
    assert!(again.status.code() == Some(2) && text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    mesh.taut_ok(&["record", "--last", "10m", "-o", name, "--force"]);
    let impossible = mesh.taut(&["record", "--from", "2030-01-02T00:00:00Z", "-o", "/nowhere/a.parquet"]);
    assert_eq!(impossible.status.code(), Some(2));
    let early = mesh.directory.path().join("b.parquet");
    let backwards = mesh.taut(&["record", "--from", "2030-01-02T00:00:00Z", "-o", early.to_str().unwrap()]);
    assert!(text(&backwards.stderr).contains("ends before it begins"), "{}", text(&backwards.stderr));
    let others: Vec<_> = std::fs::read_dir(mesh.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!others.iter().any(|name| name.to_string_lossy().contains("partial") || name == "b.parquet"), "{others:?}");
    by_python(name, &live);

    mesh.terminate("control-plane");
    let summary = json(&mesh.taut_ok(&["replay", name, "-o", "json"]));
    assert_eq!((&summary["mesh"], &summary["finestSeconds"]), (&"cluster.local".into(), &1.into()), "{summary:#}");
    let changed = summary["changes"].as_array().unwrap().iter().flat_map(|change| change["objects"].as_array().unwrap());
    assert!(changed.clone().any(|object| object["name"] == "details" && object["diff"].as_str().unwrap().contains("httpStatus")), "{summary:#}");
    let replayed = json(&mesh.taut_ok(&["replay", name, "edges", "-o", "json"]));
    assert_eq!(requests(&replayed, "details"), 40, "{replayed:#}");
    assert_eq!(summary["requests"].as_u64(), Some(replayed["edges"].as_array().unwrap().iter().map(|edge| edge["requests"].as_u64().unwrap()).sum()));
    let errors = |answer: &Value| answer["edges"].as_array().unwrap().iter().map(|edge| edge["failures"].clone()).collect::<Vec<_>>();
    assert_eq!(errors(&replayed), errors(&live));
    assert!(mesh.taut_ok(&["replay", name]).contains("40 requests"));
    let table = mesh.taut_ok(&["replay", name, "top", "--sort", "errors", "--limit", "1"]);
    assert!(table.starts_with("SOURCE") && table.lines().count() == 2 && table.contains("details.default"), "{table}");
    let outside = mesh.taut(&["replay", name, "edges", "--at", "2020-01-02T00:00:00Z"]);
    assert!(outside.status.code() == Some(2) && text(&outside.stderr).contains("the recording is of "), "{}", text(&outside.stderr));
    std::fs::write(&file, "no recording").unwrap();
    let foreign = mesh.taut(&["replay", name]);
    assert!(foreign.status.code() == Some(2) && text(&foreign.stderr).contains("is no recording"), "{}", text(&foreign.stderr));
}

fn by_python(name: &str, live: &Value) {
    let able = Command::new("python3").args(["-c", "import pyarrow.parquet"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        eprintln!("python3 with pyarrow is not installed: only taut reads the recording here");
        return;
    }
    let output = Command::new("python3").args(["-c", PYTHON, name]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = json(&text(&output.stdout));
    assert_eq!((&read["format"], &read["mesh"]), (&"1".into(), &"cluster.local".into()));
    // By what they are counted: statuses, reasons.
    let sums = |field: &str| {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let edges = live["edges"].as_array().unwrap().iter().filter(|edge| edge["service"]["name"] == "details");
        edges
            .flat_map(|edge| edge[field].as_object().unwrap())
            .for_each(|(name, count)| *sums.entry(name.clone()).or_default() += count.as_u64().unwrap());
        serde_json::to_value(sums).unwrap()
    };
    let details = &read["services"]["details"];
    assert_eq!((&details["requests"], &details["timed"], &details["errors"]), (&40.into(), &40.into(), &10.into()), "{read:#}");
    assert_eq!((&details["statuses"], &details["failures"]), (&sums("statuses"), &sums("failures")), "{read:#}\n{live:#}");
    assert!(details["start"].as_str().unwrap().ends_with("+00:00"), "{details}");
}
