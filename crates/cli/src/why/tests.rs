//! What `taut why REQUEST-ID` prints, from what proxies answer.

use super::*;

fn party() -> Value {
    json!({"workload": "web-1", "namespace": "default", "app": "web", "version": "v1", "principal": "unknown"})
}

fn edge(reporter: &str, protocol: &str) -> Value {
    json!({
        "reporter": reporter, "source": party(), "destination": party(), "service_host": "reviews.default.svc.cluster.local",
        "service_name": "reviews", "service_namespace": "default", "mutual_tls": true, "protocol": protocol
    })
}

fn exchange(reporter: &str, status: u16) -> Value {
    json!({
        "edge": edge(reporter, "http"), "started": "2026-01-01T00:00:00.000000Z", "request_id": "r-1", "trace_id": "", "method": "GET",
        "authority": "reviews:9080", "path": "/reviews/1", "status": status, "grpc_status": null, "failure": null, "request_bytes": 0,
        "response_bytes": 3, "duration_us": 12_500, "upstream_us": 0, "attempts": [], "plan": 3, "rule": null, "route": ""
    })
}

fn connection() -> Value {
    json!({
        "edge": edge("source", "tcp"), "started": "2026-01-01T00:00:00.000000Z", "connection_id": "c-1", "failure": null,
        "received_bytes": 10, "sent_bytes": 20, "duration_us": 1500, "endpoint": "10.0.0.1:7000", "plan": 3, "rule": null
    })
}

fn attempt(endpoint: &str, result: &str) -> Value {
    json!({"endpoint": endpoint, "address": "10.0.0.1:15008", "result": result, "duration_us": 2000})
}

fn failure(side: &str, reason: &str, detail: &str) -> Value {
    json!({"side": side, "reason": reason, "retry_safe": true, "detail": detail, "origin": null})
}

fn half(record: Value) -> Value {
    let steps = json!([{"mark": "info", "text": "GET /reviews/1 from web-1 (default) to reviews:9080", "origin": null}]);
    json!({"proxy": "default/web-1", "answer": {"record": record, "explanation": {"steps": steps, "outcome": "forwarded"}, "text": ""}})
}

fn text(halves: &[Value]) -> String {
    happened(&json!({"requestId": "r-1", "asked": 2, "halves": halves})).unwrap()
}

#[test]
fn waiting_and_second_copies_are_told_and_are_no_retries() {
    let mut record = exchange("destination", 200);
    record["waited_us"] = json!(40_000);
    record["attempts"] = json!([attempt("default/reviews-1", "hedged"), attempt("default/reviews-2", "200")]);
    let want = format!(
        "default/web-1 (destination side)\n{ASKED}\
        \x20 happened     GET /reviews/1 at 2026-01-01T00:00:00.000000Z: 200 in 12.5 ms\n\
        \x20 waited       40.0 ms for its turn with the application\n\
        \x20 attempt 1    default/reviews-1 (10.0.0.1:15008): hedged after 2.0 ms\n\
        \x20 attempt 2    default/reviews-2 (10.0.0.1:15008): 200 after 2.0 ms\n"
    );
    assert_eq!(text(&[half(record)]).trim_end(), want.trim_end());
}

const ASKED: &str = "GET /reviews/1 from web-1 (default) to reviews:9080\n= forwarded\n";

#[test]
fn a_retried_request_shows_each_attempt() {
    let mut record = exchange("source", 200);
    record["attempts"] = json!([attempt("default/reviews-1", "connect_failed"), attempt("default/reviews-2", "503"), attempt("", "200")]);
    let want = format!(
        "default/web-1 (source side)\n{ASKED}\
        \x20 happened     GET /reviews/1 at 2026-01-01T00:00:00.000000Z: 200 in 12.5 ms\n\
        \x20 attempt 1    default/reviews-1 (10.0.0.1:15008): connect_failed after 2.0 ms\n\
        \x20 attempt 2    default/reviews-2 (10.0.0.1:15008): 503 after 2.0 ms\n\
        \x20 attempt 3    10.0.0.1:15008: 200 after 2.0 ms\n\
        \x20 retried      2 times\n"
    );
    assert_eq!(text(&[half(record)]), want);
}

#[test]
fn an_injected_fault_reached_nobody() {
    let mut record = exchange("source", 503);
    record["failure"] = failure("mesh", "fault_injected", "a fault was injected on purpose by VirtualService default/reviews");
    let text = text(&[half(record)]);
    assert!(text.contains("  reached      nobody: this proxy answered by itself\n"), "{text}");
    let want = "  injected     mesh side, fault_injected: a fault was injected on purpose by VirtualService default/reviews (safe to retry)\n";
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn a_refusal_of_the_destination_is_told_by_both_sides() {
    let (mut source, mut destination) = (exchange("source", 403), exchange("destination", 403));
    source["attempts"] = json!([attempt("default/reviews-1", "403")]);
    source["failure"] = failure("upstream", "authorization_denied", "reported by the peer's proxy with status 403");
    destination["failure"] = failure("client", "authorization_denied", "no ALLOW policy matches");
    destination["failure"]["origin"] = serde_json::to_value(taut_model::origin::Origin::built_in("deny")).unwrap();
    let text = text(&[half(source), half(destination)]);
    let (first, second) = text.split_once("\n\n").unwrap();
    let again = "(the same request will be refused again)";
    let by = "by the destination's proxy, authorization_denied: reported by the peer's proxy with status 403";
    assert!(first.ends_with(&format!("  refused      {by} {again}")), "{text}");
    assert!(second.starts_with("default/web-1 (destination side)\n"), "{text}");
    assert!(second.contains("  refused      client side, authorization_denied: no ALLOW policy matches [built-in default: deny] "), "{text}");
}

#[test]
fn a_connection_is_told_by_its_bytes() {
    let want = "  happened     connection to reviews.default.svc.cluster.local at 2026-01-01T00:00:00.000000Z: 10 bytes from the client, \
        20 bytes back, in 1.5 ms\n  reached      10.0.0.1:7000\n";
    assert!(text(&[half(connection())]).ends_with(want));
}

#[test]
fn what_failed_before_a_decision_has_no_explanation() {
    let mut record = connection();
    record["endpoint"] = "".into();
    record["edge"]["service_host"] = "".into();
    record["failure"] = failure("client", "handshake_failed", "the peer showed no certificate");
    let mut half = half(record);
    half["answer"]["explanation"] = Value::Null;
    let want = "default/web-1 (source side)\n  happened     connection at 2026-01-01T00:00:00.000000Z: ended after 1.5 ms\n\
        \x20 reached      nobody\n  failed       client side, handshake_failed: the peer showed no certificate (safe to retry)\n";
    assert_eq!(text(&[half]), want);
}

#[test]
fn a_client_that_left_and_a_grpc_status_are_told() {
    let mut left = exchange("source", 0);
    left["failure"] = json!({"side": "client", "reason": "client_left", "retry_safe": false, "detail": "the client closed", "origin": null});
    let left = text(&[half(left)]);
    assert!(left.contains(": no status was sent in 12.5 ms\n") && left.ends_with("(not safe to retry blindly)\n"), "{left}");
    let mut grpc = exchange("source", 200);
    grpc["grpc_status"] = 14.into();
    assert!(text(&[half(grpc)]).contains(": 200, gRPC status 14 in 12.5 ms\n"));
}

#[test]
fn a_request_that_nobody_remembers_is_a_failure() {
    assert!(happened(&json!({"halves": []})).is_err());
}
