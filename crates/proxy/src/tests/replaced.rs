//! What becomes of connections when a successor has taken over.

use super::*;
use crate::bequest::{Bequests, Heir};
use crate::current::Stage;

const LINGER: Duration = Duration::from_secs(60);

fn replace(proxy: &Proxy) -> Bequests {
    let (heir, given) = Heir::new();
    proxy.current.replace(heir, LINGER);
    given
}

/// Sends back what comes, as it comes.
async fn parrot() -> SocketAddr {
    raw_app(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

async fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut echo = vec![0; text.len()];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, text);
}

#[test]
fn the_next_answer_is_the_last_and_no_idle_connection_is_closed_under_a_request() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let [mut idle, mut used] = [TcpStream::connect(pair.client.outbound).await.unwrap(), TcpStream::connect(pair.client.outbound).await.unwrap()];
        echo_of(&mut idle, "keep-alive").await;
        let _given = replace(&pair.client);
        // It was open before, and its client has heard nothing yet.
        used.write_all(b"POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        let mut answer = String::new();
        used.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close") && answer.ends_with("2 bytes of body"), "{answer}");
        assert!(!pair.client.task.is_finished());
        pair.client.current.advance(Stage::Closing);
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
        pair.client.task.await.unwrap();
    });
}

/// One exchange on a connection that stays.
async fn echo_of(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"0 bytes of body") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains(path) && !answer.contains("connection: close"), "{answer}");
}

#[test]
fn http2_clients_are_told_to_go() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mut sender = http2(pair.client.outbound).await;
        let request = || Request::get("http://reviews:9080/").body(Full::<Bytes>::default()).unwrap();
        sender.send_request(request()).await.unwrap();
        let _given = replace(&pair.client);
        eventually(|| sender.is_closed().then_some(())).await;
        pair.client.task.await.unwrap();
    });
}

#[test]
fn a_plain_connection_moves_and_is_recorded_once_where_it_ends() {
    run(async {
        let pair = Pair::new(parrot().await, AppProtocol::Tcp).await;
        let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
        echoes(&mut stream, b"before").await;
        let mut given = replace(&pair.server);
        let (bequest, answer) = given.recv().await.unwrap();
        assert_eq!((bequest.story.received_bytes, bequest.story.sent_bytes, bequest.story.inbound), (6, 6, true));
        let app = SocketAddr::new(LOCAL.ip(), pair.server.current.workload().ports[0].target);
        let next = Proxy::start("reviews", app, Some(pair.authority.issue("reviews"))).await;
        next.pin(&pair.mesh);
        next.bequests.send(bequest).unwrap();
        answer.send(Ok(())).unwrap();
        pair.server.task.await.unwrap();
        echoes(&mut stream, b"after").await;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        let record = next.connection().await;
        assert_eq!((record.received_bytes, record.sent_bytes, record.failure.is_none()), (11, 11, true), "{record:?}");
        assert_eq!((&*record.edge.service_name, &*record.endpoint), ("reviews", app.to_string().as_str()));
        assert!(pair.server.sink.newest(10).is_empty());
    });
}

#[test]
fn a_connection_that_the_successor_does_not_take_goes_on_here() {
    run(async {
        let pair = Pair::new(parrot().await, AppProtocol::Tcp).await;
        let mut refused = TcpStream::connect(pair.server.exposed).await.unwrap();
        echoes(&mut refused, b"before").await;
        let mut given = replace(&pair.server);
        let (bequest, answer) = given.recv().await.unwrap();
        answer.send(Err(bequest)).unwrap();
        echoes(&mut refused, b"after").await;
        drop(refused);
        assert_eq!(pair.server.connection().await.received_bytes, 11);
        pair.server.task.await.unwrap();
    });
}

#[test]
fn a_connection_whose_client_does_not_read_loses_nothing() {
    const SIZE: usize = 32 << 20;
    run(async {
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let app = raw_app(move |mut stream| {
            let count = count.clone();
            async move {
                while count.get() < SIZE {
                    stream.write_all(&[7; 1 << 14]).await.unwrap();
                    count.set(count.get() + (1 << 14));
                }
            }
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Tcp).await;
        let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
        // Its first byte is here, and most of the others are stuck between application and proxy.
        assert_eq!(stream.read_u8().await.unwrap(), 7);
        let mut last = (0, tokio::time::Instant::now());
        eventually(|| {
            if written.get() != last.0 {
                last = (written.get(), tokio::time::Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(200)).then_some(())
        })
        .await;
        let mut given = replace(&pair.server);
        // Given up after a second, since the client takes nothing.
        tokio::time::timeout(Duration::from_millis(1500), given.recv()).await.expect_err("bytes that were read cannot move");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), SIZE - 1);
        drop(stream);
        pair.server.task.await.unwrap();
    });
}

#[test]
fn a_connection_under_mutual_tls_stays_until_a_stop_is_asked_for() {
    run(async {
        let pair = Pair::new(parrot().await, AppProtocol::Tcp).await;
        let short = |options: &mut Options| options.drain = Duration::from_millis(20);
        let client = Proxy::start_with("web", LOCAL, Some(pair.authority.issue("web")), short).await;
        client.pin(&pair.mesh);
        let mut stream = TcpStream::connect(client.upstream).await.unwrap();
        echoes(&mut stream, b"before").await;
        let mut given = replace(&client);
        client.current.advance(Stage::Closing);
        echoes(&mut stream, b"after").await;
        assert!(given.try_recv().is_err() && !client.task.is_finished());
        client.current.start_draining();
        client.task.await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    });
}
