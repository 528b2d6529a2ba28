//! A stream of HTTP/2 that has become a byte stream: reading and writing under flow control, END_STREAM as the half-close.

use super::handle::Handle;
use super::stream::Failure;
use crate::io::Strand;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One task reads and writes it. Dropped before both of its directions have ended, it is reset, so that the other side does not take what came for all.
pub struct Duplex {
    handle: Handle,
    /// Received, and not read yet.
    ahead: Bytes,
    ended: bool,
}

impl Duplex {
    pub fn new(handle: Handle) -> Self {
        Self { handle, ahead: Bytes::new(), ended: false }
    }

    /// How many of `wanted` bytes may be written now.
    fn poll_room(&self, cx: &Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.handle.line.run(|session| session.poll_room(self.handle.id, wanted, cx)).map_err(broken)
    }
}

impl Strand for Duplex {
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.ahead)));
        }
        let taken = ready!(self.handle.line.with(|session| session.poll_data(self.handle.id, cx)));
        Poll::Ready(taken.transpose().map(Option::unwrap_or_default).map_err(broken))
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx, chunk.len()))?;
        self.handle.line.with(|session| session.write_data(self.handle.id, chunk, room, false));
        Poll::Ready(Ok(room))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let duplex = self.get_mut();
        if duplex.ahead.is_empty() {
            duplex.ahead = ready!(duplex.poll_take(cx))?;
        }
        let take = duplex.ahead.len().min(buf.remaining());
        buf.put_slice(&duplex.ahead[..take]);
        duplex.ahead.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let duplex = self.get_mut();
        let room = ready!(duplex.poll_room(cx, buf.len()))?;
        duplex.poll_pass(cx, &mut Bytes::copy_from_slice(&buf[..room]))
    }

    /// What was written is sent by whoever runs the connection.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let duplex = self.get_mut();
        if !duplex.ended {
            // What the peer has reset does not end well.
            ready!(duplex.poll_room(cx, 0))?;
            duplex.ended = true;
            duplex.handle.line.with(|session| session.write_end(duplex.handle.id));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.handle.line.with(|session| session.cut_off(self.handle.id));
    }
}

fn broken(failure: Failure) -> io::Error {
    let kind = if matches!(failure, Failure::Ended) { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, failure.to_string())
}
