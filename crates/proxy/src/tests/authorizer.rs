//! CUSTOM policies against real authorizers, over gRPC and HTTP: what passes, what does not, and what happens without an answer.

use super::*;
use ::http::{HeaderMap, HeaderValue};
use prost::Message;
use std::sync::atomic::{AtomicU8, Ordering};
use taut_model::authorizer::{Authorizer, AuthorizerHttp, AuthorizerProtocol, BodySent};
use taut_model::origin::ObjectRef;
use taut_model::policy::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, OperationMatch};
use taut_model::settings::MeshSettings;
use taut_model::telemetry::{Provider, ProviderKind};
use taut_wire::authz::{self, Allowed, Answer, CheckRequest, CheckResponse, Denied, HeaderOption, HttpStatus, Status};

fn authorizer(protocol: AuthorizerProtocol) -> Authorizer {
    Authorizer {
        host: service_host("authz", "default"),
        port: 9000,
        timeout: Duration::from_millis(300),
        fail_open: false,
        status_on_error: 403,
        body: None,
        protocol,
    }
}

/// Whatever is under `/guarded` is shown to the authorizer.
fn asks(snapshot: &mut Snapshot, authorizer: Authorizer) {
    let provider = Provider { name: "ext".into(), kind: ProviderKind::Authorizer(authorizer) };
    let settings = MeshSettings { providers: vec![provider], ..MeshSettings::default() };
    snapshot.settings.insert("mesh".into(), Arc::new(settings));
    policy(snapshot, "custom", AuthorizationAction::Custom, "/guarded*", "ext");
}

fn policy(snapshot: &mut Snapshot, name: &str, action: AuthorizationAction, path: &str, provider: &str) {
    let origin = Origin { object: ObjectRef::new("AuthorizationPolicy", "default", name), ..Origin::default() };
    let to = vec![OperationMatch { paths: vec![path.to_owned()], ..OperationMatch::default() }];
    let policy = AuthorizationPolicy {
        origin: origin.clone(),
        namespace: "default".into(),
        selector: BTreeMap::from([("app".to_owned(), "reviews".to_owned())]),
        services: vec![],
        action,
        provider: provider.to_owned(),
        dry_run: false,
        rules: vec![AuthorizationRule { origin, from: vec![], to, when: vec![] }],
    };
    snapshot.authorizations.insert(format!("AuthorizationPolicy/default/{name}"), Arc::new(policy));
}

fn over_grpc(snapshot: &mut Snapshot) {
    let body = Some(BodySent { most: 8, partly: true });
    asks(snapshot, Authorizer { body, ..authorizer(AuthorizerProtocol::Grpc) });
}

fn failing_open(snapshot: &mut Snapshot) {
    asks(snapshot, Authorizer { fail_open: true, ..authorizer(AuthorizerProtocol::Grpc) });
}

fn with_small_bodies(snapshot: &mut Snapshot) {
    let body = Some(BodySent { most: 8, partly: false });
    asks(snapshot, Authorizer { body, status_on_error: 503, ..authorizer(AuthorizerProtocol::Grpc) });
}

fn with_a_deny(snapshot: &mut Snapshot) {
    over_grpc(snapshot);
    policy(snapshot, "deny", AuthorizationAction::Deny, "/guarded/secret", "");
}

fn over_http(snapshot: &mut Snapshot) {
    let http = AuthorizerHttp {
        path_prefix: "/check".into(),
        request_headers: vec!["x-ask*".into()],
        added_headers: vec![("x-mesh".into(), "1".into())],
        to_upstream: vec!["x-user".into()],
        to_client_on_deny: vec![],
        to_client_on_allow: vec!["x-seen".into()],
    };
    asks(snapshot, authorizer(AuthorizerProtocol::Http(http)));
}

fn without_a_provider(snapshot: &mut Snapshot) {
    policy(snapshot, "custom", AuthorizationAction::Custom, "/guarded*", "ext");
}

fn header(name: &str, value: &str) -> HeaderOption {
    let header = authz::HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: vec![] };
    HeaderOption { header: Some(header), append: None, action: 0 }
}

fn response(code: i32, answer: Option<Answer>) -> Vec<u8> {
    authz::frame(&CheckResponse { status: Some(Status { code }), answer })
}

/// Answers gRPC calls with what `answer` makes of them; with nothing at all for `None`.
async fn grpc_authorizer(answer: impl Fn(CheckRequest) -> Option<Vec<u8>> + 'static) -> SocketAddr {
    let answer = Rc::new(answer);
    raw_app(move |stream| {
        let answer = answer.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                assert_eq!(request.uri().path(), authz::CHECK);
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let Some(answered) = answer(CheckRequest::decode(&body[5..]).unwrap()) else { return std::future::pending().await };
                let trailers = HeaderMap::from_iter([(::http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
                let body = Full::new(Bytes::from(answered)).with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
                Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
            }
        });
        async move {
            let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

async fn guarded(authorizer: SocketAddr, protocol: AppProtocol, change: fn(&mut Snapshot)) -> Pair {
    let mut pair = Pair::new(echo_app().await, AppProtocol::Http).await;
    pair.mesh = pair.mesh.service("authz", 9000, protocol).workload("authz", "authz", None, authorizer);
    pair.mesh.change = Some(change);
    pair.server.pin(&pair.mesh);
    pair.client.pin(&pair.mesh);
    pair
}

#[test]
fn an_authorizer_sees_the_request_and_decides_and_changes_it() {
    run(async {
        let seen: Rc<RefCell<Vec<CheckRequest>>> = Rc::default();
        let log = seen.clone();
        let authorizer = grpc_authorizer(move |asked| {
            let http = asked.attributes.as_ref()?.request.as_ref()?.http.clone()?;
            log.borrow_mut().push(asked);
            Some(match http.path.as_str() {
                "/guarded/a?b=c" => {
                    let headers = vec![header("x-user", "ada"), header("host", "evil"), header("x-taut-source", "evil")];
                    let allowed = Allowed {
                        headers,
                        headers_to_remove: vec!["x-gone".into()],
                        response_headers: vec![header("x-seen", "1")],
                        ..Allowed::default()
                    };
                    response(0, Some(Answer::Allowed(allowed)))
                }
                _ => {
                    let status = Some(HttpStatus { code: 302 });
                    response(7, Some(Answer::Denied(Denied { status, headers: vec![header("location", "/login")], body: "go away".into() })))
                }
            })
        });
        let pair = guarded(authorizer.await, AppProtocol::Grpc, over_grpc).await;
        let post = "POST /guarded/a?b=c HTTP/1.1\r\nHost: reviews:9080\r\nX-Gone: 1\r\nX-User: forged\r\nContent-Length: 12\r\nConnection: close\r\n\r\n123456789012";
        let answer = talk(pair.client.outbound, post).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-user: ada") && answer.contains("x-seen: 1"), "{answer}");
        assert!(!answer.contains("evil") && !answer.contains("x-gone") && answer.ends_with("12 bytes of body"), "{answer}");
        let asked = seen.borrow()[0].attributes.clone().unwrap();
        let http = asked.request.unwrap().http.unwrap();
        assert_eq!((http.method.as_str(), http.host.as_str(), http.raw_body.as_slice()), ("POST", "reviews:9080", &b"12345678"[..]));
        assert_eq!(http.headers["x-gone"], "1");
        assert_eq!(asked.source.unwrap().principal, "spiffe://mesh.local/ns/default/sa/web");

        let denied = get(pair.client.outbound, "/guarded/b").await;
        assert!(denied.starts_with("HTTP/1.1 302") && denied.contains("location: /login") && denied.contains("go away"), "{denied}");
        let failure = pair.server.exchanges().into_iter().find_map(|record| record.failure).unwrap();
        assert_eq!((failure.reason.as_str(), failure.origin.unwrap().object.name.as_str()), ("authorizer_denied", "custom"));

        let before = seen.borrow().len();
        assert!(get(pair.client.outbound, "/open").await.starts_with("HTTP/1.1 200"));
        assert_eq!(seen.borrow().len(), before, "nobody asks about what no rule matches");
    });
}

#[test]
fn without_an_answer_nothing_passes_unless_the_provider_says_so() {
    run(async {
        static TURN: AtomicU8 = AtomicU8::new(0);
        let authorizer = grpc_authorizer(|_| match TURN.fetch_add(1, Ordering::Relaxed) {
            0 => None,
            1 => Some(b"nonsense".to_vec()),
            2 => Some(authz::frame(&CheckResponse::default())),
            3 => Some(response(0, Some(Answer::Allowed(Allowed { parameters_to_remove: vec!["q".into()], ..Allowed::default() })))),
            _ => Some(response(0, None)),
        });
        let mut pair = guarded(authorizer.await, AppProtocol::Grpc, over_grpc).await;
        for wanted in ["nothing within", "no CheckResponse", "does not let it pass", "queries"] {
            let answer = get(pair.client.outbound, "/guarded").await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            let failure = eventually(|| pair.server.exchanges().pop().and_then(|record| record.failure)).await;
            assert!(failure.detail.contains(wanted), "{failure:?}");
        }
        assert!(get(pair.client.outbound, "/guarded").await.starts_with("HTTP/1.1 200"));

        pair.mesh.workloads.pop();
        for (change, status) in
            [(failing_open as fn(&mut Snapshot), "200"), (over_grpc, "403"), (with_small_bodies, "503"), (without_a_provider, "403")]
        {
            pair.mesh.change = Some(change);
            pair.server.pin(&pair.mesh);
            let answer = get(pair.client.outbound, "/guarded").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
    });
}

#[test]
fn a_body_that_is_too_long_to_be_shown_is_refused() {
    run(async {
        let authorizer = grpc_authorizer(|_| Some(response(0, None))).await;
        let pair = guarded(authorizer, AppProtocol::Grpc, with_small_bodies).await;
        for (length, status) in [(8, "200"), (9, "413")] {
            let head = format!("POST /guarded HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let answer = talk(pair.client.outbound, format!("{head}{}", "x".repeat(length))).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
    });
}

#[test]
fn a_deny_holds_though_the_authorizer_agrees() {
    run(async {
        let authorizer = grpc_authorizer(|_| Some(response(0, None))).await;
        let pair = guarded(authorizer, AppProtocol::Grpc, with_a_deny).await;
        assert!(get(pair.client.outbound, "/guarded/a").await.starts_with("HTTP/1.1 200"));
        assert!(get(pair.client.outbound, "/guarded/secret").await.starts_with("HTTP/1.1 403"));
    });
}

#[test]
fn an_authorizer_of_http_is_shown_what_the_provider_lists() {
    run(async {
        let authorizer = app(|request| async move {
            let text = |name: &str| request.headers().get(name).map_or("-".to_owned(), |value| value.to_str().unwrap().to_owned());
            let shown = [text("host"), text("authorization"), text("x-ask-me"), text("x-other"), text("x-mesh")].join(" ");
            let good = request.uri() == "/check/guarded/a?b=c";
            let answer = Response::builder().header("location", "/login").header("x-user", "ada").header("x-seen", "1").header("x-secret", "no");
            answer.status(if good { 200 } else { 401 }).body(Full::from(shown)).unwrap()
        })
        .await;
        let pair = guarded(authorizer, AppProtocol::Http, over_http).await;
        let ask = |path: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: reviews:9080\r\nAuthorization: me\r\nX-Ask-Me: 1\r\nX-Other: 2\r\nConnection: close\r\n\r\n")
        };
        let answer = talk(pair.client.outbound, ask("/guarded/a?b=c")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-user: ada") && answer.contains("x-seen: 1"), "{answer}");
        assert!(!answer.contains("x-secret"), "{answer}");
        let denied = talk(pair.client.outbound, ask("/guarded/b")).await;
        assert!(denied.starts_with("HTTP/1.1 401") && denied.contains("reviews:9080 me 1 - 1") && denied.contains("x-secret: no"), "{denied}");
        assert_eq!(denied.matches("location: /login").count(), 1, "{denied}");
    });
}
