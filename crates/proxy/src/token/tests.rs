//! Tokens, good and bad, signed here by real keys.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA512,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use taut_model::identity::Identity;
use taut_model::origin::ObjectRef;
use taut_model::policy::TokenHeader;
use taut_model::workload::{Health, Serves, Workload};
use taut_plan::Snapshot;

/// Seconds since 1970, when these tests play.
const NOW: f64 = 1_800_000_000.0;
pub const ISSUER: &str = "https://issuer.example";

/// Whoever signs, with a key for each kind of algorithm.
pub struct Signer {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub fn new() -> Self {
        Self {
            ed25519: Ed25519KeyPair::generate().unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            rsa: RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap(),
        }
    }

    /// The public keys: `ed`, `p256`, `p384`, and `rsa` for any of RSA's algorithms.
    pub fn keys(&self) -> String {
        let curve = |name: &str, id: &str, pair: &EcdsaKeyPair, size: usize| {
            let point = pair.public_key().as_ref();
            json!({"kty": "EC", "crv": name, "kid": id, "use": "sig", "x": encode(&point[1..=size]), "y": encode(&point[1 + size..])})
        };
        let modulus = self.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let exponent = self.rsa.public_key().exponent().big_endian_without_leading_zero().to_vec();
        json!({"keys": [
            {"kty": "oct", "kid": "shared", "k": encode("secret")},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed25519.public_key())},
            curve("P-256", "p256", &self.p256, 32),
            curve("P-384", "p384", &self.p384, 48),
            {"kty": "RSA", "kid": "rsa", "n": encode(modulus), "e": encode(exponent)},
        ]})
        .to_string()
    }

    fn rsa(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    pub fn token(&self, header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(payload));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let signature = match header["alg"].as_str().unwrap_or_default() {
            "EdDSA" => self.ed25519.sign(bytes).as_ref().to_vec(),
            "ES256" => self.p256.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "PS512" => self.rsa(&RSA_PSS_SHA512, bytes),
            "RS256" => self.rsa(&RSA_PKCS1_SHA256, bytes),
            // With the public key as if it were a secret: the confusion of keys.
            "HS256" => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.keys().as_bytes());
                aws_lc_rs::hmac::sign(&key, bytes).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{message}.{}", encode(signature))
    }

    /// Good for anybody, until 2100.
    pub fn good(&self) -> String {
        self.token(
            &json!({"alg": "EdDSA", "kid": "ed"}),
            &json!({"iss": ISSUER, "sub": "zebedee", "exp": 4_102_444_800_u64, "role": "quaestor"}).to_string(),
        )
    }
}

pub fn rule(keys: TokenKeys) -> TokenRule {
    let object = ObjectRef::new("RequestAuthentication", "default", "tokens");
    TokenRule {
        origin: Origin { object, path: "spec.jwtRules[0]".into(), ..Origin::default() },
        issuer: ISSUER.to_owned(),
        audiences: vec![],
        keys,
        headers: vec![],
        parameters: vec![],
        cookies: vec![],
        payload_header: None,
        claim_headers: vec![],
        forward: false,
        spaced_claims: vec![],
    }
}

pub fn policy(rules: Vec<TokenRule>) -> Arc<RequestAuthentication> {
    let origin = Origin { object: ObjectRef::new("RequestAuthentication", "default", "tokens"), ..Origin::default() };
    Arc::new(RequestAuthentication { origin, namespace: "default".into(), selector: BTreeMap::new(), services: vec![], rules, closed: false })
}

fn plan(rules: Vec<TokenRule>) -> Plan {
    let serves = vec![Serves { host: "a.default.svc.cluster.local".into(), port: 80, target: 8080 }];
    let own = Workload {
        origin: Origin::default(),
        uid: "default/a".into(),
        name: "a".into(),
        namespace: "default".into(),
        identity: Identity::new("mesh.local", "default", "a"),
        labels: BTreeMap::new(),
        address: "127.0.0.1".into(),
        serves,
        peer: None,
        health: Health::Ready,
        weight: 1,
        locality: String::new(),
    };
    Plan::compile(&Snapshot { own: Some(Arc::new(own)), tokens: [("t".to_owned(), policy(rules))].into(), ..Snapshot::default() })
}

fn head(tokens: &[&str]) -> Parts {
    let request = tokens.iter().fold(http::Request::get("/x?a=b"), |request, token| request.header("authorization", format!("Bearer {token}")));
    request.body(()).unwrap().into_parts().0
}

/// What is wrong with these tokens; `None`: nothing.
fn flaw(rule: TokenRule, tokens: &[&str]) -> Option<Flaw> {
    match &*Tokens::default().read(&plan(vec![rule]), None, &mut head(tokens), NOW).expect("there is a token") {
        Token::Refused(bad) => Some(bad.flaw),
        Token::Proven(_) => None,
    }
}

fn inline(signer: &Signer) -> TokenRule {
    rule(TokenKeys::Inline(signer.keys()))
}

#[test]
fn tokens_of_every_algorithm_are_verified() {
    let signer = Signer::new();
    let payload = json!({"iss": ISSUER, "exp": NOW + 1.0}).to_string();
    for (algorithm, key) in [("EdDSA", "ed"), ("ES256", "p256"), ("ES384", "p384"), ("RS256", "rsa"), ("PS512", "rsa")] {
        for header in [json!({"alg": algorithm, "kid": key}), json!({"alg": algorithm})] {
            let token = signer.token(&header, &payload);
            assert_eq!(flaw(inline(&signer), &[&token]), None, "{header}");
            let (start, signature) = token.rsplit_once('.').unwrap();
            let other = Signer::new().token(&header, &payload);
            let cut = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let cut = format!("{start}.{}", encode(&cut[..cut.len() - 3]));
            let forged = [format!("{start}.{}", other.rsplit_once('.').unwrap().1), cut, format!("{start}.")];
            for forged in forged {
                assert_eq!(flaw(inline(&signer), &[&forged]), Some(Flaw::Signature), "{header} {forged}");
            }
        }
    }
}

#[test]
fn every_bad_token_is_refused_by_name() {
    let signer = Signer::new();
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let good = json!({"iss": ISSUER, "sub": "ada", "exp": NOW + 1.0});
    let with = |name: &str, value: Value| {
        let mut all = good.clone();
        all[name] = value;
        all.to_string()
    };
    let without = |name: &str| {
        let mut all = good.clone();
        all.as_object_mut().unwrap().remove(name);
        all.to_string()
    };
    let signed = |header: Value, payload: String| signer.token(&header, &payload);
    for (token, wanted) in [
        (signed(json!({"alg": "none"}), good.to_string()), Flaw::Algorithm),
        (signed(json!({"alg": "HS256", "kid": "shared"}), good.to_string()), Flaw::Algorithm),
        (signed(json!({"alg": "HS256", "kid": "rsa"}), good.to_string()), Flaw::Algorithm),
        (signed(json!({"kid": "ed"}), good.to_string()), Flaw::Malformed),
        (signed(json!({"alg": "EdDSA", "kid": "other"}), good.to_string()), Flaw::UnknownKey),
        (signed(json!({"alg": "EdDSA", "kid": "rsa"}), good.to_string()), Flaw::UnknownKey),
        (signed(json!({"alg": "ES256", "kid": "p384"}), good.to_string()), Flaw::UnknownKey),
        (signed(json!({"alg": "EdDSA", "crit": ["exp"]}), good.to_string()), Flaw::Critical),
        (signed(json!({"alg": "EdDSA", "crit": null}), good.to_string()), Flaw::Critical),
        (signed(header.clone(), with("exp", json!(NOW - 60.0))), Flaw::Expired),
        (signed(header.clone(), with("exp", json!("tomorrow"))), Flaw::Malformed),
        (signed(header.clone(), without("exp")), Flaw::NoExpiry),
        (signed(header.clone(), with("nbf", json!(NOW + 61.0))), Flaw::NotYetValid),
        (signed(header.clone(), with("iss", json!("https://other.example"))), Flaw::UnknownIssuer),
        (signed(header.clone(), without("iss")), Flaw::UnknownIssuer),
        (signed(header.clone(), with("sub", json!(7))), Flaw::Malformed),
        (signed(header.clone(), with("aud", json!([7]))), Flaw::Malformed),
        (signed(header.clone(), format!("{{\"iss\": \"x\", {}", &good.to_string()[1..])), Flaw::Ambiguous),
        (signed(header.clone(), "[]".to_owned()), Flaw::Malformed),
        (signed(header.clone(), with("long", json!("x".repeat(20_000)))), Flaw::TooLong),
        (format!("{}.x", signed(header.clone(), good.to_string())), Flaw::Malformed),
        ("opaque".to_owned(), Flaw::Malformed),
        ("a.b.c".to_owned(), Flaw::Malformed),
    ] {
        assert_eq!(flaw(inline(&signer), &[&token]), Some(wanted), "{token}");
    }
    // Clocks may differ by a minute.
    for payload in [with("exp", json!(NOW - 59.0)), with("nbf", json!(NOW + 60.0))] {
        assert_eq!(flaw(inline(&signer), &[&signed(header.clone(), payload)]), None);
    }
    let token = signed(header, good.to_string());
    assert_eq!(flaw(inline(&signer), &[&token, "other"]), Some(Flaw::Several));
    assert_eq!(flaw(inline(&signer), &[&token, &token]), None);
    let no_keys = TokenKeys::Fetched { uri: "https://issuer.example/keys".into(), timeout: std::time::Duration::from_secs(1), keys: None };
    assert_eq!(flaw(rule(no_keys), &[&token]), Some(Flaw::NoKeys));
}

#[test]
fn a_token_is_for_whom_it_says() {
    let signer = Signer::new();
    for (audience, good) in [(json!("a"), true), (json!(["b", "a/"]), true), (json!("b"), false), (json!([]), false), (Value::Null, false)] {
        let payload = json!({"iss": ISSUER, "exp": NOW + 1.0, "aud": audience}).to_string();
        let token = signer.token(&json!({"alg": "EdDSA"}), &payload);
        let found = flaw(TokenRule { audiences: vec!["a".into()], ..inline(&signer) }, &[&token]);
        assert_eq!(found, (!good).then_some(Flaw::Audience), "{payload}");
    }
}

#[test]
fn the_application_is_told_the_claims_and_nobody_else_can_tell_it() {
    let signer = Signer::new();
    let payload = json!({"iss": ISSUER, "sub": "ada", "exp": NOW + 1.0, "scope": "read write", "realm": {"id": 7}, "list": ["a"]}).to_string();
    let token = signer.token(&json!({"alg": "EdDSA"}), &payload);
    let claims = [("sub", "x-sub"), ("realm.id", "x-realm"), ("scope", "x-scope"), ("list", "x-list"), ("gone", "x-gone")];
    let telling = TokenRule {
        payload_header: Some("x-payload".into()),
        claim_headers: claims.map(|(claim, header)| (claim.to_owned(), header.to_owned())).into(),
        ..inline(&signer)
    };
    let plan = plan(vec![telling]);
    let tokens = Tokens::default();
    let forged = |tokens: &[&str]| {
        let mut head = head(tokens);
        for name in ["x-sub", "x-realm", "x-scope", "x-list", "x-gone", "x-payload"] {
            head.headers.insert(name, HeaderValue::from_static("forged"));
        }
        head
    };
    let mut stranger = forged(&[]);
    assert!(tokens.read(&plan, None, &mut stranger, NOW).is_none());
    assert!(stranger.headers.is_empty(), "{:?}", stranger.headers);
    // The second time the token is known already.
    for _ in 0..2 {
        let mut head = forged(&[&token]);
        let found = tokens.read(&plan, None, &mut head, NOW).unwrap();
        let Token::Proven(claims) = &*found else { panic!("{found:?}") };
        assert_eq!(claims.principal().unwrap(), format!("{ISSUER}/ada"));
        assert!(matches!(claims.all.at(["scope"]), Some(Claim::List(words)) if words.len() == 2));
        let told: BTreeMap<&str, &str> = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let payload = encode(&payload);
        assert_eq!(told, BTreeMap::from([("x-sub", "ada"), ("x-realm", "7"), ("x-scope", "read write"), ("x-payload", &*payload)]));
    }
    // Known or not, it is over when it is over.
    let found = tokens.read(&plan, None, &mut forged(&[&token]), NOW + 61.0).unwrap();
    assert!(matches!(&*found, Token::Refused(bad) if bad.flaw == Flaw::Expired), "{found:?}");
}

#[test]
fn an_issuer_vouches_only_for_tokens_from_its_own_places() {
    let signer = Signer::new();
    let token = signer.good();
    let named = TokenRule { headers: vec![TokenHeader { name: "x-jwt".into(), prefix: String::new() }], ..inline(&signer) };
    let other = TokenRule { issuer: "https://other.example".into(), ..inline(&signer) };
    let plan = plan(vec![named, other]);
    let tokens = Tokens::default();
    let mut placed = http::Request::get("/").header("x-jwt", &token).body(()).unwrap().into_parts().0;
    assert!(matches!(&*tokens.read(&plan, None, &mut placed, NOW).unwrap(), Token::Proven(_)));
    // It is verified and remembered, and yet not good elsewhere.
    let found = tokens.read(&plan, None, &mut head(&[&token]), NOW).unwrap();
    assert!(matches!(&*found, Token::Refused(bad) if bad.flaw == Flaw::UnknownIssuer), "{found:?}");
}
