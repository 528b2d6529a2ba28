//! Join tokens: what a machine needs to find the control plane, to recognise it, and to prove itself once.

use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use base64::{DecodeError, Engine};
use prost::encoding::{decode_varint, encode_varint};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// What every join token begins with.
pub const PREFIX: &str = "taut1.";

/// A one-time right to join the mesh. Whoever holds it may join as the workload it names, so it is shown only by
/// [`text`](Self::text).
#[derive(Clone)]
pub struct JoinToken {
    /// `host:port` of the control plane.
    pub control: String,
    /// SHA-256 of the root certificate's DER, so that the first connection cannot be to somebody else.
    pub ca_pin: [u8; 32],
    pub namespace: String,
    /// `None`: the joining workload chooses.
    pub service_account: Option<String>,
    /// Unix time in seconds.
    pub expires: i64,
    /// Public: names the token in lists and logs.
    pub id: String,
    pub secret: [u8; 32],
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("control", &self.control)
            .field("namespace", &self.namespace)
            .field("service_account", &self.service_account)
            .field("expires", &self.expires)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Why a text is not a join token. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAToken {
    /// Something else altogether.
    Foreign,
    /// `taut` and another number.
    OtherVersion,
    Letters,
    CutOff,
    Damaged,
}

impl fmt::Display for NotAToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not a join token: ")?;
        f.write_str(match self {
            Self::Foreign => "it does not start with taut1.; make one with `taut token` on the control plane",
            Self::OtherVersion => "it was made by another version of taut; use the control plane's version here, or make a new token",
            Self::Letters => "it holds characters that no token has; copy it again, without quotes or line breaks",
            Self::CutOff => "it is cut off; copy it again, whole",
            Self::Damaged => "some of it was altered; copy it again",
        })
    }
}
impl std::error::Error for NotAToken {}

impl JoinToken {
    /// The form that people copy: `taut1.` and base64url of the pin, the secret, the expiry, four texts, and a checksum.
    pub fn text(&self) -> Zeroizing<String> {
        let texts = [self.control.as_str(), &self.namespace, self.service_account.as_deref().unwrap_or_default(), &self.id];
        // Room for everything from the start: growing would leave copies of the secret behind.
        let room = 32 + 32 + 8 + 4 + texts.iter().map(|text| text.len() + 10).sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend_from_slice(&self.ca_pin);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        for text in texts {
            encode_varint(text.len() as u64, &mut *bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + bytes.len().div_ceil(3) * 4));
        text.push_str(PREFIX);
        BASE64.encode_string(&*bytes, &mut text);
        text
    }

    /// Space around the text is ignored. Whether it has expired is for the caller to see.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).ok_or_else(|| foreign(text))?;
        let bytes = BASE64.decode(body).map(Zeroizing::new).map_err(|error| match error {
            DecodeError::InvalidByte(..) | DecodeError::InvalidPadding => NotAToken::Letters,
            DecodeError::InvalidLength(_) | DecodeError::InvalidLastSymbol(..) => NotAToken::CutOff,
        })?;
        let mut rest = bytes.as_slice();
        let token = Self::read(&mut rest)?;
        let sum = checksum(&bytes[..bytes.len() - rest.len()]);
        match rest.len() {
            0..4 => Err(NotAToken::CutOff),
            _ if rest != sum => Err(NotAToken::Damaged),
            _ => Ok(token),
        }
    }

    /// Reads all but the checksum.
    fn read(rest: &mut &[u8]) -> Result<Self, NotAToken> {
        let mut token = Self {
            ca_pin: array(rest)?,
            secret: array(rest)?,
            expires: i64::from_be_bytes(array(rest)?),
            control: String::new(),
            namespace: String::new(),
            service_account: None,
            id: String::new(),
        };
        token.control = string(rest)?;
        token.namespace = string(rest)?;
        token.service_account = Some(string(rest)?).filter(|account| !account.is_empty());
        token.id = string(rest)?;
        Ok(token)
    }
}

fn foreign(text: &str) -> NotAToken {
    let version = text.strip_prefix("taut").and_then(|rest| rest.split_once('.')).map(|(version, _)| version);
    match version {
        Some(version) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => NotAToken::OtherVersion,
        _ => NotAToken::Foreign,
    }
}

fn array<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], NotAToken> {
    let (head, tail) = rest.split_first_chunk().ok_or(NotAToken::CutOff)?;
    *rest = tail;
    Ok(*head)
}

fn string(rest: &mut &[u8]) -> Result<String, NotAToken> {
    let length = decode_varint(rest).map_err(|_| NotAToken::CutOff)?;
    let length = usize::try_from(length).map_err(|_| NotAToken::CutOff)?;
    let (head, tail) = rest.split_at_checked(length).ok_or(NotAToken::CutOff)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).map_err(|_| NotAToken::Damaged)
}

/// FNV-1a, 32 bits: finds slips of copying. The secret is what nobody can guess.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(service_account: Option<&str>) -> JoinToken {
        JoinToken {
            control: "control.example.com:15012".into(),
            ca_pin: [7; 32],
            namespace: "default".into(),
            service_account: service_account.map(Into::into),
            expires: 1_800_000_000,
            id: "k3x9".into(),
            secret: [0xa5; 32],
        }
    }

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        for account in [None, Some("reviews")] {
            let text = token(account).text();
            let read = JoinToken::parse(&format!("  {}\n", *text)).unwrap();
            assert_eq!((read.control.as_str(), read.namespace.as_str(), read.id.as_str()), ("control.example.com:15012", "default", "k3x9"));
            assert_eq!((read.service_account.as_deref(), read.expires), (account, 1_800_000_000));
            assert_eq!((read.ca_pin, read.secret), ([7; 32], [0xa5; 32]));
        }
    }

    #[test]
    fn every_beginning_of_a_token_is_cut_off() {
        let text = token(None).text();
        for length in PREFIX.len()..text.len() {
            assert_eq!(JoinToken::parse(&text[..length]).err(), Some(NotAToken::CutOff), "{length} of {}", text.len());
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_shown() {
        let text = token(None).text();
        for (bad, why) in [
            ("", NotAToken::Foreign),
            ("hunter2", NotAToken::Foreign),
            ("taut.x", NotAToken::Foreign),
            ("taut2.abcd", NotAToken::OtherVersion),
            ("taut1.ab\"cd", NotAToken::Letters),
            (&text.replace("taut1.B", "taut1.C"), NotAToken::Damaged),
            (&format!("{}AAAA", *text), NotAToken::Damaged),
        ] {
            assert_eq!(JoinToken::parse(bad).err(), Some(why), "{bad}");
            assert!(why.to_string().starts_with("this is not a join token: "));
        }
        let shown = format!("{:?}", token(None));
        assert!(!shown.contains("165") && !shown.contains("secret"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JoinToken::parse(&text);
            let noise = format!("{PREFIX}{}", BASE64.encode(bytes));
            prop_assert!(JoinToken::parse(&noise).is_err());
        }
    }
}
