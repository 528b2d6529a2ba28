//! Our codec against another implementation: the `h2` crate reads what we write, and we read what it writes.

mod duplex;
mod echo;
mod hostile;
mod streams;

use super::frame::{self, Frame, PREFACE};
use super::hpack::{Decoder, Encoder, Field};
use super::settings::Settings;
use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const EXCHANGES: u32 = 300;

fn headers(dice: &mut fastrand::Rng) -> HeaderMap {
    let names = ["accept", "user-agent", "x-request-id", "traceparent", "cookie", "authorization", "x-custom", "date", "etag", "te-st"];
    let mut headers = HeaderMap::new();
    for _ in 0..dice.usize(..12) {
        let value: Vec<u8> =
            if dice.bool() { vec![b'a' + dice.u8(..4); dice.usize(..40)] } else { (0..dice.usize(..300)).map(|_| dice.u8(0x21..0x7f)).collect() };
        headers.append(HeaderName::from_static(dice.choice(names).unwrap()), HeaderValue::from_bytes(&value).unwrap());
    }
    headers
}

/// Answers every request with the fields it had, and one that says its path.
async fn echo(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { break };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        *response.headers_mut() = request.headers().clone();
        let target = format!("{} {}", request.method(), request.uri());
        response.headers_mut().insert("x-target", HeaderValue::from_str(&target).unwrap());
        respond.send_response(response, true).unwrap();
    }
}

/// The next frame of the peer.
async fn next(io: &mut DuplexStream, buffer: &mut BytesMut) -> Frame {
    loop {
        if let Some(frame) = frame::parse(buffer, 1 << 14).unwrap() {
            return frame;
        }
        assert_ne!(io.read_buf(buffer).await.unwrap(), 0, "the peer went away");
    }
}

/// The fields of the next response; what else comes is answered.
async fn response(io: &mut DuplexStream, buffer: &mut BytesMut, decoder: &mut Decoder) -> (StatusCode, HeaderMap) {
    loop {
        match next(io, buffer).await {
            Frame::Headers { block, end_stream: true, end_headers: true, .. } => {
                let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
                let decoded = decoder.decode(&block, usize::MAX, |field| {
                    match field {
                        Field::Status(told) => status = told,
                        Field::Header(name, value) => _ = headers.append(name, value),
                        other => panic!("{other:?} in a response"),
                    }
                    Ok(())
                });
                assert_eq!(decoded, Ok(()));
                return (status, headers);
            }
            Frame::Settings(_) => {
                let mut out = BytesMut::new();
                frame::write_settings_ack(&mut out);
                io.write_all(&out).await.unwrap();
            }
            Frame::SettingsAck | Frame::WindowUpdate { .. } | Frame::Ping { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn exchanges(mut encoder: Encoder) {
    let (mut io, theirs) = tokio::io::duplex(1 << 20);
    let server = tokio::spawn(echo(theirs));
    let (mut out, mut buffer, mut decoder) = (BytesMut::from(&PREFACE[..]), BytesMut::new(), Decoder::new(4096));
    frame::write_settings(&mut out, &Settings { enable_push: Some(false), ..Settings::default() });
    let mut dice = fastrand::Rng::with_seed(11);
    for nth in 0..EXCHANGES {
        let path = if dice.bool() { format!("/path/{}", dice.u8(..5)) } else { format!("/?{nth}") };
        let sent = headers(&mut dice);
        // Small frames, so that some blocks need CONTINUATION.
        frame::write_headers(&mut out, 2 * nth + 1, true, 1000, |out| {
            let mut block = encoder.block(out);
            block.method(&Method::PATCH);
            block.scheme(&Scheme::HTTPS);
            block.authority("reviews.bookstore:9080");
            block.path(&path);
            block.headers(&sent);
        });
        io.write_all(&out.split()).await.unwrap();
        let (status, mut received) = response(&mut io, &mut buffer, &mut decoder).await;
        let target = received.remove("x-target").unwrap();
        assert_eq!(
            (status, target),
            (StatusCode::IM_A_TEAPOT, HeaderValue::from_str(&format!("PATCH https://reviews.bookstore:9080{path}")).unwrap())
        );
        assert_eq!(received, sent, "exchange {nth}");
    }
    drop(io);
    server.await.unwrap();
}

#[tokio::test]
async fn another_implementation_understands_us_and_we_it() {
    exchanges(Encoder::new()).await;
    exchanges(Encoder::compressing()).await;
}
