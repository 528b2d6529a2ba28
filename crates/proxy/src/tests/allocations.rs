//! How often one forwarded HTTP/1.1 request allocates, on each side, once connections stand and buffers have grown; and what a client's
//! connection holds that waits for its next request.

use super::*;
use allocation_counter::{AllocationInfo, measure};
use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::mpsc;
use std::thread;

/// What a request may cost a proxy.
const MOST: u64 = 10;
const WARM_UP: u64 = 100;
const REQUESTS: u64 = 1000;
/// Connections that wait, and the bytes that each may hold in a build without optimisation.
const WAITING: usize = 300;
const HELD: i64 = 2688;

/// An application that allocates nothing that is counted here: it has a thread of its own.
fn plain_app() -> SocketAddr {
    let listener = StdListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut head = [0; 4096];
                while matches!(stream.read(&mut head), Ok(1..)) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello").unwrap();
                }
            });
        }
    });
    address
}

/// A proxy on a thread of its own, whose allocations are counted between two signals.
struct Counting {
    go_on: tokio::sync::mpsc::UnboundedSender<Told>,
    /// It counts from now on.
    begun: mpsc::Receiver<()>,
    counted: mpsc::Receiver<AllocationInfo>,
}

enum Told {
    Count,
    /// After a while in which nothing happens.
    CountLater,
}

impl Counting {
    /// `start` runs on the new thread.
    fn start(start: impl AsyncFnOnce() -> Proxy + Send + 'static) -> Self {
        let (go_on, mut told) = tokio::sync::mpsc::unbounded_channel();
        let ((begin, begun), (count, counted)) = (mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = LocalSet::new();
            let proxy = local.block_on(&runtime, start());
            // Runs the proxy until the next signal.
            let mut until_told = || {
                local.block_on(&runtime, async {
                    if let Some(Told::CountLater) = told.recv().await {
                        tokio::time::pause();
                        tokio::time::advance(Duration::from_secs(5)).await;
                        for _ in 0..100 {
                            tokio::task::yield_now().await;
                        }
                        tokio::time::resume();
                    }
                });
            };
            until_told();
            begin.send(()).unwrap();
            count.send(measure(&mut until_told)).unwrap();
            drop(proxy);
        });
        Self { go_on, begun, counted }
    }

    /// The first signal begins the count, the second ends it.
    fn tell(&self, what: Told) {
        self.go_on.send(what).unwrap();
    }

    /// Nothing may happen that is to be counted before this returns.
    fn has_begun(&self) {
        self.begun.recv_timeout(DEADLINE).unwrap();
    }
}

fn ask(stream: &mut StdStream, times: u64) {
    let mut answer = [0; 4096];
    for _ in 0..times {
        stream.write_all(b"GET /reviews/1?page=2 HTTP/1.1\r\nHost: reviews:9080\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n").unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"hello") {
            read += stream.read(&mut answer[read..]).unwrap();
        }
    }
}

/// The server's side, the client's, and where the client's takes requests.
fn sides() -> (Counting, Counting, SocketAddr) {
    let app = plain_app();
    let authority = Authority::new("mesh.local");
    let (server_holds, client_holds) = (authority.issue("reviews"), authority.issue("web"));
    let (tell_peer, peer) = mpsc::channel();
    let server = Counting::start(async move || {
        let proxy = Proxy::start("reviews", app, Some(server_holds)).await;
        proxy.pin(&Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", Some(proxy.peer), app));
        tell_peer.send(proxy.peer).unwrap();
        proxy
    });
    let peer = peer.recv().unwrap();
    let (tell_outbound, outbound) = mpsc::channel();
    let client = Counting::start(async move || {
        let proxy = Proxy::start("web", LOCAL, Some(client_holds)).await;
        proxy.pin(&Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", Some(peer), app));
        tell_outbound.send(proxy.outbound).unwrap();
        proxy
    });
    (server, client, outbound.recv().unwrap())
}

#[test]
fn a_forwarded_request_allocates_little_on_each_side() {
    let (server, client, outbound) = sides();
    let mut stream = StdStream::connect(outbound).unwrap();
    ask(&mut stream, WARM_UP);
    for proxy in [&server, &client] {
        proxy.tell(Told::Count);
        proxy.has_begun();
    }
    ask(&mut stream, REQUESTS);
    for proxy in [&server, &client] {
        proxy.tell(Told::Count);
    }
    for (side, proxy) in [("client", client), ("server", server)] {
        let each = proxy.counted.recv_timeout(DEADLINE).unwrap().count_total as f64 / REQUESTS as f64;
        println!("{side} side: {each:.2} allocations per request");
        assert!(each <= MOST as f64, "the {side} side allocates {each:.2} times per request, and may {MOST} times");
    }
}

#[test]
fn a_connection_that_waits_holds_little() {
    let (_server, client, outbound) = sides();
    let opened = |count: usize, each: u64| -> Vec<StdStream> {
        let mut streams: Vec<_> = (0..count).map(|_| StdStream::connect(outbound).unwrap()).collect();
        streams.iter_mut().for_each(|stream| ask(stream, each));
        streams
    };
    // More records than are kept.
    let _before = opened(100, 11);
    client.tell(Told::CountLater);
    client.has_begun();
    let _waiting = opened(WAITING, 1);
    client.tell(Told::CountLater);
    let counted = client.counted.recv_timeout(DEADLINE).unwrap();
    let each = counted.bytes_current / WAITING as i64;
    println!("{each} bytes in {:.1} pieces", counted.count_current as f64 / WAITING as f64);
    assert!(each <= HELD, "a connection that waits holds {each} bytes, and may {HELD}");
}
