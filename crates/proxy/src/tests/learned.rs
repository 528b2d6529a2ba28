//! Ports that declare no protocol: whoever speaks first is waited for once.

use super::*;
use tokio::time::Instant;

const GREETING: &[u8] = b"220 mail.example.com ESMTP\r\n";
/// What `connection` waits for the client, at most.
const WAIT: Duration = Duration::from_millis(50);

/// Connects, says nothing, and reads until there is something; how long that took.
async fn greeted(to: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut greeting = vec![0; GREETING.len()];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, GREETING);
    start.elapsed()
}

async fn mail_app() -> SocketAddr {
    raw_app(|mut stream| async move {
        // The client may be gone by now.
        let _ = stream.write_all(GREETING).await;
        let _ = stream.read_u8().await;
    })
    .await
}

#[test]
fn only_the_first_connection_to_a_server_that_speaks_first_waits() {
    run(async {
        let pair = Pair::new(mail_app().await, AppProtocol::Unknown).await;
        for entry in [pair.client.upstream, pair.server.exposed] {
            assert!(greeted(entry).await >= WAIT);
            // The best of some, since this machine has other things to do.
            let mut best = WAIT;
            for _ in 0..10 {
                best = best.min(greeted(entry).await);
            }
            assert!(best < WAIT / 2, "{best:?}");
        }
    });
}

#[test]
fn silence_teaches_nothing_about_a_server_of_http() {
    run(async {
        // It gives up on silent clients at once, as some do later.
        let app = raw_app(|mut stream| async move {
            let _ = stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Unknown).await;
        for _ in 0..3 {
            let start = Instant::now();
            let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'H');
            assert!(start.elapsed() >= WAIT, "{:?}", start.elapsed());
        }
    });
}

/// A server of both: greets those who are silent, and answers those who ask.
async fn mixed_app() -> SocketAddr {
    raw_app(|mut stream| async move {
        let mut bytes = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut bytes)).await {
            Ok(Ok(read)) if read > 0 => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await),
            _ => {
                let _ = stream.write_all(GREETING).await;
                let _ = stream.read(&mut bytes).await;
            }
        }
    })
    .await
}

#[test]
fn http_on_a_port_that_was_learned_as_another_protocol_gets_past_no_policy() {
    run(async {
        let mut pair = Pair::new(mixed_app().await, AppProtocol::Unknown).await;
        greeted(pair.server.exposed).await;
        // A client whose request is there when its connection is taken is heard as what it speaks.
        let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert!(at_once(pair.server.exposed, ask).await.starts_with("HTTP/1.1 200"));
        assert_eq!(&*pair.server.exchange().await.path, "/");
        // One that comes later is cut off, and then the port is no longer known.
        let forged = b"GET /secret HTTP/1.1\r\nHost: a\r\nx-forwarded-client-cert: URI=spiffe://mesh.local/ns/prod/sa/root\r\n\r\n";
        let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
        eventually(|| (opened(&pair.server) == 2).then_some(())).await;
        stream.write_all(forged).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
        let failure = eventually(|| pair.server.connections().pop().and_then(|record| record.failure)).await;
        assert_eq!(failure.reason, "late_http");
        assert!(talk(pair.server.exposed, ask).await.starts_with("HTTP/1.1 200"));

        // With a policy about paths, a connection of which no path is known does not get in at all.
        greeted(pair.server.exposed).await;
        pair.mesh.change = Some(|snapshot| {
            use taut_model::policy::{AuthorizationAction, OperationMatch};
            super::policy::only(snapshot, AuthorizationAction::Deny, OperationMatch { paths: vec!["/secret".to_owned()], ..Default::default() });
        });
        pair.server.pin(&pair.mesh);
        assert_eq!(talk(pair.server.exposed, "").await, "");
        let refused = TcpStream::connect(pair.server.exposed).await.unwrap().read_u8().await;
        assert!(refused.is_err());
        let record = eventually(|| pair.server.connections().pop()).await;
        assert_eq!(record.failure.unwrap().reason, "authorization_denied");
    });
}

/// As [`talk`], with the request sent before the proxy can take the connection.
async fn at_once(to: SocketAddr, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut answer = String::new();
    let _ = TcpStream::from_std(stream).unwrap().read_to_string(&mut answer).await;
    answer
}

/// TCP connections that the application beside `proxy` has been given.
fn opened(proxy: &Proxy) -> u64 {
    let metrics = proxy.sink.registry().render(&[]);
    let counts = metrics.lines().filter(|line| line.starts_with("istio_tcp_connections_opened_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
