//! Bytes that no honest client sends, and what must come of them: sections of RFC 9113, and attacks that have names.

use super::echo::{LIMITS, PATIENCE, Raw, block, frame, serve, until};
use crate::http2::frame::{Frame, PREFACE};
use crate::http2::reason::Reason;
use crate::http2::settings::Settings;
use crate::http2::{Dialect, Limits, Patience};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::timeout;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END: u8 = 1;
const WHOLE: u8 = 4;
const PADDED: u8 = 8;

#[derive(Debug, PartialEq, Eq)]
enum Must {
    GoAway(Reason),
    Reset(u32, Reason),
    /// A response, and the connection goes on.
    Answer(u32),
    /// Nothing but the answer to the PING behind it.
    Ignore,
}

fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)]);
    out.extend(block(more));
    out
}

/// A request that stays open.
fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &post("/never", &[]))
}

/// A request without a body, with these fields.
fn asks(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE | END, 1, &block(fields))
}

fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

async fn answer_to(sent: &[u8]) -> Must {
    let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
    let mut raw = Raw::greet(io, &Settings::default()).await;
    raw.send(sent).await;
    // What comes of a request may come behind the first answer, but not behind the second.
    for question in [b"are you?", b"what say"] {
        raw.send(&frame(PING, 0, 0, question)).await;
        let answer = raw.find("an answer", |frame| match frame {
            Frame::GoAway { reason, .. } => Some(Must::GoAway(*reason)),
            Frame::Reset { stream, reason } => Some(Must::Reset(*stream, *reason)),
            Frame::Headers { stream, .. } => Some(Must::Answer(*stream)),
            Frame::Ping { ack: true, .. } => Some(Must::Ignore),
            _ => None,
        });
        match answer.await {
            Must::Ignore => {}
            answer => return answer,
        }
    }
    Must::Ignore
}

async fn check(rows: Vec<(&str, Vec<u8>, Must)>) {
    let mut wrong = Vec::new();
    for (section, sent, must) in rows {
        let got = timeout(Duration::from_secs(5), answer_to(&sent)).await;
        if got.as_ref() != Ok(&must) {
            wrong.push(format!("{section}: {got:?}, not {must:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn frames_come_where_they_may() {
    use Must::{Answer, GoAway, Ignore, Reset};
    use Reason::{FlowControlError, FrameSizeError, ProtocolError, StreamClosed};
    let rows = vec![
        ("3.4 nothing is wrong", frame(HEADERS, WHOLE | END, 1, &get("/")), Answer(1)),
        ("4.1 an unknown kind is ignored", frame(0xfe, 0xff, 7, b"?"), Ignore),
        ("4.2 a frame is too large", frame(DATA, 0, 1, &[0; (1 << 14) + 1]), GoAway(FrameSizeError)),
        ("4.3 no field block", frame(HEADERS, WHOLE | END, 1, &[0xff; 8]), GoAway(Reason::CompressionError)),
        ("5.1 idle: DATA", frame(DATA, END, 1, b"x"), GoAway(ProtocolError)),
        ("5.1 idle: RST_STREAM", frame(RESET, 0, 1, &[0, 0, 0, 8]), GoAway(ProtocolError)),
        ("5.1 idle: WINDOW_UPDATE", frame(WINDOW, 0, 1, &[0, 0, 0, 8]), GoAway(ProtocolError)),
        ("5.1 idle: WINDOW_UPDATE of nothing resets no stream that is not", frame(WINDOW, 0, 1, &[0; 4]), GoAway(ProtocolError)),
        ("5.1 idle: CONTINUATION", frame(CONTINUATION, WHOLE, 1, &get("/")), GoAway(ProtocolError)),
        ("5.1 half-closed: DATA", all(&[frame(HEADERS, WHOLE | END, 1, &get("/never")), frame(DATA, 0, 1, b"x")]), Reset(1, StreamClosed)),
        ("5.1 half-closed: HEADERS", all(&[frame(HEADERS, WHOLE | END, 1, &get("/never")), open(1)]), Reset(1, StreamClosed)),
        ("5.1 closed: HEADERS", all(&[open(5), frame(RESET, 0, 5, &[0, 0, 0, 8]), open(3)]), Reset(3, StreamClosed)),
        ("5.1 closed: WINDOW_UPDATE", all(&[open(1), frame(RESET, 0, 1, &[0, 0, 0, 8]), frame(WINDOW, 0, 1, &[0, 0, 0, 8])]), Ignore),
        ("5.1 closed: PRIORITY", all(&[open(1), frame(RESET, 0, 1, &[0, 0, 0, 8]), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])]), Ignore),
        ("5.1 closed: DATA", all(&[open(1), frame(RESET, 0, 1, &[0, 0, 0, 8]), frame(DATA, 0, 1, b"x")]), Reset(1, StreamClosed)),
        ("5.1.1 an even stream", frame(HEADERS, WHOLE | END, 2, &get("/")), GoAway(ProtocolError)),
        ("5.5 an unknown kind within a head", all(&[frame(HEADERS, END, 1, &get("/")), frame(0xfe, 0, 0, b"")]), GoAway(ProtocolError)),
        ("6.1 DATA without a stream", frame(DATA, 0, 0, b"x"), GoAway(ProtocolError)),
        ("6.1 padding longer than the frame", all(&[open(1), frame(DATA, PADDED, 1, &[9, 0, 0])]), GoAway(ProtocolError)),
        ("6.2 HEADERS without a stream", frame(HEADERS, WHOLE, 0, &get("/")), GoAway(ProtocolError)),
        ("6.2 HEADERS within a head", all(&[frame(HEADERS, END, 1, &get("/")), open(3)]), GoAway(ProtocolError)),
        ("6.2 CONTINUATION of another stream", all(&[frame(HEADERS, END, 1, &get("/")), frame(CONTINUATION, WHOLE, 3, b"")]), GoAway(ProtocolError)),
        ("6.2 a broken frame within a head", all(&[frame(HEADERS, END, 1, &get("/")), frame(PRIORITY, 0, 1, b"")]), GoAway(ProtocolError)),
        ("6.3 PRIORITY is not 5 bytes", all(&[open(1), frame(PRIORITY, 0, 1, &[0; 4])]), Reset(1, FrameSizeError)),
        ("6.4 RST_STREAM without a stream", frame(RESET, 0, 0, &[0; 4]), GoAway(ProtocolError)),
        ("6.4 RST_STREAM is not 4 bytes", all(&[open(1), frame(RESET, 0, 1, &[0; 3])]), GoAway(FrameSizeError)),
        ("6.5 SETTINGS ACK with a payload", frame(SETTINGS, 1, 0, &[0; 6]), GoAway(FrameSizeError)),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, b""), GoAway(ProtocolError)),
        ("6.5 SETTINGS that are not whole", frame(SETTINGS, 0, 0, &[0; 3]), GoAway(FrameSizeError)),
        ("6.5.2 a window that is too large", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), GoAway(FlowControlError)),
        ("6.6 PUSH_PROMISE", frame(PUSH, WHOLE, 1, &get("/")), GoAway(ProtocolError)),
        ("6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), GoAway(ProtocolError)),
        ("6.7 PING is not 8 bytes", frame(PING, 0, 0, &[0; 7]), GoAway(FrameSizeError)),
        ("6.8 GOAWAY on a stream", frame(GO_AWAY, 0, 1, &[0; 8]), GoAway(ProtocolError)),
        ("6.9 the connection's window grows by nothing", frame(WINDOW, 0, 0, &[0; 4]), GoAway(ProtocolError)),
        ("6.9 a stream's window grows by nothing", all(&[open(1), frame(WINDOW, 0, 1, &[0; 4])]), Reset(1, ProtocolError)),
        ("6.9.1 the connection's window overflows", frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), GoAway(FlowControlError)),
        ("6.9.1 a stream's window overflows", all(&[open(1), frame(WINDOW, 0, 1, &[0x7f, 0xff, 0xff, 0xff])]), Reset(1, FlowControlError)),
        (
            "6.9.2 all windows overflow",
            all(&[open(1), frame(WINDOW, 0, 1, &[0x7f, 0xff, 0, 0]), frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])]),
            GoAway(FlowControlError),
        ),
    ];
    LocalSet::new().run_until(check(rows)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_what_they_say() {
    use Must::{Answer, Reset};
    const WRONG: Must = Reset(1, Reason::ProtocolError);
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let with = |more: &[(&str, &str)]| asks(&[&base[..], more].concat());
    let field = frame(CONTINUATION, 0, 1, &block(&[("a", &"x".repeat(15_000))]));
    let large = all(&[frame(HEADERS, END, 1, &get("/")), field.repeat(5)]);
    let mut rows = vec![
        ("8.1 a body in trailers' place", all(&[frame(HEADERS, WHOLE, 1, &post("/", &[])), frame(HEADERS, WHOLE, 1, &block(&[("a", "b")]))]), WRONG),
        ("8.1 pseudo-headers in trailers", all(&[open(1), frame(HEADERS, WHOLE | END, 1, &block(&[(":path", "/")]))]), WRONG),
        ("8.1.1 shorter than announced, in the head", with(&[("content-length", "1")]), WRONG),
        (
            "8.1.1 shorter than announced",
            all(&[frame(HEADERS, WHOLE, 1, &post("/never", &[("content-length", "3")])), frame(DATA, END, 1, b"12")]),
            WRONG,
        ),
        (
            "8.1.1 longer than announced",
            all(&[frame(HEADERS, WHOLE, 1, &post("/never", &[("content-length", "3")])), frame(DATA, 0, 1, b"1234")]),
            WRONG,
        ),
        (
            "8.1.1 shorter than announced, with trailers",
            all(&[frame(HEADERS, WHOLE, 1, &post("/never", &[("content-length", "3")])), frame(HEADERS, WHOLE | END, 1, &block(&[("a", "b")]))]),
            WRONG,
        ),
        ("8.1.1 two lengths", with(&[("content-length", "0"), ("content-length", "0")]), WRONG),
        ("8.1.1 no length", with(&[("content-length", "+0")]), WRONG),
        ("8.2.1 an upper case name", with(&[("X-A", "b")]), WRONG),
        ("8.2.1 a line break in a value", with(&[("a", "b\r\nc: d")]), WRONG),
        ("8.2.1 white space around a value", with(&[("a", " b")]), WRONG),
        ("8.2.2 te: trailers", with(&[("te", "trailers")]), Answer(1)),
        ("8.2.2 te", with(&[("te", "gzip")]), WRONG),
        ("8.3 a pseudo-header behind a field", asks(&[&base[..3], &[("a", "b"), base[3]]].concat()), WRONG),
        ("8.3 an unknown pseudo-header", with(&[(":a", "b")]), WRONG),
        ("8.3.1 a path that is empty", asks(&[&base[..3], &[(":path", "")]].concat()), WRONG),
        ("8.3.1 a status", asks(&[&base[..], &[(":status", "200")]].concat()), WRONG),
        ("8.3.1 a user in the authority", asks(&[base[0], base[1], (":authority", "me@a"), base[3]]), WRONG),
        ("8.5 CONNECT with a path", asks(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")]), WRONG),
        ("8.5 CONNECT to nowhere", asks(&[(":method", "CONNECT")]), WRONG),
        ("8441 4 :protocol without CONNECT", asks(&[&base[..], &[(":protocol", "websocket")]].concat()), WRONG),
        (
            "6.10 a head in many frames",
            all(&[frame(HEADERS, END, 1, &get("/")), frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, WHOLE, 1, b"")]),
            Answer(1),
        ),
        ("6585 5 a head that is too large is answered", all(&[large, frame(CONTINUATION, WHOLE, 1, b"")]), Answer(1)),
    ];
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
        rows.push(("8.2.2 a field of HTTP/1", with(&[(name, "chunked")]), WRONG));
    }
    for missing in [0, 1, 3] {
        let mut fields = base.to_vec();
        fields.remove(missing);
        rows.push(("8.3.1 a pseudo-header is missing", asks(&fields), WRONG));
    }
    for pseudo in base {
        rows.push(("8.3.1 a pseudo-header twice", asks(&[&[pseudo], &base[..]].concat()), WRONG));
    }
    LocalSet::new().run_until(check(rows)).await;
}

#[tokio::test(start_paused = true)]
async fn floods_end_the_connection() {
    const CALM: Must = Must::GoAway(Reason::EnhanceYourCalm);
    let request = |at: u32| frame(HEADERS, WHOLE | END, 2 * at + 1, &get("/never"));
    let reset = |at: u32| frame(RESET, 0, 2 * at + 1, &[0, 0, 0, 8]);
    let rows = vec![
        ("SETTINGS", frame(SETTINGS, 0, 0, b"").repeat(2000), CALM),
        ("PING", frame(PING, 0, 0, &[0; 8]).repeat(2000), CALM),
        ("empty DATA", all(&[open(1), frame(DATA, 0, 1, b"").repeat(2000)]), CALM),
        ("padding alone", all(&[open(1), frame(DATA, PADDED, 1, &[3, 0, 0, 0]).repeat(2000)]), CALM),
        ("DATA after a reset", all(&[open(1), frame(RESET, 0, 1, &[0, 0, 0, 8]), frame(DATA, 0, 1, b"x").repeat(2000)]), CALM),
        ("DATA after the end", all(&[open(1), frame(DATA, END, 1, b"x"), frame(DATA, 0, 1, b"").repeat(2000)]), CALM),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(2000), CALM),
        ("WINDOW_UPDATE", all(&[open(1), frame(WINDOW, 0, 1, &[0, 0, 0, 1]).repeat(2000)]), CALM),
        ("unknown frames", frame(0xfe, 0, 0, b"").repeat(2000), CALM),
        ("CVE-2024-27316: a head without end", all(&[frame(HEADERS, END, 1, &get("/")), frame(CONTINUATION, 0, 1, b"").repeat(2000)]), CALM),
        ("a head that is large without end", all(&[frame(HEADERS, END, 1, &get("/")), frame(CONTINUATION, 0, 1, &[0; 10_000]).repeat(20)]), CALM),
        ("CVE-2023-44487: rapid reset", (0..2000).flat_map(|at| [request(at), reset(at)].concat()).collect(), CALM),
    ];
    LocalSet::new()
        .run_until(async {
            for (what, sent, must) in rows {
                let (io, _, serving) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 22);
                let mut raw = Raw::greet(io, &Settings::default()).await;
                raw.send(&sent).await;
                let reason = raw.find(what, |frame| if let Frame::GoAway { reason, .. } = frame { Some(*reason) } else { None }).await;
                assert_eq!(Must::GoAway(reason), must, "{what}");
                timeout(Duration::from_secs(5), serving).await.expect(what).unwrap();
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_reset_at_once_is_never_begun() {
    let test = async {
        let (io, echo, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        let pair = |at: u32| [frame(HEADERS, WHOLE | END, 2 * at + 1, &get("/never")), frame(RESET, 0, 2 * at + 1, &[0, 0, 0, 0])].concat();
        raw.send(&(0..300).flat_map(pair).collect::<Vec<_>>()).await;
        raw.send(&frame(HEADERS, WHOLE | END, 1001, &get("/"))).await;
        raw.find("the answer", |frame| matches!(frame, Frame::Headers { stream: 1001, .. }).then_some(())).await;
        assert_eq!((echo.begun.get(), echo.held.get()), (1, 0), "work was done for what nobody wants");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_takes_its_work_along() {
    for reason in [0, 8] {
        let test = async {
            let (io, echo, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
            let mut raw = Raw::greet(io, &Settings::default()).await;
            raw.send(&frame(HEADERS, WHOLE | END, 1, &get("/never"))).await;
            until("it is begun", || echo.held.get() == 1).await;
            raw.send(&frame(RESET, 0, 1, &[0, 0, 0, reason])).await;
            until("it is dropped", || echo.held.get() == 0).await;
        };
        LocalSet::new().run_until(test).await;
    }
}

/// What arrives for streams that were reset counts as read, or the connection's window would shrink with each of them.
#[tokio::test(start_paused = true)]
async fn resets_take_nothing_from_the_connections_window() {
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        let (mut window, mut sent) = (65_535_i64, 0_i64);
        for at in 0..200 {
            let stream = 2 * at + 1;
            let data = frame(DATA, PADDED, stream, &[&[100][..], &[0; 8100]].concat());
            // Some comes before the reset, and some of it after: in one piece, so that the stream is still known.
            let after = frame(DATA, 0, stream, &[0; 8000]);
            raw.send(&all(&[open(stream), data, frame(RESET, 0, stream, &[0, 0, 0, 8]), after])).await;
            sent += 8101 + 8000;
            raw.send(&frame(PING, 0, 0, &[0; 8])).await;
            let mut count = |frame: &Frame| match frame {
                Frame::WindowUpdate { stream: 0, increment } => {
                    window += i64::from(*increment);
                    None
                }
                Frame::Ping { ack: true, .. } => Some(()),
                Frame::GoAway { reason, .. } => panic!("{reason}"),
                _ => None,
            };
            raw.find("an answer", &mut count).await;
            assert!(window - sent >= 100_000, "of the window {} bytes are left after {at} streams", window - sent);
        }
    };
    LocalSet::new().run_until(test).await;
}

/// A client hears of the end of its request when it has sent more of it.
#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_a_stream_ended_is_no_error_and_what_comes_later_is() {
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        raw.send(&frame(HEADERS, WHOLE, 1, &post("/bytes/10", &[]))).await;
        raw.find("the end of its request", |frame| matches!(frame, Frame::Reset { stream: 1, reason: Reason::NoError }).then_some(())).await;
        let window = LIMITS.stream_window as usize;
        for (sent, must) in [
            (frame(DATA, 0, 1, &vec![0; window / 8]).repeat(8), None),
            (frame(DATA, END, 1, b""), None),
            (frame(DATA, 0, 1, b"x"), Some(Reason::StreamClosed)),
        ] {
            raw.send(&sent).await;
            raw.send(&frame(PING, 0, 0, &[0; 8])).await;
            let answer = raw.find("an answer", |frame| match frame {
                Frame::Reset { stream: 1, reason } => Some(Some(*reason)),
                Frame::Ping { ack: true, .. } => Some(None),
                _ => None,
            });
            assert_eq!(answer.await, must);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_told_to_go_on_when_its_body_is_wanted() {
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        let expect = ("expect", "100-Continue");
        let heads = |frame: &Frame| if let Frame::Headers { block, end_stream, .. } = frame { Some((block.to_vec(), *end_stream)) } else { None };
        raw.send(&frame(HEADERS, WHOLE, 1, &post("/discard", &[expect]))).await;
        let (told, ended) = raw.find("100", heads).await;
        assert!(told.windows(3).any(|part| part == b"100") && !ended, "{told:?}");
        raw.send(&frame(DATA, END, 1, b"what it waited to say")).await;
        let (answer, ended) = raw.find("the answer", heads).await;
        assert!(answer[0] == 0x88 && ended, "200, and not another 100: {answer:?}");
        // Whoever does not want it, whoever has begun, and whoever has nothing to say is not told.
        raw.send(&frame(HEADERS, WHOLE, 3, &post("/bytes/0", &[expect]))).await;
        raw.send(&all(&[frame(HEADERS, WHOLE, 5, &post("/discard", &[expect])), frame(DATA, END, 5, b"at once")])).await;
        raw.send(&frame(HEADERS, WHOLE | END, 7, &post("/discard", &[expect]))).await;
        for _ in 0..3 {
            assert_eq!(raw.find("the answer", heads).await.0[0], 0x88);
        }
    };
    LocalSet::new().run_until(test).await;
}

/// Padding is read by nobody, so nobody's reading gives it back.
#[tokio::test(start_paused = true)]
async fn padding_alone_does_not_close_a_stream() {
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, Limits { trusted: true, ..LIMITS }, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        raw.send(&open(1)).await;
        let mut window = i64::from(LIMITS.stream_window);
        for _ in 0..1000 {
            raw.send(&frame(DATA, PADDED, 1, &[&[254][..], &[0; 255]].concat())).await;
            window -= 256;
            // The one byte of data stays unread.
            raw.send(&frame(PING, 0, 0, &[0; 8])).await;
            let count = |frame: &Frame| match frame {
                Frame::WindowUpdate { stream: 1, increment } => {
                    window += i64::from(*increment);
                    None
                }
                other => matches!(other, Frame::Ping { ack: true, .. }).then_some(()),
            };
            raw.find("an answer", count).await;
        }
        assert!(window > 0, "{window}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn more_than_the_window_is_an_error() {
    let much = || frame(DATA, 0, 1, &[0; 16_000]).repeat(5);
    LocalSet::new().run_until(check(vec![("5.2.1", all(&[open(1), much()]), Must::Reset(1, Reason::FlowControlError))])).await;
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        for stream in [1, 3, 5, 7, 9] {
            raw.send(&open(stream)).await;
            raw.send(&frame(DATA, 0, stream, &[0; 16_000]).repeat(4)).await;
        }
        let reason = raw.find("GOAWAY", |frame| if let Frame::GoAway { reason, .. } = frame { Some(*reason) } else { None }).await;
        assert_eq!(reason, Reason::FlowControlError);
    };
    LocalSet::new().run_until(test).await;
}

/// A client that asks and does not listen: what waits for it stays small, and it is left in the end.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_listen_is_left() {
    let test = async {
        let (io, echo, serving) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 10);
        let mut raw = Raw { io, read: Default::default() };
        let mut out = PREFACE.to_vec();
        out.extend(frame(SETTINGS, 0, 0, &[]));
        let requests = (0..200_000_u32).flat_map(|at| frame(HEADERS, WHOLE | END, 2 * at + 1, &get("/")));
        out.extend(requests);
        raw.send(&out).await;
        timeout(Duration::from_secs(60), serving).await.expect("it is served for ever").unwrap();
        assert!(echo.begun.get() < 150_000, "{}", echo.begun.get());
    };
    LocalSet::new().run_until(test).await;
}

/// Responses that wait for a window are not looked at again and again.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_window_is_left_alone() {
    let test = async {
        let (io, echo, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let wide = Settings { initial_window_size: Some(1 << 20), ..Settings::default() };
        let mut raw = Raw::greet(io, &wide).await;
        for stream in [1, 3] {
            raw.send(&frame(HEADERS, WHOLE | END, stream, &get("/bytes/500000"))).await;
        }
        let mut come = 0;
        while come < 65_535 {
            come += raw.find("data", |frame| if let Frame::Data { data, .. } = frame { Some(data.len()) } else { None }).await;
        }
        assert_eq!(come, 65_535, "more than the connection's window holds");
        let before = echo.turns.get();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(echo.turns.get() - before < 10, "{} turns for nothing", echo.turns.get() - before);
        assert_eq!(raw.take_what_came(), 0);
        raw.send(&frame(WINDOW, 0, 0, &1_000_000_u32.to_be_bytes())).await;
        while come < 1_000_000 {
            come += raw.find("the rest", |frame| if let Frame::Data { data, .. } = frame { Some(data.len()) } else { None }).await;
        }
    };
    timeout(Duration::from_secs(10), LocalSet::new().run_until(test)).await.expect("it does not come to rest");
}

/// One that always has something to say lets others speak.
#[tokio::test(start_paused = true)]
async fn streams_take_turns() {
    let test = async {
        let (io, _, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 14);
        let wide = Settings { initial_window_size: Some((1 << 31) - 1), ..Settings::default() };
        let mut raw = Raw::greet(io, &wide).await;
        raw.send(&frame(WINDOW, 0, 0, &1_000_000_000_u32.to_be_bytes())).await;
        for stream in 0..10 {
            raw.send(&frame(HEADERS, WHOLE | END, 2 * stream + 1, &get("/bytes/2000000"))).await;
        }
        let mut come = [0_usize; 10];
        while come.iter().sum::<usize>() < 10_000_000 {
            let (stream, length) =
                raw.find("data", |frame| if let Frame::Data { stream, data, .. } = frame { Some((*stream, data.len())) } else { None }).await;
            come[stream as usize / 2] += length;
        }
        let (least, most) = (come.iter().min().unwrap(), come.iter().max().unwrap());
        assert!(most - least <= 200_000, "{come:?}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_go_on_is_given_up() {
    let test = async {
        let patience = Patience { stalled: Duration::from_secs(60), body: true, ..PATIENCE };
        let (io, _, _) = serve(Dialect::Http2, LIMITS, patience, 1 << 20);
        let mut raw = Raw::greet(io, &Settings { initial_window_size: Some(0), ..Settings::default() }).await;
        // One takes no response, the other sends no request.
        raw.send(&frame(HEADERS, WHOLE | END, 1, &get("/bytes/10"))).await;
        raw.send(&frame(HEADERS, WHOLE, 3, &post("/discard", &[]))).await;
        let mut gone = Vec::new();
        while gone.len() < 2 {
            let mut pinged = None;
            let found = raw
                .find("resets", |frame| match frame {
                    Frame::Reset { stream, .. } => Some(Some(*stream)),
                    Frame::Ping { ack: false, opaque } => {
                        pinged = Some(*opaque);
                        Some(None)
                    }
                    _ => None,
                })
                .await;
            gone.extend(found);
            if let Some(opaque) = pinged {
                raw.send(&frame(PING, 1, 0, &opaque)).await;
            }
        }
        gone.sort_unstable();
        assert_eq!(gone, [1, 3]);
    };
    timeout(Duration::from_secs(600), LocalSet::new().run_until(test)).await.expect("they are waited for");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_begins_is_left() {
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n", &[PREFACE, &frame(SETTINGS, 0, 0, &[])[..5]].concat()] {
        let test = async {
            let (io, _, serving) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
            let mut raw = Raw { io, read: Default::default() };
            raw.send(said).await;
            timeout(Duration::from_secs(60), serving).await.expect("it is waited for").unwrap();
        };
        LocalSet::new().run_until(test).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_are_one_field_to_whoever_reads_them() {
    let test = async {
        let (io, echo, _) = serve(Dialect::Http2, LIMITS, PATIENCE, 1 << 20);
        let mut raw = Raw::greet(io, &Settings::default()).await;
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")];
        raw.send(&asks(&fields)).await;
        raw.find("the answer", |frame| matches!(frame, Frame::Headers { .. }).then_some(())).await;
        assert_eq!(*echo.cookies.borrow(), ["a=b; c=d"]);
    };
    LocalSet::new().run_until(test).await;
}
