//! What the ends of an HTTP/2 connection tell each other about themselves (RFC 9113 section 6.5.2).

use super::reason::Reason;
use bytes::{BufMut, BytesMut};

/// One SETTINGS frame: what it does not say stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub header_table_size: Option<u32>,
    pub enable_push: Option<bool>,
    pub max_concurrent_streams: Option<u32>,
    pub initial_window_size: Option<u32>,
    pub max_frame_size: Option<u32>,
    pub max_header_list_size: Option<u32>,
    /// Extended CONNECT is understood (RFC 8441).
    pub enable_connect_protocol: Option<bool>,
}

pub const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// A frame's payload, at least and at most, as a peer may announce it.
pub const FRAME_SIZES: std::ops::RangeInclusive<u32> = 1 << 14..=(1 << 24) - 1;

impl Settings {
    /// The identifiers and values of a frame; a later one of the same identifier counts, and unknown ones do not.
    ///
    /// # Errors
    /// A value that its setting cannot have, and the code of RFC 9113 for it: an error of the connection.
    pub fn read(payload: &[u8]) -> Result<Self, (Reason, &'static str)> {
        let mut settings = Self::default();
        for setting in payload.as_chunks::<6>().0 {
            let [id_high, id_low, value @ ..] = *setting;
            settings.take(u16::from_be_bytes([id_high, id_low]), u32::from_be_bytes(value))?;
        }
        Ok(settings)
    }

    fn take(&mut self, id: u16, value: u32) -> Result<(), (Reason, &'static str)> {
        match id {
            1 => self.header_table_size = Some(value),
            2 => self.enable_push = Some(flag(value, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")?),
            3 => self.max_concurrent_streams = Some(value),
            4 if value > LARGEST_WINDOW => return Err((Reason::FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is 2^31 or more")),
            4 => self.initial_window_size = Some(value),
            5 if !FRAME_SIZES.contains(&value) => return Err((Reason::ProtocolError, "SETTINGS_MAX_FRAME_SIZE is not from 2^14 to 2^24-1")),
            5 => self.max_frame_size = Some(value),
            6 => self.max_header_list_size = Some(value),
            8 => self.enable_connect_protocol = Some(flag(value, "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1")?),
            _ => {}
        }
        Ok(())
    }

    /// Appends the frame's payload.
    pub fn write(&self, out: &mut BytesMut) {
        let settings = [
            (1, self.header_table_size),
            (2, self.enable_push.map(u32::from)),
            (3, self.max_concurrent_streams),
            (4, self.initial_window_size),
            (5, self.max_frame_size),
            (6, self.max_header_list_size),
            (8, self.enable_connect_protocol.map(u32::from)),
        ];
        for (id, value) in settings {
            if let Some(value) = value {
                out.put_u16(id);
                out.put_u32(value);
            }
        }
    }
}

fn flag(value: u32, wrong: &'static str) -> Result<bool, (Reason, &'static str)> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err((Reason::ProtocolError, wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(settings: &[(u16, u32)]) -> Vec<u8> {
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
    }

    #[test]
    fn what_is_written_is_read_and_the_last_value_counts() {
        let settings = Settings {
            header_table_size: Some(0),
            enable_push: Some(false),
            max_concurrent_streams: Some(1000),
            initial_window_size: Some(LARGEST_WINDOW),
            max_frame_size: Some(1 << 14),
            max_header_list_size: Some(65536),
            enable_connect_protocol: Some(true),
        };
        let mut out = BytesMut::new();
        settings.write(&mut out);
        assert_eq!(Settings::read(&out), Ok(settings));
        assert_eq!(Settings::read(&payload(&[(3, 1), (0xabcd, 7), (3, 2)])), Ok(Settings { max_concurrent_streams: Some(2), ..Settings::default() }));
    }

    #[test]
    fn values_out_of_range_are_errors_of_the_connection() {
        for (id, value, reason) in [
            (2, 2, Reason::ProtocolError),
            (4, 1 << 31, Reason::FlowControlError),
            (5, (1 << 14) - 1, Reason::ProtocolError),
            (5, 1 << 24, Reason::ProtocolError),
            (8, 2, Reason::ProtocolError),
        ] {
            assert_eq!(Settings::read(&payload(&[(id, value)])).map_err(|(reason, _)| reason), Err(reason), "{id}");
        }
    }
}
