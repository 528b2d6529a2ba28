//! Rate limits over sockets: what a client is told, in HTTP, gRPC and TCP.

use super::*;
use taut_model::origin::ObjectRef;
use taut_model::policy::AuthorizationRule;
use taut_model::rate_limit::{Per, RateLimit, RequestLimit, SizeLimit};

/// Three requests a minute from each client.
fn three(snapshot: &mut Snapshot) {
    let origin = Origin { object: ObjectRef::new("RateLimit", "default", "reviews"), ..Origin::default() };
    let matching = AuthorizationRule { origin: origin.clone(), from: vec![], to: vec![], when: vec![] };
    let interval = Duration::from_secs(60);
    let limit = RequestLimit { origin: origin.clone(), name: "each".to_owned(), requests: 3, interval, burst: 3, per: Per::Client, matching };
    let limit = RateLimit { origin, namespace: "default".to_owned(), selector: BTreeMap::new(), limits: vec![limit], sizes: vec![] };
    snapshot.limits.insert("RateLimit/default/reviews".to_owned(), Arc::new(limit));
}

async fn limited(app: SocketAddr, protocol: AppProtocol) -> Pair {
    let mut pair = Pair::new(app, protocol).await;
    pair.mesh.change = Some(three);
    pair.server.pin(&pair.mesh);
    pair
}

#[test]
fn one_too_many_is_answered_429_and_told_when_to_come_back() {
    run(async {
        let pair = limited(echo_app().await, AppProtocol::Http).await;
        for _ in 0..3 {
            assert!(get(pair.client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        }
        // A new plan lets nobody start over.
        pair.server.pin(&pair.mesh);
        let refused = get(pair.client.outbound, "/").await;
        assert!(refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused}");
        for header in
            ["retry-after: 20\r\n", "ratelimit: \"default/reviews each\";r=0;t=20\r\n", "ratelimit-policy: \"default/reviews each\";q=3;w=60\r\n"]
        {
            assert!(refused.contains(header), "{refused}");
        }
        assert!(refused.contains("x-taut-reason: rate_limited\r\n"), "{refused}");
        let record = eventually(|| pair.server.exchanges().into_iter().find(|record| record.status == 429)).await;
        let failure = record.failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.side.as_str(), failure.retry_safe), ("rate_limited", "client", true));
        assert_eq!(failure.origin.unwrap().object.kind, "RateLimit");
        assert_eq!(pair.server.current.limited(), [("default/reviews each".into(), 1)]);
    });
}

#[test]
fn grpc_is_told_that_resources_are_exhausted() {
    run(async {
        let pair = limited(echo_app().await, AppProtocol::Grpc).await;
        let mut client = http2(pair.client.outbound).await;
        let mut last = None;
        for _ in 0..4 {
            let request = Request::post("http://reviews:9080/a.B/C").header("content-type", "application/grpc");
            let response = client.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            last = Some((response.status().as_u16(), response.headers().get("grpc-status").cloned()));
        }
        assert_eq!(last, Some((200, Some("8".parse().unwrap()))));
    });
}

#[test]
fn a_connection_counts_as_a_request() {
    run(async {
        let echo = raw_app(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let pair = limited(echo, AppProtocol::Tcp).await;
        let said = || async {
            let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
            let _ = stream.write_all(b"x").await;
            let mut answer = [0; 1];
            stream.read(&mut answer).await.is_ok_and(|read| read == 1)
        };
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(said().await);
        }
        assert_eq!(answers, [true, true, true, false]);
    });
}

/// Requests of at most ten bytes, responses of at most a hundred.
fn small(snapshot: &mut Snapshot) {
    let origin = Origin { object: ObjectRef::new("RateLimit", "default", "reviews"), ..Origin::default() };
    let matching = AuthorizationRule { origin: origin.clone(), from: vec![], to: vec![], when: vec![] };
    let size = SizeLimit { origin: origin.clone(), name: "all".to_owned(), max_request: Some(10), max_response: Some(100), matching };
    let limit = RateLimit { origin, namespace: "default".to_owned(), selector: BTreeMap::new(), limits: vec![], sizes: vec![size] };
    snapshot.limits.insert("RateLimit/default/reviews".to_owned(), Arc::new(limit));
}

#[test]
fn bodies_are_held_to_their_sizes_announced_or_not() {
    run(async {
        // Answers with as many bytes as the path says, announced or in pieces.
        let app = app(|request| async move {
            let count: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
            let _ = request.into_body().collect().await;
            Response::new(Full::from("x".repeat(count)))
        })
        .await;
        let mut pair = Pair::new(app, AppProtocol::Http).await;
        pair.mesh.change = Some(small);
        pair.server.pin(&pair.mesh);
        let post = |path: &str, body: &str| {
            let head = format!("POST /{path} HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n");
            let announced = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            [announced, chunked]
        };
        for request in post("5", "0123456789") {
            let answer = talk(pair.client.outbound, request).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("xxxxx"), "{answer}");
        }
        for request in post("5", "01234567890") {
            let answer = talk(pair.client.outbound, request).await;
            assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("x-taut-reason: request_too_large\r\n"), "{answer}");
        }
        let answer = get(pair.client.outbound, "/100").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = get(pair.client.outbound, "/101").await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("x-taut-reason: response_too_large\r\n"), "{answer}");
    });
}

#[test]
fn a_response_that_turns_out_to_be_too_long_is_cut_off_and_seen_as_cut() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let piece = format!("32\r\n{}\r\n", "x".repeat(50));
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", piece.repeat(5)).as_bytes()).await;
        })
        .await;
        let mut pair = Pair::new(app, AppProtocol::Http).await;
        pair.mesh.change = Some(small);
        pair.server.pin(&pair.mesh);
        let answer = get(pair.client.outbound, "/").await;
        assert!(!answer.ends_with("0\r\n\r\n") && answer.matches('x').count() <= 200, "{answer}");
        let record = pair.server.exchange().await;
        assert_eq!(record.failure.map(|failure| failure.reason).as_deref(), Some("response_too_large"));
    });
}
