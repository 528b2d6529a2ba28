//! The parsers of this module as fuzzers see them: what they promise for any bytes.

mod connection;

pub use connection::http2_connection;

use super::frame::{self, Frame, FrameError};
use super::hpack::{DecodeError, Decoder, Encoder, Field};
use bytes::{BufMut, Bytes, BytesMut};

const LIST_LIMIT: usize = 64 * 1024;

fn decode(decoder: &mut Decoder, block: &Bytes, list_limit: usize) -> Result<Vec<Field>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, list_limit, |field| {
        fields.push(field);
        Ok(())
    })?;
    Ok(fields)
}

fn encode(encoder: &mut Encoder, fields: &[Field]) -> Bytes {
    let mut out = BytesMut::new();
    let mut block = encoder.block(&mut out);
    for field in fields {
        match field {
            Field::Method(method) => block.method(method),
            Field::Scheme(scheme) => block.scheme(scheme),
            Field::Authority(authority) => block.authority(authority.as_str()),
            Field::Path(path) => block.path(path.as_str()),
            Field::Protocol(protocol) => block.protocol(protocol.to_str().unwrap_or("unprintable")),
            Field::Status(status) => block.status(*status),
            Field::Header(name, value) => block.header(name, value),
        }
    }
    out.freeze()
}

/// Blocks of one connection, each after a byte that says its length.
pub fn hpack(mut bytes: &[u8]) {
    let (mut decoder, mut refusing) = (Decoder::new(4096), Decoder::new(4096));
    let mut sides = [Encoder::new(), Encoder::compressing()].map(|encoder| (encoder, Decoder::new(4096)));
    let mut nth = 0;
    while let Some((length, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        (bytes, nth) = (rest, nth + 1);
        let block = Bytes::copy_from_slice(block);
        let told = decode(&mut decoder, &block, LIST_LIMIT);
        // A decoder that refused what came before understands what comes as if it had not.
        let limit = if nth % 2 == 1 { 0 } else { LIST_LIMIT };
        let other = decode(&mut refusing, &block, limit);
        if limit > 0 || matches!(told, Err(DecodeError::Compression(_))) {
            assert_eq!(other, told, "what a message means depends on whether an earlier one was taken");
        }
        match told {
            Ok(fields) => {
                let protocols = |field: &Field| matches!(field, Field::Protocol(protocol) if protocol.to_str().is_err());
                if fields.iter().any(protocols) {
                    continue;
                }
                for (encoder, decoder) in &mut sides {
                    let again = decode(decoder, &encode(encoder, &fields), LIST_LIMIT);
                    assert_eq!(again.as_ref(), Ok(&fields), "what is passed on is another message");
                }
            }
            Err(DecodeError::Compression(_)) => return,
            Err(_) => {}
        }
    }
}

/// Frames, as they come in pieces and as they are passed on.
pub fn http2_frame(bytes: &[u8]) {
    const MOST: usize = 1 << 14;
    let read = |step: usize| {
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match frame::parse(&mut buffer, MOST) {
                    Ok(Some(frame)) => frames.push(Ok(frame)),
                    Ok(None) => break,
                    Err(error @ FrameError::Stream(..)) => frames.push(Err(error)),
                    Err(error) => {
                        frames.push(Err(error));
                        return frames;
                    }
                }
            }
        }
        frames
    };
    let whole = read(bytes.len().max(1));
    for step in [1, 7] {
        assert_eq!(read(step), whole, "frames read differently in pieces of {step}");
    }
    for frame in whole.into_iter().flatten() {
        if let Some(mut written) = write(&frame) {
            assert_eq!(frame::parse(&mut written, MOST), Ok(Some(frame)), "what is passed on is another frame");
            assert!(written.is_empty());
        }
    }
}

/// `None`: of a kind that we never write, or padded.
fn write(frame: &Frame) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    match frame {
        Frame::Data { stream, data, flow_bytes, end } if data.len() == *flow_bytes as usize => {
            frame::write_data_head(&mut out, *stream, data.len(), *end);
            out.put_slice(data);
        }
        Frame::Headers { stream, block, end_stream, end_headers: true } => {
            frame::write_headers(&mut out, *stream, *end_stream, block.len(), |out| out.put_slice(block));
        }
        Frame::Reset { stream, reason } => frame::write_reset(&mut out, *stream, *reason),
        Frame::Settings(settings) => frame::write_settings(&mut out, settings),
        Frame::SettingsAck => frame::write_settings_ack(&mut out),
        Frame::Ping { ack, opaque } => frame::write_ping(&mut out, *ack, *opaque),
        Frame::GoAway { last_stream, reason, debug } => frame::write_go_away(&mut out, *last_stream, *reason, debug),
        Frame::WindowUpdate { stream, increment } => frame::write_window_update(&mut out, *stream, *increment),
        Frame::Data { .. } | Frame::Headers { .. } | Frame::Continuation { .. } | Frame::Priority { .. } | Frame::Unknown { .. } => return None,
    }
    Some(out)
}
