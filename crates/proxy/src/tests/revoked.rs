//! What a policy takes away ends at once, before the response has begun too; and so does what is under way to a peer that is not believed any
//! more.

use super::policy::closed;
use super::trust::of;
use super::*;

#[test]
fn a_call_that_was_not_answered_yet_ends_when_a_policy_takes_its_right_away() {
    run(async {
        let (came, arrived) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counted = came.clone();
        // Takes calls, and never answers.
        let silent = raw_app(move |stream| {
            let came = counted.clone();
            async move {
                let service = service_fn(|_| {
                    came.set(came.get() + 1);
                    std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
                });
                let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
            }
        });
        let mut pair = Pair::new(silent.await, AppProtocol::Grpc).await;
        let mut sender = http2::<Full<Bytes>>(pair.client.outbound).await;
        let call = Request::post("http://reviews:9080/shop.Reviews/Watch").header("content-type", "application/grpc").body(Full::default()).unwrap();
        let answered = arrived.clone();
        let answer = tokio::task::spawn_local(async move {
            let answer = sender.send_request(call).await.unwrap();
            answered.set(1);
            answer
        });
        eventually(|| (came.get() == 1).then_some(())).await;
        // A plan that changes nothing for it leaves it alone.
        pair.server.pin(&pair.mesh);
        pair.client.pin(&pair.mesh);
        assert_eq!((came.get(), arrived.get()), (1, 0));
        pair.mesh.change = Some(closed);
        pair.server.pin(&pair.mesh);
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await.expect("the call ends").unwrap();
        assert_eq!(
            (answer.headers()["grpc-status"].as_bytes(), answer.headers()["x-taut-reason"].as_bytes()),
            (&b"7"[..], &b"authorization_denied"[..])
        );
        let failure = pair.server.exchange().await.failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.origin.unwrap().object.name.as_str()), ("authorization_denied", "closed"));
    });
}

/// Takes what is sent, and never answers: how many connections have brought something.
async fn listener() -> (SocketAddr, Rc<Cell<u32>>) {
    let came = Rc::new(Cell::new(0));
    let counted = came.clone();
    let address = raw_app(move |mut stream| {
        let came = counted.clone();
        async move {
            let mut some = [0; 1024];
            if stream.read(&mut some).await.is_ok_and(|count| count > 0) {
                came.set(came.get() + 1);
            }
            std::future::pending().await
        }
    });
    (address.await, came)
}

/// Not sent again by itself; a GET would be, to be told that nobody is believed there.
const POST: &str = "POST /slow HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The client learns that the server's certificate is revoked, while `begun` waits for it.
async fn revoked(pair: &Pair, came: &Cell<u32>, begun: impl Future<Output = String> + 'static) -> (String, taut_observe::record::Failure) {
    let begun = tokio::task::spawn_local(begun);
    eventually(|| (came.get() == 1).then_some(())).await;
    let server = pair.server.current.identity().unwrap();
    pair.client.current.trust(Arc::new(of(&[pair.authority.root()], &[&server])));
    let answer = tokio::time::timeout(Duration::from_secs(5), begun).await.expect("it ends").unwrap();
    let exchanges = || pair.client.exchanges().into_iter().filter_map(|record| record.failure);
    let connections = || pair.client.connections().into_iter().filter_map(|record| record.failure);
    (answer, eventually(|| exchanges().chain(connections()).next()).await)
}

#[test]
fn a_request_and_a_tunnel_end_when_their_server_is_not_believed_any_more() {
    run(async {
        let (app, came) = listener().await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let outbound = pair.client.outbound;
        let (answer, failure) = revoked(&pair, &came, async move { talk(outbound, POST.to_owned()).await }).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: peer_disowned"), "{answer}");
        assert_eq!((failure.reason.as_str(), failure.side.as_str(), failure.retry_safe), ("peer_disowned", "upstream", false));
        assert!(failure.detail.contains("the peer's certificate was revoked"), "{failure:?}");
        let (app, came) = listener().await;
        let pair = Pair::new(app, AppProtocol::Tcp).await;
        let upstream = pair.client.upstream;
        let tunnel = async move {
            let mut stream = TcpStream::connect(upstream).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut rest = Vec::new();
            // Cut off or closed: in either case it ends.
            let _ = stream.read_to_end(&mut rest).await;
            String::from_utf8(rest).unwrap()
        };
        let (answer, failure) = revoked(&pair, &came, tunnel).await;
        assert_eq!((answer.as_str(), failure.reason.as_str()), ("", "peer_disowned"));
        assert!(failure.detail.contains("the upstream's side broke off"), "{failure:?}");
        // Nobody comes back to it.
        assert_eq!(half_open(pair.client.upstream).await, "");
    });
}

/// What a new connection brings, to its end.
async fn half_open(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}
