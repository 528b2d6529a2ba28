//! A server of ours that the other tests talk to, and what they have to do with it.

use crate::http2::frame::{self, Frame, PREFACE};
use crate::http2::server::{self, Service};
use crate::http2::settings::Settings;
use crate::http2::{Dialect, FRAME_BYTES, Limits, Patience, Received};
use crate::io::Io;
use crate::upgrade::Upgrade;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, StreamBody};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use taut_wire::net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>;

pub const LIMITS: Limits =
    Limits { stream_window: 1 << 16, connection_window: 1 << 18, streams: 100, release_on_arrival: false, trusted: false, frame: FRAME_BYTES };
pub const PATIENCE: Patience = Patience { idle: Duration::from_secs(3600), stalled: Duration::from_secs(3600), body: false };

/// `/never` is not answered, `/bytes/N` with so many, `/discard` when the body has come, all else with the body as it comes.
#[derive(Default)]
pub struct Echo {
    pub begun: Cell<u32>,
    /// Requests under way.
    pub held: Cell<u32>,
    pub refused: RefCell<Vec<&'static str>>,
    pub cookies: RefCell<Vec<String>>,
    pub leave: Notify,
    /// How often the connection was looked at.
    pub turns: Cell<u32>,
}

struct Held<'a>(&'a Cell<u32>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Service for Echo {
    type Body = AnyBody;

    async fn call(&self, head: Parts, body: Received, upgrade: Option<Upgrade>) -> Response<AnyBody> {
        self.begun.set(self.begun.get() + 1);
        self.held.set(self.held.get() + 1);
        let _held = Held(&self.held);
        let cookies = head.headers.get_all("cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned());
        self.cookies.borrow_mut().extend(cookies);
        if let Some(upgrade) = upgrade.filter(|_| head.method == Method::CONNECT) {
            tokio::task::spawn_local(echo_bytes(upgrade));
            return Response::new(whole(Bytes::new()));
        }
        match head.uri.path() {
            "/never" => pending().await,
            "/discard" => {
                let mut response = Response::new(whole(Bytes::new()));
                if body.collect().await.is_err() {
                    *response.status_mut() = StatusCode::BAD_REQUEST;
                }
                response
            }
            path => match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
                Some(count) => Response::new(pieces(count)),
                None => Response::new(Box::pin(body)),
            },
        }
    }

    async fn leaving(&self) {
        self.leave.notified().await;
    }

    fn refused(&self, why: &'static str) {
        self.refused.borrow_mut().push(why);
    }
}

async fn echo_bytes(upgrade: Upgrade) {
    let Some(mut io) = upgrade.connection().await else { return };
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = io.read(&mut buffer).await {
        if io.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = io.shutdown().await;
}

pub fn whole(bytes: Bytes) -> AnyBody {
    Box::pin(Full::new(bytes).map_err(|never| match never {}))
}

/// So many bytes, in pieces of no announced length.
pub fn pieces(count: usize) -> AnyBody {
    let pieces = (0..count).step_by(1000).map(move |at| Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 1000.min(count - at)]))));
    Box::pin(StreamBody::new(futures_util::stream::iter(pieces)))
}

pub fn over(stream: DuplexStream) -> Io {
    Io::from(Stream::Other(Box::pin(stream)))
}

/// A server, and the other end of its connection. In a `LocalSet`.
pub fn serve(dialect: Dialect, limits: Limits, patience: Patience, buffer: usize) -> (DuplexStream, Rc<Echo>, JoinHandle<()>) {
    let (theirs, ours) = tokio::io::duplex(buffer);
    let echo = Rc::new(Echo::default());
    let service = echo.clone();
    let serving = tokio::task::spawn_local(async move {
        let mut serving = pin!(server::serve(over(ours), dialect, limits, patience, &*service));
        poll_fn(|cx| {
            service.turns.set(service.turns.get() + 1);
            serving.as_mut().poll(cx)
        })
        .await;
    });
    (theirs, echo, serving)
}

/// Ends when `condition` holds; one that never does is found soon.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("not within 100,000 turns: {what}");
}

/// A peer that writes what it likes, byte by byte if need be.
pub struct Raw {
    pub io: DuplexStream,
    pub read: BytesMut,
}

impl Raw {
    /// Says what every client says first.
    pub async fn greet(io: DuplexStream, settings: &Settings) -> Self {
        let mut raw = Self { io, read: BytesMut::new() };
        let mut out = BytesMut::from(&PREFACE[..]);
        frame::write_settings(&mut out, settings);
        raw.send(&out).await;
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that has enough closes before it has read all.
        let _ = self.io.write_all(bytes).await;
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = frame::parse(&mut self.read, 1 << 14).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.read).await.unwrap_or_default() == 0 {
                return None;
            }
        }
    }

    /// The first frame that `wanted` has a use for.
    pub async fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        while let Some(frame) = self.next().await {
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
        panic!("the connection ended before: {what}");
    }

    /// What has come by now.
    pub fn take_what_came(&mut self) -> usize {
        let before = self.read.len();
        while let Some(Ok(1..)) = self.io.read_buf(&mut self.read).now_or_never() {}
        self.read.len() - before
    }
}

/// A field block of fields that need no table (RFC 7541 section 6.2.2, or their index in the static one).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            let mut left = text.len();
            if left < 127 {
                out.push(left as u8);
            } else {
                out.push(127);
                left -= 127;
                while left >= 128 {
                    out.push(left as u8 | 128);
                    left /= 128;
                }
                out.push(left as u8);
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}
