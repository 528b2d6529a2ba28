//! Bundles of other trust domains as text: PEM, or SPIFFE's bundle format (SPIFFE Trust Domain and Bundle, section 4), and our own written so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use taut_model::trust::TrustBundle;

/// Authorities of one trust domain; during a rotation there are two.
const MOST_ROOTS: usize = 64;
/// In seconds: how often others should look for a new one.
const REFRESH_HINT: u32 = 300;

/// What a bundle says of whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// DER.
    pub roots: Vec<Vec<u8>>,
    /// A JSON Web Key Set, or empty.
    pub token_keys: String,
    /// In seconds: how often it should be looked at, if that is said.
    pub refresh_hint: Option<u64>,
}

/// # Errors
/// It is no bundle, or one of its certificates cannot be believed by: what about it, as the end of a sentence.
pub fn authorities(text: &str) -> Result<Authorities, String> {
    let found = if text.trim_start().starts_with('{') { document(text)? } else { pem(text)? };
    if found.roots.is_empty() {
        return Err("holds no X.509 authority, so nobody could be believed by it".to_owned());
    }
    if found.roots.len() > MOST_ROOTS {
        return Err(format!("holds {} X.509 authorities, and at most {MOST_ROOTS} are taken", found.roots.len()));
    }
    for (number, root) in found.roots.iter().enumerate() {
        let certificate = CertificateDer::from(root.as_slice());
        webpki::anchor_from_trusted_cert(&certificate)
            .map_err(|error| format!("holds a certificate (number {number}) that cannot be used: {error}"))?;
    }
    Ok(found)
}

fn pem(text: &str) -> Result<Authorities, String> {
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    // The parser's own error could quote what was written.
    let roots = roots.map_err(|_| "is neither PEM nor a SPIFFE bundle (JSON)".to_owned())?;
    Ok(Authorities { roots: roots.iter().map(|root| root.to_vec()).collect(), token_keys: String::new(), refresh_hint: None })
}

fn document(text: &str) -> Result<Authorities, String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "is not JSON, though it begins so".to_owned())?;
    let keys = document["keys"].as_array().ok_or("is no SPIFFE bundle: it has no list \"keys\"")?;
    if keys.iter().any(|key| !key["d"].is_null()) {
        return Err("holds a private key: publish the public one, and replace this key".to_owned());
    }
    let (mut roots, mut token_keys) = (Vec::new(), Vec::new());
    for (number, key) in keys.iter().enumerate() {
        match key["use"].as_str() {
            Some("x509-svid") => {
                // Section 4.2.2: exactly one certificate.
                let [Value::String(certificate)] = key["x5c"].as_array().map(Vec::as_slice).unwrap_or_default() else {
                    return Err(format!("has keys[{number}] of use x509-svid without exactly one certificate in x5c"));
                };
                roots.push(STANDARD.decode(certificate).map_err(|_| format!("has in keys[{number}].x5c what is not base64"))?);
            }
            Some("jwt-svid") if key["kid"].is_string() => token_keys.push(key.clone()),
            // Section 4.2.2: others are to be ignored.
            _ => {}
        }
    }
    let token_keys = if token_keys.is_empty() { String::new() } else { json!({"keys": token_keys}).to_string() };
    // Section 4.1.2.
    Ok(Authorities { roots, token_keys, refresh_hint: document["spiffe_refresh_hint"].as_u64() })
}

/// As other trust domains may fetch it.
pub fn published(bundle: &TrustBundle) -> Value {
    let token_keys: Value = serde_json::from_str(&bundle.token_keys).unwrap_or_default();
    let root = |root: &Vec<u8>| json!({"use": "x509-svid", "kty": kind(root), "x5c": [STANDARD.encode(root)]});
    let keys: Vec<Value> = bundle.roots.iter().map(root).chain(token_keys["keys"].as_array().into_iter().flatten().cloned()).collect();
    json!({"keys": keys, "spiffe_refresh_hint": REFRESH_HINT})
}

/// RFC 7517 section 4.1, of a certificate's key.
fn kind(certificate: &[u8]) -> &'static str {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let parsed = X509Certificate::from_der(certificate).ok();
    match parsed.map(|(_, certificate)| certificate.public_key().algorithm.algorithm.to_id_string()).as_deref() {
        Some("1.2.840.113549.1.1.1") => "RSA",
        Some("1.3.101.112") => "OKP",
        _ => "EC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use taut_model::origin::Origin;

    fn root() -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_we_publish_reads_as_what_it_was() {
        let (one, other) = (root(), root());
        let token_keys = json!({"keys": [{"use": "jwt-svid", "kty": "EC", "kid": "a", "crv": "P-256", "x": "eA", "y": "eQ"}]}).to_string();
        let bundle = TrustBundle {
            origin: Origin::default(),
            trust_domain: "mesh.local".to_owned(),
            roots: vec![one.der().to_vec(), other.der().to_vec()],
            signer: vec![],
            revoked: Default::default(),
            token_keys: token_keys.clone(),
        };
        let document = published(&bundle);
        assert_eq!(document["keys"][0]["kty"], "EC");
        assert_eq!(authorities(&document.to_string()), Ok(Authorities { roots: bundle.roots, token_keys, refresh_hint: Some(300) }));
        let pem = format!("{}{}", one.pem(), other.pem());
        assert_eq!(authorities(&pem).unwrap().roots.len(), 2);
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        let certificate = STANDARD.encode(root().der());
        let x509 = |x5c: Value| json!({"keys": [{"use": "x509-svid", "kty": "EC", "x5c": x5c}]}).to_string();
        for (text, why) in [
            (String::new(), "holds no X.509 authority"),
            ("hello".to_owned(), "holds no X.509 authority"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "number 0) that cannot be used"),
            ("{".to_owned(), "is not JSON"),
            ("{}".to_owned(), "no list \"keys\""),
            (json!({"keys": []}).to_string(), "holds no X.509 authority"),
            (json!({"keys": [{"use": "jwt-svid", "kty": "EC", "kid": "a", "d": "AA"}]}).to_string(), "private key"),
            (x509(json!([])), "without exactly one certificate"),
            (x509(json!([certificate, certificate])), "without exactly one certificate"),
            (x509(json!(["?"])), "not base64"),
            (x509(json!(["AAAA"])), "cannot be used"),
        ] {
            let refused = authorities(&text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
