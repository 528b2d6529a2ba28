//! WebSocket asked for over HTTP/2 (extended CONNECT, RFC 8441), to applications of either version.

use super::*;
use ::http::{Method, StatusCode, Version};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};

type Sender = SendRequest<Full<Bytes>>;

fn extended(protocol: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::connect("http://reviews:9080/chat?room=1").version(Version::HTTP_2).header("sec-websocket-version", "13");
    request.extensions_mut().unwrap().insert(Protocol::from_static(protocol));
    request.body(Full::default()).unwrap()
}

/// Sends back what comes until it ends, then says so.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.write_all(b" bye").await;
    let _ = write.shutdown().await;
}

/// Asks, talks, and ends its own side first.
async fn converse(client: &mut Sender) -> Response<Incoming> {
    let mut response = client.send_request(extended("websocket")).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, " bye");
    response
}

async fn recorded(pair: &Pair) {
    for record in [pair.client.exchange().await, pair.server.exchange().await] {
        assert_eq!((&*record.method, record.status, record.request_bytes, record.response_bytes), ("GET", 101, 5, 9));
        assert!(record.failure.is_none(), "{record:?}");
    }
}

#[test]
fn an_application_of_http1_is_asked_as_it_is_used_to() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.starts_with("get /chat?room=1 http/1.1\r\n") && head.contains("host: reviews:9080\r\n"), "{head}");
            for said in ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
                assert_eq!(head.matches(&format!("\r\n{said}\r\n")).count(), 1, "{said}: {head}");
            }
            let key = head.split("sec-websocket-key: ").nth(1).unwrap().split('\r').next().unwrap();
            assert_eq!(key.len(), 24, "16 bytes in Base64");
            let accept =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nX-App: 1\r\n\r\n";
            stream.write_all(accept.as_bytes()).await.unwrap();
            echo(stream).await;
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let response = converse(&mut http2(pair.client.outbound).await).await;
        assert_eq!(response.headers()["x-app"], "1");
        assert!(!response.headers().contains_key("sec-websocket-accept") && !response.headers().contains_key("upgrade"), "{response:?}");
        recorded(&pair).await;
    });
}

/// An application of HTTP/2 that takes up every WebSocket.
async fn http2_app() -> SocketAddr {
    raw_app(|stream| async {
        let service = service_fn(|mut request: Request<Incoming>| async move {
            assert_eq!((request.method(), request.uri().path()), (&Method::CONNECT, "/chat"));
            assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
            assert!(!request.headers().contains_key("sec-websocket-key"));
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move { echo(TokioIo::new(upgrade.await.unwrap())).await });
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let mut server = hyper::server::conn::http2::Builder::new(LocalExecutor);
        let _ = server.enable_connect_protocol().serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

#[test]
fn an_application_of_http2_is_asked_over_http2() {
    run(async {
        let pair = Pair::new(http2_app().await, AppProtocol::Http2).await;
        let mut client = http2(pair.client.outbound).await;
        for _ in 0..3 {
            converse(&mut client).await;
        }
        recorded(&pair).await;
    });
}

#[test]
fn what_is_no_websocket_is_not_granted() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mut client: Sender = http2(pair.client.outbound).await;
        // The application answers 200 to the GET, as to any other.
        let declined = client.send_request(extended("websocket")).await.unwrap();
        assert_eq!((declined.status(), &declined.headers()["x-taut-reason"]), (StatusCode::BAD_GATEWAY, &"bad_response".parse().unwrap()));
        // Neither a tunnel nor a request.
        let other = client.send_request(extended("connect-udp")).await.unwrap();
        assert_eq!(other.status(), StatusCode::METHOD_NOT_ALLOWED);
        // The connection goes on.
        let next = client.send_request(Request::connect("reviews:9080").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(next.status(), 200);
    });
}
