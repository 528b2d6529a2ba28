//! What the authority promises: names from identities only, chains that verify, keys that stay private, tokens used once.

mod plugged;
mod revoked;
mod rotation;
mod token_keys;

use super::tokens::{DEFAULT_LIFETIME, Grant, TokenFault};
use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;

fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn memory() -> Authority {
    Authority::open(None, None, AuthoritySettings::new("mesh.local"), noon()).unwrap()
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn verify(authority: &Authority, issued: &Issued, at: Timestamp, usage: webpki::KeyUsage) -> Result<Vec<String>, webpki::Error> {
    let root = authority.root();
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let leaf = webpki::EndEntityCert::try_from(&issued.chain[0])?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second() as u64));
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &issued.chain[1..], now, usage, None, None)?;
    Ok(leaf.valid_uri_names().map(str::to_owned).collect())
}

fn reviews() -> Identity {
    Identity::new("mesh.local", "default", "reviews")
}

#[test]
fn a_leaf_verifies_both_ways_and_carries_only_the_proven_name() {
    let authority = memory();
    let forged = request(|params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://mesh.local/ns/kube-system/sa/admin".try_into().unwrap())];
        params.subject_alt_names.push(SanType::DnsName("bank.example".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "admin");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    });
    let issued = authority.issue(&forged, &reviews(), None, noon()).unwrap();
    for usage in [webpki::KeyUsage::client_auth(), webpki::KeyUsage::server_auth()] {
        assert_eq!(verify(&authority, &issued, noon(), usage).unwrap(), ["spiffe://mesh.local/ns/default/sa/reviews"]);
    }
    let leaf = webpki::EndEntityCert::try_from(&issued.chain[0]).unwrap();
    assert_eq!(leaf.valid_dns_names().count(), 0);
    assert_eq!(issued.pem_chain().len(), 3);
    assert_eq!(issued.pem_chain()[2], authority.roots_pem());
}

#[test]
fn validity_reaches_back_a_minute_and_ends_as_asked() {
    let authority = memory();
    let issued = authority.issue(&request(|_| {}), &reviews(), Some(Duration::from_secs(30)), noon()).unwrap();
    for (offset, good) in [(-61, false), (-59, true), (29, true), (31, false)] {
        let at = Timestamp::from_second(noon().as_second() + offset).unwrap();
        assert_eq!(verify(&authority, &issued, at, webpki::KeyUsage::client_auth()).is_ok(), good, "{offset} s");
    }
    let greedy = authority.issue(&request(|_| {}), &reviews(), Some(DAY * 400), noon()).unwrap();
    assert_eq!(greedy.not_after, noon().checked_add(DAY).unwrap());
}

#[test]
fn a_request_that_proves_no_key_is_refused() {
    let authority = memory();
    let good = request(|_| {});
    let damaged = {
        let mut der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        leaf::pem("CERTIFICATE REQUEST", &der)
    };
    for bad in ["", "hello", damaged.as_str(), &"x".repeat(20_000)] {
        assert!(matches!(authority.issue(bad, &reviews(), None, noon()), Err(CertificateFault::Request(_))), "{bad:.40}");
    }
    let other = Identity::new("evil.local", "default", "reviews");
    assert!(matches!(authority.issue(&good, &other, None, noon()), Err(CertificateFault::OtherTrustDomain { .. })));
}

#[test]
fn state_is_private_survives_a_restart_and_the_root_key_may_leave() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("state");
    let open = || Authority::open(Some(&path), None, AuthoritySettings::new("mesh.local"), noon());
    let first = open().unwrap();
    let mode = |name: &str| std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca"), mode("ca/root.key"), mode("ca/intermediate.key")), (0o700, 0o600, 0o600));
    let issued = first.issue(&request(|_| {}), &reviews(), None, noon()).unwrap();
    std::fs::remove_file(path.join("ca/root.key")).unwrap();
    let second = open().unwrap();
    assert_eq!(first.root(), second.root());
    assert!(verify(&second, &issued, noon(), webpki::KeyUsage::client_auth()).is_ok());
    assert!(second.issue(&request(|_| {}), &reviews(), None, noon()).is_ok());
    // Without the root's key a lost intermediate cannot be replaced, and a key of another pair is noticed.
    std::fs::rename(path.join("ca/intermediate.key"), path.join("ca/kept")).unwrap();
    assert!(open().err().unwrap().what.contains("no intermediate.key"));
    std::fs::write(path.join("ca/intermediate.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(open().err().unwrap().what.contains("does not belong"));
    std::fs::write(path.join("ca/intermediate.key"), "secret-text").unwrap();
    let fault = open().err().unwrap().to_string();
    assert!(fault.contains("not a PEM private key") && !fault.contains("secret-text"), "{fault}");
}

#[test]
fn an_old_intermediate_is_replaced_and_old_leaves_still_verify() {
    let authority = memory();
    let old = authority.issue(&request(|_| {}), &reviews(), None, noon()).unwrap();
    let later = noon().checked_add(DAY * 330).unwrap();
    authority.maintain(later).unwrap();
    let new = authority.issue(&request(|_| {}), &reviews(), None, later).unwrap();
    assert_ne!(old.chain[1], new.chain[1]);
    assert!(verify(&authority, &new, later, webpki::KeyUsage::client_auth()).is_ok());
    assert!(verify(&authority, &old, noon(), webpki::KeyUsage::client_auth()).is_ok());
}

#[test]
fn a_join_token_works_once_in_time_and_says_why_not() {
    let tokens = memory().tokens;
    let grant = Grant { namespace: "default".into(), service_account: Some("reviews".into()) };
    let minted = tokens.mint(grant.clone(), DEFAULT_LIFETIME, noon()).unwrap();
    let (ours, theirs) = ([1; 32], [2; 32]);
    let late = noon().checked_add(DEFAULT_LIFETIME).unwrap();
    let redeem = |id: &str, secret: &[u8; 32], account, key, at| tokens.redeem(id, secret, account, key, at);
    assert_eq!(redeem("nobody", &minted.secret, None, &ours, noon()), Err(TokenFault::Unknown));
    assert_eq!(redeem(&minted.id, &[0; 32], None, &ours, noon()), Err(TokenFault::WrongSecret));
    // Who does not know the secret is not told that the token has expired.
    assert_eq!(redeem(&minted.id, &[0; 32], None, &ours, late), Err(TokenFault::WrongSecret));
    assert!(matches!(redeem(&minted.id, &minted.secret, None, &ours, late), Err(TokenFault::Expired { .. })));
    assert!(matches!(redeem(&minted.id, &minted.secret, Some("admin"), &ours, noon()), Err(TokenFault::OtherServiceAccount { .. })));
    assert_eq!(redeem(&minted.id, &minted.secret, Some("reviews"), &ours, noon()), Ok(grant.clone()));
    assert_eq!(redeem(&minted.id, &minted.secret, None, &ours, noon()), Ok(grant), "the answer was lost");
    assert_eq!(redeem(&minted.id, &minted.secret, None, &theirs, noon()), Err(TokenFault::Used));
}

#[test]
fn tokens_survive_a_restart_without_their_secrets() {
    let state = tempfile::tempdir().unwrap();
    let open = || Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), noon()).unwrap();
    let grant = Grant { namespace: "default".into(), service_account: None };
    let minted = open().tokens.mint(grant.clone(), DEFAULT_LIFETIME, noon()).unwrap();
    let text = std::fs::read_to_string(state.path().join("ca/tokens.json")).unwrap();
    let secret = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, *minted.secret);
    assert!(text.contains(&minted.id) && !text.contains(&secret));
    assert_eq!(open().tokens.redeem(&minted.id, &minted.secret, Some("x"), &[1; 32], noon()), Ok(grant));
    assert_eq!(open().tokens.redeem(&minted.id, &minted.secret, Some("x"), &[2; 32], noon()), Err(TokenFault::Used));
}

#[test]
fn the_control_planes_own_chain_ends_in_the_root_that_tokens_name() {
    let authority = memory();
    let identity = Identity::new("mesh.local", "istio-system", "taut-control");
    let server = authority.server(&identity, &["localhost"], &["127.0.0.1".parse().unwrap()], noon()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, server.chain.last().unwrap());
    assert_eq!(digest.as_ref(), authority.root_digest());
    let leaf = webpki::EndEntityCert::try_from(&server.chain[0]).unwrap();
    assert_eq!(leaf.valid_uri_names().collect::<Vec<_>>(), [identity.to_string()]);
    assert!(leaf.verify_is_valid_for_subject_name(&"localhost".try_into().unwrap()).is_ok());
    assert!(leaf.verify_is_valid_for_subject_name(&"127.0.0.1".try_into().unwrap()).is_ok());
}

#[test]
fn what_others_could_read_is_made_private_and_their_directory_named() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open_up = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let around = tempfile::tempdir().unwrap();
    let state = around.path().join("state");
    let open = || Authority::open(Some(&state), None, AuthoritySettings::new("mesh.local"), noon()).unwrap();
    let grant = Grant { namespace: "default".into(), service_account: None };
    open().tokens.mint(grant, DEFAULT_LIFETIME, noon()).unwrap();
    assert_eq!((mode(&state), mode(&state.join("ca")), warn_if_shared(&state)), (0o700, 0o700, false));
    let files = ["ca/root.key", "ca/intermediate.key", "ca/tokens.json"].map(|name| state.join(name));
    files.iter().for_each(|path| open_up(path, 0o644));
    open_up(&state, 0o755);
    open();
    assert!(warn_if_shared(&state));
    assert_eq!(mode(&state), 0o755, "a directory that was there is not ours to change");
    for path in &files {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}
