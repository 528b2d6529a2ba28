//! TLS that passes through: routed by the server name it asks for, opened by nobody on the way.

use super::*;
use rustls::pki_types::ServerName;
use taut_model::origin::ObjectRef;
use taut_model::route::{Backend, Dialect, HeaderChange, Parent, TcpRule};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// TLS servers and their clients, who trust one authority.
struct World {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl World {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Proves to be any of `names`, and says `says`.
    async fn server(&self, names: &[&str], says: &'static str) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        raw_app(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(says.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        })
        .await
    }

    /// What the server says that answers to `name` over `stream`.
    async fn ask(&self, stream: TcpStream, name: &str) -> String {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        said
    }
}

async fn socks5(proxy: &Proxy, host: &str, port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
    let mut request = b"\x05\x01\x00\x05\x01\x00".to_vec();
    match host.parse::<Ipv4Addr>() {
        Ok(address) => request.extend([&[1][..], &address.octets()].concat()),
        Err(_) => request.extend([&[3, u8::try_from(host.len()).unwrap()], host.as_bytes()].concat()),
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..4], [5, 0, 5, 0]);
    stream
}

async fn connect(proxy: &Proxy, authority: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// A service outside the mesh, as a ServiceEntry with one TLS port says it.
fn external(mut mesh: Mesh, host: &str, port: u16, resolution: Resolution, endpoint: Option<SocketAddr>) -> Mesh {
    mesh.services.push(Service {
        origin: Origin::default(),
        host: host.to_owned(),
        name: host.to_owned(),
        namespace: "default".to_owned(),
        ports: vec![ServicePort { number: port, name: "tls".to_owned(), protocol: AppProtocol::Tls }],
        place: Place::External,
        resolution,
        addresses: vec![],
        distribution: Default::default(),
        affinity: Default::default(),
    });
    mesh.workloads.extend(endpoint.map(|endpoint| Workload {
        origin: Origin::default(),
        uid: format!("default/{host}~0"),
        name: format!("{host}~0"),
        namespace: "default".to_owned(),
        identity: Identity::new("mesh.local", "default", "default"),
        labels: BTreeMap::new(),
        address: endpoint.ip().to_string(),
        serves: vec![Serves { host: host.to_owned(), port, target: endpoint.port() }],
        peer: None,
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    }));
    mesh
}

/// Of the service `host`: connections that ask for `sni` go to the service `to`.
fn rule(host: &str, sni: &str, to: &str, port: u16) -> Route {
    let backend = Backend {
        origin: Origin::default(),
        host: to.to_owned(),
        port: Some(port),
        subset: None,
        weight: 1,
        request_headers: HeaderChange::default(),
        response_headers: HeaderChange::default(),
        unresolved: None,
    };
    let rule = TcpRule {
        origin: Origin::default(),
        port: None,
        source_labels: BTreeMap::new(),
        source_namespace: None,
        destination_subnets: vec![],
        sni: vec![sni.to_owned()],
        backends: vec![backend],
    };
    Route {
        origin: Origin { object: ObjectRef::new("VirtualService", "default", host), ..Origin::default() },
        dialect: Dialect::Istio,
        protocol: taut_model::route::RouteProtocol::Http,
        parents: vec![Parent { host: host.to_owned(), port: None }],
        consumer_namespaces: vec![],
        hostnames: vec![],
        created: String::new(),
        http: vec![],
        tcp: vec![rule],
        sampling: None,
    }
}

#[test]
fn the_server_name_chooses_the_backend_whatever_way_the_connection_came() {
    run(async {
        let world = World::new();
        let one = world.server(&["one.example.com", "any.example.com"], "one").await;
        let two = world.server(&["two.example.com"], "two").await;
        let mesh = external(Mesh::default(), "one.example.com", 443, Resolution::Static, Some(one));
        let mesh = external(mesh, "two.example.com", 443, Resolution::Static, Some(two));
        let mesh = external(mesh, &service_host("reviews", "default"), 9080, Resolution::Static, Some(one));
        let mesh = mesh.route(rule("one.example.com", "two.example.com", "two.example.com", 443));
        let mesh = mesh.route(rule(&service_host("reviews", "default"), "*.example.com", "two.example.com", 443));
        let proxy = Proxy::start("web", LOCAL, None).await;
        proxy.pin(&mesh);
        for (name, says) in [("one.example.com", "one"), ("two.example.com", "two"), ("any.example.com", "one")] {
            assert_eq!(world.ask(socks5(&proxy, "one.example.com", 443).await, name).await, says, "{name}");
            assert_eq!(world.ask(connect(&proxy, "one.example.com:443").await, name).await, says, "{name}");
        }
        // A listener that stands for a service has its routes.
        assert_eq!(world.ask(TcpStream::connect(proxy.upstream).await.unwrap(), "two.example.com").await, "two");
        let record = eventually(|| proxy.connections().into_iter().nth(6)).await;
        assert_eq!((&*record.edge.service_name, record.failure), ("reviews", None));
    });
}

#[test]
fn a_connection_to_an_address_is_about_the_server_it_asks_for() {
    run(async {
        let world = World::new();
        let known = world.server(&["one.example.com"], "known").await;
        let dialled = world.server(&["one.example.com", "none.example.com", "stranger.example.com"], "dialled").await;
        let port = dialled.port();
        let mesh = external(Mesh::default(), "one.example.com", port, Resolution::Static, Some(known));
        // Resolution NONE: to the address that the client dialled.
        let mesh = external(mesh, "none.example.com", port, Resolution::Passthrough, None);
        let proxy = Proxy::start("web", LOCAL, None).await;
        proxy.pin(&Mesh { change: Some(|snapshot| snapshot.absent.extend(["stranger.example.com".to_owned()])), ..mesh });
        for (name, says) in [("one.example.com", "known"), ("none.example.com", "dialled"), ("stranger.example.com", "dialled")] {
            assert_eq!(world.ask(socks5(&proxy, "127.0.0.1", port).await, name).await, says, "{name}");
        }
        let records = eventually(|| Some(proxy.connections()).filter(|records| records.len() == 3)).await;
        let named: Vec<_> = records.into_iter().map(|record| record.edge.service_host).collect();
        assert_eq!(named.iter().map(|name| &**name).collect::<Vec<_>>(), ["one.example.com", "none.example.com", "127.0.0.1"]);
        // Without a server name there is nothing to go by.
        assert!(world.ask(socks5(&proxy, "127.0.0.1", port).await, "127.0.0.1").await.contains("certificate"));
    });
}

#[test]
fn the_names_of_the_world_outside_are_resolved() {
    run(async {
        let world = World::new();
        let server = world.server(&["localhost"], "here").await;
        let proxy = Proxy::start("web", LOCAL, None).await;
        let mesh = external(Mesh::default(), "localhost", server.port(), Resolution::Dns, None);
        proxy.pin(&Mesh { change: Some(|snapshot| snapshot.absent.extend([service_host("localhost", "default")])), ..mesh });
        assert_eq!(world.ask(socks5(&proxy, "localhost", server.port()).await, "localhost").await, "here");
    });
}

#[test]
fn tls_of_a_service_in_the_mesh_travels_inside_mutual_tls() {
    run(async {
        let world = World::new();
        let pair = Pair::new(world.server(&["reviews"], "inside").await, AppProtocol::Tls).await;
        assert_eq!(world.ask(socks5(&pair.client, "reviews", 9080).await, "reviews").await, "inside");
        let record = pair.server.connection().await;
        assert_eq!((record.edge.mutual_tls, record.failure), (true, None));
    });
}
