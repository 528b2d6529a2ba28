//! How often one forwarded HTTP/1.1 request allocates, on each side, once connections stand and buffers have grown.

use super::*;
use allocation_counter::measure;
use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::mpsc;
use std::thread;

/// What a request may cost a proxy.
const MOST: u64 = 10;
const WARM_UP: u64 = 100;
const REQUESTS: u64 = 1000;

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
    go_on: tokio::sync::mpsc::UnboundedSender<()>,
    counted: mpsc::Receiver<u64>,
}

impl Counting {
    /// `start` runs on the new thread.
    fn start(start: impl AsyncFnOnce() -> Proxy + Send + 'static) -> Self {
        let ((go_on, mut told), (count, counted)) = (tokio::sync::mpsc::unbounded_channel(), mpsc::channel());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = LocalSet::new();
            let proxy = local.block_on(&runtime, start());
            // Runs the proxy until the next signal.
            let mut until_told = || {
                local.block_on(&runtime, told.recv());
            };
            until_told();
            count.send(measure(&mut until_told).count_total).unwrap();
            drop(proxy);
        });
        Self { go_on, counted }
    }

    fn tell(&self) {
        self.go_on.send(()).unwrap();
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

#[test]
fn a_forwarded_request_allocates_little_on_each_side() {
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
    let mut stream = StdStream::connect(outbound.recv().unwrap()).unwrap();
    ask(&mut stream, WARM_UP);
    for proxy in [&server, &client] {
        proxy.tell();
    }
    ask(&mut stream, REQUESTS);
    for proxy in [&server, &client] {
        proxy.tell();
    }
    for (side, proxy) in [("client", client), ("server", server)] {
        let each = proxy.counted.recv_timeout(DEADLINE).unwrap() as f64 / REQUESTS as f64;
        println!("{side} side: {each:.2} allocations per request");
        assert!(each <= MOST as f64, "the {side} side allocates {each:.2} times per request, and may {MOST} times");
    }
}
