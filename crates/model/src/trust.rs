//! By what the members of the mesh check each other's certificates: the roots, what is revoked, and who signs now.

use crate::origin::Origin;
use crate::problem::Severity;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long before they are made certificates become valid, for peers whose clocks are behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// However long a leaf lives: its end is not told of before that.
pub const LEAF_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How bad it is that a certificate of this life ends so soon: it should have been renewed at half of its life. `None`: not at all. `notice`:
/// the end of what lives long is not told of before that.
pub fn near_end(life: Duration, left: Duration, notice: Duration) -> Option<Severity> {
    match () {
        () if left < (life / 10).min(notice / 4) => Some(Severity::Error),
        () if left < (life / 3).min(notice) => Some(Severity::Warning),
        () => None,
    }
}

/// Of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    pub origin: Origin,
    pub trust_domain: String,
    /// Certificates of the authorities that a peer's chain may end in, as DER. More than one while the root is being replaced.
    pub roots: Vec<Vec<u8>>,
    /// SHA-256 of the certificate that signs leaves now. Whoever holds a leaf that another one signed asks for a new leaf. Empty: nobody is to ask.
    pub signer: Vec<u8>,
    pub revoked: BTreeSet<Revoked>,
    /// A JSON Web Key Set (RFC 7517): what signs the trust domain's JWT-SVIDs. Empty: nothing does.
    pub token_keys: String,
}

/// A certificate that is not to be believed any more, whatever its dates say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revoked {
    /// The issuer's name, as the content of its DER sequence.
    pub issuer: Vec<u8>,
    /// Big-endian, without leading zeros.
    pub serial: Vec<u8>,
}

impl Revoked {
    /// The two parts as they stand in a certificate.
    pub fn new(issuer: &[u8], serial: &[u8]) -> Self {
        Self { issuer: issuer.to_vec(), serial: plain(serial).to_vec() }
    }
}

/// A number without the zeros that DER puts before it to keep it positive.
fn plain(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// A serial number as `openssl x509 -serial` writes it, in lower case.
pub fn serial_text(serial: &[u8]) -> String {
    plain(serial).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a serial number in hexadecimal, with or without colons.
pub fn serial_of(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 64 {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    bytes.map(|bytes| plain(&bytes).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_the_same_number_however_it_is_written() {
        assert_eq!(Revoked::new(b"i", &[0, 0x8a, 1]), Revoked::new(b"i", &[0x8a, 1]));
        for (text, want) in
            [("8a01", Some("8a01")), ("008A01", Some("8a01")), ("8a:01", Some("8a01")), ("", None), ("8a0", None), ("xx", None), ("é1", None)]
        {
            assert_eq!(serial_of(text).map(|serial| serial_text(&serial)).as_deref(), want, "{text}");
        }
    }
}
