//! Key sets (RFC 7517) and what signatures are checked with (RFC 7518, RFC 8037): never a shared secret, so that nobody can pass a
//! public key off as one.

use super::json;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use taut_plan::token::{Claim, Flaw};

/// Bytes of a set's text, and keys in it. A token that names no key is held against all of its kind.
const LONGEST_SET: usize = 256 << 10;
const MOST_KEYS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => return None,
        })
    }
}

#[derive(Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point of the algorithm's curve, uncompressed.
    Curve {
        algorithm: Algorithm,
        verified_by: &'static EcdsaVerificationAlgorithm,
        point: Vec<u8>,
    },
    Ed25519(Vec<u8>),
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only one that it is for, where it says so.
    only: Option<Algorithm>,
    material: Material,
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Keys of a kind that is not known here, or not for signatures, are passed over. `None`: this is no key set.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST_SET {
            return None;
        }
        let set = json::read(text.as_bytes()).ok()?;
        let Claim::List(keys) = set.at(["keys"])? else { return None };
        Some(Self(keys.iter().filter_map(Key::read).take(MOST_KEYS).collect()))
    }

    /// Whether one of them has signed `message`.
    pub fn verify(&self, algorithm: Algorithm, id: Option<&str>, message: &[u8], signature: &[u8]) -> Result<(), Flaw> {
        let named = |key: &&Key| key.id.is_none() || id.is_none() || key.id.as_deref() == id;
        let mut candidates = self.0.iter().filter(named).filter(|key| key.is_for(algorithm)).peekable();
        if candidates.peek().is_none() {
            return Err(Flaw::UnknownKey);
        }
        if candidates.any(|key| key.has_signed(algorithm, message, signature)) { Ok(()) } else { Err(Flaw::Signature) }
    }
}

impl Key {
    fn read(key: &Claim) -> Option<Self> {
        let text = |name: &str| match key.at([name]) {
            Some(Claim::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        // `jwt-svid`: as SPIFFE bundles have it (SPIFFE Trust Domain and Bundle section 4.2.2).
        let is_for_signatures = text("use").is_none_or(|purpose| matches!(purpose, "sig" | "jwt-svid"))
            && match key.at(["key_ops"]) {
                None => true,
                Some(Claim::List(all)) => all.iter().any(|one| *one == Claim::Text("verify".to_owned())),
                Some(_) => false,
            };
        let only = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name)?),
        };
        let curve = |algorithm, verified_by, size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let point = [&[4], &*x, &*y].concat();
            (x.len() == size && y.len() == size).then_some(Material::Curve { algorithm, verified_by, point })
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa { modulus: without_zeros(bytes("n")?), exponent: without_zeros(bytes("e")?) },
            ("EC", Some("P-256")) => curve(Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32)?,
            ("EC", Some("P-384")) => curve(Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48)?,
            ("EC", Some("P-521")) => curve(Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66)?,
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
            // `oct`, above all: a shared secret.
            _ => return None,
        };
        is_for_signatures.then(|| Self { id: text("kid").map(str::to_owned), only, material })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match &self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::Curve { algorithm: own, .. } => *own == algorithm,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        fits && self.only.is_none_or(|only| only == algorithm)
    }

    fn has_signed(&self, algorithm: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { modulus, exponent } => algorithm
                .rsa()
                .is_some_and(|parameters| PublicKeyComponents { n: &**modulus, e: &**exponent }.verify(parameters, message, signed).is_ok()),
            Material::Curve { verified_by, point, .. } => UnparsedPublicKey::new(*verified_by, point).verify(message, signed).is_ok(),
            Material::Ed25519(point) => UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signed).is_ok(),
        }
    }
}

/// RFC 7518 section 6.3.1.1 allows none in front, and some write one.
fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}
