//! Many TCP connections over few between proxies: what they share, and what they do not.

use super::policy::only;
use super::*;
use crate::dial::{Dialer, Target};
use crate::fault::Fault;
use crate::hbone::Tunnels;
use crate::tls::{Spoken, Tls};
use ::http::{Method, StatusCode};
use rustls::ServerConfig;
use taut_model::policy::{AuthorizationAction, OperationMatch};
use taut_plan::cluster::{Dial, Transport};
use tokio::task::AbortHandle;

/// Sends back what it gets.
async fn parrot() -> SocketAddr {
    raw_app(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn echoes(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).await.unwrap();
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, word);
}

async fn ended(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

/// Stands between two proxies, so that their connections can be counted and cut.
#[derive(Clone)]
struct Relay {
    address: SocketAddr,
    cables: Rc<RefCell<Vec<AbortHandle>>>,
}

impl Relay {
    async fn before(to: SocketAddr) -> Self {
        let cables: Rc<RefCell<Vec<AbortHandle>>> = Rc::default();
        let kept = cables.clone();
        let address = raw_app(move |mut near| {
            let kept = kept.clone();
            async move {
                let cable = tokio::task::spawn_local(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
                kept.borrow_mut().push(cable.abort_handle());
            }
        })
        .await;
        Self { address, cables }
    }

    fn connections(&self) -> usize {
        self.cables.borrow().len()
    }

    fn cut(&self) {
        self.cables.borrow().iter().for_each(AbortHandle::abort);
    }
}

async fn relayed(app: SocketAddr) -> (Pair, Relay) {
    let mut pair = Pair::new(app, AppProtocol::Tcp).await;
    let relay = Relay::before(pair.server.peer).await;
    pair.mesh.workloads[0].peer = Some(relay.address);
    pair.client.pin(&pair.mesh);
    (pair, relay)
}

async fn open(pair: &Pair) -> TcpStream {
    let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
    echoes(&mut stream, b"hello").await;
    stream
}

#[test]
fn five_hundred_connections_share_three() {
    run(async {
        let (pair, relay) = relayed(parrot().await).await;
        let mut streams = Vec::new();
        for _ in 0..500 {
            streams.push(TcpStream::connect(pair.client.upstream).await.unwrap());
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            echoes(stream, format!("I am {number}").as_bytes()).await;
        }
        assert_eq!(relay.connections(), 3);
        drop(streams);
        eventually(|| (pair.server.connections().len() == 500).then_some(())).await;
        assert!(pair.server.connections().iter().all(|record| record.failure.is_none() && record.edge.mutual_tls));
        // Those that ended made room.
        let _later = open(&pair).await;
        assert_eq!(relay.connections(), 3);
    });
}

#[test]
fn a_reader_who_does_not_read_holds_up_nobody_else() {
    run(async {
        // Reads nothing from a client that says "s".
        let app = raw_app(|mut stream| async move {
            let mut first = [0];
            stream.peek(&mut first).await.unwrap();
            if first == *b"s" {
                return std::future::pending().await;
            }
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let (pair, relay) = relayed(app.await).await;
        let mut slow = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
            let wrote = Rc::new(Cell::new(0));
            let (count, block) = (wrote.clone(), vec![b's'; 64 * 1024]);
            tokio::task::spawn_local(async move {
                while stream.write_all(&block).await.is_ok() {
                    count.set(count.get() + block.len())
                }
            });
            slow.push(wrote);
        }
        // Stuck: a whole round of all tasks moved nothing.
        loop {
            let before: usize = slow.iter().map(|wrote| wrote.get()).sum();
            let mut quick = open(&pair).await;
            echoes(&mut quick, &[b'q'; 10_000]).await;
            let after: usize = slow.iter().map(|wrote| wrote.get()).sum();
            if before == after && before > 8 * 1024 * 1024 {
                break;
            }
        }
        let mut quick = open(&pair).await;
        let much = vec![b'm'; 300 * 1024];
        echoes(&mut quick, &much).await;
        assert_eq!(relay.connections(), 1);
    });
}

#[test]
fn who_is_not_let_in_is_told_why() {
    run(async {
        let (mut pair, _relay) = relayed(parrot().await).await;
        pair.mesh.change =
            Some(|snapshot| only(snapshot, AuthorizationAction::Allow, OperationMatch { ports: vec![1], ..OperationMatch::default() }));
        pair.server.pin(&pair.mesh);
        let answer = talk(pair.client.outbound, b"\x05\x01\x00\x05\x01\x00\x03\x07reviews\x23\x78").await;
        assert_eq!(answer.as_bytes(), b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0");
        let failure = pair.client.connection().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str()), ("upstream", "authorization_denied"));
        let record = pair.server.connection().await;
        assert_eq!(record.failure.unwrap().reason, "authorization_denied");
        assert_eq!(record.edge.source.principal, "spiffe://mesh.local/ns/default/sa/web");
        // It counts as a word of the endpoint, not as its failure: it is still asked.
        for _ in 0..10 {
            ended(TcpStream::connect(pair.client.upstream).await.unwrap()).await;
        }
        assert!(pair.client.connections().iter().all(|record| record.failure.as_ref().is_some_and(|f| f.reason == "authorization_denied")));
    });
}

#[test]
fn an_application_that_is_down_is_named() {
    run(async {
        let (pair, _relay) = relayed(nowhere().await).await;
        ended(TcpStream::connect(pair.client.upstream).await.unwrap()).await;
        let failure = pair.client.connection().await.failure.unwrap();
        assert_eq!((failure.side.as_str(), failure.reason.as_str(), failure.retry_safe), ("upstream", "app_unreachable", true));
    });
}

/// Denies the port that `reviews` stands for.
fn without_reviews(snapshot: &mut Snapshot) {
    let serves = snapshot.own.iter().flat_map(|own| &own.serves).find(|serves| serves.host.starts_with("reviews"));
    let ports = serves.iter().map(|serves| serves.target).collect();
    only(snapshot, AuthorizationAction::Deny, OperationMatch { ports, ..OperationMatch::default() });
}

#[test]
fn what_a_policy_takes_away_ends_and_what_shares_the_connection_goes_on() {
    run(async {
        let (mut pair, relay) = relayed(parrot().await).await;
        // The same workload serves another service.
        pair.mesh = pair.mesh.service("ratings", 9080, AppProtocol::Tcp);
        let target = parrot().await.port();
        pair.mesh.workloads[0].serves.push(Serves { host: service_host("ratings", "default"), port: 9080, target });
        pair.server.pin(&pair.mesh);
        pair.client.pin(&pair.mesh);
        let reviews = open(&pair).await;
        let mut ratings = TcpStream::connect(pair.client.outbound).await.unwrap();
        ratings.write_all(b"\x05\x01\x00\x05\x01\x00\x03\x07ratings\x23\x78").await.unwrap();
        ratings.read_exact(&mut [0; 12]).await.unwrap();
        echoes(&mut ratings, b"before").await;
        assert_eq!(relay.connections(), 1);

        pair.mesh.change = Some(without_reviews);
        pair.server.pin(&pair.mesh);
        ended(reviews).await;
        assert_eq!(pair.server.connection().await.failure.unwrap().reason, "authorization_denied");
        echoes(&mut ratings, b"after").await;
        assert_eq!(relay.connections(), 1);
    });
}

#[test]
fn a_peer_that_dies_ends_its_streams_and_the_next_connection_is_made_anew() {
    run(async {
        let (pair, relay) = relayed(parrot().await).await;
        let standing = open(&pair).await;
        relay.cut();
        ended(standing).await;
        assert_eq!(pair.client.connection().await.failure.unwrap().reason, "reset");
        for _ in 0..3 {
            open(&pair).await;
        }
        assert_eq!(relay.connections(), 2);
        // Also when nobody has noticed yet.
        relay.cut();
        open(&pair).await;
        assert_eq!(relay.connections(), 3);
    });
}

#[test]
fn a_peer_that_leaves_takes_no_more_and_ends_what_it_has() {
    run(async {
        let (pair, _relay) = relayed(parrot().await).await;
        let mut standing = open(&pair).await;
        pair.server.current.start_draining();
        while TcpStream::connect(pair.server.peer).await.is_ok() {
            tokio::task::yield_now().await;
        }
        echoes(&mut standing, b"still here").await;
        // Its connections take no more streams, and it takes no more connections.
        eventually_ended(&pair).await;
        assert!(!pair.server.task.is_finished());
        echoes(&mut standing, b"and still").await;
        standing.shutdown().await.unwrap();
        ended(standing).await;
        pair.server.task.await.unwrap();
    });
}

/// Opens connections until one is not taken.
async fn eventually_ended(pair: &Pair) {
    loop {
        let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
        let _ = stream.write_all(b"?").await;
        if stream.read(&mut [0; 1]).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

#[test]
fn half_of_a_connection_may_end_before_the_other() {
    run(async {
        // Ends its side first, and counts what still comes.
        let counted = Rc::new(Cell::new(0));
        let count = counted.clone();
        let app = raw_app(move |mut stream| {
            let count = count.clone();
            async move {
                stream.write_all(b"all I have").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut rest = Vec::new();
                count.set(stream.read_to_end(&mut rest).await.unwrap());
            }
        });
        let (pair, _relay) = relayed(app.await).await;
        let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "all I have");
        stream.write_all(&[7; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        eventually(|| (counted.get() == 100_000).then_some(())).await;
        assert!(pair.client.connection().await.failure.is_none() && pair.server.connection().await.failure.is_none());
    });
}

#[test]
fn a_connection_that_breaks_off_does_not_look_as_if_it_had_ended() {
    run(async {
        let app = raw_app(|mut stream| async move {
            stream.write_all(b"half a st").await.unwrap();
            let mut word = [0; 1];
            let _ = stream.read(&mut word).await;
            // Closed with a reset.
            stream.set_zero_linger().unwrap();
        });
        let (pair, _relay) = relayed(app.await).await;
        let mut stream = TcpStream::connect(pair.client.upstream).await.unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
        for record in [pair.client.connection().await, pair.server.connection().await] {
            assert_eq!(record.failure.unwrap().reason, "reset");
        }
    });
}

/// What `web`'s proxy needs to connect to `peer`, which stands for `reviews`.
fn as_web(pair: &Pair, peer: SocketAddr, spoken: Spoken) -> (Rc<Dialer>, Target, Arc<HeldIdentity>) {
    let dialer = Rc::new(Dialer { world: World::os(), tls: Tls::new(World::os()), own: vec![], leashes: crate::leash::Leashes::default() });
    let expect = Arc::new(Identity::new("mesh.local", "default", "reviews"));
    let transport = Transport::Mesh { expect, server_name: "9080.reviews.default.svc.cluster.local".into() };
    let target = Target { transport, ..crate::forward::plain(Dial::Address(peer), spoken) };
    (dialer, target, Arc::new(pair.authority.issue("web")))
}

#[test]
fn a_peer_that_does_not_speak_hbone_is_spoken_to_directly() {
    run(async {
        let pair = Pair::new(parrot().await, AppProtocol::Tcp).await;
        // As proxies were before there was HBONE.
        let held = pair.authority.issue("reviews");
        let mut config = ServerConfig::clone(&Tls::new(World::os()).server(&held).unwrap());
        config.alpn_protocols.retain(|name| name != b"h2");
        let (config, accepted) = (Arc::new(config), Rc::new(Cell::new(0)));
        let count = accepted.clone();
        let old = raw_app(move |stream| {
            count.set(count.get() + 1);
            let accepting = tokio_rustls::TlsAcceptor::from(config.clone()).accept(stream);
            async move {
                let stream = accepting.await.unwrap();
                assert_eq!(stream.get_ref().1.server_name(), Some("9080.reviews.default.svc.cluster.local"));
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        })
        .await;
        let mut mesh = pair.mesh.clone();
        mesh.workloads[0].peer = Some(old);
        pair.client.pin(&mesh);
        let mut streams = Vec::new();
        for _ in 0..5 {
            streams.push(open(&pair).await);
        }
        assert_eq!(accepted.get(), 5);

        // Those that come together as well: one of them gets the connection that was tried.
        let (dialer, target, held) = as_web(&pair, old, Spoken::Tcp);
        let tunnels = Tunnels::new(dialer);
        let together = (0..5).map(|_| tunnels.open(&target, Some(held.clone())));
        let opened: Vec<Result<_, Fault>> = futures_util::future::join_all(together).await;
        assert!(opened.iter().all(Result::is_ok));
        eventually(|| (accepted.get() == 10).then_some(())).await;
    });
}

/// A client as ztunnel is one: CONNECT to an address, and bytes that nobody has looked at.
async fn connect(pair: &Pair, method: Method, authority: String) -> Result<(h2::SendStream<Bytes>, h2::RecvStream), (StatusCode, String)> {
    let (dialer, target, held) = as_web(pair, pair.server.peer, Spoken::Hbone);
    let io = dialer.dial(&target, Some(held)).await.unwrap();
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::task::spawn_local(connection);
    let uri = if method == Method::CONNECT { authority } else { format!("http://{authority}/") };
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let (response, send) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let (head, receive) = response.await.unwrap().into_parts();
    match head.status {
        StatusCode::OK => Ok((send, receive)),
        status => Err((status, head.headers["x-taut-reason"].to_str().unwrap().to_owned())),
    }
}

/// A server as ztunnel is one.
async fn their_server(stream: TcpStream, config: Arc<ServerConfig>, heard: Rc<RefCell<Vec<String>>>) {
    let io = tokio_rustls::TlsAcceptor::from(config).accept(stream).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.max_concurrent_streams(200).max_frame_size(1 << 20).handshake::<_, Bytes>(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        heard.borrow_mut().push(format!("{} {} {:?}", request.method(), request.uri(), request.headers()));
        let mut send = respond.send_response(::http::Response::new(()), false).unwrap();
        tokio::task::spawn_local(async move {
            let mut receive = request.into_body();
            while let Some(Ok(data)) = receive.data().await {
                receive.flow_control().release_capacity(data.len()).unwrap();
                send.send_data(data, false).unwrap();
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
    }
}

#[test]
fn another_implementations_server_carries_our_connections() {
    run(async {
        let pair = Pair::new(parrot().await, AppProtocol::Tcp).await;
        let config = Tls::new(World::os()).server(&pair.authority.issue("reviews")).unwrap();
        let heard: Rc<RefCell<Vec<String>>> = Rc::default();
        let note = heard.clone();
        let theirs = raw_app(move |stream| their_server(stream, config.clone(), note.clone())).await;
        let mut mesh = pair.mesh.clone();
        mesh.workloads[0].peer = Some(theirs);
        pair.client.pin(&mesh);
        for _ in 0..3 {
            let mut stream = open(&pair).await;
            echoes(&mut stream, &vec![b'm'; 500_000]).await;
            stream.shutdown().await.unwrap();
            ended(stream).await;
        }
        assert_eq!(*heard.borrow(), ["CONNECT reviews.default.svc.cluster.local:9080 {}"; 3]);
    });
}

#[test]
fn bytes_to_an_address_are_looked_at_as_a_strangers_are_with_the_peers_identity() {
    run(async {
        let app = echo_app().await;
        let pair = Pair::new(app, AppProtocol::Http).await;
        let (mut send, mut receive) = connect(&pair, Method::CONNECT, app.to_string()).await.unwrap();
        let forged =
            "GET /x HTTP/1.1\r\nHost: reviews\r\nx-forwarded-client-cert: URI=spiffe://mesh.local/ns/prod/sa/root\r\nConnection: close\r\n\r\n";
        send.send_data(forged.into(), false).unwrap();
        let mut answer = String::new();
        while let Some(data) = receive.data().await {
            answer += std::str::from_utf8(&data.unwrap()).unwrap();
        }
        assert!(answer.contains("GET /x\n") && answer.contains("URI=spiffe://mesh.local/ns/default/sa/web") && !answer.contains("root"), "{answer}");
        let record = pair.server.exchange().await;
        assert_eq!((&*record.path, record.edge.source.principal.as_str()), ("/x", "spiffe://mesh.local/ns/default/sa/web"));
    });
}

#[test]
fn only_connect_to_this_workload_is_taken() {
    run(async {
        let app = parrot().await;
        let pair = Pair::new(app, AppProtocol::Tcp).await;
        for (method, authority, status, reason) in [
            (Method::CONNECT, "192.0.2.1:80".to_owned(), 400, "bad_request"),
            (Method::CONNECT, "reviews".to_owned(), 400, "bad_request"),
            (Method::GET, app.to_string(), 405, "method_not_allowed"),
            (Method::CONNECT, "ratings.default.svc.cluster.local:9080".to_owned(), 503, "not_served_here"),
        ] {
            let answered = connect(&pair, method, authority.clone()).await.map(|_| ());
            assert_eq!(answered, Err((StatusCode::from_u16(status).unwrap(), reason.to_owned())), "{authority}");
        }
        assert!(connect(&pair, Method::CONNECT, app.to_string()).await.is_ok());
    });
}
