//! The PROXY protocol: what a load balancer says in front of this proxy, and what this proxy says to endpoints.

use super::*;
use crate::options::ListenerKind;
use taut_model::destination::ProxyProtocol;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, SourceMatch};

const FROM_ABROAD: &str = "PROXY TCP4 203.0.113.9 127.0.0.1 40000 443\r\n";
const FROM_THE_OFFICE: &str = "PROXY TCP4 198.51.100.7 127.0.0.1 40000 443\r\n";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n";

fn only_the_office(snapshot: &mut Snapshot) {
    let origin = Origin::default();
    let from = vec![SourceMatch { remote_ip_blocks: vec!["198.51.100.0/24".to_owned()], ..SourceMatch::default() }];
    let rule = AuthorizationRule { origin: origin.clone(), from, to: vec![], when: vec![] };
    let (namespace, action) = ("default".to_owned(), AuthorizationAction::Allow);
    let policy = AuthorizationPolicy {
        origin,
        namespace,
        selector: BTreeMap::new(),
        action,
        services: vec![],
        provider: String::new(),
        dry_run: false,
        rules: vec![rule],
    };
    snapshot.authorizations.insert("office".to_owned(), Arc::new(policy));
}

/// The sidecar of `reviews`, behind a load balancer.
async fn behind_a_load_balancer(app: SocketAddr, listener: ListenerKind) -> (Authority, Proxy, Mesh) {
    let authority = Authority::new("mesh.local");
    let held = Some(authority.issue("reviews"));
    let server = Proxy::start_with("reviews", app, held, |options| options.accept_proxy_protocol = vec![listener]).await;
    let mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", Some(server.peer), app);
    server.pin(&mesh);
    (authority, server, mesh)
}

#[test]
fn policies_are_held_against_the_client_behind_the_load_balancer() {
    run(async {
        let (_authority, server, mut mesh) = behind_a_load_balancer(echo_app().await, ListenerKind::Exposed).await;
        mesh.change = Some(only_the_office);
        server.pin(&mesh);
        let version_2 = |source: [u8; 4]| {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
            header.extend(source);
            header.extend([127, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb]);
            header
        };
        for (header, status) in [
            (FROM_THE_OFFICE.into(), "200"),
            (FROM_ABROAD.into(), "403"),
            (version_2([198, 51, 100, 7]), "200"),
            (version_2([203, 0, 113, 9]), "403"),
            // The load balancer itself, from loopback.
            (b"PROXY UNKNOWN\r\n".to_vec(), "403"),
        ] {
            let answer = talk(server.exposed, [&header[..], REQUEST.as_bytes()].concat()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{header:?}: {answer}");
        }
        // Here nobody expects a header.
        assert!(talk(server.upstream, [FROM_THE_OFFICE, REQUEST].concat()).await.starts_with("HTTP/1.1 400"));
    });
}

#[test]
fn a_connection_without_the_header_is_closed_unheard() {
    run(async {
        let (_authority, server, _mesh) = behind_a_load_balancer(echo_app().await, ListenerKind::Exposed).await;
        // A health check that only connects is nobody's failure.
        drop(TcpStream::connect(server.exposed).await.unwrap());
        assert_eq!(talk(server.exposed, REQUEST).await, "");
        let failure = server.connection().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str()), ("client", "handshake_failed"));
        assert!(failure.detail.contains("does not begin with a PROXY protocol header"), "{failure:?}");
        assert!(server.exchanges().is_empty() && server.connections().len() == 1);
    });
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for() {
    run_in_no_time(async {
        let (_authority, server, _mesh) = behind_a_load_balancer(echo_app().await, ListenerKind::Exposed).await;
        let start = tokio::time::Instant::now();
        assert_eq!(talk(server.exposed, "PROXY TCP4 ").await, "");
        assert_eq!(start.elapsed().as_secs(), 5);
        let failure = server.connection().await.failure.unwrap();
        assert!(failure.detail.contains("no PROXY protocol header within 5s"), "{failure:?}");
    });
}

#[test]
fn mutual_tls_follows_the_header_of_a_load_balancer_between_proxies() {
    run(async {
        let (authority, server, mut mesh) = behind_a_load_balancer(echo_app().await, ListenerKind::Peer).await;
        let client = Proxy::start("web", LOCAL, Some(authority.issue("web"))).await;
        client.pin(&mesh);
        // The endpoint's proxy wants a header, and nobody sends one.
        assert!(get(client.outbound, "/").await.starts_with("HTTP/1.1 503"));
        mesh.change = Some(|snapshot| introduce(snapshot, ProxyProtocol::V2));
        client.pin(&mesh);
        assert!(get(client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        let peer = server.exchange().await;
        assert_eq!(peer.edge.source.principal, "spiffe://mesh.local/ns/default/sa/web");
    });
}

fn introduce(snapshot: &mut Snapshot, version: ProxyProtocol) {
    ruled(snapshot, TrafficPolicy { proxy_protocol: Some(version), ..TrafficPolicy::default() });
}

/// Says back the PROXY protocol line that each connection begins with, once for every request on it.
async fn line_app() -> (SocketAddr, Rc<Cell<u32>>) {
    let connections = Rc::new(Cell::new(0));
    let count = connections.clone();
    let app = raw_app(move |stream| {
        count.set(count.get() + 1);
        async move {
            let mut stream = tokio::io::BufReader::new(stream);
            let mut introduction = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut introduction).await.unwrap();
            let mut line = String::new();
            while tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await.unwrap_or(0) > 0 {
                if std::mem::take(&mut line) == "\r\n" {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{introduction}", introduction.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    (app, connections)
}

/// Sends requests one after the other on one connection; the last answer's body, and the client's own address.
async fn ask(to: SocketAddr, requests: usize) -> (String, SocketAddr) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let from = stream.local_addr().unwrap();
    let mut answer = String::new();
    for _ in 0..requests {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
        answer.clear();
        while !answer.ends_with("\r\n") || !answer.contains("PROXY") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{answer}");
            answer += std::str::from_utf8(&bytes[..read]).unwrap();
        }
    }
    (answer.rsplit("\r\n\r\n").next().unwrap().to_owned(), from)
}

#[test]
fn an_endpoint_hears_of_each_client_on_a_connection_of_its_own() {
    run(async {
        let (app, connections) = line_app().await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", None, app);
        mesh.change = Some(|snapshot| introduce(snapshot, ProxyProtocol::V1));
        client.pin(&mesh);
        for seen in 1..4 {
            let (line, from) = ask(client.upstream, 3).await;
            assert_eq!(line, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), client.upstream.port()));
            assert_eq!(connections.get(), seen);
        }
    });
}

#[test]
fn a_tcp_connection_begins_with_the_header_and_goes_on_as_it_came() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
        })
        .await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Tcp).workload("reviews", "reviews", None, app);
        mesh.change = Some(|snapshot| introduce(snapshot, ProxyProtocol::V2));
        client.pin(&mesh);
        let mut stream = TcpStream::connect(client.upstream).await.unwrap();
        let from = stream.local_addr().unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let Ok(crate::proxy_protocol::Start::Header { length, ends: Some(ends) }) = crate::proxy_protocol::read(&answer) else {
            panic!("{answer:?}")
        };
        assert_eq!((ends.source, ends.destination, &answer[length..]), (from, client.upstream, &b"hello"[..]));
    });
}
