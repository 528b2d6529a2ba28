//! What a policy takes away ends at once, before the response has begun too.

use super::policy::closed;
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
