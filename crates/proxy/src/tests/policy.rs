//! Timeouts, retries, faults, header changes, mirrors, limits, and questions to the mesh.

use super::*;
use futures_util::StreamExt;
use http_body_util::StreamBody;
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, OperationMatch};
use taut_model::route::{
    AbortWith, Backend, Dialect, DirectResponse, Fault, FaultAbort, FaultDelay, HeaderChange, HttpAction, HttpMatch, HttpRule, Mirror, NamedMatch,
    Parent, Redirect, RedirectPort, Retry, RetryEndpoints, RetryOn, TextMatch,
};

pub(super) fn backend(service: &str) -> Backend {
    Backend {
        origin: Origin::default(),
        host: service_host(service, "default"),
        port: Some(9080),
        subset: None,
        weight: 1,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    }
}

/// One rule for all requests to `reviews`.
pub(super) fn rule(change: impl FnOnce(&mut HttpRule)) -> Route {
    let origin =
        Origin { object: ObjectRef::new("VirtualService", "default", "reviews"), generation: 1, path: "spec.http[0]".into(), location: None };
    let mut rule = HttpRule {
        origin: origin.clone(),
        name: "all".to_owned(),
        matches: vec![],
        action: HttpAction::Forward(vec![backend("reviews")]),
        rewrite: None,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        timeout: None,
        retry: None,
        fault: None,
        mirrors: vec![],
        cors: None,
        persistence: None,
        hedging: None,
    };
    change(&mut rule);
    Route {
        origin,
        dialect: Dialect::Istio,
        protocol: taut_model::route::RouteProtocol::Http,
        parents: vec![Parent { host: service_host("reviews", "default"), port: None }],
        consumer_namespaces: vec![],
        hostnames: vec![],
        created: String::new(),
        http: vec![rule],
        tcp: vec![],
        sampling: None,
    }
}

impl Pair {
    pub(super) async fn with_rule(app: SocketAddr, change: impl FnOnce(&mut HttpRule)) -> Self {
        let mut pair = Self::new(app, AppProtocol::Http).await;
        pair.mesh = pair.mesh.route(rule(change));
        pair.client.pin(&pair.mesh);
        pair
    }
}

pub(super) fn retry(attempts: u32, on: Vec<RetryOn>) -> Option<Retry> {
    Some(Retry { attempts, per_try_timeout: None, on, backoff: Duration::from_millis(1), endpoints: RetryEndpoints::Others })
}

/// Answers 503 to the first `failures` requests, then 200 with the length of the body.
async fn failing(failures: u32) -> (SocketAddr, Rc<Cell<u32>>) {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let app = app(move |request| {
        count.set(count.get() + 1);
        let fails = count.get() <= failures;
        async move {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let status = if fails { 503 } else { 200 };
            Response::builder().status(status).body(Full::from(format!("{} bytes", body.len()))).unwrap()
        }
    })
    .await;
    (app, asked)
}

async fn post(to: SocketAddr, size: usize) -> String {
    let mut request = format!("POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n").into_bytes();
    request.resize(request.len() + size, b'x');
    talk(to, request).await
}

#[test]
fn a_failed_attempt_is_made_again_with_its_body() {
    run(async {
        let (app, asked) = failing(1).await;
        let pair = Pair::with_rule(app, |rule| rule.retry = retry(2, vec![RetryOn::ServerError])).await;
        let answer = post(pair.client.outbound, 10_000).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("10000 bytes"), "{answer}");
        assert_eq!(asked.get(), 2);
        let record = pair.client.exchange().await;
        let results: Vec<_> = record.attempts.iter().map(|attempt| attempt.result.to_string()).collect();
        assert_eq!((results, record.status, &*record.route), (vec!["503".to_owned(), "200".to_owned()], 200, "all"));
    });
}

#[test]
fn by_default_an_application_that_answered_503_to_a_post_is_not_asked_again() {
    run(async {
        let (app, asked) = failing(2).await;
        let mut pair = Pair::new(app, AppProtocol::Http).await;
        assert!(post(pair.client.outbound, 3).await.starts_with("HTTP/1.1 503"));
        assert_eq!(asked.get(), 1);
        assert!(get(pair.client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        assert_eq!(asked.get(), 3);

        // The peer's proxy proves that its application did not get the request.
        pair.mesh.workloads[0].serves[0].target = 0;
        pair.server.pin(&pair.mesh);
        assert!(post(pair.client.outbound, 3).await.contains("x-taut-reason: app_unreachable"));
        assert_eq!(eventually(|| pair.client.exchanges().pop().filter(|record| record.attempts.len() > 1)).await.attempts.len(), 3);

        // What a user wrote is done.
        let (app, asked) = failing(1).await;
        let pair = Pair::with_rule(app, |rule| rule.retry = retry(2, vec![RetryOn::Status(503)])).await;
        assert!(post(pair.client.outbound, 3).await.starts_with("HTTP/1.1 200"));
        assert_eq!(asked.get(), 2);
    });
}

#[test]
fn a_body_larger_than_what_is_kept_is_sent_once() {
    run(async {
        let (app, asked) = failing(1).await;
        let pair = Pair::with_rule(app, |rule| rule.retry = retry(2, vec![RetryOn::ServerError])).await;
        let answer = post(pair.client.outbound, 64 * 1024 + 1).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("65537 bytes"), "{answer}");
        assert_eq!(asked.get(), 1);
    });
}

#[test]
fn an_endpoint_that_does_not_connect_is_left_for_another() {
    run(async {
        let app = echo_app().await;
        let mut pair = Pair::new(app, AppProtocol::Http).await;
        pair.mesh = pair.mesh.workload("reviews", "dead", Some(nowhere().await), app);
        pair.client.pin(&pair.mesh);
        for _ in 0..8 {
            assert!(get(pair.client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        }
        let tried_dead = pair.client.exchanges().iter().filter(|record| record.attempts[0].result.to_string() == "connect_failed").count();
        let retried = pair.client.exchanges().iter().filter(|record| record.attempts.len() == 2).count();
        assert_eq!(tried_dead, retried);
    });
}

#[test]
fn a_reset_after_the_request_is_not_retried_unless_idempotent() {
    run(async {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let app = raw_app(move |mut stream| {
            count.set(count.get() + 1);
            async move {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        })
        .await;
        let pair = Pair::with_rule(app, |rule| rule.retry = retry(2, vec![RetryOn::Reset])).await;
        let answer = post(pair.client.outbound, 3).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: reset"), "{answer}");
        assert_eq!(asked.get(), 1);
        let failure = pair.server.exchange().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str(), failure.retry_safe), ("upstream", "reset", false));
    });
}

#[test]
fn a_timeout_covers_the_whole_exchange() {
    run(async {
        // Answers in no version of HTTP, and refuses none.
        let silent = raw_app(|mut stream| async move { while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} }).await;
        let pair = Pair::with_rule(silent, |rule| rule.timeout = Some(Duration::from_millis(20))).await;
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("x-taut-reason: timeout"), "{answer}");
        let record = pair.client.exchange().await;
        assert_eq!((record.status, record.failure.unwrap().side.as_str()), (504, "upstream"));
        assert_eq!(record.rule.unwrap().object.name, "reviews");

        let mut grpc = http2(pair.client.outbound).await;
        let request = Request::post("http://reviews:9080/a/b").header("content-type", "application/grpc").body(Full::<Bytes>::default()).unwrap();
        let response = grpc.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].to_str().unwrap()), (200, "4"));
        assert!(response.headers()["grpc-message"].to_str().unwrap().starts_with("upstream timeout: "));
    });
}

#[test]
fn a_response_that_goes_on_after_the_timeout_is_cut() {
    run(async {
        let app = raw_app(|mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let pair = Pair::with_rule(app, |rule| rule.timeout = Some(Duration::from_millis(100))).await;
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("half"), "{answer}");
        let record = pair.client.exchange().await;
        assert_eq!((record.failure.unwrap().reason.as_str(), record.response_bytes), ("timeout", 4));
    });
}

#[test]
fn a_try_may_time_out_and_the_next_succeed() {
    run(async {
        let asked = Cell::new(0);
        let app = app(move |_| {
            asked.set(asked.get() + 1);
            let hangs = asked.get() == 1;
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Response::default()
            }
        })
        .await;
        let per_try = |rule: &mut HttpRule| {
            rule.retry = retry(1, vec![RetryOn::GatewayError]).map(|retry| Retry { per_try_timeout: Some(Duration::from_millis(500)), ..retry });
        };
        let pair = Pair::with_rule(app, per_try).await;
        assert!(get(pair.client.outbound, "/").await.starts_with("HTTP/1.1 200"));
        let results: Vec<_> = pair.client.exchange().await.attempts.into_iter().map(|attempt| attempt.result.to_string()).collect();
        assert_eq!(results, ["per_try_timeout", "200"]);
    });
}

#[test]
fn faults_are_injected_as_the_rule_says() {
    run(async {
        let fault = |delay: u64, with| Fault {
            origin: Origin { path: "spec.http[0].fault".into(), ..Origin::default() },
            delay: Some(FaultDelay { percent: 100.0, duration: Duration::from_millis(delay) }),
            abort: Some(FaultAbort { percent: 100.0, with }),
        };
        let pair = Pair::with_rule(echo_app().await, |rule| rule.fault = Some(fault(30, AbortWith::Http(418)))).await;
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 418") && answer.contains("x-taut-reason: fault_injected"), "{answer}");
        let record = pair.client.exchange().await;
        assert!(record.duration_us >= 30_000 && record.attempts.is_empty(), "{record:?}");
        assert_eq!(record.failure.unwrap().origin.unwrap().path, "spec.http[0].fault");

        let pair = Pair::with_rule(echo_app().await, |rule| rule.fault = Some(fault(0, AbortWith::Grpc(7)))).await;
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 7"), "{answer}");
        assert_eq!(pair.client.exchange().await.grpc_status, Some(7));
    });
}

#[test]
fn headers_change_on_the_way_there_and_back() {
    run(async {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let change = |set| HeaderChange { set: vec![set], add: vec![], remove: vec!["x-remove".to_owned()], computed: vec![] };
        let (there, back) = (change(pair("x-there", "1")), change(pair("x-back", "2")));
        let pair = Pair::with_rule(echo_app().await, |rule| {
            rule.request_headers = there;
            rule.response_headers = back;
        })
        .await;
        let request = "GET / HTTP/1.1\r\nHost: reviews:9080\r\nX-Remove: me\r\nConnection: close\r\n\r\n";
        let answer = talk(pair.client.outbound, request).await;
        assert!(answer.contains("x-there: 1\n") && answer.contains("x-back: 2\r\n") && !answer.contains("x-remove"), "{answer}");
    });
}

#[test]
fn a_rule_may_answer_by_itself() {
    run(async {
        let redirect = Redirect { status: 302, scheme: None, authority: Some("other".to_owned()), port: RedirectPort::FromScheme, path: None };
        let pair = Pair::with_rule(echo_app().await, |rule| rule.action = HttpAction::Redirect(redirect)).await;
        let answer = get(pair.client.outbound, "/x").await;
        assert!(answer.starts_with("HTTP/1.1 302") && answer.contains("location: http://other/x\r\n"), "{answer}");

        let respond = DirectResponse { status: 200, body: b"here".to_vec() };
        let pair = Pair::with_rule(echo_app().await, |rule| rule.action = HttpAction::Respond(respond)).await;
        let answer = get(pair.client.outbound, "/x").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        assert!(pair.server.exchanges().is_empty());
    });
}

#[test]
fn a_mirror_gets_a_copy_and_the_client_does_not_notice() {
    run(async {
        let copies = Rc::new(RefCell::new(Vec::new()));
        let seen = copies.clone();
        let shadow = app(move |request| {
            let seen = seen.clone();
            async move {
                let host = request.headers()["host"].to_str().unwrap().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                seen.borrow_mut().push((host, body.len()));
                Response::builder().status(500).body(Full::default()).unwrap()
            }
        })
        .await;
        let mirror = Mirror { backend: backend("shadow"), percent: 100.0 };
        let mut pair = Pair::with_rule(echo_app().await, |rule| rule.mirrors = vec![mirror]).await;
        pair.mesh = pair.mesh.service("shadow", 9080, AppProtocol::Http).workload("shadow", "shadow", None, shadow);
        pair.client.pin(&pair.mesh);
        let answer = post(pair.client.outbound, 1000).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("1000 bytes of body"), "{answer}");
        eventually(|| (!copies.borrow().is_empty()).then_some(())).await;
        assert_eq!(*copies.borrow(), [("reviews-shadow:9080".to_owned(), 1000)]);

        // Too large to keep, so not mirrored, and counted.
        assert!(post(pair.client.outbound, 100_000).await.starts_with("HTTP/1.1 200"));
        assert_eq!(copies.borrow().len(), 1);
        assert!(pair.client.sink.registry().render(&[]).contains("mirrors_dropped_total 1\n"));
    });
}

/// Limits for `reviews`.

#[test]
fn requests_wait_for_a_connection_and_overflow_beyond_the_limit() {
    run(async {
        let (app, release, waiting) = slow_app().await;
        let mut pair = Pair::new(app, AppProtocol::Http).await;
        pair.mesh.change = Some(|snapshot| limited(snapshot, Limits { max_connections: Some(1), max_pending: Some(1), ..Limits::default() }));
        pair.client.pin(&pair.mesh);
        let out = pair.client.outbound;
        let first = tokio::task::spawn_local(async move { get(out, "/1").await });
        eventually(|| (waiting.get() == 1).then_some(())).await;
        let second = tokio::task::spawn_local(async move { get(out, "/2").await });
        let third = tokio::task::spawn_local(async move { get(out, "/3").await });
        let overflowed = pair.client.exchange().await;
        assert_eq!(overflowed.failure.unwrap().reason, "overflow");
        release.notify_one();
        assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
        eventually(|| (waiting.get() == 2).then_some(())).await;
        release.notify_one();
        let answers = [second.await.unwrap(), third.await.unwrap()];
        assert_eq!(answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200")).count(), 1, "{answers:?}");
    });
}

/// An ALLOW policy without rules: nobody is let in.
pub(super) fn closed(snapshot: &mut Snapshot) {
    let origin = Origin { object: ObjectRef::new("AuthorizationPolicy", "default", "closed"), ..Origin::default() };
    let (namespace, selector) = ("default".to_owned(), BTreeMap::new());
    let policy = AuthorizationPolicy {
        origin,
        namespace,
        selector,
        action: AuthorizationAction::Allow,
        services: vec![],
        provider: String::new(),
        dry_run: false,
        rules: vec![],
    };
    snapshot.authorizations.insert("AuthorizationPolicy/default/closed".to_owned(), Arc::new(policy));
}

#[test]
fn a_connection_that_stands_ends_when_a_policy_takes_its_right_away() {
    run(async {
        let echo = raw_app(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let mut pair = Pair::new(echo.await, AppProtocol::Tcp).await;
        let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        // A plan that changes nothing for it leaves it alone.
        pair.server.pin(&pair.mesh);
        stream.write_all(b"y").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'y');
        pair.mesh.change = Some(closed);
        pair.server.pin(&pair.mesh);
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("the connection ends");
        assert!(rest.is_empty());
        let failure = pair.server.connection().await.failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.origin.unwrap().object.name.as_str()), ("authorization_denied", "closed"));
    });
}

#[test]
fn a_stream_that_stands_ends_when_a_policy_takes_its_right_away() {
    run(async {
        // One event, and then nothing for as long as the client waits.
        let events = raw_app(|stream| async move {
            let service = service_fn(|_| async {
                let event = Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"one\n\n")));
                let body = StreamBody::new(futures_util::stream::iter([event]).chain(futures_util::stream::pending()));
                Ok::<_, Infallible>(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
            });
            let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
        });
        let mut pair = Pair::new(events.await, AppProtocol::Http).await;
        let mut sender = http2::<Full<Bytes>>(pair.client.outbound).await;
        let ask = || Request::get("http://reviews:9080/events").body(Full::default()).unwrap();
        let mut body = sender.send_request(ask()).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        // A plan that changes nothing for it leaves it alone.
        pair.server.pin(&pair.mesh);
        let more = tokio::time::timeout(Duration::from_millis(50), body.frame()).await;
        assert!(more.is_err(), "{more:?}");
        pair.mesh.change = Some(closed);
        pair.server.pin(&pair.mesh);
        let end = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("the stream ends");
        assert!(end.is_none_or(|frame| frame.is_err()));
        let failure = pair.server.exchange().await.failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.origin.unwrap().object.name.as_str()), ("authorization_denied", "closed"));
        // The connection goes on with what is allowed: to nobody here.
        assert_eq!(sender.send_request(ask()).await.unwrap().status(), 403);
    });
}

#[test]
fn a_denied_peer_is_told_a_code_and_no_policy() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(closed);
        pair.server.pin(&pair.mesh);
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("x-taut-reason: authorization_denied"), "{answer}");
        let record = pair.server.exchange().await;
        assert_eq!(record.failure.unwrap().origin.unwrap().object.name, "closed");
        assert_eq!(pair.client.exchange().await.failure.unwrap().reason, "authorization_denied");
        assert!(answer.contains("client authorization_denied (request "), "{answer}");
        assert!(!answer.contains("closed") && !answer.contains("Policy"), "{answer}");

        let stranger = get(pair.server.exposed, "/").await;
        assert!(stranger.starts_with("HTTP/1.1 403") && stranger.contains("client authorization_denied (request "), "{stranger}");
        assert!(!stranger.contains("closed") && !stranger.contains("Policy"), "{stranger}");
    });
}

/// The only policy for `reviews`.
pub(super) fn only(snapshot: &mut Snapshot, action: AuthorizationAction, to: OperationMatch) {
    let origin = Origin { object: ObjectRef::new("AuthorizationPolicy", "default", "only"), ..Origin::default() };
    let rule = AuthorizationRule { origin: origin.clone(), from: vec![], to: vec![to], when: vec![] };
    let policy = AuthorizationPolicy {
        origin,
        namespace: "default".to_owned(),
        selector: BTreeMap::new(),
        action,
        services: vec![],
        provider: String::new(),
        dry_run: false,
        rules: vec![rule],
    };
    snapshot.authorizations.insert("AuthorizationPolicy/default/only".to_owned(), Arc::new(policy));
}

fn allow_public(snapshot: &mut Snapshot) {
    only(snapshot, AuthorizationAction::Allow, OperationMatch { paths: vec!["/public/*".to_owned()], ..OperationMatch::default() });
}

#[test]
fn the_application_gets_the_path_that_was_authorized() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(allow_public);
        pair.server.pin(&pair.mesh);
        for path in ["/secret/../public/x", "/secret\\..\\public/x", "/secret/%2e%2E/public/x"] {
            // From the mesh, where the caller's proxy has resolved the path already, and from a stranger.
            for entry in [pair.client.outbound, pair.server.exposed] {
                let answer = get(entry, &format!("{path}?q=/../%2e")).await;
                assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("GET /public/x?q=/../%2e\n"), "{path}: {answer}");
            }
        }
        for path in ["/public/../secret", "/public/%2e%2e/secret", "/secret/..%2fpublic/x"] {
            assert!(get(pair.server.exposed, path).await.starts_with("HTTP/1.1 403"), "{path}");
        }
    });
}

#[test]
fn a_service_not_heard_of_is_asked_for_and_the_request_waits() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.client.pin(&Mesh { workloads: pair.mesh.workloads.clone(), ..Mesh::default() });
        let out = pair.client.outbound;
        let asking = tokio::task::spawn_local(async move { get(out, "/").await });
        let wanted = eventually(|| pair.client.wanted.borrow_mut().try_recv().ok()).await;
        assert_eq!(wanted[0], service_host("reviews", "default"));
        pair.client.pin(&pair.mesh);
        assert!(asking.await.unwrap().starts_with("HTTP/1.1 200"));

        let stranger = Proxy::start_with("other", LOCAL, None, |options| options.learn = Duration::from_millis(20)).await;
        let answer = get(stranger.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: service_not_learned"), "{answer}");
    });
}

#[test]
fn a_request_that_had_to_wait_for_its_service_is_explained_as_it_was_decided() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.client.pin(&Mesh { workloads: pair.mesh.workloads.clone(), ..Mesh::default() });
        let out = pair.client.outbound;
        let request = "GET /x HTTP/1.1\r\nHost: reviews:9080\r\nEnd-User: jason\r\nX-Request-Id: first\r\nConnection: close\r\n\r\n";
        let asking = tokio::task::spawn_local(async move { talk(out, request).await });
        eventually(|| pair.client.wanted.borrow_mut().try_recv().ok()).await;
        // Only the plan that came while the request waited looks at this header.
        let jason = NamedMatch { name: "end-user".into(), value: TextMatch::Exact("jason".into()) };
        let only_jason = HttpMatch { headers: vec![jason], ..HttpMatch::default() };
        pair.mesh = pair.mesh.route(rule(|rule| rule.matches = vec![only_jason]));
        pair.client.pin(&pair.mesh);
        assert!(asking.await.unwrap().starts_with("HTTP/1.1 200"));
        let kept = eventually(|| pair.client.sink.find("first").pop()).await;
        let explained = kept.to_json()["text"].to_string();
        assert!(explained.contains("forwarded to reviews") && !explained.contains("not sent"), "{explained}");
    });
}

#[test]
fn without_a_control_plane_the_world_outside_is_reached_and_nothing_else_is_waited_for() {
    run(async {
        let outside = echo_app().await;
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.client.current.set_connected(false);
        let started = std::time::Instant::now();
        // Not known, not of the mesh, and always this machine.
        let host = format!("localhost:{}", outside.port());
        let answer = talk(pair.client.outbound, format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("host: {host}\n")), "{answer}");
        let answer = talk(pair.client.outbound, "GET / HTTP/1.1\r\nHost: unheard:9080\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: service_not_learned"), "{answer}");
        assert!(started.elapsed() < Options::new(pair.client.current.workload().clone(), "").learn, "{:?}", started.elapsed());
        let wanted: Vec<_> = std::iter::from_fn(|| pair.client.wanted.borrow_mut().try_recv().ok()).flatten().collect();
        assert!(wanted.contains(&"localhost".to_owned()) && wanted.contains(&"unheard".to_owned()), "{wanted:?}");

        // The first question that nobody answers is the last.
        let stranger = Proxy::start_with("other", LOCAL, None, |options| options.learn = Duration::from_secs(1)).await;
        let started = std::time::Instant::now();
        assert!(get(stranger.outbound, "/").await.starts_with("HTTP/1.1 503"));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    });
}

#[test]
fn a_request_to_this_proxy_itself_does_not_go_round_for_ever() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(|snapshot| {
            snapshot.absent.insert("127.0.0.1".to_owned());
        });
        pair.client.pin(&pair.mesh);
        let own = pair.client.outbound;
        let answer = talk(own, format!("GET / HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 508") && answer.contains("x-taut-reason: loop_detected"), "{answer}");
    });
}

#[test]
fn records_tell_services_from_what_clients_merely_named() {
    run(async {
        let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.mesh.change = Some(|snapshot| {
            snapshot.absent.insert("nobody.default.svc.cluster.local".to_owned());
            snapshot.absent.insert("nobody".to_owned());
        });
        pair.client.pin(&pair.mesh);
        let outside = echo_app().await.to_string();
        for (host, status, want) in [
            (outside.as_str(), "200", ["127.0.0.1", "PassthroughCluster", "unknown"]),
            ("REVIEWS:1", "503", ["reviews.default.svc.cluster.local", "reviews", "default"]),
            ("nobody", "503", ["nobody", "nobody", "unknown"]),
        ] {
            let before = pair.client.exchanges().len();
            let answer = talk(pair.client.outbound, format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
            let edge = eventually(|| pair.client.exchanges().get(before).cloned()).await.edge;
            assert_eq!([&*edge.service_host, &edge.service_name, &edge.service_namespace], want, "{host}");
        }
        let text = pair.client.sink.registry().render(&[]);
        assert!(text.contains("PassthroughCluster") && !text.contains("nobody") && !text.contains(&outside), "{text}");
    });
}
