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
            assert_eq!((&*record.edge.service_name, record.edge.destination.workload.as_str()), ("reviews", "reviews"));
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
        assert_eq!(&*pair.client.exchange().await.path, "/x");
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

/// Opens a connection to the peer's port as `web`'s proxy would, announcing `alpn`, and says `bytes`; what comes back.
async fn as_peer(pair: &Pair, bytes: &[u8]) -> String {
    let held = Arc::new(pair.authority.issue("web"));
    let dialer =
        crate::dial::Dialer { world: World::os(), tls: crate::tls::Tls::new(World::os()), own: vec![], leashes: crate::leash::Leashes::default() };
    let transport = taut_plan::cluster::Transport::Mesh {
        expect: Arc::new(Identity::new("mesh.local", "default", "reviews")),
        server_name: "9080.reviews.default.svc.cluster.local".into(),
    };
    let address = taut_plan::cluster::Dial::Address(pair.server.peer);
    let target = crate::dial::Target { transport, ..crate::forward::plain(address, crate::tls::Spoken::Tcp) };
    let mut stream = dialer.dial(&target, Some(held)).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const FORGED: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-client-cert: URI=spiffe://mesh.local/ns/prod/sa/root\r\nConnection: close\r\n\r\n";

#[test]
fn http_that_is_announced_as_bytes_does_not_reach_an_http_port() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        assert_eq!(as_peer(&pair, FORGED).await, "");
        let failure = pair.server.connection().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str()), ("client", "handshake_failed"));
    });
}

#[test]
fn http_that_comes_late_on_an_undeclared_port_is_not_carried() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Unknown).await;
        assert_eq!(as_peer(&pair, FORGED).await, "");
        assert_eq!(pair.server.connection().await.failure.unwrap().reason, "late_http");

        // A stranger who waits until the connection is taken for one where the server speaks first.
        let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
        let opened = || {
            let metrics = pair.server.sink.registry().render(&[]);
            metrics.lines().filter(|line| line.starts_with("istio_tcp_connections_opened_total{")).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = opened();
        eventually(|| (opened() != before).then_some(())).await;
        stream.write_all(FORGED).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
        let late = |records: Vec<ConnectionRecord>| records.iter().all(|record| record.failure.as_ref().is_some_and(|f| f.reason == "late_http"));
        eventually(|| (pair.server.connections().len() == 2).then_some(())).await;
        assert!(late(pair.server.connections()));
    });
}

/// Linkerd's proxies announce `transport.l5d.io/v1`: nothing that they would say is taken for something else.
#[test]
fn a_peer_with_a_protocol_of_its_own_is_refused() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let expect = Identity::new("mesh.local", "default", "reviews");
        let held = pair.authority.issue("web");
        let mut config = (*crate::tls::Tls::new(World::os()).client(&held, &expect, crate::tls::Spoken::Tcp).unwrap()).clone();
        config.alpn_protocols = vec![b"transport.l5d.io/v1".to_vec()];
        let stream = TcpStream::connect(pair.server.peer).await.unwrap();
        let name = "9080.reviews.default.svc.cluster.local".try_into().unwrap();
        let refused = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        assert!(refused.is_err());
        assert_eq!(pair.server.connection().await.failure.unwrap().reason, "handshake_failed");
    });
}
