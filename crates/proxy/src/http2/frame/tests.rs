//! Each kind of frame there and back, and what no frame may be.

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    write_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

const MOST: usize = 1 << 14;

fn parsed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Option<Frame>, FrameError> {
    let mut buffer = frame(kind, flags, stream, payload);
    buffer.extend_from_slice(b"next");
    let result = parse(&mut buffer, MOST);
    if !matches!(result, Err(FrameError::Connection(..))) {
        assert_eq!(buffer, &b"next"[..], "the frame, and no more, is taken");
    }
    result
}

fn connection_error(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<Reason> {
    match parsed(kind, flags, stream, payload) {
        Err(FrameError::Connection(reason, _)) => Some(reason),
        _ => None,
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut out = BytesMut::new();
    write_data_head(&mut out, 1, 4, true);
    out.extend_from_slice(b"data");
    write_headers(&mut out, 3, true, MOST, |out| out.extend_from_slice(b"block"));
    write_reset(&mut out, 5, Reason::Cancel);
    let settings = Settings { max_concurrent_streams: Some(7), ..Settings::default() };
    write_settings(&mut out, &settings);
    write_settings_ack(&mut out);
    write_ping(&mut out, true, *b"12345678");
    write_go_away(&mut out, 9, Reason::EnhanceYourCalm, b"why");
    write_window_update(&mut out, 0, 65_535);
    let expected = [
        Frame::Data { stream: 1, data: Bytes::from_static(b"data"), flow_bytes: 4, end: true },
        Frame::Headers { stream: 3, block: Bytes::from_static(b"block"), end_stream: true, end_headers: true },
        Frame::Reset { stream: 5, reason: Reason::Cancel },
        Frame::Settings(settings),
        Frame::SettingsAck,
        Frame::Ping { ack: true, opaque: *b"12345678" },
        Frame::GoAway { last_stream: 9, reason: Reason::EnhanceYourCalm, debug: Bytes::from_static(b"why") },
        Frame::WindowUpdate { stream: 0, increment: 65_535 },
    ];
    let mut arrived = BytesMut::new();
    let mut read = Vec::new();
    for byte in out {
        arrived.put_u8(byte);
        read.extend(parse(&mut arrived, MOST).unwrap());
    }
    assert_eq!(read, expected);
    assert!(arrived.is_empty());
}

#[test]
fn a_large_block_goes_on_in_continuation_frames() {
    let block: Vec<u8> = (0..250).collect();
    for (max_frame, sizes) in [(250, vec![250]), (249, vec![249, 1]), (125, vec![125, 125]), (100, vec![100, 100, 50])] {
        let mut out = BytesMut::from(&b"before"[..]);
        write_headers(&mut out, 7, true, max_frame, |out| out.extend_from_slice(&block));
        let (_, mut rest, mut whole) = (out.split_to(6), out, Vec::new());
        let last = sizes.len() - 1;
        for (at, size) in sizes.iter().enumerate() {
            let (stream, piece, end) = match parse(&mut rest, MOST).unwrap().unwrap() {
                Frame::Headers { stream, block, end_stream: true, end_headers } if at == 0 => (stream, block, end_headers),
                Frame::Continuation { stream, block, end_headers } if at > 0 => (stream, block, end_headers),
                other => panic!("{other:?}"),
            };
            assert_eq!((stream, piece.len(), end), (7, *size, at == last));
            whole.extend_from_slice(&piece);
        }
        assert!(rest.is_empty());
        assert_eq!(whole, block);
    }
}

#[test]
fn padding_and_priority_are_taken_off_and_count_for_the_window() {
    let data = parsed(DATA, PADDED, 1, b"\x03data\0\0\0");
    assert_eq!(data, Ok(Some(Frame::Data { stream: 1, data: Bytes::from_static(b"data"), flow_bytes: 8, end: false })));
    let none = parsed(DATA, PADDED | END_STREAM, 1, b"\x02\0\0");
    assert_eq!(none, Ok(Some(Frame::Data { stream: 1, data: Bytes::new(), flow_bytes: 3, end: true })));
    let headers = parsed(HEADERS, PADDED | HAS_PRIORITY, 3, b"\x01\x80\0\0\x01\x10block\0");
    assert_eq!(headers, Ok(Some(Frame::Headers { stream: 3, block: Bytes::from_static(b"block"), end_stream: false, end_headers: false })));
    for (kind, flags, payload, reason) in [
        (DATA, PADDED, &b""[..], Reason::FrameSizeError),
        (DATA, PADDED, b"\x01", Reason::ProtocolError),
        (HEADERS, PADDED, b"\x05data", Reason::ProtocolError),
        (HEADERS, PADDED | HAS_PRIORITY, b"\x01\0\0\0\x01\x10", Reason::FrameSizeError),
        (HEADERS, HAS_PRIORITY, b"\0\0\0\x01", Reason::FrameSizeError),
        (HEADERS, HAS_PRIORITY, b"\0\0\0\x03\x10", Reason::ProtocolError),
    ] {
        assert_eq!(connection_error(kind, flags, 3, payload), Some(reason), "{kind} {payload:?}");
    }
}

#[test]
fn what_breaks_the_connection() {
    for (kind, flags, stream, payload, reason) in [
        (DATA, 0, 0, &b""[..], Reason::ProtocolError),
        (HEADERS, 0, 0, b"", Reason::ProtocolError),
        (PRIORITY, 0, 0, b"\0\0\0\x01\0", Reason::ProtocolError),
        (RESET, 0, 0, b"\0\0\0\0", Reason::ProtocolError),
        (RESET, 0, 1, b"\0\0\0", Reason::FrameSizeError),
        (SETTINGS, 0, 1, b"", Reason::ProtocolError),
        (SETTINGS, 0, 0, b"\0", Reason::FrameSizeError),
        (SETTINGS, ACK, 0, b"\0\0\0\0\0\0", Reason::FrameSizeError),
        (SETTINGS, 0, 0, b"\0\x04\x80\0\0\0", Reason::FlowControlError),
        (PUSH_PROMISE, 0, 1, b"\0\0\0\x02", Reason::ProtocolError),
        (PING, 0, 1, b"12345678", Reason::ProtocolError),
        (PING, 0, 0, b"1234567", Reason::FrameSizeError),
        (GO_AWAY, 0, 1, b"12345678", Reason::ProtocolError),
        (GO_AWAY, 0, 0, b"1234567", Reason::FrameSizeError),
        (WINDOW_UPDATE, 0, 0, b"\x80\0\0\0", Reason::ProtocolError),
        (WINDOW_UPDATE, 0, 0, b"\0\0\x01", Reason::FrameSizeError),
        (CONTINUATION, 0, 0, b"", Reason::ProtocolError),
    ] {
        assert_eq!(connection_error(kind, flags, stream, payload), Some(reason), "{kind} {stream} {payload:?}");
    }
    let mut head_only = frame(0xee, 0, 1, &[0; MOST + 1]);
    head_only.truncate(HEAD_BYTES);
    assert!(matches!(parse(&mut head_only, MOST), Err(FrameError::Connection(Reason::FrameSizeError, _))), "told before the payload comes");
}

#[test]
fn what_breaks_a_stream_and_what_is_let_by() {
    assert!(matches!(parsed(WINDOW_UPDATE, 0, 3, b"\0\0\0\0"), Err(FrameError::Stream(3, Reason::ProtocolError, _))));
    assert!(matches!(parsed(PRIORITY, 0, 3, b"\0\0\0\x01"), Err(FrameError::Stream(3, Reason::FrameSizeError, _))));
    assert!(matches!(parsed(PRIORITY, 0, 3, b"\x80\0\0\x03\0"), Err(FrameError::Stream(3, Reason::ProtocolError, _))));
    assert_eq!(parsed(PRIORITY, 0, 3, b"\0\0\0\x01\0"), Ok(Some(Frame::Priority { stream: 3 })));
    assert_eq!(parsed(0xee, 0xff, 0, b"anything"), Ok(Some(Frame::Unknown { kind: 0xee })));
    assert_eq!(parsed(PING, 0xfe, 1 << 31, b"12345678"), Ok(Some(Frame::Ping { ack: false, opaque: *b"12345678" })), "reserved bits are ignored");
    assert_eq!(parsed(RESET, 0, 1, b"\0\0\x01\0"), Ok(Some(Frame::Reset { stream: 1, reason: Reason::Unknown(256) })));
}
