//! How exchanges end when a side stands still, breaks off, or has no more time.

use super::*;
use crate::ahead::Ahead;
use crate::http1::BadHead;
use crate::http1::server::{self, Line, Patience, RequestBody, Service, Timed};
use crate::io::Io;
use crate::tls::Tls;
use crate::upgrade::Upgrade;
use http_body::{Body, Frame};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use taut_wire::net::Stream;
use tokio::sync::Notify;
use tokio::time::{Instant, Timeout, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Envoy's stream idle timeout.
const IDLE: Duration = Duration::from_secs(300);

/// Time passes as soon as nobody has anything to do.
fn run_for_minutes(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(IDLE * 10, test).await.expect("the test hangs") });
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_request_whose_body_stops_coming_ends_with_408_and_is_the_clients_fault() {
    run_for_minutes(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 10\r\n\r\n").await.unwrap();
        // Slow is not still.
        for _ in 0..3 {
            stream.write_all(b"x").await.unwrap();
            timeout(IDLE * 2 / 3, stream.readable()).await.expect_err("no answer before the body has come");
        }
        stream.write_all(b"x").await.unwrap();
        let still = Instant::now();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-taut-reason: client_body_stalled\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!((IDLE..IDLE + Duration::from_secs(5)).contains(&still.elapsed()), "{:?}", still.elapsed());
        for (proxy, reason, status) in [(&pair.client, "client_body_stalled", 408), (&pair.server, "client_body_broken", 400)] {
            let record = proxy.exchange().await;
            let failure = record.failure.unwrap();
            assert_eq!((failure.side.as_str(), failure.reason.as_str(), record.status), ("client", reason, status), "{}", proxy.name);
        }
    });
}

#[test]
fn strangers_are_not_waited_for_either_once_the_response_has_begun_and_stands_still_too() {
    run_for_minutes(async {
        let app = raw_app(|mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            for _ in 0..3 {
                // As long as something of the response comes, a silent request is not given up.
                stream.write_all(b"4\r\nmore\r\n").await.unwrap();
                timeout(IDLE * 2 / 3, stream.readable()).await.expect_err("the request stands still");
            }
            std::future::pending::<()>().await;
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let mut stream = TcpStream::connect(pair.server.exposed).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        let began = Instant::now();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("more").count() == 3 && !answer.ends_with("0\r\n\r\n"), "{answer}");
        assert!((IDLE * 2..IDLE * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(pair.server.exchange().await.failure.unwrap().side, "client");
    });
}

/// Sends one frame, and would send more.
struct Unending {
    first: Option<Bytes>,
    time: Pin<Box<Timeout<std::future::Pending<()>>>>,
}

impl Body for Unending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => self.poll_overdue(cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into()))),
        }
    }
}

impl Timed for Unending {
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.time.as_mut().poll(cx).map(drop)
    }
}

/// Answers with this many bytes that come, and more that do not within a second.
struct Endless(usize);

impl Service for Endless {
    type Body = Unending;

    async fn call(&self, _: ::http::request::Parts, _: RequestBody, _: Option<Upgrade>) -> Response<Unending> {
        let time = Box::pin(timeout(Duration::from_secs(1), std::future::pending()));
        Response::new(Unending { first: Some(vec![b'x'; self.0].into()), time })
    }

    fn last(&self) -> bool {
        false
    }

    async fn drained(&self) {
        std::future::pending().await
    }

    fn may_upgrade(&self, _: &::http::request::Parts) -> bool {
        false
    }

    fn refused(&self, bad: BadHead) {
        panic!("{bad}");
    }
}

#[test]
fn a_deadline_is_kept_when_the_client_takes_nothing_more() {
    run_for_minutes(async {
        let authority = Authority::new("mesh.local");
        let (server, client) = (authority.issue("reviews"), authority.issue("web"));
        let acceptor = TlsAcceptor::from(Tls::new(World::os()).server(&server).unwrap());
        let connector = TlsConnector::from(Tls::new(World::os()).client(&client, &server.identity, crate::tls::Spoken::Http1).unwrap());
        // Less than TLS keeps by itself, so that only its flush is pending; and more than has room anywhere.
        for size in [30_000, 3_000_000] {
            let (ours, theirs) = tokio::io::duplex(4096);
            let accepted = acceptor.accept(Ahead::new(Stream::Other(Box::pin(ours))));
            let name = "9080.reviews.default.svc.cluster.local".try_into().unwrap();
            let (io, stream) = futures_util::future::join(accepted, connector.connect(name, theirs)).await;
            let (io, mut stream) = (Io::from(io.unwrap()), stream.unwrap());
            let patience = Patience { idle: IDLE, head: IDLE, stalled: IDLE, unsent: IDLE };
            let began = Instant::now();
            let asking = async {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await.unwrap();
                stream.flush().await.unwrap();
            };
            futures_util::future::join(server::serve(Line::new(io, patience), &Endless(size)), asking).await;
            assert!(began.elapsed() < Duration::from_secs(5), "{size}: {:?}", began.elapsed());
        }
    });
}

/// How an application ends a response that lasts until its connection does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    Reset,
    /// TLS that is cut without its close_notify.
    Truncated,
}

const UNTIL_CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf";

/// Waits with the end until it is told.
async fn until_close_app(end: End, go_on: Rc<Notify>) -> SocketAddr {
    raw_app(move |mut stream| {
        let go_on = go_on.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(UNTIL_CLOSE).await.unwrap();
            go_on.notified().await;
            if end == End::Reset {
                stream.set_zero_linger().unwrap();
            }
        }
    })
    .await
}

/// The same as a peer of the mesh.
async fn until_close_peer(authority: &Authority, end: End, go_on: Rc<Notify>) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Tls::new(World::os()).server(&authority.issue("reviews")).unwrap());
    raw_app(move |stream| {
        let (acceptor, go_on) = (acceptor.clone(), go_on.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(UNTIL_CLOSE).await.unwrap();
            stream.flush().await.unwrap();
            go_on.notified().await;
            match end {
                End::Well => stream.shutdown().await.unwrap(),
                End::Reset => stream.get_ref().0.set_zero_linger().unwrap(),
                End::Truncated => {}
            }
        }
    })
    .await
}

/// What a client of this version reads, and whether it can take it for whole.
async fn asked(to: SocketAddr, version: &str, go_on: &Notify) -> (String, bool) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = format!("GET / HTTP/{version}\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("half") {
        answer.push(stream.read_u8().await.unwrap().into());
    }
    go_on.notify_one();
    let mut more = Vec::new();
    let ended = stream.read_to_end(&mut more).await;
    answer += &String::from_utf8_lossy(&more);
    let whole = ended.is_ok() && (!answer.contains("transfer-encoding: chunked\r\n") || answer.ends_with("0\r\n\r\n"));
    (answer, whole)
}

#[test]
fn a_response_that_lasts_until_its_connection_ends_is_not_whole_when_that_breaks() {
    run(async {
        for (end, whole) in [(End::Well, true), (End::Reset, false)] {
            let go_on = Rc::new(Notify::new());
            let pair = Pair::new(until_close_app(end, go_on.clone()).await, AppProtocol::Http).await;
            for version in ["1.1", "1.0"] {
                for entry in [pair.server.exposed, pair.client.outbound] {
                    let (answer, seen) = asked(entry, version, &go_on).await;
                    assert_eq!(seen, whole, "{end:?} {version}: {answer}");
                }
            }
            let reasons = |proxy: &Proxy| proxy.exchanges().into_iter().map(|record| record.failure.map(|f| f.reason)).collect::<Vec<_>>();
            let expected = (!whole).then(|| "response_broken".to_owned());
            for (proxy, count) in [(&pair.client, 2), (&pair.server, 4)] {
                assert_eq!(reasons(proxy), vec![expected.clone(); count], "{end:?} {}", proxy.name);
            }
        }
    });
}

#[test]
fn tls_that_is_cut_without_a_word_ends_no_response() {
    run(async {
        for (end, whole) in [(End::Well, true), (End::Truncated, false), (End::Reset, false)] {
            let go_on = Rc::new(Notify::new());
            let authority = Authority::new("mesh.local");
            let peer = until_close_peer(&authority, end, go_on.clone()).await;
            let client = Proxy::start("web", LOCAL, Some(authority.issue("web"))).await;
            let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", Some(peer), LOCAL);
            // Connections that are counted are not shared: the peer is spoken to in HTTP/1.
            mesh.change = Some(|snapshot| limited(snapshot, Limits { max_requests_per_connection: Some(9), ..Limits::default() }));
            client.pin(&mesh);
            for version in ["1.1", "1.0"] {
                let (answer, seen) = asked(client.outbound, version, &go_on).await;
                assert_eq!(seen, whole, "{end:?} {version}: {answer}");
            }
        }
    });
}
