//! What destinations say about endpoints, over sockets: sessions that stay, endpoints that fail their checks, connections that age.

use super::*;
use taut_model::destination::{
    CertificateFiles, ClientTls, Destination, HealthCheck, Limits, Origination, Persistence, Probe, SessionMark, TrafficPolicy,
};
use taut_model::origin::ObjectRef;

fn addition(snapshot: &mut Snapshot, policy: TrafficPolicy) {
    let origin = Origin { object: ObjectRef::new("HealthCheck", "default", "reviews"), ..Origin::default() };
    let addition = Destination::addition(origin, service_host("reviews", "default"), policy);
    snapshot.destinations.insert("addition".to_owned(), Arc::new(addition));
}

fn sessions(snapshot: &mut Snapshot) {
    let by = SessionMark::Cookie { name: "s".to_owned(), path: String::new(), ttl: None };
    addition(snapshot, TrafficPolicy { persistence: Some(Persistence { origin: Origin::default(), by }), ..TrafficPolicy::default() });
}

/// An application that says its name, but for its health, which `well` says.
async fn named_app(name: &'static str, well: Rc<Cell<bool>>) -> SocketAddr {
    app(move |request| {
        let checked = request.uri().path() == "/healthz";
        let status = if checked && !well.get() { 503 } else { 200 };
        async move { Response::builder().status(status).body(Full::from(name)).unwrap() }
    })
    .await
}

/// `web` calls `reviews`, which are the applications `a` and `b` without proxies.
async fn two(change: fn(&mut Snapshot), protocol: AppProtocol) -> (Proxy, [Rc<Cell<bool>>; 2]) {
    let well = [true, true].map(|well| Rc::new(Cell::new(well)));
    let (a, b) = (named_app("a", well[0].clone()).await, named_app("b", well[1].clone()).await);
    let client = Proxy::start("web", LOCAL, None).await;
    let mut mesh = Mesh::default().service("reviews", 9080, protocol).workload("reviews", "a", None, a).workload("reviews", "b", None, b);
    mesh.change = Some(change);
    client.pin(&mesh);
    (client, well)
}

async fn asked(client: &Proxy, cookie: &str) -> (String, Option<String>) {
    let answer = talk(client.outbound, format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let told = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(|line| line.split(';').next().unwrap().to_owned());
    (answer.chars().last().unwrap().to_string(), told)
}

#[test]
fn a_client_that_shows_its_cookie_stays_where_it_was() {
    run(async {
        let (client, _) = two(sessions, AppProtocol::Http).await;
        let mut marks = BTreeMap::new();
        while marks.len() < 2 {
            let (name, cookie) = asked(&client, "other=1").await;
            marks.insert(name, cookie.expect("a new client is told its mark"));
        }
        for (name, cookie) in &marks {
            for _ in 0..10 {
                assert_eq!(asked(&client, &format!("x=y; {cookie}")).await, (name.clone(), None));
            }
        }
        // A mark that nobody gave out: a new client, who is told a true one.
        let (name, cookie) = asked(&client, "s=0123456789abcdef").await;
        assert_eq!(cookie.as_ref(), marks.get(&name));
    });
}

fn checks(snapshot: &mut Snapshot, probe: Probe) {
    let (interval, origin) = (Duration::from_millis(50), Origin::default());
    let check = HealthCheck { origin, probe, interval, timeout: Duration::from_secs(5), unhealthy_after: 2, healthy_after: 1 };
    addition(snapshot, TrafficPolicy { health_check: Some(check), ..TrafficPolicy::default() });
}

/// Asks until `count` answers in a row came from `name` alone.
async fn until_only(client: &Proxy, name: &str, count: usize) {
    let mut row = 0;
    while row < count {
        row = if asked(client, "x=y").await.0 == name { row + 1 } else { 0 };
    }
}

#[test]
fn an_endpoint_that_fails_its_checks_is_left_out_until_it_passes() {
    run(async {
        let http = |snapshot: &mut Snapshot| checks(snapshot, Probe::Http { path: "/healthz".to_owned(), statuses: vec![(200, 299)] });
        let (client, well) = two(http, AppProtocol::Http).await;
        well[0].set(false);
        until_only(&client, "b", 20).await;
        let unwell = client.current.checks().unwell();
        assert_eq!(unwell.iter().map(|(_, port, uid)| (port, uid)).collect::<Vec<_>>(), [(9080, "default/a")]);
        well[0].set(true);
        while asked(&client, "x=y").await.0 != "a" {}
        assert_eq!(client.current.checks().unwell().iter().count(), 0);
    });
}

#[test]
fn nobody_is_asked_about_a_service_that_is_not_used() {
    run(async {
        let asked_for = Rc::new(Cell::new(0));
        let count = asked_for.clone();
        let app = app(move |request| {
            count.set(count.get() + u32::from(request.uri().path() == "/healthz"));
            async { Response::new(Full::default()) }
        })
        .await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "a", None, app);
        mesh = mesh.service("echo", 9080, AppProtocol::Http).workload("echo", "echo", None, echo_app().await);
        mesh.change = Some(|snapshot| checks(snapshot, Probe::Http { path: "/healthz".to_owned(), statuses: vec![(200, 299)] }));
        client.pin(&mesh);
        let other = || talk(client.outbound, "GET / HTTP/1.1\r\nHost: echo:9080\r\nConnection: close\r\n\r\n");
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(1500) {
            assert!(other().await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(asked_for.get(), 0);
        get(client.outbound, "/").await;
        eventually(|| (asked_for.get() > 2).then_some(())).await;
    });
}

#[test]
fn a_port_that_takes_no_connections_fails_its_check() {
    run(async {
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http);
        mesh = mesh.workload("reviews", "a", None, nowhere().await).workload("reviews", "b", None, named_app("b", Rc::new(Cell::new(true))).await);
        mesh.change = Some(|snapshot| checks(snapshot, Probe::Tcp));
        client.pin(&mesh);
        get(client.outbound, "/").await;
        eventually(|| client.current.checks().unwell().iter().any(|(_, _, uid)| uid == "default/a").then_some(())).await;
        assert_eq!(client.current.checks().unwell().iter().count(), 1);
    });
}

/// A gRPC server whose health is what `status` says.
async fn health_app(status: Rc<Cell<u8>>) -> SocketAddr {
    raw_app(move |stream| {
        let status = status.clone();
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let status = status.clone();
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status.get()]);
                    let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
                    let frames: [Result<_, Infallible>; 2] = [Ok(http_body::Frame::data(message)), Ok(http_body::Frame::trailers(trailers))];
                    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
                    Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[test]
fn grpc_health_is_asked_through_the_peers_proxy() {
    run(async {
        let status = Rc::new(Cell::new(1));
        let mut pair = Pair::new(health_app(status.clone()).await, AppProtocol::Grpc).await;
        pair.mesh.change = Some(|snapshot| checks(snapshot, Probe::Grpc { service: "shop".to_owned() }));
        pair.client.pin(&pair.mesh);
        let mut client = http2(pair.client.outbound).await;
        let request = Request::post("http://reviews:9080/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
        client.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        let unwell = |count: usize| eventually(move || (pair.client.current.checks().unwell().iter().count() == count).then_some(()));
        status.set(2);
        unwell(1).await;
        assert!(pair.server.exchanges().iter().any(|exchange| exchange.edge.source.workload.as_str() == "web"));
    });
}

#[test]
fn a_connection_ends_when_it_is_as_old_as_it_may_be() {
    run(async {
        let echo = raw_app(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Tcp).workload("reviews", "a", None, echo);
        mesh.change = Some(|snapshot| limited(snapshot, Limits { max_connection_age: Some(Duration::from_millis(300)), ..Limits::default() }));
        client.pin(&mesh);
        let mut stream = TcpStream::connect(client.upstream).await.unwrap();
        let mut answer = [0; 1];
        // It is never idle, and ends all the same.
        while stream.write_all(b"x").await.is_ok() && stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
        let record = client.connection().await;
        assert!(record.failure.is_some_and(|failure| failure.detail.contains("maxConnectionDuration")));
    });
}

/// An application that speaks HTTP/1 or HTTP/2, counts its connections, and answers when it is told to.
async fn counting_app(connections: Rc<Cell<usize>>, release: Rc<tokio::sync::Semaphore>) -> SocketAddr {
    raw_app(move |stream| {
        connections.set(connections.get() + 1);
        let release = release.clone();
        async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let release = release.clone();
                async move {
                    let _permit = release.acquire().await;
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            let server = hyper_util::server::conn::auto::Builder::new(LocalExecutor);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[test]
fn a_stream_too_many_opens_another_connection() {
    run(async {
        let (connections, release) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Semaphore::new(0)));
        let app = counting_app(connections.clone(), release.clone()).await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http2).workload("reviews", "a", None, app);
        mesh.change = Some(|snapshot| limited(snapshot, Limits { max_streams: Some(2), ..Limits::default() }));
        client.pin(&mesh);
        let sender = http2(client.outbound).await;
        let ask = || {
            let mut sender = sender.clone();
            tokio::task::spawn_local(async move {
                let request = Request::get("http://reviews:9080/").body(Full::<Bytes>::default()).unwrap();
                sender.send_request(request).await.unwrap().status().as_u16()
            })
        };
        let asked: Vec<_> = (0..4).map(|_| ask()).collect();
        eventually(|| (connections.get() == 2).then_some(())).await;
        release.add_permits(4);
        for answer in asked {
            assert_eq!(answer.await.unwrap(), 200);
        }
        assert_eq!(connections.get(), 2);
    });
}

#[test]
fn no_request_begins_on_a_connection_that_is_too_old() {
    run(async {
        let (connections, release) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Semaphore::new(1)));
        let app = counting_app(connections.clone(), release).await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "a", None, app);
        mesh.change = Some(|snapshot| limited(snapshot, Limits { max_connection_age: Some(Duration::from_millis(200)), ..Limits::default() }));
        client.pin(&mesh);
        let mut requests = 0;
        while connections.get() < 3 {
            assert!(get(client.outbound, "/").await.starts_with("HTTP/1.1 200"));
            requests += 1;
        }
        assert!(requests > 3, "connections are used again while they are young: {requests} requests");
    });
}

thread_local! {
    /// Where a test has put its files; `Mesh::change` takes no closure.
    static FILES: RefCell<Option<std::path::PathBuf>> = const { RefCell::new(None) };
}

fn mutual(snapshot: &mut Snapshot, with_certificate: bool) {
    let file = |name: &str| FILES.with_borrow(|files| files.as_ref().unwrap().join(name).to_str().unwrap().to_owned());
    let certificate = with_certificate.then(|| CertificateFiles { chain: file("client.pem"), key: file("client.key") });
    let origination = Origination { roots: Some(file("roots.pem")), certificate, ..Origination::default() };
    ruled(snapshot, TrafficPolicy { tls: Some(ClientTls::Simple(origination)), ..TrafficPolicy::default() });
}

/// A TLS server for `reviews` that wants its clients to prove themselves to `roots`, and what signs for both.
async fn tls_app(issuer: &CertifiedIssuer<'static, KeyPair>) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([service_host("reviews", "default")]).unwrap().signed_by(&key, issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients);
    let config = config.with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    raw_app(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("proven"))) });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[test]
fn a_server_outside_is_proven_to_with_files() {
    run(async {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(files.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        write("client.pem", CertificateParams::new(["web.example".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem());
        write("client.key", key.serialize_pem());
        write("roots.pem", issuer.pem());
        FILES.set(Some(files.path().to_owned()));
        let app = tls_app(&issuer).await;
        let client = Proxy::start("web", LOCAL, None).await;
        let mut mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "a", None, app);
        mesh.change = Some(|snapshot| mutual(snapshot, true));
        client.pin(&mesh);
        let answer = get(client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("proven"), "{answer}");
        // Without its certificate the client is nobody to that server.
        mesh.change = Some(|snapshot| mutual(snapshot, false));
        client.pin(&mesh);
        assert!(get(client.outbound, "/").await.starts_with("HTTP/1.1 503"));
        // A file that is not there is named.
        std::fs::remove_file(files.path().join("client.key")).unwrap();
        let other = Proxy::start("web", LOCAL, None).await;
        mesh.change = Some(|snapshot| mutual(snapshot, true));
        other.pin(&mesh);
        let answer = get(other.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("client.key on the client's machine"), "{answer}");
    });
}
