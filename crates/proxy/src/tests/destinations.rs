//! What destinations say about endpoints, over sockets: sessions that stay, endpoints that fail their checks, connections that age.

use super::*;
use taut_model::destination::{Destination, HealthCheck, Limits, Persistence, Probe, SessionMark, TrafficPolicy};
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
        mesh.change = Some(|snapshot| {
            let limits = Limits { max_connection_age: Some(Duration::from_millis(300)), ..Limits::default() };
            let mut rule = Destination::addition(Origin::default(), service_host("reviews", "default"), TrafficPolicy::default());
            (rule.namespace, rule.role, rule.policy.limits) = ("default".to_owned(), taut_model::destination::Role::Rule, Some(limits));
            snapshot.destinations.insert("rule".to_owned(), Arc::new(rule));
        });
        client.pin(&mesh);
        let mut stream = TcpStream::connect(client.upstream).await.unwrap();
        let mut answer = [0; 1];
        // It is never idle, and ends all the same.
        while stream.write_all(b"x").await.is_ok() && stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
        let record = client.connection().await;
        assert!(record.failure.is_some_and(|failure| failure.detail.contains("maxConnectionDuration")));
    });
}
