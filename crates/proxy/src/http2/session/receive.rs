//! What a peer's frames do to a connection: each is taken, or ends its stream or all, as RFC 9113 says. Sends no message of its own.

use super::{Begun, Block, Broken, Leaving, PING, Role, Session};
use crate::http1::HEAD_BYTES;
use crate::http2::Dialect;
use crate::http2::frame::{self, Frame, FrameError, PREFACE};
use crate::http2::head::{self, Heard, Malformed};
use crate::http2::hpack::DecodeError;
use crate::http2::reason::Reason;
use crate::http2::settings::{LARGEST_WINDOW, Settings};
use crate::http2::stream::{Failure, Stream};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The most frames that one head may come in.
const MOST_CONTINUATIONS: u32 = 64;
/// Frames that are looked at before others of this thread have their turn.
const FRAMES_AT_ONCE: u32 = 1024;
/// A peer that makes us say more than this, and does not listen, attacks.
const LARGEST_BACKLOG: usize = 1024 * 1024;
const TOO_LARGE: Malformed = "the head is too large";

impl Session {
    /// Reads frames until no more have come. `Ready`: others are to have their turn first.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..FRAMES_AT_ONCE {
            if self.over.is_some() {
                return Poll::Pending;
            }
            match self.next_frame() {
                Ok(Some(frame)) => {
                    let handled = self.take(frame);
                    self.settle(handled);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let error = self.reach(error);
                    self.settle(Err(error));
                    continue;
                }
            }
            match self.wire.poll_fill_message(cx, frame::length(&self.wire.inbound)) {
                Poll::Ready(Ok(0)) => self.end("the peer closed the connection"),
                Poll::Ready(Ok(_)) => {
                    (self.heard, self.doubted) = (true, false);
                    self.receipts += 1;
                }
                Poll::Ready(Err(error)) => self.end(&error.to_string()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.greeted {
            let there = self.wire.inbound.len().min(PREFACE.len());
            if self.wire.inbound[..there] != PREFACE[..there] {
                return Err(FrameError::Connection(Reason::ProtocolError, "the connection does not begin as HTTP/2 does"));
            }
            if there < PREFACE.len() {
                return Ok(None);
            }
            let _ = self.wire.inbound.split_to(there);
            self.greeted = true;
        }
        frame::parse(&mut self.wire.inbound, self.limits.frame as usize)
    }

    /// A stream that has never been there cannot be reset, nor anything be said within a head or before SETTINGS.
    fn reach(&self, error: FrameError) -> FrameError {
        match error {
            FrameError::Stream(_, _, why) if self.block.is_some() || !self.peer.known => FrameError::Connection(Reason::ProtocolError, why),
            FrameError::Stream(stream, reason, why) if self.is_idle(stream) => FrameError::Connection(reason, why),
            error => error,
        }
    }

    /// What a bad frame ends: its stream, or all.
    fn settle(&mut self, handled: Result<(), FrameError>) {
        match handled {
            Ok(()) => {
                if self.wire.backlog() > LARGEST_BACKLOG {
                    self.fail(Broken(Reason::EnhanceYourCalm, "the peer asks for much and does not listen"));
                }
            }
            Err(FrameError::Stream(stream, reason, why)) => {
                if self.streams.contains_key(&stream) {
                    self.fail_stream(stream, reason, Failure::Malformed(why));
                } else {
                    frame::write_reset(self.wire.text(), stream, reason);
                }
                if !self.flood.spend(Instant::now()) {
                    self.fail(Broken(Reason::EnhanceYourCalm, "too many bad frames"));
                }
            }
            Err(FrameError::Connection(reason, why)) => self.fail(Broken(reason, why)),
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), FrameError> {
        if !self.peer.known && !matches!(frame, Frame::Settings(_)) {
            return Err(FrameError::Connection(Reason::ProtocolError, "the first frame is not SETTINGS"));
        }
        match (&self.block, &frame) {
            (Some(block), Frame::Continuation { stream, .. }) if block.stream == *stream => {}
            (None, Frame::Continuation { .. }) | (Some(_), _) => {
                return Err(FrameError::Connection(Reason::ProtocolError, "a head is not in frames that follow each other"));
            }
            (None, _) => {}
        }
        let useless = match &frame {
            Frame::Data { data, end, .. } => data.is_empty() && !end,
            Frame::Headers { .. } | Frame::Continuation { .. } => false,
            Frame::WindowUpdate { .. } | Frame::Ping { ack: false, .. } => !self.is_remark(),
            Frame::Reset { .. } => self.role == Role::Server,
            Frame::Settings(_) | Frame::SettingsAck | Frame::Ping { .. } | Frame::GoAway { .. } | Frame::Priority { .. } | Frame::Unknown { .. } => {
                true
            }
        };
        if useless && !self.flood.spend(Instant::now()) {
            return Err(FrameError::Connection(Reason::EnhanceYourCalm, "too many frames that carry nothing"));
        }
        match frame {
            Frame::Data { stream, data, flow_bytes, end } => self.take_data(stream, data, flow_bytes, end),
            Frame::Headers { stream, block, end_stream, end_headers: true } => self.take_head(stream, &block, end_stream),
            Frame::Headers { stream, block, end_stream, .. } => {
                self.block = Some(Block { stream, end_stream, bytes: BytesMut::from(&block[..]), frames: 0 });
                Ok(())
            }
            Frame::Continuation { block, end_headers, .. } => self.take_continuation(&block, end_headers),
            Frame::SettingsAck | Frame::Priority { .. } | Frame::Unknown { .. } => Ok(()),
            Frame::Settings(settings) => self.take_settings(&settings),
            Frame::Ping { ack: true, opaque } => {
                if opaque == PING && self.leaving == Leaving::Announced {
                    self.say_last();
                }
                Ok(())
            }
            Frame::Ping { opaque, .. } => {
                frame::write_ping(self.wire.text(), true, opaque);
                Ok(())
            }
            Frame::Reset { stream, reason } => self.take_reset(stream, reason),
            Frame::GoAway { last_stream, .. } => {
                self.take_goaway(last_stream);
                Ok(())
            }
            Frame::WindowUpdate { stream, increment } => self.take_window_update(stream, increment),
        }
    }

    fn is_remark(&mut self) -> bool {
        let left = self.remarks.checked_sub(1);
        self.remarks = left.unwrap_or_default();
        left.is_some()
    }

    /// Whether a frame is about a stream that has never been there.
    fn is_idle(&self, stream: u32) -> bool {
        stream > self.last || stream.is_multiple_of(2)
    }

    fn take_data(&mut self, id: u32, data: Bytes, flow_bytes: u32, end: bool) -> Result<(), FrameError> {
        self.credit -= i64::from(flow_bytes);
        if self.credit < 0 {
            return Err(FrameError::Connection(Reason::FlowControlError, "the peer sends more than its window holds"));
        }
        if self.is_idle(id) {
            return Err(FrameError::Connection(Reason::ProtocolError, "data for a stream that has not begun"));
        }
        let late = !self.streams.contains_key(&id) && self.was_on_its_way(flow_bytes);
        let kept = match self.streams.get_mut(&id) {
            None if late => Ok(0),
            None => Err((Reason::StreamClosed, "data on a stream that has ended")),
            Some(stream) => {
                let length = data.len() as u32;
                stream.take_data(data, flow_bytes, end).map(|kept| if kept { length } else { 0 })
            }
        };
        // Nobody reads the rest: padding, and what comes for a stream that has ended.
        let unread = flow_bytes.saturating_sub(*kept.as_ref().unwrap_or(&0));
        self.release_connection(if self.limits.release_on_arrival { flow_bytes } else { unread });
        self.release_stream(id, unread);
        kept.map(|_| ()).map_err(|(reason, why)| FrameError::Stream(id, reason, why))
    }

    /// Whether data for a stream that has ended can have been sent before the peer heard of the end.
    fn was_on_its_way(&mut self, flow_bytes: u32) -> bool {
        let left = self.late.checked_sub(u64::from(flow_bytes.max(1)));
        self.late = left.unwrap_or(self.late);
        left.is_some()
    }

    fn take_continuation(&mut self, more: &Bytes, end_headers: bool) -> Result<(), FrameError> {
        let Some(mut block) = self.block.take() else { return Ok(()) };
        block.bytes.extend_from_slice(more);
        block.frames += 1;
        if block.bytes.len() > HEAD_BYTES + self.limits.frame as usize || block.frames > MOST_CONTINUATIONS {
            return Err(FrameError::Connection(Reason::EnhanceYourCalm, "a head does not end"));
        }
        if end_headers {
            return self.take_head(block.stream, &block.bytes.freeze(), block.end_stream);
        }
        self.block = Some(block);
        Ok(())
    }

    fn take_head(&mut self, id: u32, block: &Bytes, end: bool) -> Result<(), FrameError> {
        let mut heard = Heard::new();
        let decoded = self.decoder.decode(block, HEAD_BYTES, |field| heard.take(field).map_err(DecodeError::Malformed));
        let bad = match decoded {
            Ok(()) => None,
            Err(DecodeError::Compression(why)) => return Err(FrameError::Connection(Reason::CompressionError, why)),
            Err(DecodeError::Malformed(why)) => Some((Reason::ProtocolError, why)),
            Err(DecodeError::TooLarge) => Some((Reason::EnhanceYourCalm, TOO_LARGE)),
        };
        let known = self.streams.contains_key(&id);
        match self.role {
            Role::Server if id.is_multiple_of(2) => Err(FrameError::Connection(Reason::ProtocolError, "a client's streams are odd")),
            Role::Server if id > self.last => {
                let begun = self.begin(id, heard, end, bad);
                if !end && !self.streams.contains_key(&id) {
                    self.expect_late(self.limits.stream_window.into());
                }
                begun
            }
            Role::Client if self.is_idle(id) => Err(FrameError::Connection(Reason::ProtocolError, "a response to nothing")),
            // It ended while this was on its way.
            Role::Client if !known => Ok(()),
            Role::Server if !known => Err(FrameError::Stream(id, Reason::StreamClosed, "a head on a stream that has ended")),
            _ => {
                let dialect = self.dialect;
                let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.failure.is_none()) else { return Ok(()) };
                if let Some((reason, why)) = bad {
                    return Err(FrameError::Stream(id, reason, why));
                }
                if stream.receive_ended {
                    return Err(FrameError::Stream(id, Reason::StreamClosed, "a head after the end of the stream"));
                }
                let taken = match stream.headed {
                    false => heard.into_response(dialect).and_then(|head| stream.take_response(head, end)),
                    true => heard.into_trailers().and_then(|trailers| stream.take_trailers(trailers, end)),
                };
                taken.map_err(|why| FrameError::Stream(id, Reason::ProtocolError, why))
            }
        }
    }

    fn begin(&mut self, id: u32, heard: Heard, end: bool, bad: Option<(Reason, Malformed)>) -> Result<(), FrameError> {
        self.last = id;
        if self.leaving == Leaving::Said || self.over.is_some() {
            // GOAWAY has told the client that it may ask elsewhere.
            return Ok(());
        }
        let head = match (bad, heard.into_request(self.dialect)) {
            (Some((_, why)), _) if why == TOO_LARGE => {
                self.refused.push(why);
                self.answer_too_large(id, end);
                return match self.flood.spend(Instant::now()) {
                    true => Ok(()),
                    false => Err(FrameError::Connection(Reason::EnhanceYourCalm, "too many heads that are too large")),
                };
            }
            (Some((reason, why)), _) => {
                self.refused.push(why);
                return Err(FrameError::Stream(id, reason, why));
            }
            (None, Err(why)) => {
                self.refused.push(why);
                return Err(FrameError::Stream(id, Reason::ProtocolError, why));
            }
            (None, Ok(head)) => head,
        };
        if self.is_full() {
            return Err(FrameError::Stream(id, Reason::RefusedStream, "more streams than are allowed"));
        }
        let mut stream = Stream::new(self.peer.window.into(), self.limits.stream_window.into());
        stream.headed = true;
        stream.awaited = !end && self.dialect == Dialect::Http2 && head.waits();
        stream.expect(head.length, end).map_err(|why| FrameError::Stream(id, Reason::ProtocolError, why))?;
        self.streams.insert(id, stream);
        self.begun.push_back(Begun { stream: id, head });
        Ok(())
    }

    /// Streams that the peer has reset do not count for it, though they may not be forgotten yet; too many of them do.
    fn is_full(&self) -> bool {
        let most = self.limits.streams as usize;
        self.streams.len() >= 2 * most
            || self.streams.len() >= most && self.streams.values().filter(|stream| stream.failure.is_none()).count() >= most
    }

    /// RFC 6585 section 5, to a client that can do something about it.
    fn answer_too_large(&mut self, id: u32, end: bool) {
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let (head, ()) = response.into_parts();
        self.write_fields(id, true, |encoder, out| head::write_response(encoder, out, &head, None));
        if !end {
            frame::write_reset(self.wire.text(), id, Reason::NoError);
        }
    }

    fn take_settings(&mut self, settings: &Settings) -> Result<(), FrameError> {
        let first = !std::mem::replace(&mut self.peer.known, true);
        if settings.enable_push == Some(true) && self.role == Role::Client {
            return Err(FrameError::Connection(Reason::ProtocolError, "a server turns push on (RFC 9113 section 6.5.2)"));
        }
        if let Some(size) = settings.header_table_size {
            self.encoder.set_max_size(size as usize);
        }
        if let Some(window) = settings.initial_window_size {
            let grown = i64::from(window) - i64::from(self.peer.window);
            self.peer.window = window;
            for stream in self.streams.values_mut() {
                stream.window += grown;
                if stream.window > i64::from(LARGEST_WINDOW) {
                    return Err(FrameError::Connection(Reason::FlowControlError, "a window grows too large"));
                }
            }
        }
        if let Some(frame) = settings.max_frame_size {
            self.peer.frame = frame.min(self.limits.frame) as usize;
        }
        if let Some(streams) = settings.max_concurrent_streams {
            self.peer.streams = streams;
        } else if first {
            self.peer.streams = u32::MAX;
        }
        if let Some(allowed) = settings.enable_connect_protocol {
            self.peer.connect_protocol = allowed;
        }
        for stream in self.streams.values_mut() {
            stream.wake();
        }
        self.tell_asking();
        frame::write_settings_ack(self.wire.text());
        Ok(())
    }

    fn take_reset(&mut self, id: u32, reason: Reason) -> Result<(), FrameError> {
        if self.is_idle(id) {
            return Err(FrameError::Connection(Reason::ProtocolError, "a reset of a stream that has not begun"));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.take_reset(reason, self.role == Role::Client);
            if self.role == Role::Server && stream.holders == 0 {
                // Nobody has begun with it.
                self.forget(id);
            }
        }
        Ok(())
    }

    fn take_goaway(&mut self, last: u32) {
        self.dismissed = true;
        if self.role == Role::Client {
            for (_, stream) in self.streams.iter_mut().filter(|(id, _)| **id > last) {
                stream.fail(Failure::Refused);
            }
        }
        self.kick();
    }

    fn take_window_update(&mut self, id: u32, increment: u32) -> Result<(), FrameError> {
        if id == 0 {
            self.window += i64::from(increment);
            self.wake_waiting();
            return match self.window > i64::from(LARGEST_WINDOW) {
                true => Err(FrameError::Connection(Reason::FlowControlError, "the connection's window grows too large")),
                false => Ok(()),
            };
        }
        if self.is_idle(id) {
            return Err(FrameError::Connection(Reason::ProtocolError, "a window of a stream that has not begun"));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.window += i64::from(increment);
        stream.moved = true;
        stream.wake();
        match stream.window > i64::from(LARGEST_WINDOW) {
            true => Err(FrameError::Stream(id, Reason::FlowControlError, "a window grows too large")),
            false => Ok(()),
        }
    }
}
