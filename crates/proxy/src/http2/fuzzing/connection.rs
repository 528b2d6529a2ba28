//! A whole connection as fuzzers see it: whatever a peer sends, it ends when the peer has, and has said no more than that was worth.

use crate::http2::client::{Answered, Connection};
use crate::http2::frame::{self, PREFACE};
use crate::http2::server::{self, Service};
use crate::http2::settings::Settings;
use crate::http2::{Dialect, FRAME_BYTES, Limits, Patience, Received};
use crate::io::Io;
use crate::upgrade::Upgrade;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;
use taut_wire::net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is looked at of an input.
const MOST: usize = 1 << 18;
const LIMITS: Limits =
    Limits { stream_window: 1 << 16, connection_window: 1 << 17, streams: 20, release_on_arrival: false, trusted: false, frame: FRAME_BYTES };
const PATIENCE: Patience = Patience { idle: Duration::MAX, stalled: Duration::MAX, body: true };
/// Of our own client.
static UPLOAD: [u8; 100_000] = [b'x'; 100_000];
/// For what takes no time.
const LIMIT: Duration = Duration::from_secs(20);

/// The first byte chooses the side, the dialect, whether it is leaving, and whether its requests go ways of their own; the rest comes after a
/// greeting.
pub fn http2_connection(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MOST)];
    let dialect = if choice & 1 == 0 { Dialect::Http2 } else { Dialect::Http1 };
    let limits = Limits { release_on_arrival: dialect == Dialect::Http1, ..LIMITS };
    let client = choice & 2 != 0;
    let said = run(async {
        let (mut theirs, ours) = tokio::io::duplex(64 * MOST);
        let io = Io::from(Stream::Other(Box::pin(ours)));
        greet(&mut theirs, !client, bytes).await;
        match client {
            true => ask(io, dialect, limits).await,
            false => {
                let echo = Echo { leaves: choice & 4 != 0 };
                match choice & 8 == 0 {
                    true => server::serve(io, dialect, limits, PATIENCE, &echo).await,
                    false => hand_out(io, limits, echo).await,
                }
            }
        }
        let mut said = BytesMut::new();
        while let Ok(1..) = theirs.read_buf(&mut said).await {}
        if client { said.split_off(PREFACE.len().min(said.len())) } else { said }
    });
    let own = if client { 2 * UPLOAD.len() } else { 4096 };
    assert!(said.len() <= own + 8 * bytes.len(), "{} bytes are answered with {}", bytes.len(), said.len());
    understand(said);
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { panic!("no runtime") };
    let Ok(done) = runtime.block_on(async { tokio::time::timeout(LIMIT, future).await }) else { panic!("the connection outlives its peer") };
    done
}

async fn greet(theirs: &mut DuplexStream, preface: bool, bytes: &[u8]) {
    let mut greeting = BytesMut::new();
    if preface {
        greeting.extend_from_slice(PREFACE);
    }
    frame::write_settings(&mut greeting, &Settings::default());
    greeting.extend_from_slice(bytes);
    // There is room for all of it.
    let _ = theirs.write_all(&greeting).await;
    let _ = theirs.shutdown().await;
}

/// What we say is frames.
fn understand(mut said: BytesMut) {
    loop {
        match frame::parse(&mut said, 1 << 14) {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => panic!("we say what we would not take: {error}"),
        }
    }
    assert!(said.is_empty(), "a frame is cut off");
}

struct Echo {
    leaves: bool,
}

impl Service for Echo {
    type Body = Received;

    async fn call(&self, _: Parts, body: Received, upgrade: Option<Upgrade>) -> Response<Received> {
        drop(upgrade);
        Response::new(body)
    }

    async fn leaving(&self) {
        if !self.leaves {
            pending().await
        }
    }

    fn refused(&self, why: &'static str) {
        assert!(!why.is_empty());
    }
}

/// Streams are kept and never read, or refused.
async fn hand_out(io: Io, limits: Limits, echo: Echo) {
    let kept = RefCell::new(Vec::new());
    let take = |head: Parts, asked: server::Asked| {
        let answer = Response::new(()).into_parts().0;
        match head.method == Method::CONNECT {
            true => kept.borrow_mut().push(asked.grant(&answer)),
            false => asked.refuse(&answer),
        }
    };
    server::hand_out(io, limits, PATIENCE, echo.leaving(), take).await;
}

/// A few requests, and what becomes of them.
async fn ask(io: Io, dialect: Dialect, limits: Limits) {
    let (connection, running) = Connection::new(io, dialect, limits);
    let asking = async {
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::CONNECT];
        join_all(methods.into_iter().map(|method| one(&connection, method))).await;
        drop(connection);
    };
    tokio::join!(biased; asking, running);
}

async fn one(connection: &Connection, method: Method) {
    let (mut head, ()) = Request::new(()).into_parts();
    let body = if method == Method::POST { Bytes::from_static(&UPLOAD) } else { Bytes::new() };
    (head.method, head.uri) = (method, http::Uri::from_static("http://a.example:80"));
    let body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError>>> = Box::pin(Full::new(body).map_err(|never| match never {}));
    match connection.send(&head, body).await {
        // What breaks off says so.
        Ok(Answered::Body(response)) => drop(response.into_body().collect().await),
        Ok(Answered::Stream(_, mut io)) => drop(io.read_to_end(&mut Vec::new()).await),
        Err(_) => {}
    }
}
