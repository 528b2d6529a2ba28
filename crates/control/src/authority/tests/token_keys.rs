//! JWT-SVIDs: what they say, by which keys they are verified, and when these change.

use super::*;
use crate::authority::token_keys::LIFETIME;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn later(hours: i64) -> Timestamp {
    Timestamp::from_second(noon().as_second() + hours * 3600).unwrap()
}

fn published(authority: &Authority) -> Vec<Value> {
    let keys: Value = serde_json::from_str(&authority.bundle().borrow().token_keys).unwrap();
    keys["keys"].as_array().unwrap().clone()
}

fn token(authority: &Authority) -> String {
    authority.sign_token(&reviews(), &["bank".to_owned()], noon()).unwrap().token.to_string()
}

/// Its claims, if one of the keys has signed it.
fn verified(keys: &[Value], token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: Value = serde_json::from_slice(&bytes(header)).unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"])?;
    let point = [vec![4], bytes(key["x"].as_str().unwrap()), bytes(key["y"].as_str().unwrap())].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &bytes(signature)).ok()?;
    serde_json::from_slice(&bytes(payload)).ok()
}

#[test]
fn a_token_says_whose_it_is_and_whom_it_is_for_and_for_how_long() {
    let authority = memory();
    let claims = verified(&published(&authority), &token(&authority)).unwrap();
    let (now, life) = (noon().as_second(), LIFETIME.as_secs() as i64);
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"], &claims["iat"], &claims["exp"]),
        (&json!("spiffe://mesh.local"), &json!(reviews().to_string()), &json!(["bank"]), &json!(now), &json!(now + life))
    );
    let refused = |identity: &Identity, audiences: &[&str]| {
        let audiences: Vec<String> = audiences.iter().map(|&one| one.to_owned()).collect();
        authority.sign_token(identity, &audiences, noon()).err()
    };
    assert_eq!(refused(&reviews(), &[]), Some(CertificateFault::Audience));
    assert_eq!(refused(&reviews(), &["bank", ""]), Some(CertificateFault::Audience));
    assert_eq!(refused(&reviews(), &["x"; 17]), Some(CertificateFault::Audience));
    assert_eq!(refused(&reviews(), &[&"x".repeat(2049)]), Some(CertificateFault::Audience));
    assert_eq!(refused(&authority.control_identity(), &["bank"]), Some(CertificateFault::Reserved));
    let ours = "mesh.local".to_owned();
    assert_eq!(refused(&Identity::new("west.example", "default", "reviews"), &["bank"]), Some(CertificateFault::OtherTrustDomain { ours }));
}

#[test]
fn a_key_is_known_before_it_signs_and_until_its_last_token_is_over() {
    let authority = memory();
    let (first, known) = (token(&authority), published(&authority));
    assert_eq!(known.len(), 2);
    authority.tend_token_keys(later(7 * 24 - 1)).unwrap();
    assert_eq!(published(&authority), known);
    authority.tend_token_keys(later(7 * 24)).unwrap();
    let second = token(&authority);
    // Who has not heard of the change yet verifies what is signed after it.
    assert!(verified(&known, &second).is_some());
    assert!(verified(&published(&authority), &first).is_some() && published(&authority).len() == 3);
    authority.tend_token_keys(later(7 * 24 + 1)).unwrap();
    assert!(verified(&published(&authority), &first).is_none() && verified(&published(&authority), &second).is_some());
}

#[test]
fn a_rotation_of_the_root_leaves_no_key_of_before() {
    let authority = memory();
    let before = published(&authority);
    authority.rotate(None, later(0)).unwrap();
    let spread = published(&authority);
    authority.cut_over(later(1)).unwrap();
    let signed = token(&authority);
    assert!(verified(&spread, &signed).is_some(), "every proxy has been told the key before it signs");
    assert!(verified(&before, &signed).is_none(), "and nobody could know it before the rotation");
    authority.retire(later(2)).unwrap();
    authority.tend_token_keys(later(3)).unwrap();
    assert!(published(&authority).iter().all(|key| !before.contains(key)));
}

#[test]
fn keys_outlive_a_restart_and_nobody_else_reads_them() {
    let state = tempfile::tempdir().unwrap();
    let open = || Authority::open(Some(state.path()), None, AuthoritySettings::new("mesh.local"), noon());
    let (first, keys) = open().map(|authority| (token(&authority), published(&authority))).unwrap();
    let again = open().unwrap();
    assert_eq!(published(&again), keys);
    assert!(verified(&published(&again), &first).is_some());
    let file = state.path().join("ca/token-keys.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "{}").unwrap();
    assert!(open().err().unwrap().to_string().contains("ca/token-keys.json is damaged"));
}
