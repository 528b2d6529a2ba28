//! HTTP/1 and HTTP/2 through two proxies.

use super::*;
use taut_observe::record::{Protocol, Reporter};

#[test]
fn a_request_travels_over_mutual_tls_and_is_recorded_on_both_sides() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let answer = get(pair.client.outbound, "/reviews/1?x=y").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("GET /reviews/1?x=y\n") && answer.contains("host: reviews:9080\n"), "{answer}");
        let certificate = "x-forwarded-client-cert: By=spiffe://mesh.local/ns/default/sa/reviews;URI=spiffe://mesh.local/ns/default/sa/web\n";
        assert!(answer.contains(certificate), "{answer}");
        assert!(answer.contains("traceparent: 00-") && answer.contains("x-request-id: "), "{answer}");
        assert!(!answer.contains("x-taut"), "{answer}");

        let (source, destination) = (pair.client.exchange().await, pair.server.exchange().await);
        assert_eq!((source.edge.reporter, destination.edge.reporter), (Reporter::Source, Reporter::Destination));
        for record in [&source, &destination] {
            assert_eq!((record.edge.source.workload.as_str(), record.edge.source.app.as_str()), ("web", "web"));
            assert_eq!((record.edge.destination.workload.as_str(), record.edge.destination.version.as_str()), ("reviews", "v1"));
            assert_eq!(record.edge.destination.principal, "spiffe://mesh.local/ns/default/sa/reviews");
            assert_eq!((&*record.edge.service_host, &*record.edge.service_name), ("reviews.default.svc.cluster.local", "reviews"));
            assert_eq!((record.status, &*record.method, &*record.path), (200, "GET", "/reviews/1"));
            assert!(record.edge.mutual_tls && record.failure.is_none() && record.response_bytes > 0, "{record:?}");
            assert_eq!(record.attempts.len(), 1);
        }
        assert_eq!(destination.edge.source.principal, "spiffe://mesh.local/ns/default/sa/web");
        assert_eq!((source.request_id, source.trace_id), (destination.request_id, destination.trace_id));
    });
}

#[test]
fn what_is_asked_for_is_noted_as_used_and_what_is_not_known_is_not() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        get(pair.client.outbound, "/").await;
        assert_eq!(pair.client.current.take_used(), ["reviews.default.svc.cluster.local".to_owned()].into());
        pair.client.current.note_used(["nobody.has.asked".to_owned()]);
        assert!(pair.client.current.take_used().is_empty() && pair.server.current.take_used().is_empty());
    });
}

#[test]
fn applications_may_ask_in_every_form_of_http_proxying() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let out = pair.client.outbound;
        let absolute = talk(out, "GET http://reviews:9080/a HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n").await;
        assert!(absolute.contains("GET /a\n") && absolute.contains("host: reviews:9080\n"), "{absolute}");
        let connect =
            talk(out, "CONNECT reviews:9080 HTTP/1.1\r\nHost: reviews:9080\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(connect.starts_with("HTTP/1.1 200 OK") && connect.contains("GET /b\n"), "{connect}");
        let socks = b"\x05\x01\x00\x05\x01\x00\x03\x07reviews\x23\x78GET /c HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n";
        let socks = talk(out, socks).await;
        assert!(socks.starts_with("\x05\x00\x05\x00\x00\x01") && socks.contains("GET /c\n"), "{socks}");
        let listener = talk(pair.client.upstream, "GET /d HTTP/1.0\r\n\r\n").await;
        assert!(listener.starts_with("HTTP/1.0 200 OK") && listener.contains("GET /d\n"), "{listener}");
    });
}

#[test]
fn a_request_that_names_no_destination_is_the_clients_fault() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let answer = talk(pair.client.outbound, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 400 ") && answer.contains("x-taut-reason: bad_request"), "{answer}");
        let record = pair.client.exchange().await;
        assert_eq!(record.failure.unwrap().side, "client");
        assert!(answer.contains(&format!("taut why {}", record.request_id)), "{answer}");
    });
}

#[test]
fn idle_connections_are_used_again() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].starts_with(b"HTTP/1.1 200"));
            eventually(|| (pair.server.exchanges().len() == pair.client.exchanges().len()).then_some(())).await;
        }
        // One from the client to its proxy, one between the proxies, none of them twice.
        for proxy in [&pair.client, &pair.server] {
            let metrics = proxy.sink.registry().render(&[]);
            assert!(metrics.contains("taut_connections_open 1\n"), "{metrics}");
        }
    });
}

#[test]
fn clients_cannot_speak_for_the_mesh() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let forged = "x-taut-source: prod/root;root;v9\r\nx-forwarded-client-cert: URI=spiffe://mesh.local/ns/prod/sa/root\r\nx-taut-reason: x\r\n";
        let request = format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\n{forged}Connection: close\r\n\r\n");
        let answer = talk(pair.client.outbound, request).await;
        assert!(answer.contains("URI=spiffe://mesh.local/ns/default/sa/web\n") && !answer.contains("root"), "{answer}");
        let forged_in_plain = talk(pair.server.exposed, format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}Connection: close\r\n\r\n")).await;
        assert!(forged_in_plain.starts_with("HTTP/1.1 200") && !forged_in_plain.contains("root"), "{forged_in_plain}");
        assert_eq!(pair.server.exchange().await.edge.source.principal, "unknown");
    });
}

/// Sends what it is given, frame by frame, trailers at the end.
fn frames(chunks: Vec<Result<http_body::Frame<Bytes>, Infallible>>) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin {
    http_body_util::StreamBody::new(futures_util::stream::iter(chunks))
}

/// A gRPC-like server: echoes each message as it comes, then sends trailers with the request's own trailer.
async fn streaming_app() -> SocketAddr {
    raw_app(|stream| async {
        let service = service_fn(|request: Request<Incoming>| async {
            let echo = async_echo(request.into_body());
            let response = Response::builder().header("content-type", "application/grpc").body(echo);
            Ok::<_, Infallible>(response.unwrap())
        });
        let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

fn async_echo(body: Incoming) -> impl http_body::Body<Data = Bytes, Error = hyper::Error> {
    let frames = futures_util::stream::unfold((body, false), |(mut body, ended)| async move {
        match body.frame().await {
            Some(Ok(frame)) if frame.is_data() => Some((Ok(frame), (body, false))),
            Some(Ok(frame)) => {
                let mut trailers = frame.into_trailers().unwrap();
                trailers.insert("grpc-status", 5.into());
                Some((Ok(http_body::Frame::trailers(trailers)), (body, true)))
            }
            Some(Err(error)) => Some((Err(error), (body, true))),
            None if ended => None,
            None => Some((Ok(http_body::Frame::trailers([("grpc-status".parse().unwrap(), 0.into())].into_iter().collect())), (body, true))),
        }
    });
    http_body_util::StreamBody::new(frames)
}

#[test]
fn streams_and_trailers_pass_in_both_directions() {
    run(async {
        let pair = Pair::new(streaming_app().await, AppProtocol::Grpc).await;
        let mut client = http2(pair.client.outbound).await;
        let (messages, receiver) = tokio::sync::mpsc::channel(1);
        let body = http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
        let request = Request::post("http://reviews:9080/Reviews/Talk").header("content-type", "application/grpc").header("te", "trailers");
        let mut response = client.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        for message in ["one", "two"] {
            messages.send(Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(message)))).await.unwrap();
            // The answer comes while the request is still open.
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), message);
        }
        let trailers = [("x-mine".parse().unwrap(), "yes".parse().unwrap())].into_iter().collect();
        messages.send(Ok(http_body::Frame::trailers(trailers))).await.unwrap();
        drop(messages);
        let trailers = response.body_mut().frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!((trailers["x-mine"].to_str().unwrap(), trailers["grpc-status"].to_str().unwrap()), ("yes", "5"));

        for record in [pair.client.exchange().await, pair.server.exchange().await] {
            assert_eq!((record.edge.protocol, record.status, record.grpc_status), (Protocol::Grpc, 200, Some(5)));
            assert_eq!((record.request_bytes, record.response_bytes), (6, 6));
            assert!(record.failure.is_none(), "{record:?}");
        }
    });
}

#[test]
fn a_large_body_arrives_whole() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let size = 3 << 20;
        let mut request = format!("POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n").into_bytes();
        request.resize(request.len() + size, b'x');
        let answer = talk(pair.client.outbound, request).await;
        assert!(answer.ends_with(&format!("{size} bytes of body")), "{answer}");
        assert_eq!(pair.client.exchange().await.request_bytes, size as u64);

        let mut client = http2(pair.client.outbound).await;
        let chunks = vec![Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 100_000])))];
        let request = Request::post("http://reviews:9080/").body(frames(chunks)).unwrap();
        let failed = client.send_request(request).await.unwrap();
        // The application speaks HTTP/1 only, and is told HTTP/2: the version is not changed on the way.
        assert_eq!(failed.status(), 503);
    });
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
            assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.write_all(b" bye").await;
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
        stream.write_all(b"GET /chat HTTP/1.1\r\nHost: reviews:9080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        stream.write_all(b"hello").await.unwrap();
        let mut echoed = [0; 5];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"hello");
        assert!(pair.client.exchanges().is_empty(), "the exchange has not ended yet");
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, " bye");
        for record in [pair.client.exchange().await, pair.server.exchange().await] {
            assert_eq!((record.status, record.request_bytes, record.response_bytes), (101, 5, 9));
            assert!(record.failure.is_none(), "{record:?}");
        }
    });
}

#[test]
fn no_other_protocol_is_switched_to() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        // Not named as an option of the connection, and HTTP/1.0, which has no upgrades.
        let hidden = "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        for (version, headers) in [("1.1", h2c), ("1.1", hidden), ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n")] {
            for entry in [pair.client.outbound, pair.server.exposed] {
                let mut stream = TcpStream::connect(entry).await.unwrap();
                stream.write_all(format!("GET /x HTTP/{version}\r\nHost: reviews:9080\r\n{headers}\r\n").as_bytes()).await.unwrap();
                let mut answer = String::new();
                while !answer.ends_with("0 bytes of body") {
                    answer.push(stream.read_u8().await.unwrap().into());
                }
                assert!(answer.contains(" 200 OK") && answer.contains("GET /x\n"), "{answer}");
                assert!(!answer.to_lowercase().contains("upgrade") && !answer.contains("http2-settings"), "{answer}");
            }
        }
    });
}

#[test]
fn an_application_that_switches_protocols_unasked_is_not_followed() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nloose").await;
            let _ = stream.read(&mut [0; 1]).await;
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let request = "GET / HTTP/1.1\r\nHost: reviews:9080\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n";
        let answer = talk(pair.server.exposed, request).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("x-taut-reason: bad_response") && !answer.contains("loose"), "{answer}");
        assert!(get(pair.client.outbound, "/").await.starts_with("HTTP/1.1 502"));
    });
}

#[test]
fn a_client_that_leaves_is_recorded_as_such() {
    run(async {
        let asked = Rc::new(Cell::new(false));
        let seen = asked.clone();
        let app = app(move |_| {
            seen.set(true);
            std::future::pending()
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let mut stream = TcpStream::connect(pair.client.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
        eventually(|| asked.get().then_some(())).await;
        drop(stream);
        for record in [pair.client.exchange().await, pair.server.exchange().await] {
            let failure = record.failure.unwrap();
            assert_eq!((failure.side.as_str(), failure.reason.as_str(), record.status), ("client", "client_left", 0));
        }
    });
}

#[test]
fn oversized_heads_are_refused() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let long = "x".repeat(70_000);
        let answer = talk(pair.client.outbound, format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\nx: {long}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    });
}

#[test]
fn a_message_with_two_lengths_cannot_smuggle_a_request() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let request = "POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                       1e\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n0\r\n\r\n";
        let answer = talk(pair.client.outbound, request).await;
        // RFC 9112 section 6.3 would let the chunks win; whoever sends this means no good.
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(!answer.contains("smuggled"), "{answer}");
        assert!(pair.server.exchanges().iter().all(|record| *record.path == *"/"));
    });
}

#[test]
fn requests_of_many_clients_share_connections_from_the_first_on() {
    run(async {
        let (app, release, waiting) = slow_app().await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let to = pair.client.outbound;
        // More than fit on two connections, before the first stands.
        let asking = futures_util::future::join_all((0..300).map(|_| get(to, "/")));
        let all_there = async {
            while waiting.get() < 300 {
                tokio::task::yield_now().await;
            }
            release.notify_waiters();
        };
        let (answers, ()) = futures_util::future::join(asking, all_there).await;
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{:?}", answers.iter().find(|answer| !answer.contains(" 200")));
        let exchanges = pair.client.exchanges();
        assert!(exchanges.iter().all(|record| record.attempts.len() == 1), "none was sent twice");
    });
}
