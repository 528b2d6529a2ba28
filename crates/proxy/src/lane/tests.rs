//! Lanes over a connection in memory: what is said on one end is read on the other, whatever the windows and the sizes.

use super::*;
use http::{Request, Response};
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::LocalSet;

/// A lane's two ends: the client's, the server's.
async fn lane(window: u32) -> (Lane, Lane) {
    let (near, far) = duplex(10_000);
    let mut builder = h2::server::Builder::new();
    let accepting = tokio::task::spawn_local(async move {
        let mut connection = builder.initial_window_size(window).max_send_buffer_size(4096).handshake::<_, Bytes>(far).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
        let send = respond.send_response(Response::new(()), false).unwrap();
        Lane::new(send, request.into_body(), Place::take(&Rc::default()))
    });
    let mut builder = h2::client::Builder::new();
    let (sender, connection) = builder.initial_window_size(window).max_send_buffer_size(4096).handshake::<_, Bytes>(near).await.unwrap();
    tokio::task::spawn_local(connection);
    let request = Request::connect("reviews:9080").body(()).unwrap();
    let (response, send) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let receive = response.await.unwrap().into_body();
    (Lane::new(send, receive, Place::take(&Rc::default())), accepting.await.unwrap())
}

fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let limit = std::time::Duration::from_secs(600);
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(limit, test).await.expect("the test hangs") });
}

async fn write(mut lane: tokio::io::WriteHalf<Lane>, bytes: Vec<u8>, mut dice: fastrand::Rng) {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let most = dice.usize(1..40_000).min(rest.len());
        let size = dice.usize(..most) + 1;
        lane.write_all(&rest[..size]).await.unwrap();
        rest = &rest[size..];
    }
    lane.shutdown().await.unwrap();
}

async fn read(mut lane: tokio::io::ReadHalf<Lane>, mut dice: fastrand::Rng) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut piece = vec![0; dice.usize(1..40_000)];
        match lane.read(&mut piece).await.unwrap() {
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
            let (client, server) = lane(dice.u32(1..100_000)).await;
            let mut said = || (0..dice.usize(..300_000)).map(|at| (at % 251) as u8).collect::<Vec<_>>();
            let (there, back) = (said(), said());
            let ((client_reads, client_writes), (server_reads, server_writes)) = (tokio::io::split(client), tokio::io::split(server));
            tokio::task::spawn_local(write(client_writes, there.clone(), dice.fork()));
            tokio::task::spawn_local(write(server_writes, back.clone(), dice.fork()));
            let (came_there, came_back) = tokio::join!(read(server_reads, dice.fork()), read(client_reads, dice.fork()));
            assert!(came_there == there && came_back == back, "seed {seed}");
        });
    }
}

#[test]
fn pieces_are_passed_on_whole() {
    run(async {
        let (mut client, mut server) = lane(50_000).await;
        let mut chunk = Bytes::from_static(b"one piece");
        assert_eq!(std::future::poll_fn(|cx| client.poll_pass(cx, &mut chunk)).await.unwrap(), 9);
        assert_eq!(std::future::poll_fn(|cx| server.poll_take(cx)).await.unwrap(), "one piece");
        client.shutdown().await.unwrap();
        assert_eq!(std::future::poll_fn(|cx| server.poll_take(cx)).await.unwrap(), "");
        assert_eq!(client.write(b"after the end").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn no_window_is_waited_for() {
    run(async {
        let (mut client, mut server) = lane(10).await;
        client.write_all(b"ten bytes!").await.unwrap();
        let mut chunk = Bytes::from_static(b"more");
        let mut passed = std::pin::pin!(std::future::poll_fn(|cx| client.poll_pass(cx, &mut chunk)));
        let soon = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, passed.as_mut()).await.is_err());
        server.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(passed.await.unwrap(), 4);
        server.read_exact(&mut [0; 4]).await.unwrap();
    });
}

#[test]
fn a_lane_that_is_dropped_breaks_off_on_the_other_side() {
    run(async {
        let (client, mut server) = lane(10_000).await;
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(server.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (client, mut server) = lane(10).await;
        server.write_all(b"ten bytes!").await.unwrap();
        let mut waiting = std::pin::pin!(server.write(b"x"));
        let soon = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, waiting.as_mut()).await.is_err());
        drop(client);
        assert_eq!(waiting.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}
