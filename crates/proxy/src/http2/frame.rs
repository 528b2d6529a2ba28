//! Frames (RFC 9113 sections 4 and 6): bytes to frames and back, each checked by itself. Which frames may come when is not its job.

use super::reason::Reason;
use super::settings::Settings;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// What a client's connection begins with, before its SETTINGS (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, kind, flags and stream.
pub const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

/// The highest bit of stream numbers and windows is reserved, and ignored.
const LOW_31: u32 = u32::MAX >> 1;

/// A frame without its padding. PUSH_PROMISE is not among them: no side of ours ever allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        data: Bytes,
        /// What it takes from the windows: padding counts.
        flow_bytes: u32,
        end: bool,
    },
    Headers {
        stream: u32,
        block: Bytes,
        end_stream: bool,
        end_headers: bool,
    },
    Continuation {
        stream: u32,
        block: Bytes,
        end_headers: bool,
    },
    /// Out of use (RFC 9113 section 5.3.2).
    Priority {
        stream: u32,
    },
    Reset {
        stream: u32,
        reason: Reason,
    },
    Settings(Settings),
    SettingsAck,
    Ping {
        ack: bool,
        opaque: [u8; 8],
    },
    GoAway {
        last_stream: u32,
        reason: Reason,
        debug: Bytes,
    },
    WindowUpdate {
        /// 0 is the connection's window.
        stream: u32,
        increment: u32,
    },
    /// Of a kind that is not known: to be ignored, except within a field block (RFC 9113 section 5.5).
    Unknown {
        kind: u8,
    },
}

/// What a frame must not be, and how far that reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    Connection(Reason, &'static str),
    /// The frame is taken off the buffer; the connection goes on.
    Stream(u32, Reason, &'static str),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(reason, why) => write!(f, "the peer broke HTTP/2: {why} ({reason})"),
            Self::Stream(stream, reason, why) => write!(f, "the peer broke HTTP/2 on stream {stream}: {why} ({reason})"),
        }
    }
}
impl std::error::Error for FrameError {}

#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        Self { length, kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & LOW_31 }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What can be told before the payload: stream numbers and sizes that this kind of frame cannot have.
    fn check(self, max_frame: usize) -> Result<(), FrameError> {
        let (reason, why) = match (self.kind, self.stream, self.length) {
            (_, _, length) if length > max_frame => (Reason::FrameSizeError, "a frame is larger than was announced to be accepted"),
            (PUSH_PROMISE, ..) => (Reason::ProtocolError, "a PUSH_PROMISE frame where push is off"),
            (DATA | HEADERS | PRIORITY | RESET | CONTINUATION, 0, _) => (Reason::ProtocolError, "a frame that belongs to a stream has none"),
            (SETTINGS | PING | GO_AWAY, 1.., _) => (Reason::ProtocolError, "a frame that belongs to the connection has a stream"),
            (SETTINGS, _, 1..) if self.has(ACK) => (Reason::FrameSizeError, "the acknowledgement of SETTINGS has a payload"),
            (SETTINGS, _, length) if !length.is_multiple_of(6) => (Reason::FrameSizeError, "a SETTINGS frame is not whole settings"),
            (RESET | WINDOW_UPDATE, _, length) if length != 4 => (Reason::FrameSizeError, "a RST_STREAM or WINDOW_UPDATE frame is not 4 bytes"),
            (PING, _, length) if length != 8 => (Reason::FrameSizeError, "a PING frame is not 8 bytes"),
            (GO_AWAY, _, ..8) => (Reason::FrameSizeError, "a GOAWAY frame is less than 8 bytes"),
            _ => return Ok(()),
        };
        Err(FrameError::Connection(reason, why))
    }
}

/// How long the frame is that `buffer` begins with; 0 when that is not known yet.
pub fn length(buffer: &[u8]) -> usize {
    buffer.first_chunk().map_or(0, |head| HEAD_BYTES + Head::read(head).length)
}

/// The next frame, taken off `buffer` when it is there as a whole. `max_frame` is our SETTINGS_MAX_FRAME_SIZE.
///
/// # Errors
/// After [`FrameError::Connection`] nothing more on this connection can be understood.
pub fn parse(buffer: &mut BytesMut, max_frame: usize) -> Result<Option<Frame>, FrameError> {
    let Some(head) = buffer.first_chunk().map(Head::read) else { return Ok(None) };
    head.check(max_frame)?;
    if buffer.len() - HEAD_BYTES < head.length {
        return Ok(None);
    }
    if matches!(head.kind, DATA | HEADERS | CONTINUATION | GO_AWAY) {
        let mut payload = buffer.split_to(HEAD_BYTES + head.length).freeze();
        payload.advance(HEAD_BYTES);
        return with_bytes(head, payload).map(Some);
    }
    let frame = small(head, &buffer[HEAD_BYTES..HEAD_BYTES + head.length]);
    buffer.advance(HEAD_BYTES + head.length);
    frame.map(Some)
}

/// Frames that keep their payload.
fn with_bytes(head: Head, mut payload: Bytes) -> Result<Frame, FrameError> {
    let stream = head.stream;
    match head.kind {
        DATA => {
            unpad(head, &mut payload)?;
            Ok(Frame::Data { stream, data: payload, flow_bytes: head.length as u32, end: head.has(END_STREAM) })
        }
        HEADERS => {
            unpad(head, &mut payload)?;
            if head.has(HAS_PRIORITY) {
                let dependency =
                    payload.first_chunk().ok_or(FrameError::Connection(Reason::FrameSizeError, "a HEADERS frame ends within its priority"))?;
                // Of the stream only, but then its block would not be decoded, and the next ones would be misunderstood.
                if depends_on(stream, dependency) {
                    return Err(FrameError::Connection(Reason::ProtocolError, ITSELF));
                }
                payload.advance(5);
            }
            Ok(Frame::Headers { stream, block: payload, end_stream: head.has(END_STREAM), end_headers: head.has(END_HEADERS) })
        }
        CONTINUATION => Ok(Frame::Continuation { stream, block: payload, end_headers: head.has(END_HEADERS) }),
        _ => {
            // Eight bytes are there: the head was checked.
            let last_stream = payload.try_get_u32().unwrap_or_default() & LOW_31;
            let reason = payload.try_get_u32().unwrap_or_default().into();
            Ok(Frame::GoAway { last_stream, reason, debug: payload })
        }
    }
}

/// Frames that are read at once.
fn small(head: Head, mut payload: &[u8]) -> Result<Frame, FrameError> {
    let stream = head.stream;
    Ok(match head.kind {
        PRIORITY => match payload.first_chunk() {
            Some(dependency) if payload.len() == 5 => {
                if depends_on(stream, dependency) {
                    return Err(FrameError::Stream(stream, Reason::ProtocolError, ITSELF));
                }
                Frame::Priority { stream }
            }
            _ => return Err(FrameError::Stream(stream, Reason::FrameSizeError, "a PRIORITY frame is not 5 bytes")),
        },
        RESET => Frame::Reset { stream, reason: payload.try_get_u32().unwrap_or_default().into() },
        SETTINGS if head.has(ACK) => Frame::SettingsAck,
        SETTINGS => Frame::Settings(Settings::read(payload).map_err(|(reason, why)| FrameError::Connection(reason, why))?),
        PING => Frame::Ping { ack: head.has(ACK), opaque: payload.first_chunk().copied().unwrap_or_default() },
        WINDOW_UPDATE => match (stream, payload.try_get_u32().unwrap_or_default() & LOW_31) {
            (0, 0) => return Err(FrameError::Connection(Reason::ProtocolError, "the connection's window grows by nothing")),
            (_, 0) => return Err(FrameError::Stream(stream, Reason::ProtocolError, "the stream's window grows by nothing")),
            (_, increment) => Frame::WindowUpdate { stream, increment },
        },
        kind => Frame::Unknown { kind },
    })
}

const ITSELF: &str = "the stream's priority depends on the stream itself";

/// Whether a stream's priority is relative to its own (RFC 7540 section 5.3.1, which older peers are tested against).
fn depends_on(stream: u32, dependency: &[u8; 5]) -> bool {
    let [s0, s1, s2, s3, _weight] = *dependency;
    u32::from_be_bytes([s0, s1, s2, s3]) & LOW_31 == stream
}

fn unpad(head: Head, payload: &mut Bytes) -> Result<(), FrameError> {
    if head.has(PADDED) {
        let padding = payload.try_get_u8().map_err(|_| FrameError::Connection(Reason::FrameSizeError, "a padded frame is empty"))?;
        let length = payload.len().checked_sub(padding.into());
        payload.truncate(length.ok_or(FrameError::Connection(Reason::ProtocolError, "a frame's padding is longer than the frame"))?);
    }
    Ok(())
}

/// The head of a DATA frame, whose `length` bytes of payload the caller sends after it.
pub fn write_data_head(out: &mut BytesMut, stream: u32, length: usize, end: bool) {
    write_head(out, length, DATA, if end { END_STREAM } else { 0 }, stream);
}

/// A field block as a HEADERS frame, and CONTINUATION frames if it is larger than the peer's `max_frame`. `encode` appends the block.
pub fn write_headers(out: &mut BytesMut, stream: u32, end_stream: bool, max_frame: usize, encode: impl FnOnce(&mut BytesMut)) {
    let flags = if end_stream { END_STREAM } else { 0 };
    let start = out.len();
    write_head(out, 0, HEADERS, flags | END_HEADERS, stream);
    encode(out);
    let length = out.len() - start - HEAD_BYTES;
    if length <= max_frame {
        out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        return;
    }
    let block = out.split_off(start + HEAD_BYTES);
    out.truncate(start);
    let pieces = block.chunks(max_frame);
    let last = pieces.len() - 1;
    for (at, piece) in pieces.enumerate() {
        let (kind, flags) = if at == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
        write_head(out, piece.len(), kind, if at == last { flags | END_HEADERS } else { flags }, stream);
        out.extend_from_slice(piece);
    }
}

pub fn write_reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    write_head(out, 4, RESET, 0, stream);
    out.put_u32(reason.code());
}

pub fn write_settings(out: &mut BytesMut, settings: &Settings) {
    let start = out.len();
    write_head(out, 0, SETTINGS, 0, 0);
    settings.write(out);
    let length = out.len() - start - HEAD_BYTES;
    out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
}

pub fn write_settings_ack(out: &mut BytesMut) {
    write_head(out, 0, SETTINGS, ACK, 0);
}

pub fn write_ping(out: &mut BytesMut, ack: bool, opaque: [u8; 8]) {
    write_head(out, 8, PING, if ack { ACK } else { 0 }, 0);
    out.extend_from_slice(&opaque);
}

pub fn write_go_away(out: &mut BytesMut, last_stream: u32, reason: Reason, debug: &[u8]) {
    write_head(out, 8 + debug.len(), GO_AWAY, 0, 0);
    out.put_u32(last_stream);
    out.put_u32(reason.code());
    out.extend_from_slice(debug);
}

/// `stream` 0 is the connection's window.
pub fn write_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    write_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.put_u32(increment);
}

fn write_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]);
}

#[cfg(test)]
mod tests;
