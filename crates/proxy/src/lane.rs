//! One stream of an HTTP/2 connection as a byte stream: reading and writing under flow control, END_STREAM as the half-close.

use crate::io::Strand;
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest piece that goes on its way whole: with the head of its frame it fills four TLS records.
pub const PIECE: usize = 64 * 1024 - 9;

/// Dropped before both of its directions have ended, it is reset, so that the other side does not take what came for all.
pub struct Lane {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received, and not read yet; its room has been given back to the peer.
    ahead: Bytes,
    _place: Place,
}

/// A stream that counts on its connection, until dropped.
pub struct Place(Rc<Cell<usize>>);

impl Place {
    pub fn take(streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        Self(streams.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Lane {
    pub fn new(send: SendStream<Bytes>, receive: RecvStream, place: Place) -> Self {
        Self { send, receive, ahead: Bytes::new(), _place: place }
    }

    /// Why nothing more can be written.
    fn why_broken(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => reset(reason),
            Poll::Ready(Err(error)) => broken(error),
            // It is this side that has ended it.
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    /// How many of `wanted` bytes may be written now.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(wanted);
        let room = match self.send.capacity() {
            // Registers for more, as long as the peer's windows or what waits to be sent leave none.
            0 => match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(self.why_broken(cx))),
            },
            room => room,
        };
        Poll::Ready(Ok(room.min(wanted)))
    }
}

impl Strand for Lane {
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.ahead)));
        }
        loop {
            let received = match ready!(self.receive.poll_data(cx)) {
                Some(Ok(received)) => received,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(Bytes::new())),
            };
            // The peer may send as much again. No more is released than was received, so this cannot fail.
            let _ = self.receive.flow_control().release_capacity(received.len());
            // An empty frame is not the end.
            if !received.is_empty() {
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx, chunk.len()))?;
        let passed = chunk.split_to(room);
        match self.send.send_data(passed, false) {
            Ok(()) => Poll::Ready(Ok(room)),
            Err(_) => Poll::Ready(Err(self.why_broken(cx))),
        }
    }
}

impl AsyncRead for Lane {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let lane = self.get_mut();
        if lane.ahead.is_empty() {
            lane.ahead = ready!(lane.poll_take(cx))?;
        }
        let take = lane.ahead.len().min(buf.remaining());
        buf.put_slice(&lane.ahead[..take]);
        lane.ahead.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lane {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let lane = self.get_mut();
        let room = ready!(lane.poll_room(cx, buf.len()))?;
        lane.poll_pass(cx, &mut Bytes::copy_from_slice(&buf[..room]))
    }

    /// What was written is sent by the connection's own task.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lane = self.get_mut();
        match lane.send.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(lane.why_broken(cx))),
        }
    }
}

fn reset(reason: Reason) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, format!("the peer's proxy reset the stream ({reason})"))
}

fn broken(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => reset(reason),
        _ if error.is_io() => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        _ => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}

#[cfg(test)]
mod tests;
