//! Why a stream or a connection of HTTP/2 ends (RFC 9113 section 7).

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoError,
    ProtocolError,
    InternalError,
    FlowControlError,
    SettingsTimeout,
    StreamClosed,
    FrameSizeError,
    RefusedStream,
    Cancel,
    CompressionError,
    ConnectError,
    EnhanceYourCalm,
    InadequateSecurity,
    Http11Required,
    /// Means no more than that the peer does not want to go on.
    Unknown(u32),
}

/// Each reason at its code.
const REASONS: [(Reason, &str); 14] = [
    (Reason::NoError, "NO_ERROR"),
    (Reason::ProtocolError, "PROTOCOL_ERROR"),
    (Reason::InternalError, "INTERNAL_ERROR"),
    (Reason::FlowControlError, "FLOW_CONTROL_ERROR"),
    (Reason::SettingsTimeout, "SETTINGS_TIMEOUT"),
    (Reason::StreamClosed, "STREAM_CLOSED"),
    (Reason::FrameSizeError, "FRAME_SIZE_ERROR"),
    (Reason::RefusedStream, "REFUSED_STREAM"),
    (Reason::Cancel, "CANCEL"),
    (Reason::CompressionError, "COMPRESSION_ERROR"),
    (Reason::ConnectError, "CONNECT_ERROR"),
    (Reason::EnhanceYourCalm, "ENHANCE_YOUR_CALM"),
    (Reason::InadequateSecurity, "INADEQUATE_SECURITY"),
    (Reason::Http11Required, "HTTP_1_1_REQUIRED"),
];

impl Reason {
    pub fn code(self) -> u32 {
        match self {
            Self::NoError => 0,
            Self::ProtocolError => 1,
            Self::InternalError => 2,
            Self::FlowControlError => 3,
            Self::SettingsTimeout => 4,
            Self::StreamClosed => 5,
            Self::FrameSizeError => 6,
            Self::RefusedStream => 7,
            Self::Cancel => 8,
            Self::CompressionError => 9,
            Self::ConnectError => 10,
            Self::EnhanceYourCalm => 11,
            Self::InadequateSecurity => 12,
            Self::Http11Required => 13,
            Self::Unknown(code) => code,
        }
    }
}

impl From<u32> for Reason {
    fn from(code: u32) -> Self {
        REASONS.get(code as usize).map_or(Self::Unknown(code), |(reason, _)| *reason)
    }
}

/// As the RFC writes it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match REASONS.get(self.code() as usize) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "error {:#x}", self.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_belong_together() {
        for code in 0..=14 {
            assert_eq!(Reason::from(code).code(), code);
        }
        assert_eq!(Reason::from(9).to_string(), "COMPRESSION_ERROR");
        assert_eq!(Reason::from(13).to_string(), "HTTP_1_1_REQUIRED");
        assert_eq!((Reason::from(14), Reason::from(14).to_string()), (Reason::Unknown(14), "error 0xe".to_owned()));
    }
}
