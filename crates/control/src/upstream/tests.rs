//! A CA that is away is left alone for a moment, and told of; its file of roots is followed.

use super::*;
use crate::authority::{AuthoritySettings, requested};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use std::path::PathBuf;

fn root(name: &str) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn upstream(roots: PathBuf, address: &str) -> Result<Upstream, Fault> {
    let world = World::os();
    let authority = Arc::new(Authority::open(None, None, AuthoritySettings::new("cluster.local"), world.wall()).unwrap());
    Upstream::open(UpstreamCa { address: address.to_owned(), roots, token: None }, authority, world)
}

async fn asked(upstream: &Upstream) -> String {
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let identity = Identity::new("cluster.local", "default", "reviews");
    upstream.sign(&csr, &requested(&csr).unwrap(), &identity, None).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_ca_that_is_away_is_told_of_and_not_asked_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    std::fs::write(&file, root("one")).unwrap();
    // Bound, and nobody accepts.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let upstream = upstream(file, &address).unwrap();
    let first = asked(&upstream).await;
    assert!(first.contains("is away: no connection to"), "{first}");
    let second = asked(&upstream).await;
    assert!(second.contains("asked again in a moment") && second.contains("no connection to"), "{second}");
    let troubles = upstream.troubles();
    assert!(troubles.len() == 1 && troubles[0].1.text.contains(&address), "{troubles:?}");
    assert!(upstream.metrics().contains("taut_control_upstream_ca_requests_total{outcome=\"away\"} 2\n"), "{}", upstream.metrics());
    assert!(upstream.metrics().contains("taut_control_upstream_ca_up 0\n"));
    // Whoever may not be asked for is not.
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    for identity in [Identity::new("west.example", "default", "reviews"), upstream.authority.control_identity()] {
        assert!(matches!(upstream.sign(&csr, &requested(&csr).unwrap(), &identity, None).await, Err(NotSigned::Request(_))));
    }
    // Nor does the authority here sign any more, or change its root.
    assert!(matches!(
        upstream.authority.issue(&csr, &Identity::new("cluster.local", "a", "b"), None, Timestamp::now()),
        Err(CertificateFault::Foreign)
    ));
    let refused = upstream.authority.rotate(None, Timestamp::now()).unwrap_err().to_string();
    assert!(refused.contains("another authority signs"), "{refused}");
}

#[tokio::test]
async fn the_file_of_roots_is_followed_and_what_is_none_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    let told = |upstream: &Upstream| upstream.authority.bundle().borrow().clone();
    for (bad, why) in [("", "holds no certificate"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read")] {
        std::fs::write(&file, bad).unwrap();
        let refused = upstream(file.clone(), "127.0.0.1:9").err().unwrap().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let leaf = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let (one, two) = (root("one"), root("two"));
    std::fs::write(&file, &one).unwrap();
    let upstream = upstream(file.clone(), "127.0.0.1:9").unwrap();
    let first = told(&upstream);
    assert_eq!((first.roots.len(), first.signer.len()), (1, 0), "no own root beside it");
    std::fs::write(&file, &two).unwrap();
    upstream.look();
    let second = told(&upstream);
    assert!(second.roots.len() == 2 && second.roots[1] == first.roots[0], "both for a while");
    let standing = upstream.authority.standing();
    assert_eq!(standing.foreign.as_ref().unwrap().named().count(), 1);
    for bad in [leaf, "nothing".to_owned()] {
        std::fs::write(&file, bad).unwrap();
        upstream.look();
        assert_eq!(told(&upstream), second);
        assert_eq!(upstream.troubles()[0].0, "upstream-ca-roots");
    }
    std::fs::write(&file, one + &two).unwrap();
    upstream.look();
    assert!(upstream.troubles().is_empty() && upstream.authority.standing().foreign.as_ref().unwrap().named().count() == 2);
}
