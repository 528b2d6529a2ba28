//! A stream of HTTP/2 that has become a byte stream: reading and writing under flow control, END_STREAM as the half-close.

use super::handle::Handle;
use super::stream::Failure;
use crate::io::Strand;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Dropped before both of its directions have ended, it is reset, so that the other side does not take what came for all.
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

    fn poll_write_some(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let id = self.handle.id;
        let room = ready!(self.handle.line.run(|session| session.poll_room(id, data.len(), cx))).map_err(broken)?;
        self.handle.line.with(|session| session.write_data(id, &data[..room], false));
        Poll::Ready(Ok(room))
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
        let written = ready!(self.poll_write_some(cx, chunk))?;
        chunk.advance(written);
        Poll::Ready(Ok(written))
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
        self.get_mut().poll_write_some(cx, buf)
    }

    /// What was written is sent by whoever runs the connection.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let duplex = self.get_mut();
        if !std::mem::replace(&mut duplex.ended, true) {
            let id = duplex.handle.id;
            duplex.handle.line.with(|session| session.write_data(id, &[], true));
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(failure: Failure) -> io::Error {
    let kind = if matches!(failure, Failure::Ended) { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, failure.to_string())
}
