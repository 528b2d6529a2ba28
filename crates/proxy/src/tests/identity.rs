//! Nothing unproven gets in, and nothing is sent to whom it is not meant for.

use super::*;
use crate::tls::{Spoken, Tls};
use tokio_rustls::TlsConnector;

/// Speaks to a proxy's peer port as `held`, expecting `expect`; what comes back, or why nothing does.
async fn knock(to: SocketAddr, held: &HeldIdentity, expect: Identity) -> Result<String, String> {
    let config = Tls::new(World::os()).client(held, &expect, Spoken::Http1).unwrap();
    let stream = TcpStream::connect(to).await.unwrap();
    let name = "9080.reviews.default.svc.cluster.local".try_into().unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n").await.map_err(|error| error.to_string())?;
    // In TLS 1.3 a client learns at its first read that its certificate was refused.
    stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(answer)
}

fn reviews() -> Identity {
    Identity::new("mesh.local", "default", "reviews")
}

#[test]
fn an_endpoint_with_another_identity_is_not_spoken_to() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        pair.server.current.hold(Arc::new(pair.authority.issue("impostor")));
        let answer = get(pair.client.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: peer_untrusted"), "{answer}");
        let record = pair.client.exchange().await;
        let failure = record.failure.unwrap();
        assert!(failure.detail.contains("impostor") && failure.detail.contains("expected spiffe://mesh.local/ns/default/sa/reviews"), "{failure:?}");
        assert!(pair.server.exchanges().is_empty());
    });
}

#[test]
fn only_certificates_of_the_bundle_with_one_identity_of_the_trust_domain_get_in() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let (mesh, elsewhere) = (&pair.authority, Authority::new("mesh.local"));
        let foreign = Identity::new("other.org", "default", "web");
        let web = Identity::new("mesh.local", "default", "web");
        let trusting = |held: HeldIdentity| HeldIdentity { roots: vec![mesh.root()], ..held };
        for (held, gets_in, why) in [
            (mesh.issue("web"), true, "a peer"),
            (trusting(elsewhere.issue("web")), false, "signed by another authority"),
            (mesh.issue_names(web.clone(), &[foreign.to_string()]), false, "another trust domain"),
            (mesh.issue_names(web.clone(), &[]), false, "no identity"),
            (mesh.issue_names(web.clone(), &[web.to_string(), reviews().to_string()]), false, "two identities"),
            (mesh.issue_names(web.clone(), &["https://mesh.local/ns/default/sa/web".to_owned()]), false, "not a SPIFFE id"),
            (HeldIdentity { chain: vec![], ..mesh.issue("web") }, false, "no certificate"),
        ] {
            let answer = knock(pair.server.peer, &held, reviews()).await;
            assert_eq!(answer.is_ok(), gets_in, "{why}: {answer:?}");
        }
        assert_eq!(pair.server.exchanges().len(), 1);
        let refused = eventually(|| Some(pair.server.connections()).filter(|refused| refused.len() == 6)).await;
        assert!(refused.iter().all(|record| record.failure.as_ref().unwrap().reason == "handshake_failed"));
    });
}

#[test]
fn plain_text_and_strangers_protocols_do_not_reach_the_application() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let answer = get(pair.server.peer, "/").await;
        assert!(!answer.contains("HTTP"), "{answer}");
        assert_eq!(pair.server.connection().await.failure.unwrap().side, "client");
        assert!(pair.server.exchanges().is_empty());
    });
}

#[test]
fn a_renewed_certificate_is_used_for_new_connections_and_drops_none() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        assert!(get(pair.client.outbound, "/1").await.starts_with("HTTP/1.1 200"));
        pair.server.current.hold(Arc::new(pair.authority.issue("reviews")));
        pair.client.current.hold(Arc::new(pair.authority.issue("web")));
        assert!(get(pair.client.outbound, "/2").await.starts_with("HTTP/1.1 200"));
        let metrics = pair.server.sink.registry().render(&[]);
        assert!(metrics.contains("taut_connections_open 2\n"), "the first connection still stands: {metrics}");
    });
}

#[test]
fn without_a_certificate_a_request_fails_with_the_reason() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let bare = Proxy::start("bare", LOCAL, None).await;
        bare.pin(&pair.mesh);
        let answer = get(bare.outbound, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: no_identity"), "{answer}");
        assert_eq!(bare.exchange().await.failure.unwrap().side, "mesh");
    });
}
