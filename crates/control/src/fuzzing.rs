//! What fuzzers feed of the control plane: parsers that read what a stranger sends, which panic when they break their promise. The programs and
//! the kept corpus are in `fuzz/`, beside those of the proxy's own `fuzzing`. Public for `fuzz/` alone.

use crate::authority::requested;
use crate::crl::{MOST, lists};
use crate::translate::authorities;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// A certificate request: PKCS#10, as PEM or as the DER within.
pub fn certificate_request(bytes: &[u8]) {
    let written = crate::authority::pem("CERTIFICATE REQUEST", bytes);
    for text in [Some(written.as_str()), std::str::from_utf8(bytes).ok()].into_iter().flatten() {
        if let Ok(asked) = requested(text) {
            // What is granted is held against this.
            assert_eq!(requested(text), Ok(asked.clone()), "it reads differently the second time");
            if let Some(wish) = asked.wish {
                let again = taut_model::identity::Identity::parse(&wish.to_string());
                assert_eq!(again, Ok(wish), "a wish is no identity");
            }
        }
    }
}

/// The bundle of another trust domain.
pub fn bundle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(found) = authorities(text) {
        assert!(!found.roots.is_empty(), "a bundle by which nobody could be believed is taken");
        let keys: serde_json::Value = serde_json::from_str(&found.token_keys).unwrap_or_default();
        let all = keys["keys"].as_array().into_iter().flatten();
        assert_eq!(all.filter(|key| !key["d"].is_null()).count(), 0, "a private key is passed on");
    }
}

/// The revocation lists of another trust domain, whose root is the first certificate among them.
pub fn revocation_lists(bytes: &[u8]) {
    let root = CertificateDer::pem_slice_iter(bytes).find_map(Result::ok);
    let believed: Vec<CertificateDer<'_>> = root.into_iter().collect();
    if let Ok(found) = lists(bytes, &believed) {
        assert!(!believed.is_empty(), "a list that nobody has signed counts");
        assert!(found.revoked.len() <= MOST, "more is kept than proxies are to keep");
    }
}

#[cfg(test)]
mod tests {
    use super::{bundle, certificate_request, revocation_lists};
    use std::path::Path;

    type Target = (&'static str, fn(&[u8]));

    /// Every kept input, and a little of what fuzzers do to it.
    #[test]
    fn the_kept_corpus_does_no_harm() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: [Target; 3] = [("bundle", bundle), ("certificate_request", certificate_request), ("revocation_lists", revocation_lists)];
        let mut dice = fastrand::Rng::with_seed(7);
        for (name, target) in targets {
            let inputs: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            for input in inputs {
                target(&input);
                for _ in 0..50 {
                    let mut bytes = input[..dice.usize(0..=input.len())].to_vec();
                    if let Some(byte) = bytes.len().checked_sub(1).map(|last| dice.usize(0..=last)) {
                        bytes[byte] = dice.u8(..);
                    }
                    target(&bytes);
                }
            }
        }
    }
}
