//! gRPC and gRPC-Web through two proxies: what tells them apart ends at the first, and what a status says of a server is heard.

use super::*;
use taut_model::destination::OutlierPolicy;
use taut_observe::record::Protocol;

/// A gRPC server that says in its trailers what it was sent.
async fn grpc_app() -> SocketAddr {
    raw_app(|stream| async {
        let service = service_fn(|request: Request<Incoming>| async {
            let (head, body) = request.into_parts();
            assert_eq!(
                (&head.headers["content-type"], &head.headers["te"]),
                (&"application/grpc+proto".parse().unwrap(), &"trailers".parse().unwrap())
            );
            let body = body.collect().await.unwrap().to_bytes();
            let trailers = [("grpc-status", "0".to_owned()), ("x-bytes", body.len().to_string())];
            let trailers = trailers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let frames: [Result<_, Infallible>; 2] = [Ok(http_body::Frame::data(body)), Ok(http_body::Frame::trailers(trailers))];
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
        });
        let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

fn post(kind: &str, body: &str) -> String {
    let head = format!("POST /Reviews/Get HTTP/1.1\r\nHost: reviews:9080\r\nContent-Type: {kind}\r\nConnection: close\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_call_is_grpc_for_the_server_and_in_the_records() {
    run(async {
        let pair = Pair::new(grpc_app().await, AppProtocol::Grpc).await;
        for entry in [pair.client.outbound, pair.server.exposed] {
            let answer = talk(entry, post("application/grpc-web+proto", "\0\0\0\0\x02hi")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("content-type: application/grpc-web+proto\r\n"), "{answer}");
            assert!(answer.contains("\0\0\0\0\x02hi") && answer.contains("grpc-status: 0\r\nx-bytes: 7\r\n"), "{answer}");
        }
        // "\0\0\0\0\x02hi" in two pieces of Base64.
        let answer = talk(pair.client.outbound, post("application/grpc-web-text+proto", "AAAAAA==Amhp")).await;
        assert!(answer.contains("content-type: application/grpc-web-text+proto\r\n") && answer.contains("AAAAAAJoaQ=="), "{answer}");
        for record in pair.client.exchanges() {
            assert_eq!((record.edge.protocol, record.status, record.grpc_status, record.request_bytes), (Protocol::Grpc, 200, Some(0), 7));
            assert!(record.failure.is_none(), "{record:?}");
        }
    });
}

#[test]
fn a_call_that_fails_on_the_way_fails_in_its_own_terms() {
    run(async {
        let pair = Pair::new(nowhere().await, AppProtocol::Grpc).await;
        let answer = talk(pair.client.outbound, post("application/grpc-web", "\0\0\0\0\0")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("content-type: application/grpc-web+proto\r\n"), "{answer}");
        assert!(answer.contains("grpc-status: 14\r\n") && answer.contains("x-taut-reason: app_unreachable\r\n"), "{answer}");
        let record = pair.client.exchange().await;
        assert_eq!((record.edge.protocol, record.grpc_status), (Protocol::Grpc, Some(14)));
    });
}

#[test]
fn what_is_not_base64_never_reaches_the_server_whole() {
    run(async {
        let pair = Pair::new(grpc_app().await, AppProtocol::Grpc).await;
        let answer = talk(pair.client.outbound, post("application/grpc-web-text", "AAAA!!!!")).await;
        assert!(answer.contains("grpc-status: 13\r\n") && answer.contains("x-taut-reason: client_body_broken\r\n"), "{answer}");
    });
}

#[test]
fn an_application_of_http_may_speak_grpc_web_itself() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let answer = talk(pair.client.outbound, post("application/grpc-web", "\0\0\0\0\0")).await;
        assert!(answer.contains("content-type: application/grpc-web\n") && answer.ends_with("5 bytes of body"), "{answer}");
    });
}

/// Ejects after two failures in a row, whatever is left.
fn strict(snapshot: &mut Snapshot) {
    let outlier = OutlierPolicy { consecutive_5xx: 2, max_ejection_percent: 100, ..OutlierPolicy::default() };
    ruled(snapshot, TrafficPolicy { outlier: Some(outlier), ..TrafficPolicy::default() });
}

/// A gRPC server whose calls end with the status that their path names, behind a message.
async fn status_app() -> SocketAddr {
    raw_app(|stream| async {
        let service = service_fn(|request: Request<Incoming>| async move {
            let code = request.uri().path().trim_start_matches('/').parse().unwrap();
            let trailers = [("grpc-status".parse().unwrap(), code)].into_iter().collect();
            let frames: [Result<_, Infallible>; 2] = [Ok(http_body::Frame::data(Bytes::from("x"))), Ok(http_body::Frame::trailers(trailers))];
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
        });
        let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

#[test]
fn a_server_is_ejected_for_what_its_trailers_say() {
    run(async {
        let mut pair = Pair::new(status_app().await, AppProtocol::Grpc).await;
        pair.mesh.change = Some(strict);
        pair.client.pin(&pair.mesh);
        let mut client = http2(pair.client.outbound).await;
        // NOT_FOUND is the client's affair; UNAVAILABLE and INTERNAL are the server's.
        for (code, ejected) in [("5", 0), ("5", 0), ("14", 0), ("13", 1)] {
            let request = Request::post(format!("http://reviews:9080/{code}")).header("content-type", "application/grpc");
            let response = client.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap();
            assert_eq!(trailers["grpc-status"], code);
            if ejected > 0 {
                eventually(|| (pair.client.current.ejected().len() == ejected).then_some(())).await;
            }
        }
    });
}
