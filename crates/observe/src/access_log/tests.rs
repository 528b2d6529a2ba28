//! Records in, lines out.

use super::*;
use crate::record::{Attempt, Protocol, Reporter};
use crate::text::{Came, Text};
use parking_lot::{Condvar, Mutex};
use smallvec::smallvec;

fn party(name: &str) -> Party {
    Party { workload: name.into(), namespace: "default".into(), ..Party::unknown() }
}

fn edge(protocol: Protocol) -> Edge {
    Edge {
        reporter: Reporter::Source,
        source: party("productpage-v1").into(),
        destination: party("reviews-v2").into(),
        service_host: "reviews.default.svc.cluster.local".into(),
        service_name: "reviews".into(),
        service_namespace: "default".into(),
        mutual_tls: true,
        protocol,
    }
}

fn exchange() -> ExchangeRecord {
    ExchangeRecord {
        edge: edge(Protocol::Http),
        started: "2026-01-01T00:00:00.000000Z".parse().unwrap(),
        request_id: Id::read("8f1c"),
        trace_id: Id::None,
        method: "GET".into(),
        authority: "reviews:9080".into(),
        path: "/reviews/1".into(),
        status: 200,
        grpc_status: None,
        failure: None,
        request_bytes: 0,
        response_bytes: 295,
        duration_us: 12_500,
        waited_us: 0,
        upstream_us: 11_900,
        attempts: smallvec![Attempt {
            endpoint: "default/reviews-v2".into(),
            address: "127.0.0.1:15108".into(),
            result: Came::Status(200),
            duration_us: 12_000,
        }],
        plan: 7,
        rule: None,
        would_deny: None,
        route: "jason".into(),
    }
}

#[test]
fn text_lines_read_like_envoys() {
    assert_eq!(
        exchange_text(&exchange()),
        "[2026-01-01T00:00:00.000000Z] \"GET /reviews/1 http\" 200 - - \"-\" 0 295 12 11 \"8f1c\" \"reviews:9080\" \"127.0.0.1:15108\" \
         jason source default/productpage-v1 -> default/reviews-v2\n"
    );
    let mut failed = exchange();
    failed.status = 503;
    failed.upstream_us = 0;
    failed.attempts.clear();
    failed.route = Text::default();
    failed.failure =
        Some(Failure { side: "upstream".into(), reason: "no_endpoint".into(), retry_safe: true, detail: "no ready endpoint".into(), origin: None });
    assert_eq!(
        exchange_text(&failed),
        "[2026-01-01T00:00:00.000000Z] \"GET /reviews/1 http\" 503 UH no_endpoint \"no ready endpoint\" 0 295 12 - \"8f1c\" \"reviews:9080\" \
         \"-\" - source default/productpage-v1 -> default/reviews-v2\n"
    );
}

#[test]
fn a_connection_has_a_line_too() {
    let record = ConnectionRecord {
        edge: edge(Protocol::Tcp),
        started: "2026-01-01T00:00:00.000000Z".parse().unwrap(),
        connection_id: Id::read("c1"),
        failure: None,
        received_bytes: 5,
        sent_bytes: 6,
        duration_us: 2_000,
        endpoint: "default/store".into(),
        plan: 7,
        rule: None,
    };
    assert_eq!(
        connection_text(&record),
        "[2026-01-01T00:00:00.000000Z] \"- - tcp\" 0 - - \"-\" 5 6 2 - \"c1\" \"reviews.default.svc.cluster.local\" \"default/store\" - \
         source default/productpage-v1 -> default/reviews-v2\n"
    );
    let value: serde_json::Value = serde_json::from_str(&json(&ConnectionLine::of(&record))).unwrap();
    assert_eq!((value["bytes_sent"].as_u64(), value["connection_id"].as_str()), (Some(6), Some("c1")));
}

#[test]
fn no_client_can_forge_a_line() {
    let mut record = exchange();
    record.path = "/x\" 200\n[forged]".into();
    record.request_id = Id::read("a\r\nb");
    let line = exchange_text(&record);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(r#""GET /x\" 200\n[forged] http""#), "{line}");
    assert_eq!(json(&ExchangeLine::of(&record)).lines().count(), 1);
}

#[test]
fn json_lines_use_istios_keys() {
    let value: serde_json::Value = serde_json::from_str(&json(&ExchangeLine::of(&exchange()))).unwrap();
    assert_eq!(value["response_code"], 200);
    assert_eq!(value["upstream_host"], "127.0.0.1:15108");
    assert_eq!(value["duration"], 12.5);
    assert_eq!(value["route_name"], "jason");
    assert_eq!(value["destination_workload"], "reviews-v2");
    assert_eq!(value["response_code_details"], serde_json::Value::Null);
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn dropping_the_log_writes_what_waits() {
    let out = Shared::default();
    let log = AccessLog::start(Format::Text, out.clone()).unwrap();
    for _ in 0..100 {
        log.exchange(&exchange());
    }
    assert_eq!(log.dropped(), 0);
    drop(log);
    assert_eq!(String::from_utf8(out.0.lock().clone()).unwrap().lines().count(), 100);
}

/// Blocks every write until the gate opens.
struct Stuck(Arc<(Mutex<bool>, Condvar)>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.0.lock();
        while !*open {
            self.0.1.wait(&mut open);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_writer_drops_lines_and_counts_them() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let log = AccessLog::start(Format::Text, Stuck(Arc::clone(&gate))).unwrap();
    // More than the queue and the writer's buffer can hold together.
    let lines = QUEUE * 2 + 1000;
    for _ in 0..lines {
        log.exchange(&exchange());
    }
    let dropped = log.dropped();
    assert!(dropped > 0 && dropped < lines as u64, "{dropped}");
    *gate.0.lock() = true;
    gate.1.notify_all();
    drop(log);
}

#[test]
fn a_failing_writer_is_counted() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = AccessLog::start(Format::Json, Broken).unwrap();
    let dropped = Arc::clone(&log.dropped);
    log.exchange(&exchange());
    drop(log);
    assert!(dropped.load(Ordering::Relaxed) >= 1);
}
