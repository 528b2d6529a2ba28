//! The whole bookstore page: HTTP, gRPC and TCP in one request, with the metrics, records and explanations that it leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use support::{Client, Connection, Mesh, PATIENCE, bookstore, eventually, has, text};

/// The value of the first series of `name` with all these labels.
fn series(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && labels.iter().all(|(k, v)| line.contains(&format!("{k}=\"{v}\"")))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_page_crosses_http_grpc_and_tcp_and_leaves_its_traces() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    let page = format!("{}:9081", mesh.address(1));
    for member in bookstore() {
        let member = if member.service == "productpage" { member.with(&["--expose", &page]) } else { member };
        mesh.run(&member);
    }
    mesh.wait_ready(bookstore().len());
    let mut browser = Connection::open(&page).unwrap();
    for turn in 0..9 {
        let reply = browser.get("/productpage", "bookstore", &[]).unwrap();
        assert_eq!(reply.status, 200, "turn {turn}");
        assert!(reply.body.contains("William Shakespeare") && reply.body.contains("copies <small>(gRPC, details v"), "{}", reply.body);
        assert!(!reply.body.contains("class=bad"), "{}", reply.body);
    }

    let metrics = mesh.admin(1, "/metrics").body;
    let page_labels =
        [("reporter", "source"), ("source_workload", "productpage-v1"), ("source_workload_namespace", "default"), ("response_code", "200")];
    let with = |more: &[(&'static str, &'static str)]| [&page_labels[..], more].concat();
    let reviews =
        with(&[("destination_service", "reviews.default.svc.cluster.local"), ("destination_service_name", "reviews"), ("request_protocol", "http")]);
    assert!(series(&metrics, "istio_requests_total", &reviews).unwrap() >= 1.0, "{metrics}");
    let grpc = with(&[("destination_service_name", "details"), ("request_protocol", "grpc"), ("grpc_response_status", "0")]);
    assert!(series(&metrics, "istio_requests_total", &grpc).unwrap() >= 1.0, "{metrics}");
    assert!(series(&metrics, "istio_request_duration_milliseconds_bucket", &reviews).is_some());
    // The stars came from the store over TCP: seen from both ends, and the server's end knows the client by its certificate.
    let tcp = eventually(PATIENCE, "ratings' connection is counted at the store", || {
        let metrics = mesh.admin(9, "/metrics").body;
        let labels = [
            ("reporter", "destination"),
            ("source_principal", "spiffe://cluster.local/ns/default/sa/bookinfo-ratings"),
            ("connection_security_policy", "mutual_tls"),
        ];
        series(&metrics, "istio_tcp_connections_opened_total", &labels).ok_or(metrics)
    });
    assert!(tcp >= 1.0);
    if has("promtool") {
        let path = mesh.directory.path().join("metrics.txt");
        std::fs::write(&path, &metrics).unwrap();
        let checked = Command::new("sh").args(["-c", &format!("promtool check metrics < {}", path.display())]).output().unwrap();
        // promtool's lint dislikes Istio's own names; what it cannot parse is an error.
        assert!(!text(&checked.stderr).contains("error while"), "{}", text(&checked.stderr));
    }

    let config = mesh.admin(1, "/config").json();
    assert_eq!(config["certificate"]["identity"].as_str(), Some("spiffe://cluster.local/ns/default/sa/bookinfo-productpage"), "{config:#}");
    assert_eq!(mesh.admin(1, "/ready").status, 200);
}

#[test]
fn why_tells_the_story_of_a_request_that_happened() {
    let mesh = Mesh::bookstore();
    let rules = support::manifests().join("istio-bookinfo/networking");
    for file in ["destination-rule-all.yaml", "virtual-service-reviews-test-v2.yaml"] {
        mesh.taut_ok(&["apply", "-f", rules.join(file).to_str().unwrap(), "--wait", "5s"]);
    }
    let reply = Client::behind(&mesh, 1).get("http://reviews:9080/reviews/1?secret=x", &[("end-user", "jason")]).unwrap();
    let id = reply.header("x-request-id").expect("a request id").to_owned();
    let told = mesh.taut_ok(&["why", &id]);
    for part in ["end-user", "spec.http[0]", "reviews v2", "sa/bookinfo-productpage", "happened", "200"] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert!(!told.contains("secret=x"), "queries may hold secrets:\n{told}");
    let foreseen = mesh.taut_ok(&["why", "--from", "productpage", "--to", "reviews", "--request", "GET /reviews/1", "-H", "end-user: jason"]);
    assert!(foreseen.contains("reviews v2") && foreseen.contains("VirtualService default/reviews@1 spec.http[0].match[0]"), "{foreseen}");
    let other = mesh.taut_ok(&["why", "--from", "productpage", "--to", "reviews", "--request", "GET /reviews/1"]);
    assert!(other.contains("not sent") && other.contains("reviews v1"), "{other}");
    let nobody = mesh.taut(&["why", "0-no-such-request"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody.stderr));
}
