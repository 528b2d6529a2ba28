//! Byte streams: SOCKS5, CONNECT and listeners, each side closing on its own.

use super::*;
use taut_observe::record::Protocol;

/// Sends back all it gets, after the client has said that it is done.
async fn store() -> SocketAddr {
    raw_app(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(b"stored ").await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await
}

async fn half_close(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_tcp_connection_is_carried_with_its_half_close() {
    run(async {
        let pair = Pair::new(store().await, AppProtocol::Tcp).await;
        let socks = half_close(pair.client.outbound, b"\x05\x01\x00\x05\x01\x00\x03\x07reviews\x23\x78key=value").await;
        assert_eq!(socks, b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0stored key=value");
        for record in [pair.client.connection().await, pair.server.connection().await] {
            assert_eq!((record.edge.protocol, record.received_bytes, record.sent_bytes), (Protocol::Tcp, 9, 16));
            assert!(record.edge.mutual_tls && record.failure.is_none(), "{record:?}");
            assert_eq!((record.edge.service_name.as_str(), record.edge.destination.workload.as_str()), ("reviews", "reviews"));
        }
        assert_eq!(pair.server.connections()[0].edge.source.principal, "spiffe://mesh.local/ns/default/sa/web");

        let listener = half_close(pair.client.upstream, b"key=value").await;
        assert_eq!(listener, b"stored key=value");
    });
}

#[test]
fn connect_waits_for_the_answer_and_then_carries() {
    run(async {
        let pair = Pair::new(store().await, AppProtocol::Tcp).await;
        let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
        stream.write_all(b"CONNECT reviews:9080 HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
        stream.write_all(b"x").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"stored x");
    });
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    run(async {
        let app = raw_app(|mut stream| async move {
            stream.write_all(b"220 ready\r\n").await.unwrap();
        })
        .await;
        // The port declares no protocol, and the client says nothing.
        let pair = Pair::new(app, AppProtocol::Unknown).await;
        let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await.unwrap();
        assert_eq!(greeting, "220 ready\r\n");
    });
}

#[test]
fn an_undeclared_port_is_http_when_a_client_speaks_it() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Unknown).await;
        assert!(get(pair.client.upstream, "/x").await.contains("GET /x\n"));
        assert_eq!(pair.client.exchange().await.path, "/x");
    });
}

#[test]
fn another_endpoint_is_tried_when_one_does_not_connect() {
    run(async {
        let app = store().await;
        let mut pair = Pair::new(app, AppProtocol::Tcp).await;
        pair.mesh = pair.mesh.workload("reviews", "dead", Some(nowhere().await), app);
        pair.client.pin(&pair.mesh);
        for _ in 0..4 {
            assert_eq!(half_close(pair.client.upstream, b"x").await, b"stored x");
        }
        assert!(pair.client.connections().iter().all(|record| record.failure.is_none()));
    });
}

#[test]
fn socks_says_why_there_is_no_connection() {
    run(async {
        let pair = Pair::new(nowhere().await, AppProtocol::Tcp).await;
        let mut mesh = pair.mesh.clone();
        mesh.workloads[0].peer = Some(nowhere().await);
        pair.client.pin(&mesh);
        let answer = talk(pair.client.outbound, b"\x05\x01\x00\x05\x01\x00\x03\x07reviews\x23\x78").await;
        assert_eq!(answer.as_bytes(), b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0");
        let failure = pair.client.connection().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str(), failure.retry_safe), ("upstream", "connect_failed", true));
    });
}

#[test]
fn an_application_that_is_down_is_told_from_a_proxy_that_is_down() {
    run(async {
        let pair = Pair::new(nowhere().await, AppProtocol::Http).await;
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: app_unreachable"), "{answer}");
        assert_eq!(pair.client.exchange().await.failure.unwrap().reason, "app_unreachable");
    });
}
