//! gRPC-Web, as a browser sends it, to a gRPC server that has never heard of it.

use crate::message::{Message, Silent};
use crate::pair::{Pair, script};
use crate::support::{PATIENCE, eventually};
use crate::table::Report;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{BufReader, Write};
use std::net::TcpStream;

/// One message in gRPC's framing, which gRPC-Web shares.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, bytes].concat()
}

/// The messages of a body, and its trailers.
fn parts(mut body: &[u8]) -> (Vec<String>, String) {
    let mut messages = Vec::new();
    while let Some((flag, rest)) = body.split_first() {
        let (length, rest) = rest.split_at(4);
        let (content, rest) = rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        body = rest;
        let content = String::from_utf8_lossy(content).into_owned();
        if *flag == 0x80 {
            assert!(body.is_empty(), "nothing comes after the trailers");
            return (messages, content);
        }
        messages.push(content);
    }
    (messages, String::new())
}

/// Base64 in pieces, each with its own padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}

/// Calls a method; several calls share a connection.
fn call(connection: &mut TcpStream, method: &str, kind: &str, body: &[u8]) -> Message {
    let head = format!("POST /peers.Peers/{method} HTTP/1.1\r\nHost: server\r\nContent-Type: {kind}\r\nX-Grpc-Web: 1\r\n");
    connection.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    let mut from = BufReader::new(connection);
    Message::read(&mut from, Silent::None).unwrap().expect("a response")
}

#[test]
fn browsers_reach_grpc_services() {
    let Some(mut report) = Report::needing("gRPC-Web", &["python3"], &["grpc"]) else { return };
    let prepared = Pair::prepare().port(9090, "grpc-web");
    let server = format!("{}:9090", prepared.server());
    let pair = prepared.start(&["python3", "-u", &script("grpc_server.py"), &server]);
    let mut connection = TcpStream::connect(pair.at(9090)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    report.case("unary, application/grpc-web+proto", || {
        let response = call(&mut connection, "Echo", "application/grpc-web+proto", &message(b"hello"));
        assert_eq!((response.status(), response.field("content-type")), (200, Some("application/grpc-web+proto")), "{response:?}");
        let (messages, trailers) = parts(&response.body);
        assert_eq!(messages, ["hello"]);
        assert!(trailers.contains("grpc-status: 0\r\n") && trailers.contains("x-trailer: yes\r\n"), "{trailers}");
        "message and trailers in the body".to_owned()
    });
    report.case("unary, application/grpc-web-text", || {
        let body = [STANDARD.encode(message(b"hello"))].concat();
        let response = call(&mut connection, "Echo", "application/grpc-web-text", body.as_bytes());
        assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"), "{response:?}");
        let (messages, trailers) = parts(&decoded(&response.body));
        assert_eq!(messages, ["hello"]);
        assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
        "the same in Base64".to_owned()
    });
    report.case("server streaming, with the status at the end", || {
        let response = call(&mut connection, "Broken", "application/grpc-web", &message(b""));
        let (messages, trailers) = parts(&response.body);
        assert_eq!(messages, ["a", "b"]);
        assert!(trailers.contains("grpc-status: 15\r\n"), "{trailers}");
        "2 messages, then DATA_LOSS".to_owned()
    });
    report.case("a call that fails at once", || {
        let response = call(&mut connection, "Missing", "application/grpc-web", &message(b""));
        let (_, trailers) = parts(&response.body);
        assert!(response.field("grpc-status") == Some("5") || trailers.contains("grpc-status: 5\r\n"), "{response:?}");
        "NOT_FOUND".to_owned()
    });
    report.case("in metrics", || {
        let labels = |code: &str| [format!("grpc_response_status=\"{code}\""), "request_protocol=\"grpc\"".to_owned()];
        let counted = |code: &str| pair.counted("istio_requests_total", &labels(code).each_ref().map(String::as_str));
        eventually(PATIENCE, "statuses are counted", || {
            let seen = ["0", "5", "15"].map(counted);
            if seen == [2.0, 1.0, 1.0] { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        "protocol grpc, each status counted".to_owned()
    });
}
