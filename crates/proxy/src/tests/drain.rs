//! Leaving without losing anything.

use super::*;

#[test]
fn what_is_under_way_ends_well_and_nothing_new_is_taken() {
    run(async {
        let (app, release, waiting) = slow_app().await;
        let Pair { client, server, .. } = Pair::new(app, AppProtocol::Http).await;
        // Kept open: the proxy says in its answer that this was the last one.
        let mut stream = TcpStream::connect(client.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
        let mut idle = TcpStream::connect(client.outbound).await.unwrap();
        eventually(|| (waiting.get() == 1).then_some(())).await;
        for proxy in [&client, &server] {
            proxy.current.start_draining();
        }
        // An idle connection is closed at once.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
        eventually_refused(client.outbound).await;
        assert!(!client.task.is_finished() && !server.task.is_finished());
        release.notify_one();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
        assert!(client.exchange().await.failure.is_none());
        client.task.await.unwrap();
        server.task.await.unwrap();
    });
}

async fn eventually_refused(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn http2_streams_under_way_end_well() {
    run(async {
        let (release, waiting) = (Rc::new(tokio::sync::Notify::new()), Rc::new(Cell::new(0)));
        let (go_on, count) = (release.clone(), waiting.clone());
        let app = raw_app(move |stream| {
            let (go_on, count) = (go_on.clone(), count.clone());
            async move {
                let service = service_fn(move |_: Request<Incoming>| {
                    count.set(count.get() + 1);
                    let go_on = go_on.clone();
                    async move {
                        go_on.notified().await;
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
                    }
                });
                let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await;
        let pair = Pair::new(app, AppProtocol::Http2).await;
        let mut sender = http2(pair.client.outbound).await;
        let answer = sender.send_request(Request::get("http://reviews:9080/").body(Full::<Bytes>::default()).unwrap());
        let answer = tokio::task::spawn_local(answer);
        eventually(|| (waiting.get() == 1).then_some(())).await;
        pair.client.current.start_draining();
        eventually_refused(pair.client.outbound).await;
        release.notify_one();
        let body = answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "done");
        pair.client.task.await.unwrap();
    });
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    run(async {
        let (app, _, waiting) = slow_app().await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let short = |options: &mut Options| options.drain = Duration::from_millis(20);
        let client = Proxy::start_with("web", LOCAL, Some(pair.authority.issue("web")), short).await;
        client.pin(&pair.mesh);
        let out = client.outbound;
        let cut = tokio::task::spawn_local(async move { get(out, "/").await });
        eventually(|| (waiting.get() == 1).then_some(())).await;
        client.current.start_draining();
        let (sink, exchanges) = (client.sink.clone(), client.exchanges());
        assert!(exchanges.is_empty());
        client.task.await.unwrap();
        assert_eq!(cut.await.unwrap(), "");
        let kept = sink.newest(1);
        let Record::Exchange(record) = &kept[0].record else { panic!("an exchange") };
        assert_eq!(record.failure.as_ref().unwrap().reason, "closed");
    });
}
