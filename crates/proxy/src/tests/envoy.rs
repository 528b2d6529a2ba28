//! What Envoy's names in VirtualServices mean: format operators in header values, and the headers by which retries are asked for.

use super::policy::retry;
use super::*;
use taut_model::route::{ComputedHeader, HeaderPiece, HowChanged, Piece, RetryOn};

#[test]
fn values_of_headers_come_from_the_exchange() {
    run(async {
        let named = |name: &str, otherwise: Option<&str>, most| HeaderPiece { name: name.to_owned(), otherwise: otherwise.map(str::to_owned), most };
        let computed = |name: &str, how, value| ComputedHeader { name: name.to_owned(), how, value };
        let pair = Pair::with_rule(echo_app().await, |rule| {
            rule.request_headers.computed = vec![
                computed("x-from", HowChanged::Set, vec![Piece::ClientIp, Piece::Text(" by ".to_owned()), Piece::Protocol]),
                computed("x-path", HowChanged::Set, vec![Piece::RequestHeader(named("x-none", Some(":path"), Some(4)))]),
                computed("x-user", HowChanged::Add, vec![Piece::RequestHeader(named("x-other", None, None))]),
                computed("x-nothing", HowChanged::Set, vec![Piece::RequestHeader(named("x-none", None, None))]),
            ];
            rule.response_headers.computed = vec![computed(
                "x-back",
                HowChanged::Set,
                vec![Piece::RequestHeader(named("x-user", None, None)), Piece::ResponseHeader(named("content-length", None, Some(0)))],
            )];
        })
        .await;
        let request = "GET /a/b/c HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\nx-user: a\r\nx-other: b\r\nx-nothing: c\r\n\r\n";
        let answer = talk(pair.client.outbound, request).await;
        for said in ["x-from: 127.0.0.1 by HTTP/1.1\n", "x-path: /a/b\n", "x-user: a\n", "x-user: b\n", "x-nothing: c\n", "x-back: a\r\n"] {
            assert!(answer.contains(said), "{said:?} {answer}");
        }
    });
}

#[test]
fn a_request_may_name_the_headers_that_it_is_sent_again_for() {
    run(async {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let app = app(move |request| {
            let number = count.get();
            count.set(number + 1);
            let name = if request.uri().path() == "/limited" { "x-envoy-ratelimited" } else { "x-stale" };
            let status = if name == "x-stale" { 200 } else { 429 };
            let response = if number == 0 { Response::builder().status(status).header(name, "1") } else { Response::builder() };
            async move { response.body(Full::default()).unwrap() }
        })
        .await;
        let ask = async |on: RetryOn, path: &str, header: &str| {
            asked.set(0);
            let pair = Pair::with_rule(app, |rule| rule.retry = retry(2, vec![on])).await;
            let answer = talk(pair.client.outbound, format!("GET {path} HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n{header}\r\n")).await;
            (answer[9..12].to_owned(), asked.get())
        };
        let named = "x-envoy-retriable-header-names: x-a, X-Stale\r\n";
        assert_eq!(ask(RetryOn::NamedHeader, "/", named).await, ("200".to_owned(), 2));
        assert_eq!(ask(RetryOn::NamedHeader, "/", "").await, ("200".to_owned(), 1));
        assert_eq!(ask(RetryOn::RateLimited, "/limited", "").await, ("200".to_owned(), 2));
        assert_eq!(ask(RetryOn::Status(429), "/limited", "").await, ("429".to_owned(), 1));
    });
}
