//! IPv6: listeners, endpoints and names, beside IPv4.

use super::*;
use std::net::Ipv6Addr;

const LOCAL6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// Runs a test where this machine has an IPv6 loopback address.
fn run6(test: impl Future<Output = ()> + 'static) {
    if std::net::TcpListener::bind(LOCAL6).is_err() {
        eprintln!("skipped: this machine has no address ::1");
        return;
    }
    run(test);
}

/// Says which address it was connected to, and who by.
async fn app_at(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut bytes = [0; 1024];
                // A client that is gone has no use for the answer.
                let _ = stream.read(&mut bytes).await;
                let body = format!("{} from {}", address, from.ip());
                let _ = stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
                    .await;
            });
        }
    });
    address
}

/// A proxy for `web`, all of whose listeners are on `::1`.
async fn start6(name: &str, app: SocketAddr, identity: Option<HeldIdentity>) -> Proxy {
    Proxy::start_at(LOCAL6, name, app, identity, |_| {}).await
}

#[test]
fn two_proxies_speak_ipv6_on_every_side() {
    run6(async {
        let app = app_at(LOCAL6).await;
        let authority = Authority::new("mesh.local");
        let server = start6("reviews", app, Some(authority.issue("reviews"))).await;
        let client = start6("web", LOCAL6, Some(authority.issue("web"))).await;
        let mesh = Mesh::default().service("reviews", 9080, AppProtocol::Http).workload("reviews", "reviews", Some(server.peer), app);
        server.pin(&mesh);
        client.pin(&mesh);
        for entry in [client.outbound, client.upstream, server.exposed] {
            assert!(entry.is_ipv6());
            let answer = get(entry, "/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("{app} from ::1")), "{answer}");
        }
        assert!(server.exchanges()[0].edge.mutual_tls);
    });
}

#[test]
fn an_ipv6_literal_is_an_address_wherever_it_is_written() {
    run6(async {
        let app = app_at(LOCAL6).await;
        let proxy = Proxy::start("web", LOCAL, None).await;
        proxy.pin(&Mesh::default());
        let port = app.port();
        let wants = format!("{app} from ::1");
        let host = talk(proxy.outbound, format!("GET / HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n")).await;
        assert!(host.ends_with(&wants), "{host}");
        let absolute = talk(proxy.outbound, format!("GET http://[::1]:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(absolute.ends_with(&wants), "{absolute}");
        let tunnel =
            format!("CONNECT [::1]:{port} HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n");
        let tunnel = talk(proxy.outbound, tunnel).await;
        assert!(tunnel.ends_with(&wants), "{tunnel}");
        let mut socks = b"\x05\x01\x00\x05\x01\x00\x04".to_vec();
        socks.extend(Ipv6Addr::LOCALHOST.octets());
        socks.extend(port.to_be_bytes());
        socks.extend(format!("GET / HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n").into_bytes());
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(&socks).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(wants.as_bytes()), "{}", String::from_utf8_lossy(&answer));
    });
}

#[test]
fn a_name_is_reached_at_whichever_of_its_addresses_answers() {
    run6(async {
        // `localhost` is both ::1 and 127.0.0.1 on most machines, and one of them on all.
        for local in [LOCAL, LOCAL6] {
            let known: Vec<SocketAddr> = tokio::net::lookup_host(("localhost", 0)).await.unwrap().collect();
            if !known.iter().any(|address| address.ip() == local.ip()) {
                eprintln!("skipped: localhost is not {} here", local.ip());
                continue;
            }
            let app = app_at(local).await;
            let proxy = Proxy::start("web", LOCAL, None).await;
            let no_service = |snapshot: &mut Snapshot| snapshot.absent.extend([service_host("localhost", "default"), "localhost".to_owned()]);
            proxy.pin(&Mesh { change: Some(no_service), ..Mesh::default() });
            let answer = talk(proxy.outbound, format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", app.port())).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&app.to_string()), "{answer}");
        }
    });
}

#[test]
fn a_listener_of_both_families_sees_an_ipv4_client_as_one() {
    run6(async {
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (accepted, connected) = tokio::join!(listener.accept(), connecting);
        let ((stream, from), client) = (accepted.unwrap(), connected.unwrap());
        assert!(from.is_ipv6());
        let ends = crate::proxy_protocol::Ends::of(&taut_wire::net::Stream::Tcp(stream), from);
        assert_eq!((ends.source, ends.destination), (client.local_addr().unwrap(), client.peer_addr().unwrap()));
    });
}
