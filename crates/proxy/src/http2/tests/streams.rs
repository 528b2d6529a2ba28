//! Both sides of ours against the `h2` crate and each other: many streams, small windows, resets, ends.

use super::echo::{AnyBody, BoxError, LIMITS, PATIENCE, Raw, block, frame, over, pieces, serve, until, whole};
use crate::http2::client::{Answered, Connection, Unanswered, Why};
use crate::http2::frame::Frame;
use crate::http2::settings::Settings;
use crate::http2::{Dialect, Failure, Limits, Protocol};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(600);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    timeout(LIMIT, LocalSet::new().run_until(test)).await.expect("it does not end")
}

fn request(method: Method, path: &str) -> http::request::Parts {
    let uri = format!("http://a.example{path}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(()).unwrap().into_parts().0
}

fn bytes(dice: &mut fastrand::Rng, most: usize) -> Bytes {
    let length = if dice.bool() { dice.usize(..=most) } else { dice.usize(..200) };
    (0..length).map(|at| at as u8 ^ dice.u8(..)).collect()
}

/// Pieces of all sizes, and trailers now and then.
fn in_pieces(mut data: Bytes, dice: &mut fastrand::Rng) -> AnyBody {
    let mut frames: Vec<Result<http_body::Frame<Bytes>, BoxError>> = Vec::new();
    while !data.is_empty() {
        let size = if dice.u8(..3) == 0 { dice.usize(..40) } else { dice.usize(..30_000) };
        frames.push(Ok(http_body::Frame::data(data.split_to(size.min(data.len())))));
    }
    if dice.bool() {
        frames.push(Ok(http_body::Frame::trailers(HeaderMap::from_iter([("x-end".parse().unwrap(), "yes".parse().unwrap())]))));
    }
    Box::pin(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A connection of ours, and what runs it.
fn connect(io: DuplexStream, dialect: Dialect, limits: Limits) -> (Rc<Connection>, JoinHandle<()>) {
    let (connection, running) = Connection::new(over(io), dialect, limits);
    (Rc::new(connection), spawn_local(running))
}

async fn ask(connection: &Connection, head: &http::request::Parts, body: AnyBody) -> Result<(http::response::Parts, Bytes), String> {
    match connection.send(head, body).await {
        Ok(Answered::Body(response)) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok((head, body.to_bytes()))
        }
        Ok(Answered::Stream(..)) => panic!("a stream"),
        Err(unanswered) => Err(unanswered.why.to_string()),
    }
}

/// What the `h2` crate says in its echo: every byte, with the window given back as late as may be.
pub async fn their_echo(io: DuplexStream, window: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 16).max_concurrent_streams(64);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        spawn_local(async move {
            let mut body = request.into_body();
            let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
            while let Some(Ok(mut data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                while !data.is_empty() {
                    out.reserve_capacity(data.len());
                    let Some(Ok(room)) = std::future::poll_fn(|cx| out.poll_capacity(cx)).await else { return };
                    let _ = out.send_data(data.split_to(room.min(data.len())), false);
                }
            }
            let _ = match body.trailers().await {
                Ok(Some(trailers)) => out.send_trailers(trailers),
                _ => out.send_data(Bytes::new(), true),
            };
        });
    }
}

#[tokio::test(start_paused = true)]
async fn our_client_and_their_server_carry_a_thousand_streams() {
    for (seed, window) in [(1, 65_535), (2, 100), (3, 1)] {
        let most = if window < 65_535 { 3_000 } else { 200_000 };
        in_time(async {
            let (ours, theirs) = tokio::io::duplex(10_000);
            spawn_local(their_echo(theirs, window));
            let (connection, running) = connect(ours, Dialect::Http2, LIMITS);
            let mut dice = fastrand::Rng::with_seed(seed);
            let exchanges = (0..1000).map(|nth| {
                let (connection, mut dice) = (connection.clone(), dice.fork());
                async move {
                    until("there is room", || connection.room(u32::MAX) > 0).await;
                    let data = bytes(&mut dice, if nth % 10 == 0 { most } else { 500 });
                    let head = request(Method::POST, "/echo");
                    let asked = ask(&connection, &head, in_pieces(data.clone(), &mut dice));
                    if dice.u8(..10) == 0 {
                        // It changes its mind.
                        let turns = dice.u32(..200);
                        tokio::select! {
                            biased;
                            _ = asked => {}
                            () = async { for _ in 0..turns { tokio::task::yield_now().await } } => {}
                        }
                    } else {
                        assert_eq!(asked.await.unwrap().1, data, "exchange {nth}");
                    }
                }
            });
            let mut exchanges: Vec<_> = exchanges.collect();
            while !exchanges.is_empty() {
                join_all(exchanges.drain(..exchanges.len().min(40))).await;
            }
            assert_eq!(connection.room(u32::MAX), 64, "streams are left behind");
            drop(connection);
            running.await.unwrap();
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn their_client_and_our_server_carry_a_thousand_streams() {
    for (seed, window) in [(1, 65_535), (2, 100), (3, 1)] {
        in_time(async {
            let limits = Limits { stream_window: window, connection_window: 1 << 16, ..LIMITS };
            let (theirs, echo, serving) = serve(Dialect::Http2, Limits { trusted: true, ..limits }, PATIENCE, 10_000);
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window.max(50)).max_concurrent_reset_streams(1000);
            let (sender, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let running = spawn_local(connection);
            let mut dice = fastrand::Rng::with_seed(seed);
            for _ in 0..25 {
                let exchanges =
                    (0..40).map(|nth| their_exchange(sender.clone(), dice.fork(), if nth % 10 == 0 { 20 * window.min(5_000) } else { 500 }));
                join_all(exchanges.collect::<Vec<_>>()).await;
            }
            until("all requests have ended", || echo.held.get() == 0).await;
            drop(sender);
            running.await.unwrap().unwrap();
            serving.await.unwrap();
        })
        .await;
    }
}

async fn their_exchange(sender: h2::client::SendRequest<Bytes>, mut dice: fastrand::Rng, most: u32) {
    let mut sender = sender.ready().await.unwrap();
    let data = bytes(&mut dice, most as usize);
    let asked = Request::post("http://a.example/echo").body(()).unwrap();
    let (response, mut out) = sender.send_request(asked, false).unwrap();
    let resets = dice.u8(..10) == 0;
    let sending = async {
        let mut left = data.clone();
        while !left.is_empty() {
            out.reserve_capacity(left.len());
            // Only what is added to it is told.
            if out.capacity() == 0 && !matches!(std::future::poll_fn(|cx| out.poll_capacity(cx)).await, Some(Ok(_))) {
                return;
            }
            let room = out.capacity();
            if resets && dice.u8(..5) == 0 {
                out.send_reset(h2::Reason::CANCEL);
                return;
            }
            let size = room.min(left.len()).min(dice.usize(1..20_000));
            out.send_data(left.split_to(size), false).unwrap();
        }
        let _ = out.send_data(Bytes::new(), true);
    };
    let receiving = async {
        let mut body = response.await.ok()?.into_body();
        let mut got = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.ok()?;
            got.extend_from_slice(&piece);
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        Some(got)
    };
    let ((), got) = tokio::join!(biased; sending, receiving);
    assert!(got.is_some_and(|got| got == data) || resets, "it is not what was sent");
}

#[tokio::test(start_paused = true)]
async fn two_of_ours_carry_http1_and_one_that_is_not_read_holds_up_no_other() {
    in_time(async {
        let limits = Limits { connection_window: 1 << 16, release_on_arrival: true, trusted: true, ..LIMITS };
        let (ours, _, _) = serve(Dialect::Http1, limits, PATIENCE, 10_000);
        let (connection, _running) = connect(ours, Dialect::Http1, limits);
        let mut unread = Vec::new();
        for _ in 0..20 {
            let Ok(Answered::Body(response)) = connection.send(&request(Method::GET, "/bytes/1000000"), whole(Bytes::new())).await else { panic!() };
            unread.push(response);
        }
        let (head, body) = ask(&connection, &request(Method::GET, "/bytes/300000"), whole(Bytes::new())).await.unwrap();
        assert_eq!((head.version, body.len()), (Version::HTTP_11, 300_000));
        for response in unread {
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1_000_000);
        }
        let (_, body) = ask(&connection, &request(Method::POST, "/echo"), pieces(500_000)).await.unwrap();
        assert_eq!(body.len(), 500_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_outlives_the_announcement_of_the_end_and_the_connection_ends_with_it() {
    in_time(async {
        let (ours, echo, serving) = serve(Dialect::Http2, LIMITS, PATIENCE, 10_000);
        let (connection, running) = connect(ours, Dialect::Http2, LIMITS);
        let mut head = request(Method::CONNECT, "/");
        head.uri = "a.example:1".parse().unwrap();
        let Ok(Answered::Stream(_, mut io)) = connection.send(&head, whole(Bytes::new())).await else { panic!("it is not granted") };
        echo.leave.notify_one();
        until("the client is told", || !connection.is_open()).await;
        for _ in 0..3 {
            let sent = vec![7; 100_000];
            let (mut reading, mut writing) = tokio::io::split(&mut io);
            let mut got = vec![0; sent.len()];
            let (written, read) = tokio::join!(biased; writing.write_all(&sent), reading.read_exact(&mut got));
            written.unwrap();
            read.unwrap();
            assert_eq!(got, sent);
        }
        io.shutdown().await.unwrap();
        assert_eq!(io.read(&mut [0; 10]).await.unwrap(), 0);
        drop(io);
        serving.await.unwrap();
        running.await.unwrap();
        let Err(Unanswered { unsent, .. }) = connection.send(&request(Method::POST, "/"), whole(Bytes::new())).await else { panic!() };
        assert!(unsent);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_wants_ends_with_its_last_stream() {
    in_time(async {
        let (ours, echo, serving) = serve(Dialect::Http2, LIMITS, PATIENCE, 10_000);
        let (connection, running) = connect(ours, Dialect::Http2, LIMITS);
        let Ok(Answered::Body(response)) = connection.send(&request(Method::GET, "/bytes/200000"), whole(Bytes::new())).await else { panic!() };
        drop(connection);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 200_000);
        running.await.unwrap();
        serving.await.unwrap();
        assert_eq!(echo.held.get(), 0);
    })
    .await;
}

/// A server that writes what it likes.
async fn raw_server() -> (Raw, Rc<Connection>, JoinHandle<()>) {
    let (ours, io) = tokio::io::duplex(1 << 20);
    let (connection, running) = connect(ours, Dialect::Http2, LIMITS);
    let mut raw = Raw { io, read: Default::default() };
    let mut preface = [0; 24];
    raw.io.read_exact(&mut preface).await.unwrap();
    raw.send(&frame(4, 0, 0, &[])).await;
    (raw, connection, running)
}

async fn answered_with(method: Method, answer: &[u8]) -> Result<usize, String> {
    let (mut raw, connection, _running) = raw_server().await;
    let head = request(method, "/");
    let asking = ask(&connection, &head, whole(Bytes::new()));
    let answering = async {
        raw.find("the request", |frame| matches!(frame, Frame::Headers { .. }).then_some(())).await;
        raw.send(answer).await;
        // Until it has been read.
        raw.send(&frame(6, 0, 0, &[1; 8])).await;
        raw.find("PING's answer", |frame| matches!(frame, Frame::Ping { ack: true, .. } | Frame::GoAway { .. }).then_some(())).await;
    };
    let (asked, ()) = tokio::join!(biased; asking, answering);
    asked.map(|(_, body)| body.len())
}

#[tokio::test(start_paused = true)]
async fn responses_are_what_they_say() {
    let head = |flags: u8, fields: &[(&str, &str)]| frame(1, 4 | flags, 1, &block(fields));
    let ok = (":status", "200");
    let five = frame(0, 1, 1, b"12345");
    type Row<'a> = (&'a str, Method, Vec<u8>, Result<usize, &'a str>);
    let rows: Vec<Row<'_>> = vec![
        ("a body", Method::GET, [head(0, &[ok]), five.clone()].concat(), Ok(5)),
        ("interim responses", Method::GET, [head(0, &[(":status", "103")]), head(0, &[ok]), five.clone()].concat(), Ok(5)),
        ("an interim response at the end", Method::GET, head(1, &[(":status", "103")]), Err("an interim response ends the stream")),
        ("101", Method::GET, head(0, &[(":status", "101")]), Err("HTTP/2 has no status 101")),
        ("data before the head", Method::GET, [five[..].to_vec(), head(1, &[ok])].concat(), Err("data before the response's head")),
        ("trailers before the head", Method::GET, head(1, &[("a", "b")]), Err("the response has no :status")),
        ("shorter", Method::GET, [head(0, &[ok, ("content-length", "9")]), five.clone()].concat(), Err("shorter than its Content-Length")),
        ("longer", Method::GET, [head(0, &[ok, ("content-length", "4")]), five.clone()].concat(), Err("longer than its Content-Length")),
        ("HEAD", Method::HEAD, head(1, &[ok, ("content-length", "9")]), Ok(0)),
        ("HEAD, ended later", Method::HEAD, [head(0, &[ok, ("content-length", "9")]), frame(0, 1, 1, b"")].concat(), Ok(0)),
        ("HEAD with a body", Method::HEAD, [head(0, &[ok, ("content-length", "5")]), five.clone()].concat(), Err("longer than its Content-Length")),
        ("204 with a body", Method::GET, [head(0, &[(":status", "204")]), five.clone()].concat(), Err("longer than its Content-Length")),
        ("304", Method::GET, head(1, &[(":status", "304"), ("content-length", "9")]), Ok(0)),
        ("a whole response, then NO_ERROR", Method::GET, [head(1, &[ok]), frame(3, 0, 1, &[0; 4])].concat(), Ok(0)),
        ("a reset", Method::GET, [head(0, &[ok]), frame(3, 0, 1, &[0, 0, 0, 8])].concat(), Err("the peer reset the stream (CANCEL)")),
        ("push is turned on", Method::GET, frame(4, 0, 0, &[0, 2, 0, 0, 0, 1]), Err("a server turns push on")),
        ("a promise", Method::GET, frame(5, 4, 1, &[0, 0, 0, 2]), Err("PUSH_PROMISE")),
        ("a stream of its own", Method::GET, frame(1, 5, 2, &block(&[ok])), Err("a response to nothing")),
        ("refused", Method::GET, frame(3, 0, 1, &[0, 0, 0, 7]), Err("the peer did not take the stream")),
    ];
    in_time(async {
        for (what, method, answer, must) in rows {
            match (answered_with(method, &answer).await, must) {
                (Ok(got), Ok(must)) => assert_eq!(got, must, "{what}"),
                (Err(got), Err(must)) => assert!(got.contains(must), "{what}: {got}"),
                (got, must) => panic!("{what}: {got:?}, not {must:?}"),
            }
        }
    })
    .await;
}

/// A request may be sent again only if no byte of it has left, or the peer says that it has not looked at it.
#[tokio::test(start_paused = true)]
async fn what_may_have_been_seen_is_not_called_unsent() {
    in_time(async {
        let (mut raw, connection, _running) = raw_server().await;
        let post = request(Method::POST, "/");
        let asking = connection.send(&post, whole(Bytes::new()));
        let breaking = async {
            raw.find("the request", |frame| matches!(frame, Frame::Headers { .. }).then_some(())).await;
            // It has to say much, and can say none of it.
            raw.send(&frame(6, 0, 0, &[1; 8]).repeat(500)).await;
            drop(raw);
        };
        let (asked, ()) = tokio::join!(biased; asking, breaking);
        let Err(Unanswered { why: Why::Stream(Failure::Lost(_)), unsent: false }) = asked else { panic!("it would be sent twice") };
    })
    .await;
    in_time(async {
        // A peer that takes nothing at all.
        let (ours, theirs) = tokio::io::duplex(1);
        let (connection, _running) = connect(ours, Dialect::Http2, LIMITS);
        let post = request(Method::POST, "/");
        let (asked, ()) = tokio::join!(biased; connection.send(&post, whole(Bytes::new())), async { drop(theirs) });
        let Err(Unanswered { unsent: true, .. }) = asked else { panic!("nothing of it has left") };
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_above_the_last_one_of_goaway_may_be_sent_again() {
    in_time(async {
        let (mut raw, connection, running) = raw_server().await;
        let post = request(Method::POST, "/");
        let both = async { tokio::join!(biased; connection.send(&post, whole(Bytes::new())), connection.send(&post, whole(Bytes::new()))) };
        let leaving = async {
            for _ in 0..2 {
                raw.find("requests", |frame| matches!(frame, Frame::Headers { .. }).then_some(())).await;
            }
            raw.send(&[frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), frame(1, 5, 1, &block(&[(":status", "200")]))].concat()).await;
        };
        let ((first, second), ()) = tokio::join!(biased; both, leaving);
        assert!(first.is_ok());
        assert!(matches!(second, Err(Unanswered { why: Why::Stream(Failure::Refused), unsent: true })));
        assert!(!connection.is_open());
        drop(first);
        running.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_more_streams_are_opened_than_the_peer_allows() {
    in_time(async {
        let (mut raw, connection, _running) = raw_server().await;
        let settled = Cell::new(0);
        let allow = |count: u8| frame(4, 0, 0, &[0, 3, 0, 0, 0, count]);
        until("its settings are known", || connection.room(u32::MAX) == 100).await;
        for (count, room) in [(2, 2), (0, 0), (100, 100)] {
            raw.send(&allow(count)).await;
            settled.set(room);
            until("they are taken", || connection.room(u32::MAX) == settled.get()).await;
            if room == 0 {
                let asked = connection.send(&request(Method::POST, "/"), whole(Bytes::new())).await;
                assert!(matches!(asked, Err(Unanswered { unsent: true, .. })));
            }
        }
        // What is not said again stays.
        raw.send(&frame(4, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
        raw.send(&frame(6, 0, 0, &[9; 8])).await;
        raw.find("PING's answer", |frame| matches!(frame, Frame::Ping { ack: true, .. }).then_some(())).await;
        assert_eq!(connection.room(u32::MAX), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn windows_may_become_negative() {
    in_time(async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings { initial_window_size: Some(1000), ..Settings::default() }).await;
        let get = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/bytes/3000")]);
        raw.send(&frame(1, 5, 1, &get)).await;
        let data = |frame: &Frame| if let Frame::Data { data, .. } = frame { Some(data.len()) } else { None };
        assert_eq!(raw.find("the first window", data).await, 1000);
        // The window is now -900, then 0, then 1.
        raw.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 100])).await;
        raw.send(&frame(8, 0, 1, &900_u32.to_be_bytes())).await;
        raw.send(&frame(6, 0, 0, &[0; 8])).await;
        let quiet = raw.find("PING's answer", |frame| match frame {
            Frame::Data { .. } => Some(false),
            Frame::Ping { ack: true, .. } => Some(true),
            _ => None,
        });
        assert!(quiet.await, "data beyond the window");
        raw.send(&frame(8, 0, 1, &1_u32.to_be_bytes())).await;
        assert_eq!(raw.find("one byte", data).await, 1);
    })
    .await;
}

/// What a server can do is in its SETTINGS; one that never sends any is not waited for.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_begins_is_left() {
    in_time(async {
        let (ours, _theirs) = tokio::io::duplex(1 << 20);
        let (connection, running) = connect(ours, Dialect::Http2, LIMITS);
        let mut head = request(Method::CONNECT, "/chat");
        head.extensions.insert(Protocol("websocket".parse().unwrap()));
        let asked = timeout(Duration::from_secs(60), connection.send(&head, whole(Bytes::new()))).await;
        assert!(matches!(asked, Ok(Err(Unanswered { why: Why::NoExtendedConnect, .. }))));
        running.await.unwrap();
    })
    .await;
}

/// HTTP/1.1 has trailers after chunks only, so a body that has trailers must not be given a length, however fast it came.
#[tokio::test(start_paused = true)]
async fn a_body_that_came_at_once_keeps_its_trailers() {
    in_time(async {
        let (mut raw, connection, _running) = raw_server().await;
        let get = request(Method::GET, "/");
        let answering = async {
            raw.find("the request", |frame| matches!(frame, Frame::Headers { .. }).then_some(())).await;
            let whole = [frame(1, 4, 1, &block(&[(":status", "200")])), frame(0, 0, 1, b"12345"), frame(1, 5, 1, &block(&[("x-sum", "5")]))];
            raw.send(&whole.concat()).await;
        };
        let (asked, ()) = tokio::join!(biased; connection.send(&get, whole(Bytes::new())), answering);
        let Ok(Answered::Body(response)) = asked else { panic!("it is not answered") };
        let body = response.into_body();
        assert_eq!((http_body::Body::size_hint(&body).lower(), http_body::Body::size_hint(&body).exact()), (5, None));
        let body = body.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "5");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_comes_back_is_spared_until_something_does() {
    in_time(async {
        let (mut raw, connection, _running) = raw_server().await;
        raw.send(&frame(4, 0, 0, &[0, 3, 0, 0, 0, 50])).await;
        until("all it said was heard", || connection.room(u32::MAX) == 50).await;
        let get = request(Method::GET, "/");
        let asked = connection.send(&get, whole(Bytes::new()));
        assert!(tokio::time::timeout(std::time::Duration::from_secs(2), asked).await.is_err(), "nobody answers");
        assert_eq!((connection.room(u32::MAX), connection.is_open()), (0, true));
        raw.send(&frame(6, 0, 0, &[9; 8])).await;
        until("the peer was heard", || connection.room(u32::MAX) == 50).await;
    })
    .await;
}
