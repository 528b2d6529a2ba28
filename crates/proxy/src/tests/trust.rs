//! Peers that are not to be believed: each is refused with its reason in the record, at once and later, and nothing is resumed.

use super::*;
use crate::tls::{Spoken, Tls};
use crate::trust::{Trust, with_others};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use std::time::Duration;
use taut_model::origin::Origin;
use taut_model::settings::{MeshSettings, TrustDomainAlias};
use taut_model::trust::{Revoked, TrustBundle};
use tokio_rustls::TlsConnector;

fn reviews() -> Identity {
    Identity::new("mesh.local", "default", "reviews")
}

fn web() -> Identity {
    Identity::new("mesh.local", "default", "web")
}

type Tls13 = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection to a proxy's peer port, after the first request on it.
async fn knock(to: SocketAddr, config: Arc<rustls::ClientConfig>) -> Result<Tls13, String> {
    let stream = TcpStream::connect(to).await.unwrap();
    let name = "9080.reviews.default.svc.cluster.local".try_into().unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
    ask(&mut stream).await?;
    Ok(stream)
}

async fn ask(stream: &mut Tls13) -> Result<(), String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await.map_err(|error| error.to_string())?;
    let mut answer = [0; 4096];
    // In TLS 1.3 a client learns at its first read that its certificate was refused.
    match stream.read(&mut answer).await.map_err(|error| error.to_string())? {
        0 => Err("the connection was closed".to_owned()),
        count if answer[..count].starts_with(b"HTTP/1.1 200") => Ok(()),
        count => Err(String::from_utf8_lossy(&answer[..count]).into_owned()),
    }
}

fn client(held: &HeldIdentity) -> Arc<rustls::ClientConfig> {
    Tls::new(World::os()).client(held, &reviews(), Spoken::Http1).unwrap()
}

pub fn of(roots: &[CertificateDer<'static>], revoked: &[&HeldIdentity]) -> Trust {
    let revoked = revoked.iter().map(|held| {
        let leaf = webpki::EndEntityCert::try_from(&held.chain[0]).unwrap();
        Revoked::new(leaf.issuer(), leaf.serial())
    });
    let (origin, trust_domain) = (Origin::default(), "mesh.local".to_owned());
    let roots = roots.iter().map(|root| root.to_vec()).collect();
    Trust::read(&TrustBundle { origin, trust_domain, roots, signer: vec![], revoked: revoked.collect(), token_keys: String::new() }).unwrap()
}

fn day(from_now: i64) -> Duration {
    Duration::from_secs((jiff::Timestamp::now().as_second() + from_now * 24 * 3600) as u64)
}

#[test]
fn every_kind_of_bad_certificate_is_refused_and_named() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mesh = &pair.authority;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let issue = |change: &dyn Fn(&mut CertificateParams)| mesh.issue_as(web(), &[web().to_string()], change);
        let below = |depth: usize, constraint: BasicConstraints| mesh.issue_below(web(), depth, constraint);
        for (held, why) in [
            (issue(&|params| params.not_after = epoch + day(-1)), "has expired"),
            (issue(&|params| params.not_before = epoch + day(1)), "is not valid yet"),
            (issue(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), "is not for this use (extended key usage)"),
            (issue(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]), "is not for this use (extended key usage)"),
            (issue(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "does not lead to the trust bundle (CaUsedAsEndEntity)"),
            (below(2, BasicConstraints::Constrained(0)), "has a chain that is longer than its authorities allow"),
            (below(8, BasicConstraints::Unconstrained), "has a chain that is longer than its authorities allow"),
            (mesh.issue_names(web(), &[web().to_string(), reviews().to_string()]), "must hold exactly one URI name"),
            (mesh.issue_names(web(), &["spiffe://other.org/ns/default/sa/web".to_owned()]), "of another trust domain than mesh.local"),
            (mesh.issue_names(web(), &["spiffe://mesh.local/web".to_owned()]), "spiffe://mesh.local/web"),
            (HeldIdentity { roots: vec![mesh.root()], ..Authority::new("mesh.local").issue("web") }, "does not lead to the trust bundle"),
        ] {
            let before = pair.server.connections().len();
            let refused = knock(pair.server.peer, client(&held)).await;
            assert!(refused.is_err(), "{why}");
            let record = eventually(|| pair.server.connections().into_iter().nth(before)).await;
            let failure = record.failure.unwrap();
            assert_eq!(failure.reason, "handshake_failed");
            assert!(failure.detail.contains(why), "expected {why:?} in {:?}", failure.detail);
        }
        assert!(knock(pair.server.peer, client(&below(2, BasicConstraints::Unconstrained))).await.is_ok());
        assert_eq!(pair.server.exchanges().len(), 1);
    });
}

/// Whatever a client kept of a connection does not let it in again: it proves itself anew, by what counts now.
#[test]
fn nothing_is_resumed_whatever_has_changed_since() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let held = pair.authority.issue("web");
        // A client that would resume if it could.
        let mut eager = (*client(&held)).clone();
        eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
        eager.enable_early_data = true;
        let eager = Arc::new(eager);
        let full = |stream: Tls13| stream.get_ref().1.handshake_kind();
        for _ in 0..2 {
            let stream = knock(pair.server.peer, eager.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
            let group = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
            assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
            assert_eq!(full(stream), Some(rustls::HandshakeKind::Full));
        }
        // The server's identity.
        let original = pair.server.current.identity().unwrap();
        pair.server.current.hold(Arc::new(pair.authority.issue("impostor")));
        assert!(knock(pair.server.peer, eager.clone()).await.unwrap_err().contains("expected spiffe://mesh.local/ns/default/sa/reviews"));
        pair.server.current.hold(original);
        assert!(knock(pair.server.peer, eager.clone()).await.is_ok());
        // The bundle.
        let elsewhere = Authority::new("mesh.local");
        pair.server.current.trust(Arc::new(of(&[elsewhere.root()], &[])));
        assert!(knock(pair.server.peer, eager.clone()).await.is_err());
        pair.server.current.trust(Arc::new(of(&[elsewhere.root(), pair.authority.root()], &[])));
        assert!(knock(pair.server.peer, eager.clone()).await.is_ok());
        // The policy: it is asked at every exchange, so a connection that stands is no exception.
        let mut stands = knock(pair.server.peer, eager.clone()).await.unwrap();
        let denied = Mesh { change: Some(deny_all), ..pair.mesh.clone() };
        pair.server.pin(&denied);
        assert!(ask(&mut stands).await.unwrap_err().starts_with("HTTP/1.1 403"));
        assert!(knock(pair.server.peer, eager).await.unwrap_err().starts_with("HTTP/1.1 403"));
    });
}

fn deny_all(snapshot: &mut Snapshot) {
    let policy = taut_model::policy::AuthorizationPolicy {
        origin: Origin::default(),
        namespace: "default".to_owned(),
        selector: Default::default(),
        action: taut_model::policy::AuthorizationAction::Allow,
        rules: Vec::new(),
        dry_run: false,
        provider: String::new(),
        services: Vec::new(),
    };
    snapshot.authorizations.insert("nothing".to_owned(), Arc::new(policy));
}

#[test]
fn a_revoked_peer_is_refused_and_what_it_has_open_ends() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let (web, other) = (pair.authority.issue("web"), pair.authority.issue("other"));
        let mut open = knock(pair.server.peer, client(&web)).await.unwrap();
        let mut others = knock(pair.server.peer, client(&other)).await.unwrap();
        pair.server.current.trust(Arc::new(of(&[pair.authority.root()], &[&web])));
        let mut rest = Vec::new();
        // Cut off or closed: in either case it ends.
        let _ = open.read_to_end(&mut rest).await;
        assert!(ask(&mut open).await.is_err());
        let ended = eventually(|| pair.server.connections().pop()).await.failure.unwrap();
        assert!(ended.detail.contains("the peer's certificate was revoked"), "{ended:?}");
        assert!(knock(pair.server.peer, client(&web)).await.is_err());
        let refused = eventually(|| pair.server.connections().into_iter().nth(1)).await.failure.unwrap();
        assert!(refused.detail.contains("is revoked (serial number "), "{refused:?}");
        // Nobody else notices, and neither does the same workload with a new certificate.
        assert_eq!(ask(&mut others).await, Ok(()));
        assert!(knock(pair.server.peer, client(&pair.authority.issue("web"))).await.is_ok());
    });
}

#[test]
fn a_revoked_server_is_not_spoken_to_any_more() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        assert!(get(pair.client.outbound, "/1").await.starts_with("HTTP/1.1 200"));
        let server = pair.server.current.identity().unwrap();
        pair.client.current.trust(Arc::new(of(&[pair.authority.root()], &[&server])));
        let answer = get(pair.client.outbound, "/2").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: peer_untrusted"), "{answer}");
    });
}

#[test]
fn a_new_bundle_drops_no_connection_that_stands() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let mut stands = knock(pair.server.peer, client(&pair.authority.issue("web"))).await.unwrap();
        let serial = || pair.server.current.identity().unwrap().serial;
        let before = serial();
        pair.server.current.trust(Arc::new(of(&[pair.authority.root()], &[])));
        assert_eq!(serial(), before, "it says what the certificate said: pooled connections stay");
        let next = Authority::new("mesh.local");
        pair.server.current.trust(Arc::new(of(&[pair.authority.root(), next.root()], &[])));
        assert!(serial() > before);
        assert!(knock(pair.server.peer, client(&HeldIdentity { roots: vec![pair.authority.root()], ..next.issue("web") })).await.is_ok());
        pair.server.current.trust(Arc::new(of(&[next.root()], &[])));
        assert_eq!(ask(&mut stands).await, Ok(()));
        assert!(knock(pair.server.peer, client(&pair.authority.issue("web"))).await.is_err(), "the old root is not believed any more");
    });
}

fn federated(own: &Authority, others: &[(&str, &Authority)]) -> Trust {
    let others = others.iter().map(|(domain, authority)| ((*domain).to_owned(), vec![authority.root()]));
    Trust { federated: Arc::new(others.collect()), ..of(&[own.root()], &[]) }
}

/// Somebody of another trust domain, who believes the mesh.
fn stranger(west: &Authority, mesh: &Authority) -> HeldIdentity {
    HeldIdentity { federated: Arc::new([("mesh.local".to_owned(), vec![mesh.root()])].into()), ..west.issue("web") }
}

#[test]
fn members_of_a_federated_trust_domain_are_believed_by_its_own_bundle_alone() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let (mesh, west) = (&pair.authority, Authority::new("west.example"));
        let refused = async |held: &HeldIdentity, why: &str| {
            let before = pair.server.connections().len();
            assert!(knock(pair.server.peer, client(held)).await.is_err(), "{why}");
            let record = eventually(|| pair.server.connections().into_iter().nth(before)).await;
            let detail = record.failure.unwrap().detail;
            assert!(detail.contains(why), "expected {why:?} in {detail:?}");
        };
        let web = stranger(&west, mesh);
        refused(&web, "peer is spiffe://west.example/ns/default/sa/web, of another trust domain than mesh.local").await;
        pair.server.current.trust(Arc::new(federated(mesh, &[("west.example", &west)])));
        let mut stands = knock(pair.server.peer, client(&web)).await.unwrap();
        // Neither vouches for the other's members, and nobody for those of a third.
        let of_west = Identity::new("west.example", "default", "web");
        let claimed = HeldIdentity { roots: vec![mesh.root()], ..west.issue_names(super::trust::web(), &[super::trust::web().to_string()]) };
        refused(&claimed, "does not lead to the trust bundle").await;
        refused(&mesh.issue_names(super::trust::web(), &[of_west.to_string()]), "does not lead to the trust bundle").await;
        let third = HeldIdentity {
            roots: vec![mesh.root()],
            ..west.issue_names(super::trust::web(), &["spiffe://east.example/ns/default/sa/web".to_owned()])
        };
        refused(&third, "of another trust domain than mesh.local").await;
        // What a bundle says of the mesh's own trust domain counts for nothing.
        pair.server.current.trust(Arc::new(federated(mesh, &[("west.example", &west), ("mesh.local", &west)])));
        refused(&claimed, "does not lead to the trust bundle").await;
        assert_eq!(ask(&mut stands).await, Ok(()));
        // Without the federation nobody gets in, and who is in is led out.
        pair.server.current.trust(Arc::new(of(&[mesh.root()], &[])));
        let mut rest = Vec::new();
        let _ = stands.read_to_end(&mut rest).await;
        assert!(ask(&mut stands).await.is_err());
        let ended = eventually(|| {
            pair.server
                .connections()
                .pop()
                .filter(|record| record.failure.as_ref().is_some_and(|failure| failure.detail.contains("not federated any more")))
        })
        .await;
        assert_eq!(ended.failure.unwrap().reason, "handshake_failed");
    });
}

#[test]
fn a_client_speaks_to_a_server_of_a_federated_trust_domain_and_to_no_other_of_it() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let west = Authority::new("west.example");
        pair.server.current.hold(Arc::new(HeldIdentity {
            federated: Arc::new([("mesh.local".to_owned(), vec![pair.authority.root()])].into()),
            ..west.issue("reviews")
        }));
        let of_west = |snapshot: &mut Snapshot| {
            for workload in snapshot.workloads.values_mut() {
                Arc::make_mut(workload).identity.trust_domain = "west.example".to_owned();
            }
        };
        pair.client.pin(&Mesh { change: Some(of_west), ..pair.mesh.clone() });
        let answer = get(pair.client.outbound, "/1").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: peer_untrusted"), "{answer}");
        pair.client.current.trust(Arc::new(federated(&pair.authority, &[("west.example", &west)])));
        assert!(get(pair.client.outbound, "/2").await.starts_with("HTTP/1.1 200"));
        pair.server.current.hold(Arc::new(HeldIdentity {
            federated: Arc::new([("mesh.local".to_owned(), vec![pair.authority.root()])].into()),
            ..west.issue("impostor")
        }));
        pair.client.current.trust(Arc::new(federated(&pair.authority, &[("west.example", &west), ("east.example", &west)])));
        let answer = get(pair.client.outbound, "/3").await;
        assert!(answer.contains("x-taut-reason: peer_untrusted"), "{answer}");
    });
}

#[test]
fn a_bundle_that_nobody_could_be_believed_by_is_refused() {
    let bundle = |roots: Vec<Vec<u8>>| TrustBundle {
        origin: Origin::default(),
        trust_domain: "mesh.local".into(),
        roots,
        signer: vec![],
        revoked: Default::default(),
        token_keys: String::new(),
    };
    assert!(Trust::read(&bundle(vec![])).unwrap_err().contains("holds no root"));
    assert!(Trust::read(&bundle(vec![Authority::new("mesh.local").root().to_vec(), vec![1, 2]])).unwrap_err().contains("roots[1] cannot be used"));
}

/// The mesh's own bundle, with these other names; those that are federated have a bundle of their own, or none yet.
fn called(own: &Authority, aliases: &[(&str, bool)], others: &[(&str, &Authority)]) -> Arc<Trust> {
    let aliases = aliases.iter().map(|(name, federated)| TrustDomainAlias { trust_domain: (*name).to_owned(), federated: *federated });
    let settings = MeshSettings { aliases: aliases.collect(), ..MeshSettings::default() };
    let Trust { federated, .. } = federated(own, others);
    Arc::new(with_others(of(&[own.root()], &[]), (*federated).clone(), std::iter::empty(), &settings))
}

#[test]
fn a_member_of_an_alias_is_one_of_the_mesh_as_long_as_it_is_proven_by_the_right_bundle() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let (mesh, west) = (&pair.authority, Authority::new("west.example"));
        let (client_of, server) = (&pair.client.current, &pair.server.current);
        // The server still shows the old name, the client expects the new one.
        let renamed = Identity::new("old.example", "default", "reviews");
        server.hold(Arc::new(mesh.issue_names(renamed.clone(), &[renamed.to_string()])));
        server.trust(called(mesh, &[("mesh.local", false), ("old.example", false)], &[]));
        let refused = async |what: &str| {
            let answer = get(pair.client.outbound, what).await;
            assert!(answer.contains("x-taut-reason: peer_untrusted"), "{answer}");
        };
        refused("/stranger").await;
        client_of.trust(called(mesh, &[("old.example", false)], &[]));
        assert!(get(pair.client.outbound, "/alias").await.starts_with("HTTP/1.1 200"));
        // The name alone is not enough: another member of the alias is not who was expected.
        let other = Identity::new("old.example", "default", "impostor");
        server.hold(Arc::new(mesh.issue_names(other.clone(), &[other.to_string()])));
        client_of.trust(called(mesh, &[("old.example", false), ("older.example", false)], &[]));
        refused("/impostor").await;
        // Of an alias with a bundle of its own, nobody is believed by the mesh's: not before that is there, and not after.
        server.hold(Arc::new(mesh.issue_names(renamed.clone(), &[renamed.to_string()])));
        client_of.trust(called(mesh, &[("old.example", true)], &[]));
        refused("/without_its_bundle").await;
        client_of.trust(called(mesh, &[("old.example", true)], &[("old.example", &west)]));
        refused("/by_the_wrong_bundle").await;
        let proven = HeldIdentity { roots: vec![mesh.root()], ..west.issue_names(renamed.clone(), &[renamed.to_string()]) };
        server.hold(Arc::new(proven));
        client_of.trust(called(mesh, &[("old.example", true), ("older.example", false)], &[("old.example", &west)]));
        assert!(get(pair.client.outbound, "/by_its_own").await.starts_with("HTTP/1.1 200"));
        client_of.trust(Arc::new(of(&[mesh.root()], &[])));
        refused("/no_alias_any_more").await;
    });
}

#[test]
fn a_mesh_that_is_called_otherwise_vouches_for_the_names_without_a_bundle_and_for_no_other() {
    let (mesh, west) = (Authority::new("mesh.local"), Authority::new("west.example"));
    let held = |trust: &Trust| HeldIdentity { federated: trust.federated.clone(), names: trust.names.clone(), ..mesh.issue("web") };
    let trust = called(&mesh, &[("old.example", false), ("west.example", true), ("north.example", true)], &[("west.example", &west)]);
    let held = held(&trust);
    for (name, ours) in [("mesh.local", true), ("old.example", true), ("west.example", false), ("north.example", false), ("east.example", false)] {
        assert_eq!(held.is_ours(name), ours, "{name}");
    }
    let plain = called(&mesh, &[("mesh.local", false)], &[]);
    assert!(plain.names.is_empty() && plain.federated.is_empty(), "one name is none other");
}

#[test]
fn a_trust_domain_revokes_certificates_of_its_own_and_of_nobody_else() {
    run(async {
        let pair = Pair::new(echo_app().await, AppProtocol::Http).await;
        let (mesh, west) = (&pair.authority, Authority::new("west.example"));
        let (theirs, ours) = (stranger(&west, mesh), mesh.issue("web"));
        let named = |held: &HeldIdentity| {
            let leaf = webpki::EndEntityCert::try_from(&held.chain[0]).unwrap();
            Revoked::new(leaf.issuer(), leaf.serial())
        };
        let saying = |revoked: &[&HeldIdentity]| {
            let revoked = [("west.example".to_owned(), revoked.iter().map(|held| named(held)).collect::<std::collections::BTreeSet<_>>())];
            let Trust { federated, .. } = federated(mesh, &[("west.example", &west)]);
            let all = revoked.iter().map(|(domain, revoked)| (domain, revoked));
            Arc::new(with_others(of(&[mesh.root()], &[]), (*federated).clone(), all, &MeshSettings::default()))
        };
        pair.server.current.trust(saying(&[]));
        let mut open = knock(pair.server.peer, client(&theirs)).await.unwrap();
        let mut others = knock(pair.server.peer, client(&ours)).await.unwrap();
        pair.server.current.trust(saying(&[&theirs, &ours]));
        let mut rest = Vec::new();
        let _ = open.read_to_end(&mut rest).await;
        assert!(ask(&mut open).await.is_err(), "what it had open ends");
        let before = pair.server.connections().len();
        assert!(knock(pair.server.peer, client(&theirs)).await.is_err());
        let refused = eventually(|| pair.server.connections().into_iter().nth(before)).await.failure.unwrap();
        assert!(refused.detail.contains("is revoked (serial number "), "{refused:?}");
        // What the west says of ours counts for nothing.
        assert_eq!(ask(&mut others).await, Ok(()));
        assert!(knock(pair.server.peer, client(&ours)).await.is_ok());
    });
}
