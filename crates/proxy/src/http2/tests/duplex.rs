//! Byte streams over a connection in memory: what is said on one end is read on the other, whatever the windows and the sizes.

use super::echo::{LIMITS, PATIENCE, over};
use crate::http2::client::{Answered, Connection};
use crate::http2::{Dialect, Limits, server};
use crate::io::Io;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::task::{LocalSet, spawn_local};

/// Asks for a byte stream.
async fn connect(io: DuplexStream, limits: Limits) -> Io {
    let (connection, running) = Connection::new(over(io), Dialect::Http2, limits);
    spawn_local(running);
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri, head.version) = (Method::CONNECT, "reviews:9080".parse().unwrap(), Version::HTTP_2);
    match connection.send(&head, Empty::new().map_err(|never| match never {})).await {
        Ok(Answered::Stream(_, io)) => io,
        _ => panic!("it is not granted"),
    }
}

/// A byte stream's two ends: the client's, the server's.
async fn ends(limits: Limits) -> (Io, Io) {
    let (near, far) = duplex(10_000);
    let granted = Rc::new(RefCell::new(None));
    let given = granted.clone();
    spawn_local(async move {
        let take = |head: http::request::Parts, asked: server::Asked| {
            assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("CONNECT", "reviews:9080"));
            *given.borrow_mut() = Some(asked.grant(&Response::new(()).into_parts().0));
        };
        server::hand_out(over(far), limits, PATIENCE, pending(), take).await;
    });
    let client = connect(near, limits).await;
    let server = granted.borrow_mut().take().unwrap();
    (client, server)
}

fn window(window: u32) -> Limits {
    Limits { stream_window: window, ..LIMITS }
}

fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let limit = std::time::Duration::from_secs(600);
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(limit, test).await.expect("the test hangs") });
}

async fn take(io: &mut Io) -> io::Result<Bytes> {
    let mut buffer = BytesMut::new();
    poll_fn(|cx| io.poll_take(cx, &mut buffer, 1)).await
}

async fn write(mut io: WriteHalf<Io>, bytes: Vec<u8>, mut dice: fastrand::Rng) {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let most = dice.usize(1..40_000).min(rest.len());
        let size = dice.usize(..most) + 1;
        io.write_all(&rest[..size]).await.unwrap();
        rest = &rest[size..];
    }
    io.shutdown().await.unwrap();
}

async fn read(mut io: ReadHalf<Io>, mut dice: fastrand::Rng) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut piece = vec![0; dice.usize(1..40_000)];
        match io.read(&mut piece).await.unwrap() {
            0 => return all,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

#[test]
fn bytes_arrive_in_order_in_any_sizes_and_each_side_ends_on_its_own() {
    for seed in 0..30 {
        run(async move {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (client, server) = ends(Limits { frame: dice.u32(16_384..80_000), ..window(dice.u32(1..200_000)) }).await;
            let mut said = || (0..dice.usize(..300_000)).map(|at| (at % 251) as u8).collect::<Vec<_>>();
            let (there, back) = (said(), said());
            let ((client_reads, client_writes), (server_reads, server_writes)) = (tokio::io::split(client), tokio::io::split(server));
            let writing = (write(client_writes, there.clone(), dice.fork()), write(server_writes, back.clone(), dice.fork()));
            let reading = (read(server_reads, dice.fork()), read(client_reads, dice.fork()));
            let (_, _, came_there, came_back) = tokio::join!(biased; writing.0, writing.1, reading.0, reading.1);
            assert!(came_there == there && came_back == back, "seed {seed}");
        });
    }
}

#[test]
fn pieces_are_passed_on_whole() {
    run(async {
        let (mut client, mut server) = ends(window(50_000)).await;
        let mut chunk = Bytes::from_static(b"one piece");
        assert_eq!(poll_fn(|cx| client.poll_pass(cx, &mut chunk)).await.unwrap(), 9);
        assert_eq!(take(&mut server).await.unwrap(), "one piece");
        client.shutdown().await.unwrap();
        assert_eq!(take(&mut server).await.unwrap(), "");
        assert_eq!(client.write(b"after the end").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn no_window_is_waited_for() {
    run(async {
        let (mut client, mut server) = ends(window(10)).await;
        client.write_all(b"ten bytes!").await.unwrap();
        let mut chunk = Bytes::from_static(b"more");
        let mut passed = std::pin::pin!(poll_fn(|cx| client.poll_pass(cx, &mut chunk)));
        let soon = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, passed.as_mut()).await.is_err());
        server.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(passed.await.unwrap(), 4);
        server.read_exact(&mut [0; 4]).await.unwrap();
    });
}

#[test]
fn a_stream_that_is_dropped_breaks_off_on_the_other_side() {
    run(async {
        let (client, mut server) = ends(window(10_000)).await;
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(server.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (client, mut server) = ends(window(10)).await;
        server.write_all(b"ten bytes!").await.unwrap();
        let mut waiting = std::pin::pin!(server.write(b"x"));
        let soon = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, waiting.as_mut()).await.is_err());
        drop(client);
        assert_eq!(waiting.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Pieces of all sizes, against the `h2` crate's flow control.
#[test]
fn another_implementation_carries_our_bytes() {
    for seed in 0..10 {
        run(async move {
            let (near, far) = duplex(10_000);
            let mut dice = fastrand::Rng::with_seed(seed);
            let (window, frame) = (dice.u32(1..100_000), dice.u32(16_384..80_000));
            spawn_local(super::streams::their_echo(far, window));
            let client = connect(near, Limits { frame, ..self::window(window) }).await;
            let said: Vec<u8> = (0..dice.usize(..300_000)).map(|at| (at % 251) as u8).collect();
            let (reads, writes) = tokio::io::split(client);
            let writing = write(writes, said.clone(), dice.fork());
            let (_, came) = tokio::join!(biased; writing, read(reads, dice));
            assert!(came == said, "seed {seed}");
        });
    }
}
