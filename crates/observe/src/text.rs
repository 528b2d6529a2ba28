//! The small values that records are made of: cheap to make and to share, written out only when somebody reads them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Text that many records share.
pub type Text = Arc<str>;

/// A point in time, written as RFC 3339 with microseconds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl FromStr for Moment {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

/// The id of a request, a connection or a trace. Ids that proxies make are kept as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Id {
    #[default]
    None,
    /// In the layout of RFC 9562: `f81d4fae-7dec-4a1d-a765-00a0c91e6bf6`.
    Uuid(u128),
    /// 32 hexadecimal digits, as W3C trace context has them.
    Trace(u128),
    /// As a client said it.
    Said(Text),
}

/// Bytes of [`Id::Uuid`] as text.
pub const UUID_BYTES: usize = 36;
const HEX: &[u8; 16] = b"0123456789abcdef";
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The text of [`Id::Uuid`].
pub fn uuid_text(number: u128) -> [u8; UUID_BYTES] {
    let mut text = [b'-'; UUID_BYTES];
    let mut left = 128;
    for (position, byte) in text.iter_mut().enumerate() {
        if !DASHES.contains(&position) {
            left -= 4;
            *byte = HEX[(number >> left) as usize & 0xf];
        }
    }
    text
}

/// Puts the lowest digits of `number` into `text`, as many as fit.
pub fn hex_text(mut number: u128, text: &mut [u8]) {
    for byte in text.iter_mut().rev() {
        *byte = HEX[number as usize & 0xf];
        number >>= 4;
    }
}

/// The number of 32 lower-case digits.
pub fn hex_number(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits && text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl Id {
    /// Text that is a UUID in lower case is kept as a number.
    pub fn read(text: &str) -> Self {
        let number = || {
            let mut number = 0_u128;
            for (position, byte) in text.bytes().enumerate() {
                match byte {
                    b'-' if DASHES.contains(&position) => {}
                    b'0'..=b'9' if !DASHES.contains(&position) => number = number << 4 | u128::from(byte - b'0'),
                    b'a'..=b'f' if !DASHES.contains(&position) => number = number << 4 | u128::from(byte - b'a' + 10),
                    _ => return None,
                }
            }
            Some(number)
        };
        match text.len() {
            0 => Self::None,
            UUID_BYTES => number().map_or_else(|| Self::Said(text.into()), Self::Uuid),
            _ => Self::Said(text.into()),
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether this is the id that `text` names.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Said(said) => **said == *text,
            Self::Uuid(_) => *self == Self::read(text),
            Self::Trace(number) => hex_number(text) == Some(*number),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Uuid(number) => f.write_str(std::str::from_utf8(&uuid_text(*number)).unwrap_or_default()),
            Self::Trace(number) => write!(f, "{number:032x}"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

/// What an attempt came to: a status, or the failure's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Status(u16),
    Failed(Cow<'static, str>),
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

macro_rules! written_as_text {
    ($($kind:ty: $read:expr),+) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                let read: fn(&str) -> Result<Self, String> = $read;
                read(&text).map_err(serde::de::Error::custom)
            }
        }
    )+};
}

written_as_text! {
    Moment: |text| text.parse().map_err(|error: jiff::Error| error.to_string()),
    Id: |text| Ok(Self::read(text)),
    Came: |text| Ok(match text.parse() {
        Ok(status) => Self::Status(status),
        Err(_) => Self::Failed(Cow::Owned(text.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_they_were_read() {
        for text in
            ["f81d4fae-7dec-4a1d-a765-00a0c91e6bf6", "F81D4FAE-7DEC-4A1D-A765-00A0C91E6BF6", "r-1", "f81d4fae-7dec-4a1d-a765000a0c91e6bf6", ""]
        {
            let id = Id::read(text);
            assert_eq!(id.to_string(), text);
            assert!(id.is(text) && !id.is("other"));
            assert_eq!(serde_json::from_value::<Id>(serde_json::to_value(&id).unwrap()).unwrap(), id);
        }
        assert!(matches!(Id::read("f81d4fae-7dec-4a1d-a765-00a0c91e6bf6"), Id::Uuid(_)));
        let trace = Id::Trace(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(trace.to_string() == "0af7651916cd43dd8448eb211c80319c" && trace.is("0af7651916cd43dd8448eb211c80319c"));
        let mut text = [0; 16];
        hex_text(0xab, &mut text);
        assert_eq!(&text, b"00000000000000ab");
    }

    #[test]
    fn results_and_moments_are_text_outside() {
        assert_eq!(serde_json::to_value(Came::Status(200)).unwrap(), "200");
        assert_eq!(serde_json::from_value::<Came>("reset".into()).unwrap(), Came::Failed("reset".into()));
        let moment: Moment = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00.000000Z");
    }
}
